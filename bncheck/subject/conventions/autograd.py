"""A ``torch.autograd.Function``, and code written on tensors: arrays become tensors on the way in.

torch is never imported here: it is used where the user's own file has imported it.
"""

import inspect
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bncheck.subject.conventions.implementations import Change, Implementation, Ran, Surroundings
from bncheck.subject.conventions.returned import output
from bncheck.subject.conventions.stand_ins import (
    Made,
    changing,
    exchange_code,
    inputs_of,
    noting,
    numbers,
)
from bncheck.subject.messages import Backward, Inputs, plain
from bncheck.subject.names import layer_hint
from bncheck.subject.signature import defaults, document, line_of, roles_of
from bncheck.telling.errors import CannotAsk


def find(name: str, thing: Any, beside: Surroundings) -> Implementation | None:
    """A class that torch's ``Function`` is a base of, with both passes."""
    bases = thing.__mro__ if isinstance(thing, type) else ()
    own = {n for base in bases if base.__module__ != "torch.autograd.function" for n in vars(base)}
    is_function = any(base.__module__ == "torch.autograd.function" for base in bases)
    if not is_function or not {"forward", "backward"} <= own:
        return None
    takes = tuple(r for r in list(roles_of(thing.forward, beside.said).values())[1:] if r)
    summary = Backward(
        name=name,
        kind="autograd",
        line=line_of(thing),
        has_forward=True,
        takes=takes,
        layer_hint=layer_hint(name, document(thing)),
        description=f"{name}.apply(...), a torch.autograd.Function",
    )
    return Implementation(summary, thing, thing.forward, beside.said)


def are_used_by(thing: Callable[..., Any]) -> bool:
    """Whether the module in which it is defined has imported torch."""
    module = sys.modules.get(getattr(thing, "__module__", "") or "")
    return module is not None and any(
        isinstance(v, ModuleType) and v.__name__.split(".")[0] == "torch"
        for v in vars(module).values()
    )


def to_tensors(given: Inputs) -> dict[str, Any]:
    """The arrays as tensors that share their memory, so that overwriting is seen."""
    return {name: _as_tensor(value) for name, value in given.items()}


def _as_tensor(value: Any) -> Any:
    if isinstance(value, Mapping):
        return to_tensors(value)
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype == np.longdouble:
        raise CannotAsk("torch has no tensors of extended precision")
    return sys.modules["torch"].from_numpy(value if value.flags.writeable else value.copy())


def output_of(own: Implementation, given: Inputs) -> NDArray[Any]:
    """The output of ``apply``."""
    arguments, _ = _arguments(own, given)
    return output(own.backward.apply(*arguments))  # type: ignore[attr-defined]


def run(own: Implementation, given: Inputs) -> Ran:
    """``apply``, and torch's own reverse sweep, which calls the user's ``backward``."""
    arguments, leaves = _arguments(own, given)
    names = list(leaves)
    try:
        y, slopes = _swept(own, arguments, leaves, given)
    except ValueError:
        # one that unpacks its needs_input_grad wants to be called without the settings
        y, slopes = _swept(own, arguments[: len(names)], leaves, given)
    named = {"d" + n: plain(s) for n, s in zip(names, slopes, strict=True) if s is not None}
    return Ran(output(y), None, named, by_name=frozenset(named))


def _swept(
    own: Implementation, arguments: list[Any], leaves: Inputs, given: Inputs
) -> tuple[Any, Any]:
    y = own.backward.apply(*arguments)  # type: ignore[attr-defined]
    y = y[0] if isinstance(y, tuple) else y
    grad = sys.modules["torch"].autograd.grad
    return y, grad(y, list(leaves.values()), given["dy"], allow_unused=True)


def _arguments(own: Implementation, given: Inputs) -> tuple[list[Any], dict[str, Any]]:
    forward = own.forward
    assert forward is not None
    supplied = {**defaults(given), **given}
    leaves = {}
    for name in ("x", "gamma", "beta"):
        if name in given:
            leaf = given[name].clone().requires_grad_()
            supplied[name] = leaves[name] = leaf
    roles = dict(list(roles_of(forward, own.roles).items())[1:])  # without ctx
    parameters = inspect.signature(forward).parameters
    unknown = [n for n, r in roles.items() if r not in supplied]
    if "x" not in roles.values() and unknown:
        roles[unknown.pop(0)] = "x"
    needed = [n for n in unknown if parameters[n].default is parameters[n].empty]
    if needed:
        raise CannotAsk(
            f"{own.summary.name}.forward has a parameter {needed[0]!r} that bncheck does not "
            f"know; say what it is with --name {needed[0]}=ROLE"
        )
    used = {n: leaf for n, leaf in leaves.items() if n in roles.values()}
    values = [parameters[n].default if n in unknown else supplied[str(r)] for n, r in roles.items()]
    return values, used


def exchange(own: Implementation, change: Change) -> None:
    """Other numbers in what ``backward`` returns, in the order of what ``forward`` takes."""
    forward = own.forward
    assert forward is not None
    roles = list(roles_of(forward, own.roles).values())[1:]
    order = [f"d{r}" if r in ("x", "gamma", "beta") else "" for r in roles]
    made: Made = []

    def values_of(args: Any, kwargs: Any) -> dict[str, Any]:
        values = inputs_of(args[0], made)
        dy = next(iter((*args[1:], *kwargs.values())), None)
        return {**values, "dy": numbers(dy)} if values else {}

    exchange_code(forward, lambda original: noting(original, made, lambda args, _: args[0]))
    exchange_code(
        own.backward.backward,  # type: ignore[attr-defined]
        lambda original: changing(original, values_of, change, order),
    )
