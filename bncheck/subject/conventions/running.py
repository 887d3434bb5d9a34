"""What a layer keeps from batch to batch, and what it does with it in evaluation mode.

Nothing is judged here: batches go in, and what the object (or the dictionary of settings that a
pair of functions shares) holds after each comes out, with the outputs in evaluation mode.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from bncheck.subject.conventions.implementations import Implementation, Kept
from bncheck.subject.conventions.returned import output
from bncheck.subject.holders import content
from bncheck.subject.messages import BATCHES, Inputs, plain
from bncheck.subject.names import TESTING, role
from bncheck.subject.signature import roles_of

State = dict[str, Any]
"""Copies of the running statistics: ``running_mean`` and ``running_var``, those that there are."""

MODES = ("test", "eval", "inference", "evaluation", "predict", "valid")


def observed(layer: Kept | None, given: Inputs) -> dict[str, Any] | None:
    """What is kept after each of three batches, and what each way to evaluate the fourth gives.

    ``names``: how the statistics are called; ``momentum``: where it is known; ``evaluations``:
    the output of each way with the state before and after. None where nothing is kept.
    """
    if layer is None:
        return None
    states = [_state(layer)]
    for name in BATCHES[1:3]:
        layer.train(given[name])
        states.append(_state(layer))
    if not states[0]:
        return None
    return {
        "names": {known: name for known, name, _ in _kept(layer)},
        "states": states,
        "momentum": _momentum(layer),
        "evaluations": list(_evaluations(layer, given[BATCHES[3]])),
    }


def _evaluations(layer: Kept, x: Any) -> Iterator[dict[str, Any]]:
    for way in layer.ways:
        before = _state(layer)
        with suppress(Exception):  # not every way is one
            y = output(way(x))
            yield {"y": y, "before": before, "after": _state(layer)}


def _state(layer: Kept) -> State:
    return {known: np.array(value, copy=True) for known, _, value in _kept(layer)}


def _kept(layer: Kept) -> Iterator[tuple[str, str, Any]]:
    """Role, name and value of each running statistic, the first of each role."""
    seen: set[str] = set()
    for holder in layer.holders():
        for name, value in list(holder.items()):
            known = role(str(name))
            if known not in ("running_mean", "running_var") or known in seen:
                continue
            inner = content(value)
            array = np.asarray(plain(value if inner is None else inner[1]))
            if array.size and np.issubdtype(array.dtype, np.number):
                seen.add(known)
                yield known, str(name), array


def _momentum(layer: Kept) -> float | None:
    for holder in layer.holders():
        for name, value in list(holder.items()):
            if role(str(name)) == "momentum" and isinstance(value, float):
                return value
    return None


def with_argument(forward: Callable[..., Any], own: Implementation) -> Iterator[Callable[..., Any]]:
    """The forward pass with its argument for the mode filled in, in every way it may be meant."""
    signature = inspect.signature(forward)
    for name, known in roles_of(forward, own.roles).items():
        parameter = signature.parameters[name]
        words = name == "mode" or isinstance(parameter.default, str)
        if known == "training":
            values: tuple[Any, ...] = MODES if words else (False,)
        elif known is None and TESTING.match(name):
            values = (True,)
        else:
            continue
        rest = [p for n, p in signature.parameters.items() if n != name]
        for value in values:
            yield _filled(forward, name, value, signature.replace(parameters=rest))


def _filled(
    forward: Callable[..., Any], name: str, value: Any, rest: inspect.Signature
) -> Callable[..., Any]:
    def evaluated(**arguments: Any) -> Any:
        return forward(**arguments, **{name: value})

    evaluated.__signature__ = rest  # type: ignore[attr-defined]
    return evaluated
