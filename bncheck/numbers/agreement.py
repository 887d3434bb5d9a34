"""Equal but for rounding: the tolerances and predicates of the whole package, and nowhere else.

What rounding may do to a gradient is known entry by entry (``numbers/reference.py``): then
``within`` asks. Where no bound is known, a tolerance below is taken of the largest value: entries
near 0 are the rest of larger ones that cancelled, so that their own size says nothing. What is
not finite agrees with its like, and only with that; what has another shape agrees with nothing.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bncheck.telling.report import WORST_FIRST, Comparison, GradientResult, Verdict

FINE: Final = 3e-15
"""The output of the same steps in another order: some 27 roundings of float64."""

ROUNDING: Final = 1e-12
"""The same formula: 70 by 67 values, the largest trial, in a sum of 2^-53 each are 5e-13."""

RECOMPUTED: Final = 1e-9
"""Another formula for the same, in float64: where terms cancel, another thousandth goes."""

FITTED: Final = 1e-8
"""What least squares or a quotient gives: half the digits of float64, ``sqrt(2^-53)``."""

SINGLE: Final = 2e-5
"""Numbers that went through float32: 300 roundings of 2^-24."""

BOUNDS: Final = 16.0
"""So many rounding bounds where both sides were computed on another way than the bound's."""

REPRODUCED: Final = {"e": 1e-2, "f": 1e-3, "d": 1e-6}
"""Gradients on inputs that nobody chose, of any condition, by the letter of their dtype."""


def gap(one: ArrayLike, other: ArrayLike) -> NDArray[np.float64]:
    """``abs(one - other)``; where only one is finite infinite, where both are lost alike 0."""
    first, second = np.asarray(one), np.asarray(other)
    with np.errstate(all="ignore"):
        apart = np.asarray(abs(first - second), np.float64)
    if np.isfinite(apart).all():
        return apart
    same = (first == second) | (_is_nan(first) & _is_nan(second))
    return np.where(same, 0.0, np.nan_to_num(apart, nan=np.inf, posinf=np.inf))


def largest(values: ArrayLike) -> float:
    """The largest finite absolute value; 0 where there is none."""
    sizes = np.asarray(abs(np.asarray(values)), np.float64)
    return float(sizes[np.isfinite(sizes)].max(initial=0.0))


def within(one: ArrayLike, other: ArrayLike, allowed: ArrayLike) -> bool:
    """Whether no entry is further off than is allowed there; a bound that is lost allows all."""
    if np.shape(one) != np.shape(other):
        return False
    return not np.any(gap(one, other) > np.asarray(allowed, np.float64))


def explains(
    made: ArrayLike, theirs: ArrayLike, allowed: ArrayLike, tolerance: float, least: float = 0.0
) -> bool:
    """``within`` for a try to make somebody's numbers: ``BOUNDS`` times the bound are allowed,
    and a tolerance of the largest value, or of ``least``.
    """
    slack = BOUNDS * np.asarray(allowed, np.float64) + tolerance * max(largest(made), least)
    return within(theirs, made, slack)


def alike(one: ArrayLike, other: ArrayLike, tolerance: float, least: float = 0.0) -> bool:
    """Whether no entry is off by more than a tolerance of the largest of ``other``.

    ``least``: the size to go by if that is larger: 1 where inputs are of that size, and all of
    ``other`` may be 0.
    """
    return within(one, other, tolerance * max(largest(other), least))


def near(one: float, other: float, tolerance: float) -> bool:
    """Whether two numbers agree, relative to the second or to 1, whichever is larger: factors."""
    return bool(abs(one - other) <= tolerance * max(1.0, abs(other)))


def negligible(values: ArrayLike, beside: ArrayLike, tolerance: float) -> bool:
    """Whether all values are 0 but for rounding, as a residual beside what was fitted."""
    return within(values, np.zeros(np.shape(values)), tolerance * largest(beside))


def distance(one: ArrayLike, other: ArrayLike) -> float:
    """The largest difference, relative to 1 and the largest of ``other``; infinite if lost."""
    if np.shape(one) != np.shape(other):
        return np.inf
    return float(gap(one, other).max(initial=0.0)) / (1.0 + largest(other))


def compare(
    witnesses: tuple[str, str],
    first: NDArray[Any],
    second: NDArray[Any],
    allowed: NDArray[Any],
    trial: str,
    roundoff: float = 2.0**-53,
) -> Comparison:
    """Two witnesses of one gradient: where they differ most, by how much, and whether they may.

    Entry by entry against what is allowed; both arrays have one shape. The verdict is ``right``
    within the bound, ``cannot tell`` where nothing can be said (the bound is not finite, both are
    not a number), else ``wrong``; whether it is rather ``inaccurate`` is for the caller to find
    out. ``roundoff``: of the dtype that is judged.
    """
    first, second = np.asarray(first), np.asarray(second)
    apart, limit = gap(first, second), np.asarray(allowed, np.float64)
    known = np.isfinite(limit) & np.isfinite(np.asarray(second, np.float64))
    with np.errstate(all="ignore"):
        ratio = np.where(apart == 0, 0.0, apart / limit)
    judged = np.where(known, ratio, -1.0)
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


def _verdict(worst: float, known: NDArray[Any]) -> Verdict:
    if worst > 1.0:
        return "wrong"
    return "right" if np.any(known) or not known.size else "cannot tell"


def _ulps(apart: NDArray[np.float64], truth: NDArray[Any]) -> float:
    """The largest difference in ULPs (float64) of the largest value: those near 0 are tiny."""
    finite = np.isfinite(np.asarray(truth, np.float64))
    if not finite.any():
        return 0.0
    worst = float(apart.max()) if finite.all() else np.inf
    return worst / float(np.spacing(largest(truth) or 1.0))


def _is_nan(values: NDArray[Any]) -> NDArray[np.bool_]:
    return np.isnan(np.asarray(values, np.complex128 if np.iscomplexobj(values) else np.float64))


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
