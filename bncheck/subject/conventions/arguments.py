"""Fill the parameters of somebody's functions by their roles, and call them."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bncheck.subject.messages import Inputs
from bncheck.subject.names import role
from bncheck.subject.signature import Roles, parameters_of, roles_of
from bncheck.telling.errors import CannotAsk

SETTINGS = ("momentum", "optimizer", "rate", "running_mean", "running_var")
ASKED = ("width", "count", "label", *SETTINGS)
"""Roles that are filled only where the code cannot do without."""

NEVER_HANDED_ON = ("label", *SETTINGS, "training", "params", "groups", "eps")
"""Roles that the forward pass does not have to give to the backward pass."""


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
        known = roles.get(parameter.name)
        needed = parameter.default is parameter.empty
        if known in supplied and (needed or known not in ASKED) and (
            needed or known in values or known in ("training", "params")
        ):  # fmt: skip
            value = supplied[known]
            arguments[parameter.name] = _switch(parameter, value) if known == "training" else value
    return _bound(function, arguments)


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
    handed = _handed([n for n in open_ if roles[n] not in NEVER_HANDED_ON], roles, rest)
    values = {**given, "training": True}
    keywords = {n: values[r] for n, r in roles.items() if r in values and n not in handed}
    return _bound(backward, {**keywords, **handed})


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
