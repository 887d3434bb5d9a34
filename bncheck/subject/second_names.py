"""The names that people give to what a double backward pass takes.

``ddx``, ``ddgamma`` and ``ddbeta`` are the cotangents of what the backward pass returns: PyTorch
has ggI, ggG and ggB for them, TensorFlow grad_grad_x, grad_grad_scale and grad_grad_offset.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from bncheck.subject.names import STATISTICS, gradient, role
from bncheck.subject.signature import Roles, required, roles_of
from bncheck.telling.errors import CannotAsk

DIRECTIONS = ("ddx", "ddgamma", "ddbeta")
"""The roles that only a double backward pass has."""

LETTERS = {"ddx": ("v", "u", "vx"), "ddgamma": ("a", "va", "alpha"), "ddbeta": ("b", "vb")}
"""What they are called in formulas; only where another parameter is plainly x."""

_NAME = re.compile(
    r"double_?back|double_?(grad|bwd|vjp)|(?<!fall)(?<!feed)back(ward|prop)?_?(of_?)?back|"
    r"grad_?grad|second_?back|second_?order_?(back|grad|vjp)|second_?(grad|vjp|bwd)|bwd_?bwd|"
    r"vjp_?vjp|"
    r"2nd_?(order_?)?(back|bwd|grad)|higher_?order_?(back|grad)",
    re.IGNORECASE,
)
_TEST = re.compile(r"^_*(test|check|assert|numeric|compare|ref)", re.IGNORECASE)
_OF_INPUT = re.compile(r"^(?:gg|grad_?grad|dd|d2|v_|ct_|cot_|cotangent_)_?(.+)$", re.IGNORECASE)
_OF_GRADIENT = re.compile(
    r"^(?:v|u|w|d|g|ct|cot|cotangent|grad|grad_of|gradient_of)_(?P<a>.+)$"
    r"|^(?P<b>.+?)_?(?:bar|ct|cot|cotangent|tangent|dot)$",
    re.IGNORECASE,
)
_SHORT = {"i": "ddx", "g": "ddgamma", "b": "ddbeta", "in": "ddx", "inp": "ddx"}
_OTHERS = {"go": "dy", "gout": "dy", "grado": "dy", "outputmask": "mask"}


def is_double(name: str) -> bool:
    """Whether a function of this name is a double backward pass."""
    return bool(_NAME.search(name)) and not _TEST.search(name)


def double_role(name: str) -> str | None:
    """``"ddx"`` for ``ddx``, ``ggI``, ``grad_grad_input``, ``ct_dx``, ...; None for all else."""
    found = _OF_INPUT.match(name)
    if found:
        stem = found[1]
        if stem.lower() in _SHORT:
            return _SHORT[stem.lower()]
        known = role(stem)
        if known in ("x", "gamma", "beta"):
            return f"dd{known}"
    found = _OF_GRADIENT.match(name)
    of = gradient(found["a"] or found["b"]) if found else None
    return f"d{of}" if of else None


def double_roles(function: Callable[..., Any], said: Roles) -> dict[str, str | None]:
    """Each parameter with its role, those of a double backward pass first."""
    names = list(roles_of(function, said))
    found: dict[str, str] = {}
    for name in names:
        known = said.get(name) or double_role(name) or _OTHERS.get(name.replace("_", "").lower())
        if known is not None and known not in found.values():
            found[name] = known
    _add_letters(found, names)
    return roles_of(function, {**found, **said})


def _add_letters(found: dict[str, str], names: list[str]) -> None:
    """v, a and b, where x and gamma are other parameters."""
    plain = {known: n for n in reversed(names) if (known := role(n)) and n not in _letters()}
    for known, letters in LETTERS.items():
        name = next((n for n in names if n.lower() in letters and n not in found), None)
        beside = {"ddx": "x", "ddgamma": "gamma", "ddbeta": "x"}[known]
        if name is None or known in found.values() or beside not in plain:
            continue
        if known == "ddx" or "ddx" in found.values():
            found[name] = known


def _letters() -> set[str]:
    return {letter for letters in LETTERS.values() for letter in letters}


def takes(
    function: Callable[..., Any], name: str, said: Roles, wanted: tuple[str, ...] = ("ddx", "dy")
) -> tuple[str, ...]:
    """The roles that a double backward pass takes; raises ``CannotAsk`` where one is unknown, or
    one of those ``wanted`` is not among them.
    """
    try:
        needed, roles = required(function), double_roles(function, said)
    except (TypeError, ValueError):
        raise CannotAsk(f"{name} has no signature that Python can show; wrap it in a def") from None
    found = tuple(r for n, r in roles.items() if r and (r not in STATISTICS or n in needed))
    if "ddx" not in found:
        raise CannotAsk(
            f"{name}{inspect.signature(function)} has no parameter that bncheck knows as the "
            "cotangent of dx; expected one called ddx, say "
            "double_backward(ddx, ddgamma, ddbeta, dy, x, gamma, eps), or --name PARAMETER=ddx"
        )
    if "dy" in wanted and "dy" not in found:
        raise CannotAsk(
            f"{name}{inspect.signature(function)} has no parameter that bncheck knows as the "
            "upstream gradient; expected one called dy, or --name PARAMETER=dy"
        )
    unknown = [n for n in needed if roles[n] is None]
    if unknown:
        raise CannotAsk(
            f"{name} has a parameter {unknown[0]!r} that bncheck does not know; say what it is "
            f"with --name {unknown[0]}=ROLE (ddx, ddgamma, ddbeta, dy, x, gamma, eps, mean, "
            "rstd, xhat, cache, ...)"
        )
    return found


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
