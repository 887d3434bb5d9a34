"""Why a gradient is wrong: which term, by what factor; and which one change explains it.

Least squares on the closed form's own terms, group by group, gives each term's factor without
any catalogue of mistakes; then programs with one change are tried until one gives the user's
numbers to within rounding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bncheck.algebra.notation import indices_of, name_of, size
from bncheck.algebra.program import Program, Step
from bncheck.calculus.closed import terms
from bncheck.calculus.derivation import Derivation, normalised
from bncheck.checking.arithmetic import Array, evaluate
from bncheck.checking.changes import changes
from bncheck.checking.reference import Reference
from bncheck.checking.results import Diagnosis, Term
from bncheck.writers.unicode import line


@dataclass(frozen=True)
class Seen:
    """One trial as it went: the reference, the upstream gradient, the user's gradients."""

    values: Mapping[str, Any]
    reference: Reference
    gradients: Mapping[str, Array]


def diagnose(found: Derivation, gradient: str, seen: Sequence[Seen]) -> Diagnosis:
    """What is wrong with one gradient, from at least two easy trials."""
    fitted = _fit(found, gradient, seen[0])
    explained = _explained(found, gradient, seen)
    if explained:
        code, text = explained
        return Diagnosis(code, gradient, text, fitted)
    wrong = [t for t in fitted if t.reading != "ok"]
    if wrong:
        text = "; ".join(f"{t.formula}: {t.reading}" for t in wrong)
        return Diagnosis("term-factor", gradient, text, fitted)
    return Diagnosis("unexplained", gradient, _where(found, gradient, seen[0]), fitted)


def _explained(found: Derivation, gradient: str, seen: Sequence[Seen]) -> tuple[str, str] | None:
    for change in changes(found, gradient):
        if all(_reproduces(change.program, gradient, one) for one in seen):
            return change.code, change.text
    return None


def _reproduces(program: Program, gradient: str, one: Seen) -> bool:
    with np.errstate(all="ignore"):
        known = {name_of(a): one.reference.known.get(name_of(a)) for a in program.inputs}
        inputs = {n: (np.asarray(one.values[n]) if v is None else v) for n, v in known.items()}
        got = evaluate(program, inputs)[gradient].value
        theirs, allowed = one.gradients[gradient], one.reference.allowed[gradient]
        scale = abs(one.reference.gradients[gradient]).max(initial=0)
        slack = 16 * allowed + 1e-12 * np.maximum(scale, abs(got))
        return bool(np.all(abs(theirs - got) <= slack))


def _fit(found: Derivation, gradient: str, one: Seen) -> tuple[Term, ...]:
    """The factor of each term, group by group; empty where the terms do not span the result."""
    step = found.closed.step(found.closed.tensors[gradient])
    parts = terms(step)
    columns = _columns(found, step, one)
    theirs = np.asarray(one.gradients[gradient], float)
    groups = _groups(found, step, theirs.shape)
    if any(theirs[at].size < len(parts) for at in groups) or not np.isfinite(theirs).all():
        return ()
    factors = []
    for at in groups:
        matrix = np.stack([c[at].ravel() for c in columns], axis=1)
        factor, *_ = np.linalg.lstsq(matrix, theirs[at].ravel(), rcond=None)
        left = abs(matrix @ factor - theirs[at].ravel()).max(initial=0)
        if left > 1e-9 * max(abs(theirs[at]).max(initial=0), abs(matrix).max(initial=0)):
            return ()
        factors.append(factor)
    table = np.array(factors)
    known = _factors(found, one, groups, step)
    return tuple(
        Term(line(part), *_typical(table[:, k]), _reading(table[:, k], known))
        for k, part in enumerate(parts)
    )


def _columns(found: Derivation, step: Step, one: Seen) -> list[Array]:
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


def _typical(factors: Array) -> tuple[float, float]:
    middle = float(np.median(factors))
    return (0.0 if abs(middle) < 1e-9 else middle), 1.0


def _factors(
    found: Derivation, one: Seen, groups: list[tuple[Any, ...]], step: Step
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
    for i in found.forward.axes:
        letter, n = str(size(i)), float(one.reference.known[name_of(found.forward.inputs[0])].shape[
            list(indices_of(found.forward.inputs[0])).index(i)])  # fmt: skip
        known[f"{letter} times: a sum where a mean belongs"] = n * ones
        known[f"1/{letter}: divided by {letter} once too often"] = ones / n
        if n > 1:
            known[f"{letter}/({letter} - 1): divided by {letter} - 1"] = n / (n - 1) * ones
            known[f"({letter} - 1)/{letter}: divided by {letter} for {letter} - 1"] = (
                (n - 1) / n * ones
            )
    for name in ("gamma", "sd", "rms", "norm"):
        per_group = _per_group(found, one, groups, step, name)
        if per_group is not None:
            known[f"{name}: {name} once too often"] = per_group
            known[f"1/{name}: {name} is missing"] = 1 / per_group
            if name != "gamma" and "eps" in one.values:
                ratio = per_group / np.sqrt(per_group**2 - float(one.values["eps"]))
                known["eps is forgotten"] = ratio
                known["eps is forgotten, cubed"] = ratio**3
    return known


def _per_group(
    found: Derivation, one: Seen, groups: list[tuple[Any, ...]], step: Step, name: str
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


def _reading(factors: Array, known: dict[str, Array]) -> str:
    for reading, values in known.items():
        if np.all(abs(factors - values) <= 1e-6 * np.maximum(abs(values), 1e-3)):
            return reading
    spread = factors.max() - factors.min()
    return "wrong factor" if spread < 1e-6 else "wrong, another factor in each group"


def _where(found: Derivation, gradient: str, one: Seen) -> str:
    right = one.reference.gradients[gradient]
    apart = abs(one.gradients[gradient] - right) > one.reference.allowed[gradient]
    count, total = int(apart.sum()), apart.size
    return f"no single change explains it; {count} of {total} entries are off"
