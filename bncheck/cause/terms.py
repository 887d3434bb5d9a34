"""How much of each term of the closed form is in a gradient: least squares, with uncertainty.

The factors are read off the user's numbers group by group, without any catalogue of mistakes,
and hold even where the numbers have few digits: rounding averages out over the rows.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bncheck.algebra.notation import indices_of, name_of, size
from bncheck.algebra.program import Program, Step
from bncheck.calculus.closed import terms
from bncheck.calculus.derivation import Derivation, normalised
from bncheck.numbers.agreement import RECOMPUTED, ROUNDING, explains, largest
from bncheck.numbers.arithmetic import Array, evaluate
from bncheck.numbers.observation import Observation
from bncheck.telling.report import Term
from bncheck.writers.unicode import line

PER_GROUP = ("gamma", "sd", "rms", "norm")
"""Values that each group has of its own, and that a factor may be."""

EACH = "another factor in each group"

SIGMAS = 6.0
"""Standard errors within which a factor is taken for one that has a reading."""


def fit(found: Derivation, gradient: str, one: Observation) -> tuple[Term, ...]:
    """The factor of each term; empty where the terms do not span the user's gradient.

    ``uncertainty`` is one standard error of the factor, from the residuals of the fit.
    """
    step = found.closed.step(found.closed.tensors[gradient])
    parts = terms(step)
    columns = _columns(found, step, one)
    theirs = np.asarray(one.gradients[gradient], float)
    groups = _groups(found, step, theirs.shape)
    if any(theirs[at].size < len(parts) for at in groups) or not np.isfinite(theirs).all():
        return ()
    allowed = np.asarray(one.reference.allowed[gradient], float)
    fitted = [factors_of(columns, theirs, allowed, at) for at in groups]
    if any(made is None for made in fitted):
        return ()
    factors = np.array([made[0] for made in fitted if made is not None])
    errors = np.array([made[1] for made in fitted if made is not None])
    known = _factors(found, one, groups, step)
    free = any(theirs[at].size > len(parts) for at in groups)
    found_terms = []
    for k, part in enumerate(parts):
        reading = _reading(factors[:, k], errors[:, k], known, free)
        if reading is None:
            return ()  # as many unknowns as numbers: anything could be fitted
        middle, error = _together(factors[:, k], errors[:, k])
        found_terms.append(Term(line(part), middle, 1.0, reading, error))
    return tuple(found_terms)


def factors_of(
    columns: list[Array], theirs: Array, allowed: Array, at: tuple[Any, ...]
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


def _together(factors: Array, errors: Array) -> tuple[float, float]:
    """One number for all groups where they agree, else the middle one."""
    weights = 1 / np.maximum(errors, 1e-300) ** 2
    mean = float((weights * factors).sum() / weights.sum())
    error = float(1 / np.sqrt(weights.sum()))
    if np.all(abs(factors - mean) <= SIGMAS * np.maximum(errors, ROUNDING)):
        return _tidy(mean, error), error
    return _tidy(float(np.median(factors)), float(np.median(errors))), float(np.median(errors))


def _tidy(factor: float, error: float) -> float:
    return 0.0 if abs(factor) < max(ROUNDING, SIGMAS * error) else factor


def _columns(found: Derivation, step: Step, one: Observation) -> list[Array]:
    columns = []
    for part in terms(step):
        steps = tuple(Step(s.target, part) if s == step else s for s in found.closed.steps)
        inputs = (*found.upstream, *found.cached)
        program = Program(**{**vars(found.closed), "inputs": inputs, "steps": steps})
        values = {
            name_of(a): one.reference.known.get(name_of(a), one.values.get(name_of(a)))
            for a in inputs
        }
        columns.append(np.asarray(evaluate(program, values)[name_of(step.target)].value, float))
    return columns


def _groups(found: Derivation, step: Step, shape: tuple[int, ...]) -> list[tuple[Any, ...]]:
    along = normalised(found.forward)
    free = [k for k, i in enumerate(indices_of(step.target)) if i not in along]
    lengths = [n if k in free else 1 for k, n in enumerate(shape)]
    return [
        tuple(p if k in free else slice(None) for k, p in enumerate(place))
        for place in np.ndindex(*lengths)
    ]


def _factors(
    found: Derivation, one: Observation, groups: list[tuple[Any, ...]], step: Step
) -> dict[str, Array]:
    """Factors that have a reading, by it: one value per group."""
    ones = np.ones(len(groups))
    known = {
        "ok": ones,
        "missing": 0 * ones,
        "sign flipped": -ones,
        "twice too large": 2 * ones,
        "half": ones / 2,
        "minus twice": -2 * ones,
    }
    for letter, n in counts_of(found, one).items():
        known[f"{letter} times: a sum where a mean belongs"] = n * ones
        known[f"1/{letter}: divided by {letter} once too often"] = ones / n
        if n > 1:
            known[f"{letter}/({letter} - 1): divided by {letter} - 1"] = n / (n - 1) * ones
            known[f"({letter} - 1)/{letter}: divided by {letter} for {letter} - 1"] = (
                (n - 1) / n * ones
            )
    for name in PER_GROUP:
        per_group = _per_group(found, one, groups, step, name)
        if per_group is not None:
            known[f"{name}: {name} once too often"] = per_group
            known[f"1/{name}: {name} is missing"] = 1 / per_group
            known |= _multiplied(found, one, groups, step, name, per_group)
            if name != "gamma" and "eps" in one.values:
                ratio = per_group / np.sqrt(per_group**2 - float(one.values["eps"]))
                known["eps is forgotten"] = ratio
                known["eps is forgotten, cubed"] = ratio**3
    return known


def _multiplied(
    found: Derivation,
    one: Observation,
    groups: list[tuple[Any, ...]],
    step: Step,
    name: str,
    per_group: Array,
) -> dict[str, Array]:
    """A power of the standard deviation on the wrong side, and a count besides."""
    if name == "gamma":
        return {}
    var = _per_group(found, one, groups, step, "var")
    powers = {f"multiplied by {name}, not divided": per_group**2,
              f"divided by {name}**2, not by {name}": 1 / per_group}  # fmt: skip
    if var is not None:
        powers[f"multiplied by var, not divided by {name}"] = var * per_group
        powers[f"divided by var, not by {name}"] = per_group / var
    counted = {
        f"{said}, and divided by {letter} once too often": value / n
        for said, value in powers.items()
        for letter, n in counts_of(found, one).items()
    }
    return powers | counted


def counts_of(found: Derivation, one: Observation) -> dict[str, float]:
    """The length of every axis, and of the parts of those that the layout splits."""
    first = found.forward.inputs[0]
    shape = one.reference.known[name_of(first)].shape
    counts = {}
    for index, length in zip(indices_of(first), shape, strict=True):
        letter = str(size(index))
        counts[letter] = float(length)
        parts = one.parts.get(str(index), ())
        if len(parts) > 1:
            rest = "H*W" if len(parts) == 3 else "T"
            counts[rest] = float(np.prod(parts[1:]))
            counts["N"] = float(parts[0])
    return counts


def _per_group(
    found: Derivation, one: Observation, groups: list[tuple[Any, ...]], step: Step, name: str
) -> Array | None:
    operand = found.forward.tensors.get(name)
    if operand is None or not set(indices_of(operand)) <= set(indices_of(step.target)):
        return None
    where = [list(indices_of(step.target)).index(i) for i in indices_of(operand)]
    places = [tuple(at[k] for k in where) for at in groups]
    if any(isinstance(k, slice) for place in places for k in place):
        return None
    values = one.reference.known[name]
    return np.array([float(values[place]) for place in places])


def _reading(factors: Array, errors: Array, known: Mapping[str, Array], free: bool) -> str | None:
    """What the factors mean; None where they mean nothing and nothing could contradict them.

    ``free``: whether there are more numbers than factors.
    """
    floor = ROUNDING * np.maximum(abs(factors), 1e-3)
    within, weights = SIGMAS * errors + floor, 1 / (errors + floor) ** 2
    together = SIGMAS / np.sqrt(weights.sum()) + ROUNDING
    for reading, values in known.items():
        apart = factors - values
        if np.all(abs(apart) <= within) and abs(weights @ apart) <= together * weights.sum():
            return reading
    mean, _ = _together(factors, errors)
    if (free or factors.size > 2) and np.all(abs(factors - mean) <= within):
        return f"{mean:.9g} times, the same in every group"
    return EACH if free else None


def same_factor(fitted: Sequence[Term]) -> float | None:
    """The factor that all terms have in common, if it is not 1."""
    first = fitted[0]
    alike = all(
        abs(t.found - first.found) <= SIGMAS * (t.uncertainty + first.uncertainty) for t in fitted
    )
    off = abs(first.found - 1) > SIGMAS * first.uncertainty
    if any(t.reading.split(":")[0].removeprefix("1/") in (*PER_GROUP, EACH) for t in fitted):
        return None
    return first.found if alike and off and first.found else None
