"""Functions that are given the arrays for their results, as in C: ``forward(out, mean, rstd, inp,
weight, bias)`` fills them, ``backward(dinp, dweight, dbias, dout, inp, ...)`` adds to them.
"""

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

import numpy as np

from bncheck.subject.conventions.functions import made_pair
from bncheck.subject.conventions.implementations import Change, Implementation, Surroundings
from bncheck.subject.conventions.methods import partner
from bncheck.subject.names import STATISTICS, gradient
from bncheck.subject.signature import Roles, parameters_of, required, roles_of
from bncheck.telling.errors import CannotAsk


def find(name: str, thing: Any, beside: Surroundings) -> Implementation | None:
    """A function that is given arrays named after gradients, beside a forward pass."""
    if not inspect.isfunction(thing):
        return None
    wanted = [n for n in required(thing) if gradient(n)]
    forward = partner(name, beside.own)
    roles = roles_of(thing, beside.said)
    upstream = [n for n, r in roles.items() if r == "dy" and n not in wanted]
    if forward is None or not upstream or "dx" not in map(gradient, wanted):
        return None
    inner = _forward(forward, beside.said)
    own = made_pair(name, _backward(thing, upstream[0], wanted, beside.said), inner, beside.said)
    calls = f"{forward.__name__}{_shown(forward)}, {name}{_shown(thing)}"
    return replace(own, summary=replace(own.summary, kind="filled", description=calls))


def exchange(own: Implementation, change: Change) -> None:
    """Raises ``CannotAsk``: what is filled may be held by anybody."""
    raise CannotAsk(f"{own.summary.name} fills arrays; expected one that returns its gradients")


def _shown(function: Callable[..., Any]) -> str:
    return str(inspect.signature(function))


def _forward(forward: Callable[..., Any], said: Roles) -> Callable[..., Any]:
    """The forward pass with its results returned: the output, and all arguments by name."""
    roles = roles_of(forward, said)
    made = (None, "output", *STATISTICS)
    given = [p for p in parameters_of(forward) if roles[p.name] not in made]
    filled = [n for n in roles if n not in {p.name for p in given}]

    @wraps(forward)
    def inner(**arguments: Any) -> Any:
        x = next(v for n, v in arguments.items() if roles[n] == "x")
        results = {
            n: np.zeros(x.shape[:-1] if roles[n] in STATISTICS else x.shape, x.dtype)
            for n in filled
        }
        forward(**arguments, **results)
        y = next(v for n, v in results.items() if roles[n] not in STATISTICS)
        there = {**arguments, **results}
        by_role = {str(roles[n]): v for n, v in there.items()}
        return y, {**by_role, **there}

    inner.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in given]
    )
    return inner


def _backward(
    backward: Callable[..., Any], upstream: str, wanted: list[str], said: Roles
) -> Callable[..., Any]:
    """The backward pass as ``backward(dy, cache)``, with what it adds to zeros returned."""
    roles = roles_of(backward, said)

    @wraps(backward)
    def inner(dy: Any, cache: dict[str, Any]) -> Any:
        of = {n: str(gradient(n)) for n in wanted}
        made = {n: np.zeros_like(cache[of[n].removeprefix("d")]) for n in wanted}
        others = [n for n in required(backward) if n not in (*wanted, upstream)]
        rest = {n: cache[n] if n in cache else cache[str(roles[n])] for n in others}
        backward(**made, **{upstream: dy}, **rest)
        return {of[n]: array for n, array in made.items()}

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    inner.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(n, kind) for n in ("dy", "cache")]
    )
    return inner
