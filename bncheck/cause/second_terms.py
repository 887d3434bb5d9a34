"""The terms of a second gradient, and how much of each is in the user's.

Multiplied out, a second gradient is a sum of monomials: ten for batch norm's d2x. In one group
they are multiples of only four arrays, so the factors are fitted to all groups of a trial at
once, each being one number; with another power of gamma or the standard deviation in some terms,
to twice as many columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from sympy import Add, Expr

from bncheck.algebra.notation import Total, distribute, indices_of, name_of, operands, tensor
from bncheck.algebra.program import Step
from bncheck.calculus.derivation import Derivation
from bncheck.cause.second_factors import known_factors, read
from bncheck.cause.terms import factors_of
from bncheck.numbers.agreement import FITTED, RECOMPUTED, near
from bncheck.numbers.arithmetic import Array, evaluate
from bncheck.numbers.observation import Observation
from bncheck.telling.report import Term
from bncheck.writers.unicode import line

MOST_NAMED = 3
"""Terms that are named in a sentence; more are counted."""

Fit = tuple[Array, Array]
"""Factors and their standard errors."""


@dataclass(frozen=True)
class Fitted:
    """The terms with their factors; ``text``: what stands in some of them that should not."""

    terms: tuple[Term, ...]
    code: str = ""
    text: str = ""


@cache
def expanded_terms(found: Derivation, gradient: str) -> tuple[Expr, ...]:
    """The monomials of a gradient, in the values of forward and backward pass and named sums."""
    closed = found.closed
    put = {s.target: s.expr for s in closed.steps if not isinstance(s.expr, Total)}
    expr = put.pop(closed.tensors[gradient], None)
    if expr is None:
        expr = closed.step(closed.tensors[gradient]).expr
    for _ in closed.steps:
        expr = expr.xreplace(put)
    return Add.make_args(distribute(expr))


def fitted(found: Derivation, gradient: str, seen: Sequence[Observation]) -> Fitted | None:
    """The factor of each term; None where no factors give the user's gradient on all trials."""
    parts = expanded_terms(found, gradient)
    fits = _fits(found, gradient, seen, parts)
    if fits is not None:
        return Fitted(_terms(found, seen, parts, fits))
    for code, text, ratio in _ratios(found, gradient):
        there = [p for p in parts if not code.endswith("missing") or _is_there(ratio, p)]
        more = (*parts, *(p * ratio for p in there))
        fits = _fits(found, gradient, seen, more)
        changed = _moved(_terms(found, seen, more, fits), parts, there) if fits else ()
        if changed:
            return Fitted(_marked(parts, changed, text), code, text + _in(changed, len(parts)))
    return None


def _moved(made: Sequence[Term], parts: Sequence[Expr], there: Sequence[Expr]) -> tuple[Expr, ...]:
    """The terms that stand with the ratio and not without it; empty unless all else is right."""
    plain = dict(zip(parts, made, strict=False))
    other = dict(zip(there, made[len(parts) :], strict=True))
    changed = tuple(p for p, t in other.items() if t.reading == "ok")
    right = all(
        t.reading == ("missing" if p in changed else "ok") for p, t in plain.items()
    ) and all(t.reading == "missing" for p, t in other.items() if p not in changed)
    return changed if right else ()


def _in(changed: Sequence[Expr], count: int) -> str:
    """In which terms, where it is not in all; they are listed where they are many."""
    if len(changed) == count:
        return ""
    if len(changed) > MOST_NAMED:
        return f", in {len(changed)} of {count} terms"
    return f", in {' and '.join(map(line, changed))}"


def _marked(parts: Sequence[Expr], changed: Sequence[Expr], text: str) -> tuple[Term, ...]:
    return tuple(Term(line(p), 1.0, 1.0, text if p in changed else "ok") for p in parts)


def _fits(
    found: Derivation, gradient: str, seen: Sequence[Observation], parts: Sequence[Expr]
) -> dict[int, Fit] | None:
    """By trial, where there are groups enough; None where a fit leaves too much."""
    made: dict[int, Fit] = {}
    for order, one in enumerate(seen):
        columns = _columns(found, gradient, one, parts)
        theirs = np.asarray(one.gradients[gradient], float)
        matrix = np.stack([c.ravel() for c in columns], axis=1)
        scale = np.linalg.norm(matrix, axis=0)
        if not np.all(scale) or theirs.size <= len(parts):
            continue
        if np.linalg.matrix_rank(matrix / scale, tol=FITTED) < len(parts):
            continue
        allowed = np.asarray(one.reference.allowed[gradient], float)
        columns = [c / s for c, s in zip(columns, scale, strict=True)]
        fit = factors_of(columns, theirs, allowed, (...,))
        if fit is None:
            return None
        made[order] = fit[0] / scale, fit[1] / scale
    return made or None


def _columns(
    found: Derivation, gradient: str, one: Observation, parts: Sequence[Expr]
) -> list[Array]:
    """The value of each part, of the shape of the gradient."""
    closed, forward = found.closed, found.forward
    at = indices_of(closed.tensors[gradient])
    sums = [s for s in closed.steps if isinstance(s.expr, Total) and s.target not in closed.outputs]
    more = [Step(tensor(f"part{k}")[at], part) for k, part in enumerate(parts)]
    inputs = (*found.upstream, *forward.inputs, *forward.targets)
    steps = (*(s for s in closed.steps if s in sums), *more)
    program = replace(closed, inputs=inputs, steps=steps, outputs=(more[0].target,))
    known = {**one.values, **one.reference.known}
    got = evaluate(program, {name_of(a): np.asarray(known[name_of(a)]) for a in inputs})
    return [np.asarray(got[name_of(s.target)].value, float) for s in more]


def _ratios(found: Derivation, gradient: str) -> list[tuple[str, str, Expr]]:
    """What may stand in some terms besides: code, text, factor; where the gradient has its axes."""
    tensors, at = found.layer.tensors, set(indices_of(found.closed.tensors[gradient]))
    made: list[tuple[str, str, Expr]] = []
    for name in ("gamma", "sd", "rms", "norm"):
        a = tensors.get(name)
        if a is None or not set(indices_of(a)) <= at:
            continue
        made += [
            (f"{name}-missing", f"{_letter(a)} is forgotten", 1 / a if name == "gamma" else a),
            (f"{name}-twice", f"{_letter(a)} once too often", a if name == "gamma" else 1 / a),
        ]
    return made


def _letter(a: Expr) -> str:
    return line(a) if name_of(a) == "gamma" else f"a division by {line(a)}"


def _is_there(ratio: Expr, part: Expr) -> bool:
    (a,) = operands(ratio)
    return a in operands(part)


def _terms(
    found: Derivation, seen: Sequence[Observation], parts: Sequence[Expr], fits: dict[int, Fit]
) -> tuple[Term, ...]:
    """Each term with its factor on the first trial, read so that it holds on all."""
    known = [known_factors(found, seen[order]) for order in fits]
    made = []
    for k, part in enumerate(parts):
        factors = [(float(f[k]), float(e[k])) for f, e in fits.values()]
        reading, value = read(factors, known)
        made.append(Term(line(part), value, 1.0, reading, factors[0][1]))
    return tuple(made)


def is_scaled(fit: Fitted) -> float | None:
    """The factor that all terms have in common, if it is not 1."""
    first = fit.terms[0].found
    alike = all(near(t.found, first, RECOMPUTED) for t in fit.terms)
    return first if alike and first not in (0.0, 1.0) else None
