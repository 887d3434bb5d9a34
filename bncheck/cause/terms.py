"""How much of each term of a gradient is in the user's: least squares, with uncertainty.

The factors are read off the user's numbers without any catalogue of mistakes, and hold even where
the numbers have few digits: rounding averages out over the rows. In first order they are fitted
group by group, on one observation: dx has as many terms as paths. Multiplied out, a second gradient
is a sum of monomials: ten for batch norm's d2x. In one group they are multiples of only four
arrays, so there the factors are fitted to all groups at once, on several observations; with another
power of gamma or the standard deviation in some terms, to twice as many columns.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
from sympy import Add, Expr

from bncheck.algebra.notation import (
    Total,
    distribute,
    indices_of,
    name_of,
    operands,
    size,
    tensor,
)
from bncheck.algebra.program import Step
from bncheck.calculus.closed import terms
from bncheck.calculus.derivation import Derivation, normalised
from bncheck.cause.hypothesis import known, lengths
from bncheck.numbers.agreement import FITTED, RECOMPUTED, ROUNDING, explains, largest, near
from bncheck.numbers.arithmetic import Array, evaluate
from bncheck.numbers.observation import Observation
from bncheck.telling.codes import Finding, found
from bncheck.telling.report import Term
from bncheck.writers.formulas.unicode import line

PER_GROUP = ("gamma", "sd", "rms", "norm")
"""Values that each group has of its own, and that a factor may be."""

SIGMAS = 6.0
"""Standard errors within which a factor is taken for one that has a reading."""

SEVERAL = 3
"""Observations to which factors are fitted in second order: those with the most entries."""

MOST_NAMED = 3
"""Terms that are named in a sentence; more are counted."""

LARGEST = 12
"""Of the denominators of fractions that are taken for meant."""

Slots = tuple[Any, ...]


@dataclass(frozen=True)
class Fit:
    """The terms with their factors, none where they do not make up the user's gradient.

    ``finding``: what stands in some of them that should not, or is lacking.
    """

    terms: tuple[Term, ...] = ()
    finding: Finding | None = None

    @property
    def wrong(self) -> tuple[Term, ...]:
        """The terms whose factor is not 1."""
        return tuple(t for t in self.terms if t.reading != OK)

    @property
    def unread(self) -> bool:
        """Whether some term has another factor in each group, or trial: that says little."""
        return any(t.reading in UNREAD for t in self.terms)


def fit(derivation: Derivation, gradient: str, observations: Sequence[Observation]) -> Fit:
    """The factor of each term. ``uncertainty`` is one standard error, from the residuals."""
    parts, second = terms_of(derivation, gradient), derivation.order == 2
    by_size = sorted(observations, key=lambda one: np.size(one.gradients[gradient]))
    chosen = by_size[-SEVERAL:][::-1] if second else observations[:1]
    made = _fitted(derivation, gradient, chosen, parts)
    if made or not second:
        return Fit(made)
    for code, arguments, ratio, lacking in _ratios(derivation, gradient):
        there = [p for p in parts if not lacking or set(operands(ratio)) <= set(operands(p))]
        more = (*parts, *(p * ratio for p in there))
        made = _fitted(derivation, gradient, chosen, more)
        changed = _moved(made, parts, there) if made else ()
        if changed:
            said = found(code, "letter", **arguments)
            marked = tuple(Term(line(p), 1.0, 1.0, said if p in changed else OK) for p in parts)
            where = _where([t.formula for t in marked if t.reading == said], len(parts))
            return Fit(marked, found(code, "letter", **arguments, **where))
    return Fit()


def said_of(fitted: Fit, gradient: str) -> Finding | None:
    """What the factors say, of all or of the terms by their readings; None where it is little."""
    if fitted.finding is not None:
        return fitted.finding
    same = None if fitted.unread or not fitted.terms else _same_factor(fitted.terms)
    if same is not None:
        return found("factor", "whole", gradient=gradient, factor=same)
    return None if fitted.unread or not fitted.wrong else by_reading(fitted)


def by_reading(fitted: Fit) -> Finding:
    """Terms with one reading together: ``sign flipped in A and B``."""
    by: dict[Finding, list[str]] = {}
    for term in fitted.wrong:
        by.setdefault(term.reading, []).append(term.formula)
    counted = len(by) == 1 and len(fitted.wrong) > MOST_NAMED
    off = tuple(
        found("terms-off", reading=reading, count=len(names), of=len(fitted.terms))
        if counted else found("terms-off", reading=reading, terms=tuple(names))
        for reading, names in by.items()
    )  # fmt: skip
    codes = {"sign": "term-sign", "missing": "term-missing"}
    only = next(iter(by)).form if len(by) == 1 else ""
    return found(codes.get(only, "term-factor"), "terms", off=off)


@cache
def terms_of(derivation: Derivation, gradient: str) -> tuple[Expr, ...]:
    """The terms of the closed form; in second order monomials, in values and named sums."""
    closed = derivation.closed
    step = closed.step(closed.tensors[gradient])
    if derivation.order == 1:
        return terms(step)
    put = {s.target: s.expr for s in closed.steps if not isinstance(s.expr, Total)}
    expr = put.pop(step.target, step.expr)
    for _ in closed.steps:
        expr = expr.xreplace(put)
    return tuple(Add.make_args(distribute(expr)))


# -- the fit --------------------------------------------------------------------------------------


def _fitted(
    derivation: Derivation,
    gradient: str,
    observations: Sequence[Observation],
    parts: Sequence[Expr],
) -> tuple[Term, ...]:
    """The terms; none where a fit leaves too much, or as many unknowns as numbers fit anything."""
    factors, errors, readings, free = [], [], [], derivation.order == 2
    for one in observations:
        columns = _columns(derivation, gradient, one, parts)
        theirs = np.asarray(one.gradients[gradient], float)
        groups = _groups(derivation, gradient, theirs.shape)
        scale = np.ones(len(parts))
        if derivation.order == 2:
            matrix = np.stack([c.ravel() for c in columns], axis=1)
            scale = np.linalg.norm(matrix, axis=0)
            if not np.all(scale) or theirs.size <= len(parts):
                continue
            if np.linalg.matrix_rank(matrix / scale, tol=FITTED) < len(parts):
                continue
        elif not np.isfinite(theirs).all():
            return ()
        scaled = [c / s for c, s in zip(columns, scale, strict=True)]
        free = free or any(theirs[at].size > len(parts) for at in groups)
        allowed = np.nan_to_num(np.asarray(one.reference.allowed[gradient], float), nan=np.inf)
        for at in groups:
            made = None if theirs[at].size < len(parts) else _solved(scaled, theirs, allowed, at)
            if made is None:
                return ()
            factors.append(made[0] / scale)
            errors.append(made[1] / scale)
        readings.append((known_factors(derivation, gradient, one, groups), len(groups)))
    if not factors:
        return ()
    known_ = _together_known(readings)
    found_terms = []
    for k, part in enumerate(parts):
        got, error = np.array(factors)[:, k], np.array(errors)[:, k]
        reading = _reading(got, error, known_, free, derivation.order)
        if reading is None:
            return ()
        middle, uncertainty = _together(got, error)
        found_terms.append(Term(line(part), middle, 1.0, reading, uncertainty))
    return tuple(found_terms)


def _solved(
    columns: list[Array], theirs: Array, allowed: Array, at: Slots
) -> tuple[Array, Array] | None:
    """Factors of the columns and their standard errors where ``at`` is, in one group say.

    None where the fit leaves too much.
    """
    matrix = np.stack([c[at].ravel() for c in columns], axis=1)
    wanted = theirs[at].ravel()
    factor, *_ = np.linalg.lstsq(matrix, wanted, rcond=None)
    made, most = matrix @ factor, largest(matrix)
    if not explains(made, wanted, allowed[at].ravel(), RECOMPUTED, most):
        return None
    left, noise = wanted - made, float(np.finfo(np.float64).eps) * max(largest(wanted), most)
    inverse = np.linalg.pinv(matrix.T @ matrix)
    leverage = np.einsum("ij,jk,ik->i", matrix, inverse, matrix)
    # HC3 (MacKinnon and White 1985): rounding is as large as the number that is rounded
    noisy = np.maximum(abs(left) / np.maximum(1 - leverage, 1e-3), 4 * noise)
    spread = matrix * noisy[:, None]
    covariance = inverse @ (spread.T @ spread) @ inverse
    return factor, np.sqrt(np.maximum(np.diag(covariance), 0))


def _columns(
    derivation: Derivation, gradient: str, one: Observation, parts: Sequence[Expr]
) -> list[Array]:
    """The value of each part, of the shape of the gradient."""
    closed, forward = derivation.closed, derivation.forward
    target = closed.tensors[gradient]
    needed = closed.behind({a for part in parts for a in operands(part)})
    more = [Step(tensor(f"part{k}")[indices_of(target)], p) for k, p in enumerate(parts)]
    inputs = (*derivation.upstream, *forward.inputs, *forward.targets)
    steps = (*(s for s in closed.steps if s.target in needed), *more)
    program = replace(closed, inputs=inputs, steps=steps, outputs=(more[0].target,), wrt=())
    everything = known(one)
    got = evaluate(program, {name_of(a): everything[name_of(a)] for a in inputs})
    return [np.asarray(got[name_of(s.target)].value, float) for s in more]


def _groups(derivation: Derivation, gradient: str, shape: tuple[int, ...]) -> list[Slots]:
    """Where each group lies; in second order all together."""
    if derivation.order == 2:
        return [(...,)]
    along = normalised(derivation.forward)
    indices = indices_of(derivation.closed.tensors[gradient])
    free = [k for k, i in enumerate(indices) if i not in along]
    lengths = [n if k in free else 1 for k, n in enumerate(shape)]
    return [
        tuple(p if k in free else slice(None) for k, p in enumerate(place))
        for place in np.ndindex(*lengths)
    ]


def _together(factors: Array, errors: Array) -> tuple[float, float]:
    """One number for all where they agree, else the middle one; and its standard error."""
    weights = 1 / np.maximum(errors, 1e-300) ** 2
    mean = float((weights * factors).sum() / weights.sum())
    error = float(1 / np.sqrt(weights.sum()))
    if np.all(abs(factors - mean) <= SIGMAS * np.maximum(errors, ROUNDING)):
        return _tidy(mean, error), error
    return _tidy(float(np.median(factors)), float(np.median(errors))), float(np.median(errors))


def _tidy(factor: float, error: float) -> float:
    return 0.0 if abs(factor) < max(ROUNDING, SIGMAS * error) else factor


def _same_factor(fitted: Sequence[Term]) -> float | None:
    """The factor that all terms have in common, if it is not 1."""
    first = fitted[0]
    alike = all(
        near(t.found, first.found, RECOMPUTED)
        or abs(t.found - first.found) <= SIGMAS * (t.uncertainty + first.uncertainty)
        for t in fitted
    )
    off = abs(first.found - 1) > SIGMAS * first.uncertainty
    if any(t.reading.form in ("extra", "lacking") for t in fitted):
        return None
    return first.found if alike and off and first.found else None


# -- another power of gamma or the standard deviation in some terms -------------------------------


def _ratios(
    derivation: Derivation, gradient: str
) -> Iterator[tuple[str, dict[str, str], Expr, bool]]:
    """What may stand in some terms besides, where its axes are there: code, arguments, factor, and
    whether it takes away what is there.
    """
    tensors = derivation.layer.tensors
    at = set(indices_of(derivation.closed.tensors[gradient]))
    for name in PER_GROUP:
        a = tensors.get(name)
        if a is not None and set(indices_of(a)) <= at:
            gamma, letter = name == "gamma", {"letter": line(a)}
            yield f"{name}-missing", letter, 1 / a if gamma else a, True
            yield f"{name}-twice", letter, a if gamma else 1 / a, False


def _moved(made: Sequence[Term], parts: Sequence[Expr], there: Sequence[Expr]) -> tuple[Expr, ...]:
    """The terms that stand with the ratio and not without it; empty unless all else is right."""
    plain = dict(zip(parts, made, strict=False))
    other = dict(zip(there, made[len(parts) :], strict=True))
    changed = tuple(p for p, t in other.items() if t.reading == OK)
    right = all(t.reading == (MISSING if p in changed else OK) for p, t in plain.items()) and all(
        t.reading == MISSING for p, t in other.items() if p not in changed
    )
    return changed if right else ()


def _where(changed: Sequence[str], count: int) -> dict[str, Any]:
    """In which terms, where it is not in all; they are counted where they are many."""
    if len(changed) == count:
        return {}
    if len(changed) > MOST_NAMED:
        return {"count": len(changed), "of": count}
    return {"terms": tuple(changed)}


# -- what a factor means --------------------------------------------------------------------------


def _factor(form: str, **arguments: Any) -> Finding:
    return found("term-reading", form, **arguments)


OK, MISSING = _factor("ok"), _factor("missing")
UNREAD = (_factor("each-group"), _factor("each-trial"))


def known_factors(
    derivation: Derivation, gradient: str, one: Observation, groups: Sequence[Slots]
) -> dict[Finding, Array]:
    """Factors that have a reading, by it, the likeliest first: one value per group."""
    made = {OK: 1.0, MISSING: 0.0, _factor("sign"): -1.0}
    counts = counts_of(derivation, one)
    if derivation.order == 1:
        made |= {_factor("twice"): 2.0, _factor("half"): 0.5, _factor("minus-twice"): -2.0}
        for letter, n in counts.items():
            made |= _counted(letter, f"{letter} - 1", n)
    else:
        group = [str(size(i)) for i in normalised(derivation.layer)]
        letters, whole = "·".join(group), float(np.prod([counts[letter] for letter in group]))
        less = f"{letters} - 1" if len(group) == 1 else f"({letters} - 1)"
        made |= _counted(letters, less, whole)
        others = {letter: n for letter, n in counts.items() if letter != letters}
        made |= {_factor("instead", other=o, length=letters): whole / n for o, n in others.items()}
        made |= {_factor("times", count=o): n for o, n in others.items()}
        made |= {_factor("over", count=o): 1 / n for o, n in others.items()}
    everywhere = {reading: np.full(len(groups), value) for reading, value in made.items()}
    return {**everywhere, **_of_groups(derivation, gradient, one, groups)}


def _counted(letters: str, less: str, n: float) -> dict[Finding, float]:
    """A sum for a mean, a mean of a mean, one row less: ``less`` is the length less one."""
    made = {_factor("sum", length=letters): n, _factor("mean", length=letters): 1 / n}
    if n > 1:
        made[_factor("minus-1", length=letters, less=less)] = n / (n - 1)
        made[_factor("for-minus-1", length=letters, less=less)] = (n - 1) / n
    return made


def _of_groups(
    derivation: Derivation, gradient: str, one: Observation, groups: Sequence[Slots]
) -> dict[Finding, Array]:
    """Gamma or a power of the standard deviation too often, or on the wrong side."""
    made: dict[Finding, Array] = {}
    for name in PER_GROUP if derivation.order == 1 else ():
        value = _per_group(derivation, gradient, one, groups, name)
        if value is None:
            continue
        made[_factor("extra", name=name)] = value
        made[_factor("lacking", name=name)] = 1 / value
        if name == "gamma":
            continue
        powers = {
            _factor("multiplied", name=name): value**2,
            _factor("squared", name=name): 1 / value,
        }
        var = _per_group(derivation, gradient, one, groups, "var")
        if var is not None:
            powers[_factor("var-multiplied", name=name)] = var * value
            powers[_factor("var-divided", name=name)] = value / var
        made |= powers
        for power, values in powers.items():
            for letter, n in counts_of(derivation, one).items():
                made[_factor(power.form, name=name, length=letter)] = values / n
        if "eps" in one.values:
            ratio = value / np.sqrt(value**2 - float(one.values["eps"]))
            made |= {_factor("eps"): ratio, _factor("eps-cubed"): ratio**3}
    return made


def counts_of(derivation: Derivation, one: Observation) -> dict[str, float]:
    """The length of every axis, and of the parts of those that the layout splits."""
    counts = {}
    for index, length in lengths(derivation, one).items():
        counts[str(size(index))] = float(length)
        parts = one.parts.get(str(index), ())
        if len(parts) > 1:
            counts["H*W" if len(parts) == 3 else "T"] = float(np.prod(parts[1:]))
            counts["N"] = float(parts[0])
    return counts


def _per_group(
    derivation: Derivation, gradient: str, one: Observation, groups: Sequence[Slots], name: str
) -> Array | None:
    """A value of the forward pass in each group; None where groups share it, or have several."""
    operand = derivation.forward.tensors.get(name)
    indices = list(indices_of(derivation.closed.tensors[gradient]))
    if operand is None or not set(indices_of(operand)) <= set(indices):
        return None
    where = [indices.index(i) for i in indices_of(operand)]
    places = [tuple(at[k] for k in where) for at in groups]
    if any(isinstance(k, slice) for place in places for k in place):
        return None
    values = one.reference.known[name]
    return np.array([float(values[place]) for place in places])


def _together_known(readings: Sequence[tuple[dict[Finding, Array], int]]) -> dict[Finding, Array]:
    """The factors of all observations behind each other; NaN where one has not the reading."""
    names = dict.fromkeys(name for known_, _ in readings for name in known_)
    return {
        name: np.concatenate([known_.get(name, np.full(n, np.nan)) for known_, n in readings])
        for name in names
    }


def _reading(
    factors: Array, errors: Array, known_: Mapping[Finding, Array], free: bool, order: int
) -> Finding | None:
    """What the factors mean; None where they mean nothing and nothing could contradict them.

    ``free``: whether there are more numbers than factors.
    """
    floor = ROUNDING * np.maximum(abs(factors), 1e-3)
    if order == 2:  # many columns that are nearly alike
        floor = RECOMPUTED * np.maximum(abs(factors), 1)
    within, weights = SIGMAS * errors + floor, 1 / (errors + floor) ** 2
    together = SIGMAS / np.sqrt(weights.sum()) + ROUNDING
    for reading, values in known_.items():
        apart = factors - values
        if np.all(abs(apart) <= within) and abs(weights @ apart) <= together * weights.sum():
            return reading
    if order == 2:
        plain = Fraction(factors[0]).limit_denominator(LARGEST)
        if np.all(abs(factors - float(plain)) <= within):
            return _factor("fraction", factor=str(plain))
        if np.all(abs(factors - factors[0]) <= within):
            return _factor("number", factor=float(factors[0]))
        return _factor("each-trial")
    mean, _ = _together(factors, errors)
    if (free or factors.size > 2) and np.all(abs(factors - mean) <= within):
        return _factor("same", factor=mean)
    return _factor("each-group") if free else None
