"""Oracle: each backward pass has a row of its own, whatever goes wrong in another one's."""

import json

import pytest

from bncheck import verification
from bncheck.algebra.notation import Mean
from bncheck.telling import formats
from bncheck.telling.errors import CannotAsk, Disagreement
from bncheck.verification import verify, verify_all

PAIRS = """
import numpy as np


def first_backward(dy, x, gamma, eps):
    s = np.sqrt(x.var(0) + eps)
    return gamma * dy, (dy * (x - x.mean(0)) / s).sum(0), dy.sum(0)


def second_backward(dy, x, gamma, eps):
    s = np.sqrt(x.var(0) + eps)
    n = (x - x.mean(0)) / s
    dgamma, dbeta = (dy * n).sum(0), dy.sum(0)
    return gamma / s * (dy - dbeta / len(x) - n * dgamma / len(x)), dgamma, dbeta
"""


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.py"
    path.write_text(PAIRS)
    return str(path)


def failing(error, only="first_backward"):
    def fail(record, *rest, **named):
        if record.bench.backward.name == only:
            raise error
        return judge(record, *rest, **named)

    judge = verification.judge
    return fail


@pytest.mark.parametrize("error", [IndexError("boom"), Disagreement("they differ")])
def test_a_defect_in_judging_one_leaves_the_other_its_verdict(pairs, monkeypatch, error):
    monkeypatch.setattr(verification, "judge", failing(error))
    one, other = verify_all(pairs)
    assert (one.verdict, other.verdict) == ("cannot tell", "right")
    assert [r.code for r in one.remarks] == ["defect"]
    assert str(error) in one.remarks[0].text
    assert formats.overall((one, other)) == one.exit_code == 3
    assert json.loads(formats.as_json((one, other)))["exit_code"] == 3
    for form in formats.FORMS.values():
        said = form((one, other), False)
        assert "first_backward" in said
        assert "second_backward" in said
        assert str(error) in said


def test_a_defect_in_explaining_leaves_the_verdict(pairs, monkeypatch):
    def broken(*rest, **named):
        raise ZeroDivisionError("boom")

    for name in ("explain", "mends", "smallest", "heat"):
        monkeypatch.setattr(verification, name, broken)
    one, other = verify_all(pairs)
    assert (one.verdict, other.verdict) == ("wrong", "right")
    assert {g.name: g.verdict for g in one.gradients}["dgamma"] == "right"
    assert {r.code for r in one.remarks} == {"defect"}
    assert "why dx is wrong could not be told: ZeroDivisionError" in one.remarks[0].text
    assert (one.exit_code, other.exit_code) == (3, 0)


def test_code_that_fails_while_it_is_explained_is_no_defect(pairs, monkeypatch):
    def refused(*rest, **named):
        raise CannotAsk("it took more than 30 s")

    monkeypatch.setattr(verification, "mends", refused)
    one, _ = verify_all(pairs)
    assert (one.verdict, one.exit_code) == ("wrong", 1)
    assert [c.code for c in one.diagnosis]
    assert "it took more than 30 s" in str(one)


def test_a_layer_with_two_outputs_beside_its_forward_pass():
    from tests.test_own_layer import a, b, i, j, program, x, y

    two = program(
        (a[j], Mean(x[i, j], i)),
        (b[j], Mean((x[i, j] - a[j]) ** 2, i)),
        (y[i, j], x[i, j] - a[j]),
        outputs=(y[i, j], b[j]),
    )

    def forward(x):
        return x - x.mean(0)

    def backward(dy, x):
        return dy - dy.mean(0)

    report = verify(backward, forward=forward, layer=two)
    assert report.verdict == "wrong", "what comes by the second output is left out"
    assert report.exit_code == 1
    (dx,) = report.gradients
    assert {c.verdict for c in dx.comparisons if c.first_witness == "symbolic"} == {"right"}
