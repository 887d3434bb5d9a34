"""bncheck against backward passes that are known to be wrong, or right, on hard inputs.

Oracle: ``tests/cases/oracle.py``, numbers of 80 digits and a look at the caller's arrays; that a
wrong one is wrong and a right one right does not rest on bncheck.
"""

import functools
import inspect

import mpmath
import numpy as np
import pytest

from bncheck.verification import verify
from tests.cases import more_ways, ways
from tests.cases.case import draw, edited
from tests.cases.oracle import breaches, feature, output, ratios
from tests.cases.right import RIGHT
from tests.cases.wrong import WRONG

SHORT = more_ways.short_and_float32
WAYS = [f for m in (ways, more_ways) for _, f in inspect.getmembers(m, inspect.isfunction)]


def cases(chosen):
    return [pytest.param(c, id=c.name.replace(" ", "-")) for c in chosen]


def run(case):
    with np.errstate(all="ignore"):
        return case.make()(*case.inputs().values())


def test_there_are_enough_and_each_has_its_name():
    names = [c.name for c in (*WRONG, *RIGHT)]
    assert len(set(names)) == len(names)
    assert len(WRONG) >= 75
    assert len(RIGHT) >= 45


@pytest.mark.parametrize("way", WAYS, ids=lambda f: f.__name__)
def test_every_way_is_right(way):
    inputs = functools.partial(draw, dtype=np.float16 if way is SHORT else np.float64)
    assert max(ratios(inputs(), way(*inputs().values())).values()) < 1
    assert breaches(lambda: way, inputs) == set()


def test_the_oracle_agrees_with_differences():
    given, h = draw(), mpmath.mpf(10) ** -30
    with mpmath.workdps(100):
        for j in range(4):
            dy, x = ([mpmath.mpf(v) for v in given[k][:, j]] for k in ("dy", "x"))
            point = [*x, mpmath.mpf(given["gamma"][j]), mpmath.mpf(given["beta"][j])]

            def loss(*p, dy=dy):
                return mpmath.fdot(dy, output(list(p[:-2]), p[-2], p[-1], mpmath.mpf("0.125")))

            def slope(k, point=point, loss=loss):
                up, down = ([v + s * h * (i == k) for i, v in enumerate(point)] for s in (1, -1))
                return (loss(*up) - loss(*down)) / (2 * h)

            truth, _ = feature(dy, x, point[-2], mpmath.mpf("0.125"), mpmath.mpf(2) ** -53)
            apart = [abs(t - slope(k)) for k, t in enumerate(truth)]
            assert max(apart) < mpmath.mpf(10) ** -50


@pytest.mark.parametrize("case", cases(WRONG))
def test_a_wrong_one_is_wrong(case):
    results = run(case)
    broken = breaches(case.make, case.inputs)
    off = 0.0 if "missing" in broken else max(ratios(case.inputs(), results).values())
    assert off > 100 or (case.expected == "remark" and broken)


@pytest.mark.parametrize("case", cases(RIGHT))
def test_a_right_one_is_right(case):
    assert max(ratios(case.inputs(), run(case)).values()) < 1
    assert breaches(case.make, case.inputs) == set()


@pytest.mark.sampled(8)
@pytest.mark.parametrize("case", cases(WRONG))
def test_a_wrong_one_is_found(case):
    report = verify(case.make(), layer="batch-norm", lines=False)
    remarked = case.expected == "remark" and report.remarks
    assert report.verdict in ("wrong", "inaccurate") or remarked


@pytest.mark.sampled(2, 1)
@pytest.mark.parametrize("case", cases(RIGHT))
def test_a_right_one_is_not_rejected(case):
    report = verify(case.make(), layer="batch-norm", inputs=case.inputs())
    assert report.verdict == "right"
    assert "your inputs" in report.trials


def test_an_edit_that_no_longer_fits_is_an_error():
    with pytest.raises(ValueError, match="staged has 'dvar' 3 times"):
        edited(ways.staged, "name", ("dvar", "x"))
