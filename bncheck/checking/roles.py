"""What the parameters of a function are: by their names, by their place, or as the user said."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from bncheck.checking.names import SPELLINGS, STATISTICS, likely_role, role
from bncheck.errors import CannotAsk

Roles = Mapping[str, str]
"""Parameter name to role, as said by the user; overrides what bncheck would think."""


def roles_of(function: Callable[..., Any], said: Roles | None = None) -> dict[str, str | None]:
    """Each parameter of a function with its role (None: unknown), but for *args and **kwargs.

    Two parameters never have one role: the second one is something else, or unknown.
    """
    parameters = inspect.signature(function).parameters.values()
    names = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    found: dict[str, str | None] = {}
    for name in names:
        known = (said or {}).get(name) or role(name)
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


def signature(function: Callable[..., Any], name: str, said: Roles) -> tuple[str, ...]:
    """The roles that a function takes; raises ``CannotAsk`` where Python cannot say.

    A statistic that has a default is a setting of some other kind.
    """
    try:
        needed = required(function)
        roles = roles_of(function, said).items()
        return tuple(r for n, r in roles if r and (r not in STATISTICS or n in needed))
    except (TypeError, ValueError):
        raise CannotAsk(f"{name} has no signature that Python can show; wrap it in a def") from None


def required(function: Callable[..., Any]) -> list[str]:
    """The parameters that have no default."""
    return [
        p.name
        for p in inspect.signature(function).parameters.values()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]


def document(function: Any) -> str:
    """The beginning of the docstring."""
    return (inspect.getdoc(function) or "")[:200]


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
