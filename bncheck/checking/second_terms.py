"""The terms of a second gradient, and how much of each is in the user's.

Multiplied out, a second gradient is a sum of monomials: ten for batch norm's d2x. In one group
they are multiples of only four arrays, so the factors are fitted to all groups of a trial at
once, each being one number; with another power of gamma or the standard deviation in some terms,
to twice as many columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache

import numpy as np
from sympy import Add, Expr

from bncheck.algebra.notation import Total, distribute, indices_of, name_of, operands, size, tensor
from bncheck.algebra.program import Step
from bncheck.calculus.derivation import Derivation, normalised
from bncheck.checking.arithmetic import Array, evaluate
from bncheck.checking.results import Term
from bncheck.checking.terms import SIGMAS, Seen, factors_of
from bncheck.writers.unicode import line

MOST_NAMED = 3
"""Terms that are named in a sentence; more are counted."""


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


def fitted(found: Derivation, gradient: str, one: Seen) -> Fitted | None:
    """The factor of each term; None where no factors give the user's gradient."""
    parts = expanded_terms(found, gradient)
    fit = _fit(found, gradient, one, parts)
    if fit is not None:
        return Fitted(_terms(found, gradient, one, parts, *fit))
    for code, text, ratio in _ratios(found, gradient):
        touched = [p for p in parts if not code.endswith("missing") or _is_there(ratio, p)]
        fit = _fit(found, gradient, one, (*parts, *(p * ratio for p in touched)))
        if fit is None:
            continue
        there = _terms(found, gradient, one, (*parts, *(p * ratio for p in touched)), *fit)
        plain, other = there[: len(parts)], there[len(parts) :]
        changed = [
            part
            for part, t in zip(touched, other, strict=True)
            if t.reading == "ok" and plain[parts.index(part)].reading == "missing"
        ]
        wrong = sum(t.reading != "ok" for t in plain) + sum(t.reading != "missing" for t in other)
        if changed and wrong == 2 * len(changed):
            return Fitted(_marked(parts, changed, text), code, text + _in(changed, len(parts)))
    return None


def _in(changed: Sequence[Expr], count: int) -> str:
    """In which terms, where it is not in all; they are listed where they are many."""
    if len(changed) == count:
        return ""
    if len(changed) > MOST_NAMED:
        return f", in {len(changed)} of {count} terms"
    return f", in {' and '.join(map(line, changed))}"


def _marked(parts: Sequence[Expr], changed: Sequence[Expr], text: str) -> tuple[Term, ...]:
    return tuple(Term(line(p), 1.0, 1.0, text if p in changed else "ok") for p in parts)


def _fit(
    found: Derivation, gradient: str, one: Seen, parts: Sequence[Expr]
) -> tuple[Array, Array] | None:
    """Factors and standard errors; None where the fit leaves too much, or says too little."""
    columns = _columns(found, gradient, one, parts)
    theirs = np.asarray(one.gradients[gradient], float)
    matrix = np.stack([c.ravel() for c in columns], axis=1)
    scale = np.linalg.norm(matrix, axis=0)
    if not np.all(scale) or not np.isfinite(theirs).all() or theirs.size <= len(parts):
        return None
    if np.linalg.matrix_rank(matrix / scale, tol=1e-7) < len(parts):
        return None
    allowed = np.asarray(one.reference.allowed[gradient], float)
    fit = factors_of([c / s for c, s in zip(columns, scale, strict=True)], theirs, allowed, (...,))
    return None if fit is None else (fit[0] / scale, fit[1] / scale)


def _columns(found: Derivation, gradient: str, one: Seen, parts: Sequence[Expr]) -> list[Array]:
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
    found: Derivation,
    gradient: str,
    one: Seen,
    parts: Sequence[Expr],
    factors: Array,
    errors: Array,
) -> tuple[Term, ...]:
    known = _known(found, one)
    made = []
    for part, factor, error in zip(parts, factors, errors, strict=True):
        reading, value = _reading(float(factor), float(error), known)
        made.append(Term(line(part), value, 1.0, reading, float(error)))
    return tuple(made)


def _known(found: Derivation, one: Seen) -> dict[str, float]:
    known = {"ok": 1.0, "missing": 0.0, "sign flipped": -1.0}
    first = found.layer.inputs[0]
    shape = np.shape(one.values[name_of(first)])
    lengths = dict(zip(indices_of(first), shape, strict=True))
    group = list(normalised(found.layer))
    whole, letters = (
        float(np.prod([lengths[i] for i in group])),
        "·".join(str(size(i)) for i in group),
    )
    known[f"{letters} times: a sum where a mean belongs"] = whole
    known[f"1/{letters}: divided by {letters} once too often"] = 1 / whole
    if len(group) == 1:
        known[f"{letters}/({letters} - 1): divided by {letters} - 1"] = whole / (whole - 1)
        known[f"({letters} - 1)/{letters}: divided by {letters} for {letters} - 1"] = (
            whole - 1
        ) / whole
    return known


def _reading(factor: float, error: float, known: dict[str, float]) -> tuple[str, float]:
    """What a factor means, and the factor that is meant."""
    within = max(SIGMAS * error, 1e-9 * max(1.0, abs(factor)))
    for reading, value in known.items():
        if abs(factor - value) <= within:
            return reading, value
    plain = Fraction(factor).limit_denominator(12)
    if abs(factor - float(plain)) <= within:
        return f"{plain} times", float(plain)
    return f"{factor:.6g} times", factor


def is_scaled(fit: Fitted) -> float | None:
    """The factor that all terms have in common, if it is not 1."""
    first = fit.terms[0].found
    alike = all(abs(t.found - first) <= 1e-9 * max(1.0, abs(first)) for t in fit.terms)
    return first if alike and first not in (0.0, 1.0) else None
