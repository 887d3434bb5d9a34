"""Oracle: each backward pass has a row of its own, whatever goes wrong in another one's."""

import json

import numpy as np
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


LAYER = '''
import numpy as np


def rms_norm(x, weight, eps=1e-6):
    """x: (batch, seq, dim)"""
    r = 1 / np.sqrt((x * x).mean(-1, keepdims=True) + eps)
    return x * r * weight, (x, weight, r)


def rms_norm_backward(dy, cache):
    x, weight, r = cache
    h, n = dy * weight, x * r
    dx = r * (h - n * (h * n).mean(-1, keepdims=True))
    return dx, (dy * n).sum(axis=AXES)
'''


@pytest.mark.parametrize(
    ("axes", "verdict"), [("0", "wrong"), ("tuple(range(x.ndim - 1))", "right")]
)
def test_every_layout_that_the_code_accepts_has_a_verdict(tmp_path, axes, verdict):
    path = tmp_path / "rms.py"
    path.write_text(LAYER.replace("AXES", axes))
    report = verify(str(path))
    assert dict(report.layouts).items() >= {"(N, D)": "right", "(B, T, D)": verdict}.items()
    assert report.verdict == verdict
    assert ("over (B, T, D)" in report.headline) == (verdict == "wrong")
    assert verify(str(path), layout="ND").verdict == "right"


def test_a_layout_in_which_it_is_off_and_fails_is_not_called_right(tmp_path, monkeypatch):
    def failing(job, backward, reading, settings):
        if reading.layout.name == "(B, T, D)":
            raise CannotAsk("it fails there")
        return judged(job, backward, reading, settings)

    judged = verification._judged
    monkeypatch.setattr(verification, "_judged", failing)
    path = tmp_path / "rms.py"
    path.write_text(LAYER.replace("AXES", "0"))
    report = verify(str(path))
    assert dict(report.layouts).items() >= {"(N, D)": "right", "(B, T, D)": "cannot call"}.items()
    assert report.exit_code == 2
    assert "it fails there" in str(report)


BOUND = """
import numpy as np


def backward(dy, x, gamma, eps):
    s = np.sqrt(x.var(0) + eps)
    n = (x - x.mean(0)) / s
    dgamma, dbeta = (dy * n).sum(0), dy.sum(0)
    return gamma / s * (dy - dbeta / len(x) - n * dgamma / len(x)), dgamma, dbeta


def halved(f):
    return lambda dy, x, gamma, eps: tuple(g / 2 for g in f(dy, x, gamma, eps))


"""


@pytest.mark.parametrize(
    ("more", "verdict"),
    [
        ("", "right"),
        ("backward = halved(backward)", "wrong"),
        ("if len('ab') == 2:\n    backward = halved(backward)", "wrong"),
        ("if len('ab') == 3:\n    backward = halved(backward)", "right"),
        ("try:\n    import nowhere\nexcept ImportError:\n    backward = halved(backward)", "wrong"),
        ("for _ in range(1):\n    backward = halved(backward)", "cannot tell"),
        ("async def backward(dy, x, gamma, eps):\n    return dy", "cannot tell"),
        ("if __name__ == '__main__':\n    backward = halved(backward)", "right"),
    ],
)
def test_what_python_would_call_is_judged(tmp_path, more, verdict):
    path = tmp_path / "bound.py"
    path.write_text(BOUND + more + "\n")
    report = verify(str(path))
    assert report.verdict == verdict, str(report)
    assert (verdict != "cannot tell") or [r for r in report.remarks if r.code == "bound-again"]


@pytest.mark.parametrize(("also", "said"), [(0, True), (10, False)])
def test_no_condition_is_said_that_another_trial_contradicts(also, said):
    def backward(dy, x, gamma, eps):
        s = np.sqrt(x.var(0) + eps)
        n, g = (x - x.mean(0)) / s, dy * gamma
        m = len(x) - (len(x) % 2 or len(x) == also)
        return (g - g.sum(0) / m - n * (g * n).sum(0) / m) / s, (dy * n).sum(0), dy.sum(0)

    (cause,) = verify(backward, lines=False).diagnosis
    assert cause.code == "count-minus-1"
    assert ("only when m is odd" in cause.text) == said


SHORT = """
import numpy as np


def norm_forward(x, gamma, beta, eps=1e-5):
    x = x.astype(np.float32)
    s = np.sqrt(x.var(0) + np.float32(eps))
    n = (x - x.mean(0)) / s
    return gamma.astype(np.float32) * n + beta.astype(np.float32), (n, s, gamma)


def norm_backward(dy, cache):
    n, s, gamma = cache
    dy, g = dy.astype(np.float32), dy.astype(np.float32) * gamma.astype(np.float32)
    return (g - g.mean(0) - n * (g * n).mean(0)) / s, (dy * n).sum(0), dy.sum(0)
"""


def test_code_that_computes_in_float32_is_judged_by_float32(tmp_path):
    path = tmp_path / "short.py"
    path.write_text(SHORT)
    report = verify(str(path))
    assert report.verdict == "right", str(report)
    assert "computes-short" in {r.code for r in report.remarks}
    path.write_text(SHORT.replace("- n * (g", "+ n * (g"))
    report = verify(str(path))
    assert {g.name: g.verdict for g in report.gradients} == {
        "dx": "wrong", "dgamma": "right", "dbeta": "right",
    }  # fmt: skip


def test_a_gradient_that_is_not_returned_is_in_the_headline():
    def backward(dy, x, gamma, beta, eps):
        s = np.sqrt(x.var(0) + eps)
        n, g = (x - x.mean(0)) / s, dy * gamma
        return (g - g.mean(0) - n * (g * n).mean(0)) / s

    report = verify(backward)
    assert report.headline == "right, but dgamma, dbeta not found"
    assert str(report).startswith(report.headline)
    assert (report.code(), report.code(strict=True)) == (0, 1)
