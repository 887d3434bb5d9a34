"""Oracle: pairs of arrays that are equal but for rounding, or are not, by hand; mutants of source.

What a tolerance may not be taken for is in the table as well: another shape, a NaN, a zero.
"""

import ast
from pathlib import Path

import numpy as np
import pytest
from mpmath import mpf

from bncheck.numbers import agreement
from bncheck.numbers.agreement import (
    BOUNDS,
    FINE,
    FITTED,
    RECOMPUTED,
    ROUNDING,
    SINGLE,
    alike,
    distance,
    explains,
    gap,
    largest,
    near,
    negligible,
    within,
)
from bncheck.verdict.judgement import compare
from tests.house import ROOT, House, tolerances

NAN, INF = np.nan, np.inf


def test_each_tolerance_allows_more_than_the_one_before_and_says_why():
    assert 2.0**-53 < FINE < ROUNDING < RECOMPUTED < FITTED < SINGLE < 1
    lines = Path(agreement.__file__).read_text("utf-8").splitlines()
    stated = [n for n, text in enumerate(lines) if ": Final = " in text]
    assert len(stated) == 7
    assert all(lines[n + 1].startswith('"""') for n in stated)


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        ([1.0, -2.0], [1.5, 2.0], [0.5, 4.0]),
        ([NAN, NAN, 1.0], [NAN, 1.0, NAN], [0, INF, INF]),
        ([INF, INF, -INF, INF], [INF, -INF, -INF, 1.0], [0, INF, 0, INF]),
        ([1 + 1j], [1.0], [1.0]),
        ([mpf(1) / 3], [mpf(1)], [2 / 3]),
        ([1], [3], [2]),
        ([], [], []),
    ],
)
def test_gap(one, other, apart):
    made = gap(np.array(one), np.array(other))
    assert made.dtype == np.float64
    assert made == pytest.approx(np.array(apart, float))


def test_the_largest_value_is_a_finite_one():
    assert largest([1.0, -3.0, NAN, INF]) == 3.0
    assert largest([NAN]) == largest([]) == 0.0


@pytest.mark.parametrize(
    ("one", "other", "allowed", "said"),
    [
        ([1.0, 2.0], [1.0, 2.5], [0.0, 0.5], True),
        ([1.0, 2.0], [1.0, 2.5], [0.5, 0.0], False),
        ([1.0], [1.0, 1.0], 9.0, False),  # would be broadcast
        ([[1.0]], [1.0], 9.0, False),
        ([NAN], [1.0], 9.0, False),
        ([NAN], [NAN], 0.0, True),
        ([5.0], [1.0], INF, True),
        ([5.0], [1.0], NAN, True),  # a bound that overflowed says nothing
        ([], [], [], True),
    ],
)
def test_within(one, other, allowed, said):
    assert within(np.array(one), np.array(other), allowed) is said


def test_explains_allows_several_bounds_and_some_of_the_largest_value():
    theirs, bound = np.array([1e3, 1.0]), np.array([0.0, 1.0])
    assert explains(np.add(theirs, [0, BOUNDS * 0.99]), theirs, bound, 0.0)
    assert not explains(np.add(theirs, [0, BOUNDS * 1.01]), theirs, bound, 0.0)
    assert explains(np.add(theirs, [0.9e-6, 0]), theirs, 0 * bound, RECOMPUTED)
    assert not explains(np.add(theirs, [1.1e-6, 0]), theirs, 0 * bound, RECOMPUTED)
    assert explains(np.add(theirs, [1.1e-6, 0]), theirs, 0 * bound, RECOMPUTED, least=2e3)


def test_alike_is_relative_to_the_largest_value():
    right = np.array([1000.0, 1e-9])
    assert alike(np.add(right, [0, 9e-7]), right, RECOMPUTED)  # what is left of larger ones
    assert not alike(np.add(right, [2e-6, 0]), right, RECOMPUTED)
    zero = np.zeros(3)
    assert alike(zero, zero, RECOMPUTED)
    assert not alike(zero + 1e-17, zero, RECOMPUTED)
    assert alike(zero + 1e-17, zero, RECOMPUTED, least=1.0)
    assert not alike(right[:1], right, RECOMPUTED)


def test_numbers():
    assert near(1 + 1e-9, 1, FITTED)
    assert near(1e-9, 0, FITTED)
    assert near(1e6 + 1e-3, 1e6, FITTED)
    assert not near(1 + 1e-7, 1, FITTED)
    assert not near(NAN, 1, FITTED)
    assert not near(INF, 1, FITTED)
    assert negligible(np.array([1e-10, -1e-10]), [1.0], RECOMPUTED)
    assert not negligible(np.array([1e-10, NAN]), [1.0], RECOMPUTED)
    assert not negligible(np.array([1e-8]), [1.0], RECOMPUTED)
    assert negligible(np.zeros(2), np.zeros(2), RECOMPUTED)
    assert distance([2.0], [4.0]) == 0.4  # of 1 + 4
    assert distance([NAN], [4.0]) == distance([4.0], [[4.0]]) == INF


@pytest.mark.parametrize(
    ("first", "second", "allowed", "verdict"),
    [
        ([1.0, 2.0], [1.0, 2.0], [0.0, 0.0], "right"),
        ([1.0, 2.1], [1.0, 2.0], [0.05, 0.05], "wrong"),
        ([1.0, np.nan], [1.0, 2.0], [0.1, 0.1], "wrong"),
        ([1.0, np.nan], [1.0, np.nan], [0.1, 0.1], "right"),
        ([np.nan], [np.nan], [0.1], "cannot tell"),
        ([1.0], [2.0], [np.inf], "cannot tell"),
        ([5.0, 1.0], [np.nan, 1.0], [0.1, 0.1], "right"),
        ([1.0, 2.06], [1.0, 2.0], [0.05, 0.05], "wrong"),
    ],
)
def test_compare(first, second, allowed, verdict):
    made = compare(("a", "b"), np.array(first), np.array(second), np.array(allowed), "t")
    assert made.verdict == verdict
    if verdict == "wrong":
        assert made.at == (1,)


def test_ulps_are_those_of_the_dtype_at_the_largest_value():
    u, none = 2.0**-52, np.zeros(2)
    made = compare(("a", "b"), np.array([1.0, 4 * u]), np.array([1.0, 0.0]), none + 1, "t")
    assert made.ulps == 4
    made = compare(
        ("a", "b"), np.array([1.0, 2.0**-22]), np.array([1.0, 0.0]), none + 1, "t", 2**-24
    )
    assert made.ulps == 2


SOURCE = """
import numpy as np
from bncheck.numbers.agreement import FITTED, near
LIMIT = 0.05
def f(a, b):
    return near(a, b, FITTED) and a - b <= FITTED * a and a < LIMIT and b != 0.5
"""
MUTANTS = {
    "allclose": ("near(a, b, FITTED)", "np.allclose(a, b)"),
    "isclose": ("near(a, b, FITTED)", "np.isclose(a, b).all()"),
    "a literal": ("FITTED * a", "1e-9 * a"),
    "a literal alone": ("a - b <= FITTED * a", "1e-9 > abs(a - b)"),
    "a constant of its own": ("LIMIT = 0.05", "LIMIT = 1e-6"),
    "one of several constants": ("LIMIT = 0.05", "SOME, LIMIT = 2.0, 1e-6"),
}


def test_tolerances_stand_in_one_place():
    there = [f"{name} line {line}" for name, line in House(ROOT).tolerances]
    assert not there, "state it in numbers/agreement.py, with its reason: " + "; ".join(there)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_tolerance_elsewhere_is_found(mutant):
    old, new = MUTANTS[mutant]
    assert SOURCE.count(old) == 1
    assert not tolerances(ast.parse(SOURCE))
    assert tolerances(ast.parse(SOURCE.replace(old, new)))
