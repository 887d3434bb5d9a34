"""What a layer keeps from batch to batch, and what it does with it in evaluation mode.

Nothing is judged here: batches go in, and what the object (or the dictionary of settings that a
pair of functions shares) holds after each comes out, with the outputs in evaluation mode.
"""

import inspect
import re
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import suppress
from typing import Any

import numpy as np

from bncheck.subject.conventions.arguments import called, defaults
from bncheck.subject.conventions.implementations import Implementation, Kept
from bncheck.subject.conventions.methods import forward_method
from bncheck.subject.conventions.object import passed, ready
from bncheck.subject.conventions.returned import output
from bncheck.subject.holders import attributes, content, held_by
from bncheck.subject.messages import BATCHES, Inputs, plain
from bncheck.subject.names import TESTING, role
from bncheck.subject.signature import required, roles_of

State = dict[str, Any]
"""Copies of the running statistics: ``running_mean`` and ``running_var``, those that there are."""

MODES = ("test", "eval", "inference", "evaluation", "predict", "valid")
_SWITCHES = ("eval", "eval_mode", "set_eval", "test_mode", "set_test", "inference_mode")


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


def of_nothing(own: Implementation, given: Inputs) -> Kept | None:
    """Nothing is kept, or it is not asked."""
    return None


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


def of_object(own: Implementation, given: Inputs) -> Kept | None:
    """What an object keeps in its attributes and in its dictionaries."""
    instance = ready(own, given)[0]
    return Kept(
        lambda x: passed(instance, {**given, "x": x}, own),
        lambda: (holder for _, holder in held_by(instance)),
        _ways_of(instance, own, given),
    )


def _ways_of(instance: Any, own: Implementation, given: Inputs) -> Iterator[Callable[[Any], Any]]:
    """An argument of forward, a method of its own, attributes, a method that switches."""
    forward = getattr(instance, str(forward_method(type(instance))))

    def in_its_mode(x: Any) -> Any:
        return passed(instance, {**given, "x": x}, own)[0]

    for function in (*_with_argument(forward, own), *_methods(instance, forward)):
        yield lambda x, f=function: called(f, {**given, "x": x}, own.roles)  # type: ignore[misc]
    for mode in MODES:
        if not _switched(attributes(instance), mode):
            break
        yield in_its_mode
    for name in _SWITCHES:
        method = getattr(instance, name, None)
        if inspect.ismethod(method) and not required(method):
            with suppress(Exception):  # the output will show whether it did
                method()
            yield in_its_mode
    train = getattr(instance, "train", None)
    if inspect.ismethod(train) and len(inspect.signature(train).parameters) == 1:
        with suppress(Exception):
            train(False)
        yield in_its_mode


def _methods(instance: Any, forward: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Methods that are a forward pass in evaluation mode: ``predict(x)``, ``forward_test(x)``."""
    for name in dir(type(instance)):
        last = re.split(r"_|(?<=[a-z])(?=[A-Z])", name)
        if name[:1] == "_" or not any(map(TESTING.match, last)):
            continue
        method = getattr(instance, name, None)
        if inspect.ismethod(method) and method != forward and len(required(method)) == 1:
            yield method


def _switched(holder: MutableMapping[Any, Any], mode: str) -> bool:
    """Put a holder's settings into evaluation mode; whether another word may be tried."""
    switched = False
    for name, value in list(holder.items()):
        if role(str(name)) == "training" and isinstance(value, bool | str):
            holder[name] = mode if isinstance(value, str) else False
        elif isinstance(value, bool) and TESTING.match(str(name).strip("_")):
            holder[name] = True
        else:
            continue
        switched |= isinstance(value, str) or mode == MODES[0]
    return switched


def _with_argument(
    forward: Callable[..., Any], own: Implementation
) -> Iterator[Callable[..., Any]]:
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


def of_functions(own: Implementation, given: Inputs) -> Kept | None:
    """Functions that share a dictionary of settings, or are handed arrays that they change."""
    forward = own.forward
    if forward is None:
        return None
    usual = defaults(given)
    handed = {n: usual[n] * 1 for n in ("running_mean", "running_var")}
    known = roles_of(forward, own.roles).values()
    shared = {**given, "params": usual["params"], **handed}
    shown = {n: v for n, v in handed.items() if n in known}

    def train(x: Any) -> Any:
        return called(forward, {**shared, "x": x}, own.roles)

    train(given["x"])
    first = {n: v * 1 for n, v in shown.items()}
    train(given["x"])
    if first and all(np.array_equal(first[n], v) for n, v in shown.items()):
        shown = {}  # it may well return new ones
    ways = _ways_of_functions(forward, own, shared)
    return Kept(train, lambda: (usual["params"], shown), ways)


def _ways_of_functions(
    forward: Callable[..., Any], own: Implementation, shared: dict[str, Any]
) -> Iterator[Callable[[Any], Any]]:
    for function in _with_argument(forward, own):
        yield lambda x, f=function: called(f, {**shared, "x": x}, own.roles)  # type: ignore[misc]
    for mode in MODES:
        shared["params"]["mode"] = mode
        yield lambda x: called(forward, {**shared, "x": x}, own.roles)
