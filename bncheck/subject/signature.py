"""What the parameters of a function are, by their names, their places, or as the user said; and
calls with them filled.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from bncheck.subject.messages import Inputs
from bncheck.subject.names import (
    LETTERS,
    OTHERS_OF_DOUBLE,
    SPELLINGS,
    STATISTICS,
    double_role,
    is_double,
    likely_role,
    role,
)
from bncheck.telling.errors import CannotAsk

Roles = Mapping[str, str]
"""Parameter name to role, as said by the user; overrides what bncheck would think."""


def roles_of(function: Callable[..., Any], said: Roles | None = None) -> dict[str, str | None]:
    """Each parameter of a function with its role (None: unknown), but for *args and **kwargs.

    Two parameters never have one role: the second one is something else, or unknown.
    """
    parameters = parameters_of(function)
    names = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    found: dict[str, str | None] = {}
    # g is an upstream gradient, but beside v alone it is the length in weight norm
    others = {role(name) for name in names if name not in ("v", "g")}
    is_weight_norm = {"v", "g"} <= set(names) and others.isdisjoint({"mean", "x", "gamma"})
    own = {"g": "gamma"} if is_weight_norm else {}
    for name in names:
        known = (said or {}).get(name) or own.get(name) or role(name)
        taken = known in found.values() and known is not None
        found[name] = _other(name, found) if taken else known
    for name in [n for n, r in found.items() if r is None]:
        known = likely_role(name)
        found[name] = None if known in found.values() else known
    told = said or {}
    if (
        "G" in found
        and "G" not in told
        and "gamma" in found.values()
        and "groups" not in found.values()
    ):
        # beside gamma, as in forward(x, gamma, beta, G), it counts groups
        found["G"] = "groups"
    if "mean" in found.values() and "var" not in found.values():
        # v beside a mean is a variance; alone it is the weights of weight norm
        short = [n for n in found if n.strip("_").lower() in ("v", "s2") and n not in told]
        found |= dict.fromkeys(short, "var")
    return found


def parameters_of(function: Callable[..., Any]) -> tuple[inspect.Parameter, ...]:
    """The parameters of a function; of one in a decorator's wrapper, those of the one inside.

    Raises ``TypeError`` and ``ValueError`` as ``inspect.signature`` does.
    """
    try:
        return _parameters(function)
    except TypeError:  # what cannot be hashed can still be called
        return _read(function)


@lru_cache(64)
def _parameters(function: Callable[..., Any]) -> tuple[inspect.Parameter, ...]:
    return _read(function)


def _read(function: Callable[..., Any]) -> tuple[inspect.Parameter, ...]:
    own = tuple(inspect.signature(function).parameters.values())
    if not own or any(p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in own):
        return own
    is_class = isinstance(function, type)
    outer = function.__init__ if is_class else function
    for cell in getattr(outer, "__closure__", None) or ():
        if inspect.isfunction(cell.cell_contents):
            inner = tuple(inspect.signature(cell.cell_contents).parameters.values())
            return inner[1:] if is_class or inspect.ismethod(function) else inner
    return own


def roles_taken(
    function: Callable[..., Any],
    name: str,
    said: Roles,
    roles: Callable[..., dict[str, str | None]] = roles_of,
) -> tuple[str, ...]:
    """The roles that a function takes; raises ``CannotAsk`` where Python cannot say.

    A statistic that has a default is a setting of some other kind. ``roles``: how they are read.
    """
    try:
        needed, known = required(function), roles(function, said).items()
    except (TypeError, ValueError):
        raise CannotAsk(f"{name} has no signature that Python can show; wrap it in a def") from None
    return tuple(r for n, r in known if r and (r not in STATISTICS or n in needed))


def required(function: Callable[..., Any]) -> list[str]:
    """The parameters that have no default."""
    return [
        p.name
        for p in parameters_of(function)
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]


def widths(given: Inputs) -> list[Any]:
    """What an argument that asks for a size may mean: always as many, in one order."""
    x = given["x"]
    width = int(np.prod(given["gamma"].shape)) if "gamma" in given else int(x.shape[-1])
    return [width, (width,), tuple(x.shape[1:]), tuple(x.shape), int(x.shape[-1])]


def check_known(function: Callable[..., Any], name: str, said: Roles) -> None:
    """Raises ``CannotAsk`` where a parameter that has to be given is none that bncheck knows."""
    roles = roles_of(function, said)
    unknown = [n for n in required(function) if roles[n] in (None, "cache")]
    if unknown and len(roles) > 1:
        raise _unknown(name, unknown[0], "dy, x, gamma, beta, eps, groups, mean, var, sd")


def _unknown(name: str, parameter: str, known: str) -> CannotAsk:
    return CannotAsk(
        f"{name} has a parameter {parameter!r} that bncheck does not know; say what it is "
        f"with --name {parameter}=ROLE ({known}, rstd, xhat, ...)"
    )


def document(function: Any) -> str:
    """The beginning of the docstring."""
    return (inspect.getdoc(function) or "")[:200]


def ranks_said(*things: Any) -> tuple[int, ...]:
    """How many axes x has by the docstrings: ``x: (batch, seq, dim)``, ``x: of shape (N, D)``."""
    text = "\n".join(inspect.getdoc(thing) or "" for thing in things)
    shapes = re.findall(r"\b(?:x|inputs?)\b[^()\n]*\((\w+(?: *, *\w+)+) *\)", text, re.IGNORECASE)
    return tuple(dict.fromkeys(1 + shape.count(",") for shape in shapes))


def line_of(thing: Any) -> int:
    """The line on which a function or class begins; 0 where it has none."""
    try:
        return inspect.getsourcelines(thing)[1]
    except (OSError, TypeError):
        code = getattr(thing, "__code__", None)
        return code.co_firstlineno if code else 0


def _other(name: str, found: Mapping[str, str | None]) -> str | None:
    plain = name.replace("_", "").lower()
    for other, names in SPELLINGS.items():
        if other not in found.values() and plain in {n.replace("_", "") for n in names}:
            return other
    return None


def double_roles(function: Callable[..., Any], said: Roles) -> dict[str, str | None]:
    """Each parameter with its role, those of a double backward pass first."""
    names = list(roles_of(function, said))
    found: dict[str, str] = {}
    for name in names:
        known = (
            said.get(name)
            or double_role(name)
            or OTHERS_OF_DOUBLE.get(name.replace("_", "").lower())
        )
        if known is not None and known not in found.values():
            found[name] = known
    _add_letters(found, names)
    return roles_of(function, {**found, **said})


def _add_letters(found: dict[str, str], names: list[str]) -> None:
    """v, a and b, where x and gamma are other parameters."""
    letters_of_all = {letter for letters in LETTERS.values() for letter in letters}
    plain = {known for n in names if (known := role(n)) and n not in letters_of_all}
    for known, letters in LETTERS.items():
        name = next((n for n in names if n.lower() in letters and n not in found), None)
        beside = {"ddx": "x", "ddgamma": "gamma", "ddbeta": "x"}[known]
        if name is None or known in found.values() or beside not in plain:
            continue
        if known == "ddx" or "ddx" in found.values():
            found[name] = known


def taken_by_double(
    function: Callable[..., Any], name: str, said: Roles, wanted: tuple[str, ...] = ("ddx", "dy")
) -> tuple[str, ...]:
    """The roles that a double backward pass takes; raises ``CannotAsk`` where one is unknown, or
    one of those ``wanted`` is not among them.
    """
    taken = roles_taken(function, name, said, double_roles)
    for known, what in (
        ("ddx", "cotangent of dx; expected one called ddx, say "
         "double_backward(ddx, ddgamma, ddbeta, dy, x, gamma, eps),"),
        ("dy", "upstream gradient; expected one called dy,"),
    ):  # fmt: skip
        if known in wanted and known not in taken:
            raise CannotAsk(
                f"{name}{inspect.signature(function)} has no parameter that bncheck knows as the "
                f"{what} or --name PARAMETER={known}"
            )
    roles = double_roles(function, said)
    for parameter in required(function):
        if roles[parameter] is None:
            raise _unknown(name, parameter, "ddx, ddgamma, ddbeta, dy, x, gamma, eps, mean, cache")
    return taken


def looks_double(name: str, thing: Any, said: Mapping[str, str]) -> bool:
    """A function whose name says so, or whose parameters do: ddx beside dy and what was kept.

    Whatever it is called, one that takes what a backward pass takes and no more is none.
    """
    if not inspect.isfunction(thing):
        return False
    roles = double_roles(thing, said)
    found = set(roles.values())
    if is_double(name):
        known = all(roles[n] for n in required(thing))
        return not (known and "dy" in found and "ddx" not in found)
    strict = {said.get(n) or double_role(n) for n in inspect.signature(thing).parameters}
    return "ddx" in strict and "dy" in found and bool({"x", "xhat", "cache"} & found)


SETTINGS = ("momentum", "optimizer", "rate", "running_mean", "running_var")
ASKED = ("width", "count", "label", *SETTINGS)
"""Roles that are filled only where the code cannot do without."""

NEVER_HANDED_ON = ("label", *SETTINGS, "training", "params", "groups", "eps")
"""Roles that the forward pass does not have to give to the backward pass."""


_OPEN = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def called(function: Callable[..., Any], values: Inputs, said: Roles, first: str = "x") -> Any:
    """Call by role: every parameter that has one and a value gets it; defaults stay.

    ``first``: what the first parameter of an unknown name is; among the values ``"unknown"`` is for
    those that have to be given and are not known; ``"named"`` has values by names of arguments.
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
        if parameter.name in values.get("named", {}):
            arguments[parameter.name] = values["named"][parameter.name]
        elif known in supplied and (needed or known not in ASKED) and (
            needed or known in values or known in ("training", "params")
        ):  # fmt: skip
            value = supplied[known]
            arguments[parameter.name] = _switch(parameter, value) if known == "training" else value
        elif needed and "unknown" in values and parameter.kind not in _OPEN:
            arguments[parameter.name] = values["unknown"]
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
    named = {n: v for n, v in given.get("named", {}).items() if n in roles}
    open_ = [n for n, r in roles.items() if (r not in given or r == "cache") and n not in named]
    handed = _handed([n for n in open_ if roles[n] not in NEVER_HANDED_ON], roles, rest)
    values = {**given, "training": True}
    keywords = {n: values[r] for n, r in roles.items() if r in values and n not in handed}
    return _bound(backward, {**keywords, **handed, **named})


def defaults(values: Inputs) -> dict[str, Any]:
    """What code may ask for besides the arrays of a trial."""
    eps = values.get("eps", 1e-5)
    settings = {"mode": "train", "eps": eps, "epsilon": eps, "momentum": 0.9}
    there = (values.get(n) for n in ("x", "gamma"))
    first, gamma = (np.array(v) if isinstance(v, list) else v for v in there)
    assert first is not None
    width = (first if gamma is None or not gamma.shape else gamma).shape[-1]
    return {
        "params": settings, "training": True, "momentum": 0.9, "eps": eps, "label": "layer",
        "width": values.get("width", width), "count": first.shape[0], "rate": 1.0,
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
