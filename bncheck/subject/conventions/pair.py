"""Call plain functions by the roles of their parameters; alone, or as a pair with a cache."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bncheck.subject.conventions.convention import Found
from bncheck.subject.names import role
from bncheck.subject.returned import kind_of, output
from bncheck.subject.signature import Roles, parameters_of, roles_of
from bncheck.telling.errors import CannotAsk
from bncheck.telling.report import Remark

Inputs = Mapping[str, Any]
ASKED = ("width", "count", "label", "momentum", "optimizer", "rate", "running_mean", "running_var")
"""Roles that are filled only where the code cannot do without."""


@dataclass(frozen=True)
class Ran:
    """One run: the output, what backward returned, and gradients found elsewhere, by name.

    ``shapes``: those of the code's own parameters, by role, where it holds them; ``by_name``:
    gradients that have a name, and not a place among others.
    """

    y: NDArray[Any] | None
    result: Any
    extra: Mapping[str, Any]
    remarks: tuple[Remark, ...] = ()
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    by_name: frozenset[str] = frozenset()


def run_function(found: Found, given: Inputs) -> Ran:
    """A backward pass on its own; the forward pass, if any, sees copies of its own."""
    y = None
    if found.forward is not None:
        copies = {n: v.copy() if isinstance(v, np.ndarray) else v for n, v in given.items()}
        y = output(called(found.forward, copies, found.roles))
    return Ran(y, called(found.backward, given, found.roles, first="dy"), {})


def run_pair(found: Found, given: Inputs) -> Ran:
    """Forward pass and backward pass; what the first returns beside y goes into the second."""
    y, rest = handed_on(found, given)
    return Ran(y, with_cache(found.backward, given, rest, found.roles), {})


def handed_on(found: Found, given: Inputs) -> tuple[NDArray[Any], list[Any]]:
    """The output of the forward pass, and what it returns besides; raises ``CannotAsk``."""
    assert found.forward is not None
    result = called(found.forward, given, found.roles)
    if not isinstance(result, tuple | list) or len(result) < 2:
        name = getattr(found.forward, "__name__", "forward")
        raise CannotAsk(f"{name} returned {kind_of(result)}; expected (output, cache)")
    y, *rest = result
    return output(y), rest


def with_cache(backward: Callable[..., Any], given: Inputs, rest: list[Any], said: Roles) -> Any:
    """Call ``backward`` with the upstream gradient and what the forward pass handed on."""
    roles = roles_of(backward, said)
    if len(roles) == 2 and set(roles.values()) != {"dy", "cache"}:
        caches = [n for n, r in roles.items() if r == "cache"] or [
            next((n for n, r in roles.items() if r not in ("dy", None)), list(roles)[1])
        ]
        if "dy" in roles.values():
            caches = [n for n, r in roles.items() if r != "dy"][:1]
        roles = {n: "cache" if n == caches[0] else "dy" for n in roles}
    open_ = [n for n, r in roles.items() if r not in given or r == "cache"]
    open_ = [n for n in open_ if r_is_open(roles[n])]
    handed = _handed(open_, roles, rest)
    values = {**given, "training": True}
    keywords = {n: values[r] for n, r in roles.items() if r in values and n not in handed}
    return _bound(backward, {**keywords, **handed})


def r_is_open(found: str | None) -> bool:
    """Whether the forward pass has to give it."""
    return found not in (*ASKED[2:], "training", "params", "groups", "eps")


def called(function: Callable[..., Any], values: Inputs, said: Roles, first: str = "x") -> Any:
    """Call by role: every parameter that has one and a value gets it; defaults stay.

    ``first``: what the first parameter of an unknown name is.
    """
    supplied = {**defaults(values), **values}
    arguments: dict[str, Any] = {}
    roles = roles_of(function, said)
    if first not in roles.values():
        unknown = next((n for n, r in roles.items() if r is None), None)
        only = next(iter(roles), None) if len(roles) == 1 else None
        roles = {n: first if n in (unknown, only) else r for n, r in roles.items()}
    for parameter in parameters_of(function):
        found = roles.get(parameter.name)
        needed = parameter.default is parameter.empty
        if found in supplied and (needed or found not in ASKED) and (
            needed or found in values or found in ("training", "params")
        ):  # fmt: skip
            value = supplied[found]
            arguments[parameter.name] = _switch(parameter, value) if found == "training" else value
    return _bound(function, arguments)


def defaults(values: Inputs) -> dict[str, Any]:
    """What code may ask for besides the arrays of a trial."""
    eps = values.get("eps", 1e-5)
    settings = {"mode": "train", "eps": eps, "epsilon": eps, "momentum": 0.9}
    first = values["x"]
    gamma = values.get("gamma")
    width = (first if gamma is None or not gamma.shape else gamma).shape[-1]
    return {
        "params": settings, "training": True, "momentum": 0.9, "eps": eps, "label": "layer",
        "width": width, "count": first.shape[0], "rate": 1.0,
        "running_mean": first[0] * 0 if first.ndim == 2 else np.zeros(width),
        "running_var": first[0] * 0 + 1 if first.ndim == 2 else np.ones(width),
    }  # fmt: skip


def _handed(names: list[str], roles: Mapping[str, str | None], rest: list[Any]) -> dict[str, Any]:
    """What the forward pass returned beside y, dealt out to the parameters that need it."""
    if not names:
        return {}
    if len(names) == 1:
        return {names[0]: rest[0] if len(rest) == 1 else tuple(rest)}
    parts = rest[0] if len(rest) == 1 and isinstance(rest[0], tuple | list | dict) else rest
    if isinstance(parts, dict):
        by_role = {role(str(k)): v for k, v in parts.items()}
        return {n: parts[n] if n in parts else by_role.get(roles[n]) for n in names}
    if len(parts) == len(names):
        return dict(zip(names, parts, strict=True))
    raise CannotAsk(
        f"the backward pass wants {', '.join(names)}, and the forward pass returned "
        f"{len(parts)} values beside its output"
    )


def _bound(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Call with arguments by name, by position where the function insists on it."""
    positional = [
        arguments.pop(p.name)
        for p in parameters_of(function)
        if p.kind is p.POSITIONAL_ONLY and p.name in arguments
    ]
    return function(*positional, **arguments)


def _switch(parameter: inspect.Parameter, value: bool) -> Any:
    return "train" if parameter.name == "mode" or isinstance(parameter.default, str) else value
