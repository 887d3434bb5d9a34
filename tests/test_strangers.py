"""Code of strangers: unusual conventions, mistakes of other kinds, and input that is none.

Oracle for the mistakes: the right file next to each, from which it differs in one place.
"""

import os
import re

import numpy as np
import pytest

from bncheck.subject.loading import load
from bncheck.subject.messages import Target
from bncheck.telling.errors import CannotAsk
from bncheck.verification import verify, verify_all
from tests.cases.strangers import BODIES, EDITS, FILES
from tests.test_bad_code import CODE

HEAD = "import numpy as np\n"


def written(tmp_path, source):
    path = tmp_path / "stranger.py"
    path.write_text(HEAD + source)
    return str(path)


@pytest.mark.parametrize("name", FILES)
def test_a_right_one_is_right_without_an_edit(tmp_path, name):
    report = verify(written(tmp_path, FILES[name]))
    said = [r for r in report.remarks if r.code not in ("updates-parameters", "dtype-changed")]
    assert (report.verdict, said) == ("right", []), str(report)
    assert not any(r.code == "not-returned" for r in report.remarks)


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("name", "old", "new", "code"), EDITS, ids=lambda v: str(v)[:30])
def test_a_mistake_in_it_is_found_and_named(tmp_path, name, old, new, code):
    assert FILES[name].count(old) == 1
    report = verify(written(tmp_path, FILES[name].replace(old, new)), lines=False)
    assert report.verdict == "wrong", str(report)
    assert code is None or report.diagnosis[0].code == code, str(report)


@pytest.mark.parametrize("case", BODIES)
def test_misbehaviour_has_one_clear_answer(tmp_path, case, bncheck):
    body, code, said = BODIES[case]
    path = tmp_path / "code.py"
    path.write_text(CODE.format(body=body))
    done = bncheck("verify", path, cwd=tmp_path)
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert len(done.stdout) < 5000


STALE = """
class BatchNorm:
    def __init__(self, dim):
        self.gamma, self.beta, self.eps = np.ones(dim), np.zeros(dim), 1e-5
    def forward(self, x):
        self.sd = np.sqrt(x.var(0) + self.eps)
        {kept}
        return self.gamma * self.xhat + self.beta
    def backward(self, dy):
        {total}
        self.dbeta = dy.sum(0)
        d = self.gamma * dy
        return (d - d.mean(0) - self.xhat * (d * self.xhat).mean(0)) / self.sd
"""
FRESH = "self.xhat = (x - x.mean(0)) / self.sd"
ONCE = "self.dgamma = (dy * self.xhat).sum(0)"


def test_an_object_is_used_twice(tmp_path):
    fine = verify(written(tmp_path, STALE.format(kept=FRESH, total=ONCE)))
    assert (fine.verdict, fine.remarks) == ("right", ())
    stale = f"if not hasattr(self, 'xhat') or self.xhat.shape != x.shape: {FRESH}"
    kept = verify(written(tmp_path, STALE.format(kept=stale, total=ONCE)))
    assert "state" in {r.code for r in kept.remarks} or kept.verdict == "wrong"
    adds = "self.dgamma = getattr(self, 'dgamma', 0) + (dy * self.xhat).sum(0)"
    grows = verify(written(tmp_path, STALE.format(kept=FRESH, total=adds)))
    assert (grows.verdict, grows.code(strict=True)) == ("right", 0), str(grows)


def test_gradients_that_have_names_are_not_exchanged_in_silence(tmp_path):
    other = "self.dbeta = (dy * self.xhat).sum(0)"
    source = STALE.format(kept=FRESH, total=other).replace(
        "self.dbeta = dy.s", "self.dgamma = dy.s"
    )
    report = verify(written(tmp_path, source))
    assert report.verdict == "wrong"
    assert {d.code for d in report.diagnosis} == {"exchanged"}


def test_the_shape_of_a_gradient_is_that_of_the_objects_own_parameter(tmp_path):
    flat = FILES["parameters with all axes"].replace("axis=axes, keepdims=True)\n", "axis=axes)\n")
    report = verify(written(tmp_path, flat))
    said = {r.text for r in report.remarks}
    assert any(t.startswith("dgamma has shape (") and "(1, " in t for t in said), said


def test_numbers_that_mean_nothing_are_refused(tmp_path):
    path = written(tmp_path, FILES["slots"])
    for name, value in (
        ("timeout", 0.0), ("timeout", -1.0), ("timeout", np.nan), ("seed", -1), ("trials", -1),
        ("eps", -1.0), ("eps", np.nan), ("eps", np.inf), ("ddof", 2),
    ):  # fmt: skip
        with pytest.raises(CannotAsk, match=f"{name} is .*; expected"):
            verify(path, **{name: value})
    with pytest.raises(CannotAsk, match="expected FILE"):
        verify("")
    with pytest.raises(CannotAsk, match="expected FILE"):
        verify(path + ":")
    assert verify(path, timeout=np.inf).verdict == "right"


def test_a_layout_that_there_is_not(tmp_path):
    path = written(tmp_path, FILES["features first"])
    assert "has no layout 'XY'" in verify(path, layout="XY").assumed


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"x": np.full((4, 3), np.nan)}, r"x of the inputs is nan at \[0, 0\]"),
        ({"gamma": np.array([1, np.inf, 1])}, r"gamma of the inputs is inf at \[1\]"),
        ({"x": np.ones((0, 3))}, "it is empty"),
        ({"x": np.ones((4, 3)) + 1j}, "expected real numbers"),
        ({"x": np.ones((4, 3), bool)}, "expected real numbers"),
        ({"x": np.array([["a"] * 3] * 4)}, "expected real numbers"),
        ({"eps": -1.0}, "expected a number from 0 on"),
        ({"eps": np.ones(2)}, "expected a number from 0 on"),
        ({"eps": "a"}, "expected real numbers"),
        ({"x": np.ones((4, 2))}, "expected 2 values for gamma"),
    ],
    ids=str,
)
def test_inputs_that_are_none(given, said, tmp_path):
    good = {"x": np.eye(4, 3), "dy": np.ones((4, 3)), "gamma": np.ones(3), "eps": 1e-5}
    report = verify(written(tmp_path, FILES["slots"]), inputs={**good, **given})
    assert report.verdict == "cannot call"
    assert re.search(said, report.assumed), report.assumed


def test_inputs_of_whole_numbers_and_of_other_names(tmp_path):
    path = written(tmp_path, FILES["slots"])
    whole = {"x": np.arange(12).reshape(4, 3), "dy": np.arange(12).reshape(4, 3) % 5}
    assert verify(path, inputs=whole).verdict == "right"
    assert "expected x, dy, gamma" in verify(path, inputs={"foo": np.ones(3)}).assumed


def test_what_is_no_regular_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.py")
    with pytest.raises(CannotAsk, match="no regular file"):
        load(Target.parse(str(tmp_path / "pipe.py")))


def test_a_message_does_not_list_a_whole_library():
    with pytest.raises(CannotAsk, match=r"has no function or class 'nope'.* \d+ more") as raised:
        verify_all("numpy:nope")
    assert len(str(raised.value)) < 600


def test_bfloat16_is_judged_as_such():
    kind = np.dtype(pytest.importorskip("ml_dtypes").bfloat16)

    def backward(dy, x, gamma, beta, eps):
        d, v, g = (
            np.asarray(a, np.float32 if a.dtype == kind else a.dtype) for a in (dy, x, gamma)
        )
        sd = np.sqrt(v.var(0) + eps)
        xhat = (v - v.mean(0)) / sd
        factor = 1 + wrong * (x.dtype == kind)
        dx = factor * g / sd * (d - d.mean(0) - xhat * (d * xhat).mean(0))
        return tuple(a.astype(x.dtype) for a in (dx, (d * xhat).sum(0), d.sum(0)))

    rng = np.random.default_rng(0)
    drawn = {"x": rng.standard_normal((9, 4)), "dy": rng.standard_normal((9, 4))}
    inputs = {k: v.astype(kind) for k, v in {**drawn, "gamma": np.ones(4)}.items()}
    wrong = 0.0
    assert verify(backward, layer="batch-norm", inputs=inputs).verdict == "right"
    wrong = 4.0
    assert verify(backward, layer="batch-norm", inputs=inputs).verdict in ("wrong", "inaccurate")
