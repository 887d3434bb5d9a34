"""Two witnesses of one gradient: where they differ most, by how much, and whether they may."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bncheck.numbers.arithmetic import Array
from bncheck.numbers.observation import Observation
from bncheck.telling.report import WORST_FIRST, Comparison, GradientResult, Verdict


def compare(
    witnesses: tuple[str, str],
    first: Array,
    second: Array,
    allowed: Array,
    trial: str,
    roundoff: float = 2.0**-53,
) -> Comparison:
    """Compare entry by entry against what is allowed; both arrays have one shape.

    The verdict is ``right`` within the bound, ``cannot tell`` where nothing can be said (the
    bound is not finite, both are not a number), else ``wrong``; whether it is rather
    ``inaccurate`` is for the caller to find out. ``roundoff``: of the dtype that is judged.
    """
    first, second = np.asarray(first), np.asarray(second)
    with np.errstate(all="ignore"):
        apart = np.asarray(abs(first - second), np.float64)
        limit = np.asarray(allowed, np.float64)
        ratio = apart / limit
    known = np.isfinite(limit) & ~_lost(second)
    judged = ratio
    if not (known.all() and np.isfinite(ratio).all()):
        ratio = np.where(apart == 0, 0.0, ratio)
        ratio = np.where(_lost(first) & ~_lost(second), np.inf, ratio)
        judged = np.where(known, np.nan_to_num(ratio, nan=np.inf, posinf=np.inf), -1.0)
    at = np.unravel_index(int(np.argmax(judged)), judged.shape) if judged.size else ()
    worst = float(judged[at]) if judged.size else 0.0
    return Comparison(
        first_witness=witnesses[0],
        second_witness=witnesses[1],
        ulps=_ulps(apart, second) * 2.0**-53 / roundoff,
        of_bound=max(worst, 0.0),
        at=tuple(int(i) for i in at),
        first=float(np.real(first[at])) if judged.size else 0.0,
        second=float(second[at]) if judged.size else 0.0,
        trial=trial,
        verdict=_verdict(worst, known),
    )


def _lost(values: Array) -> Array:
    return ~np.isfinite(np.asarray(values, np.complex128 if np.iscomplexobj(values) else float))


def _verdict(worst: float, known: Array) -> Verdict:
    if worst > 1.0:
        return "wrong"
    return "right" if np.any(known) or not known.size else "cannot tell"


def _ulps(apart: Array, truth: Any) -> float:
    """The largest difference in ULPs (float64) of the largest value: those near 0 are tiny."""
    finite = np.asarray(truth, np.float64)
    finite = finite[np.isfinite(finite)]
    if not finite.size or not apart.size:
        return 0.0
    scale = float(abs(finite).max()) or 1.0
    worst = float(np.nan_to_num(apart, nan=np.inf).max())
    return worst / float(np.spacing(scale))


def result_of(name: str, made: list[Comparison], easy: set[str]) -> GradientResult:
    """The worst comparison of each pair of witnesses, and the verdict that follows.

    Of two that are as bad, the one on an easy trial: its numbers are those to look at. Trials on
    which nothing can be said (one value, over m - 1) count only where there is no other.
    """
    made = [c for c in made if c.verdict != "cannot tell"] or made
    pairs = dict.fromkeys((c.first_witness, c.second_witness) for c in made)
    worst = tuple(
        max(
            (c for c in made if (c.first_witness, c.second_witness) == pair),
            key=lambda c: (-WORST_FIRST.index(c.verdict), c.trial in easy, c.of_bound),
        )
        for pair in pairs
    )
    mine = [c.verdict for c in worst if c.first_witness == "yours"]
    symbolic = [c.verdict for c in worst if c.second_witness == "symbolic"]
    return GradientResult(name, worst, min(symbolic or mine, key=WORST_FIRST.index))


def is_off(one: Observation, gradient: str) -> Array:
    """Which entries are outside the bound."""
    right = one.reference.gradients[gradient]
    within = abs(one.gradients[gradient] - right) <= one.reference.allowed[gradient]
    return ~np.asarray(within, bool)


def is_theirs(made: Array, gradient: str, one: Observation) -> bool:
    """Whether these are the user's numbers, to within rounding, wherever they come from."""
    theirs, allowed = one.gradients[gradient], one.reference.allowed[gradient]
    if made.shape != theirs.shape:
        return False
    scale = abs(one.reference.gradients[gradient]).max(initial=0)
    with np.errstate(all="ignore"):
        slack = 16 * allowed + 1e-12 * np.maximum(scale, abs(made))
        return bool(np.all(abs(theirs - made) <= slack))


def nearest(tried: Sequence[Array], theirs: Array) -> Array | None:
    """The one of several arrays that comes nearest to the user's; None of none."""
    return min(tried, key=lambda made: float(abs(made - theirs).max(initial=0)), default=None)


def same_values(one: Array, other: Array) -> bool:
    """Whether two arrays hold the same values in some order, repetitions and rounding aside."""
    first, second = _distinct(one), _distinct(other)
    if first.shape != second.shape or not np.isfinite(first).all():
        return False
    apart = abs(first - second).max(initial=0)
    return bool(apart <= 1e-12 * (abs(first).max(initial=0) + abs(second).max(initial=0)))


def _distinct(value: Array) -> Array:
    """The distinct values in order."""
    flat = np.sort(np.asarray(value, float).ravel())
    apart = np.diff(flat) > 1e-10 * abs(flat).max(initial=0)
    return flat[np.concatenate(([True], apart))] if flat.size else flat
