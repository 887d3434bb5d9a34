"""What a running statistic is made of: ``a old + b new``, of which of the batch's statistics?

Least squares for each statistic that the layer's own programs compute; a fit counts where its
residual is rounding. Batches of different sizes tell a variance over m from one over m - 1.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bncheck.algebra.layers import layer
from bncheck.numbers.arithmetic import Array, Bounded, evaluate
from bncheck.numbers.reference import SAFETY, precision
from bncheck.numbers.trials import Trial


@dataclass(frozen=True)
class Fit:
    """What a running statistic is made of: ``kind`` of the batch's statistic, and the weights.

    ``name``: what the user calls it; ``step``: the program's name for it; ``weights``: (old,
    new) for each of two batches, the same twice where they are fixed; ``whole``: whether old and
    new add up to 1; ``kept``: its value at the end.
    """

    name: str
    kind: str
    step: str
    weights: tuple[tuple[float, float], ...]
    whole: bool
    kept: Array


def fitted(called: str, name: str, states: list[Array], batches: list[Trial]) -> Fit | None:
    """The statistic and the weights with which the states follow from one another."""
    u = precision(states[-1].dtype if states[-1].dtype.kind == "f" else np.dtype(float))[0]
    old, new = states[:2], states[1:]
    choices = []
    for (kind, step), stats in _statistics(name, batches[1:3], u):
        fixed = _solved(old, stats, new, u)
        if fixed is not None:
            weights, whole = fixed
            choices.append(Fit(called, kind, step, (weights, weights), whole, states[-1]))
            continue
        each = [_solved([a], [s], [b], u) for a, s, b in zip(old, stats, new, strict=True)]
        if all(one is not None and one[1] for one in each):
            changing = tuple(one[0] for one in each if one is not None)
            choices.append(Fit(called, kind, step, changing, True, states[-1]))
    return min(choices, key=lambda fit: not fit.whole, default=None)


def _statistics(
    name: str, batches: list[Trial], u: float
) -> Iterator[tuple[tuple[str, str], list[Bounded]]]:
    """What may be kept, said and by its name in the program, for each of the batches."""
    if name == "running_mean":
        yield ("mean", "mu"), [_known(0, b, b.values["eps"], u)["mu"] for b in batches]
        return
    for step, said in (("var", "variance"), ("sd", "standard deviation")):
        for ddof, over in enumerate(("m", "m - 1")):
            found = [_known(ddof, b, 0.0, u)[step] for b in batches]
            yield (f"{said} over {over}", step), found
    for ddof, over in enumerate(("m", "m - 1")):
        found = [_known(ddof, b, b.values["eps"], u)["sd"] for b in batches]
        yield (f"standard deviation with eps, over {over}", "sd"), found
        yield (f"variance with eps, over {over}", "sd squared"), [_squared(b, u) for b in found]


def _squared(known: Bounded, u: float) -> Bounded:
    return Bounded(known.value**2, 2 * abs(known.value) * known.error + u * known.value**2)


def _known(ddof: int, batch: Trial, eps: float, u: float) -> dict[str, Bounded]:
    program = layer("batch-norm", ddof=ddof, affine=False)
    return evaluate(program, {"x": batch.values["x"], "eps": eps}, u)


def _solved(
    old: list[Array], stats: list[Bounded], new: list[Array], u: float
) -> tuple[tuple[float, float], bool] | None:
    """(a, b) of new = a old + b stat, and whether a + b = 1; None where rounding forbids it."""
    before, after = (np.concatenate(values).astype(float) for values in (old, new))
    stat = np.concatenate([s.value for s in stats]).astype(float)
    error = np.concatenate([s.error for s in stats])
    matrix = np.column_stack([before, stat])
    a, b = np.linalg.lstsq(matrix, after, rcond=None)[0]
    rounding = 8 * u * (abs(a * before) + abs(b * stat)) + abs(b) * error
    allowed = SAFETY * float(np.linalg.norm(rounding))
    if not np.linalg.norm(matrix @ (a, b) - after) <= allowed:
        return None
    doubt = float(np.linalg.norm(np.linalg.pinv(matrix), 2)) * allowed
    return (float(a), float(b)), abs(a + b - 1) <= 2 * doubt + 4 * u
