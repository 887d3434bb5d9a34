"""Equal but for rounding: the tolerances and predicates of the whole package, and nowhere else.

What rounding may do to a gradient is known entry by entry (``numbers/reference.py``): then
``within`` asks. Where no bound is known, a tolerance below is taken of the largest value: entries
near 0 are the rest of larger ones that cancelled, so that their own size says nothing. What is
not finite agrees with its like, and only with that; what has another shape agrees with nothing.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

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


def _is_nan(values: NDArray[Any]) -> NDArray[np.bool_]:
    return np.isnan(np.asarray(values, np.complex128 if np.iscomplexobj(values) else np.float64))
