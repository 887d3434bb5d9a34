"""Backward passes that misbehave, through the whole of ``verify``: one clear answer for each."""

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from bncheck.verification import assert_gradients, verify
from tests.mutants import RIGHT, WRONG

CODE = """
import os, sys
import numpy as np
def _right(dy, x, gamma, eps):
    mu, std = x.mean(axis=0), np.sqrt(x.var(axis=0) + eps)
    xhat = (x - mu) / std
    dgamma, dbeta = (dy * xhat).sum(axis=0), dy.sum(axis=0)
    return gamma / std * (dy - dbeta / len(x) - xhat * dgamma / len(x)), dgamma, dbeta
def backward(dy, x, gamma, eps):
    {body}
"""
RETURNS = "return _right(dy, x, gamma, eps)"
CASES = {
    "prints 125 MB": (f"print('x' * 5_000_000, flush=True); {RETURNS}", "right", ""),
    "forks": (f"os.fork(); {RETURNS}", "right", ""),
    "closes stdout": (f"sys.stdout.close(); {RETURNS}", "right", ""),
    "warns": (f"import warnings; warnings.warn('hm'); {RETURNS}", "right", ""),
    "numpy that raises": (f"np.seterr(all='raise'); {RETURNS}", "right", ""),
    "a list": ("return [a.tolist() for a in _right(dy, x, gamma, eps)]", "right", ""),
    "a subclass": ("return [np.ma.array(a) for a in _right(dy, x, gamma, eps)]", "right", ""),
    "matrices": ("return [np.asmatrix(a) for a in _right(dy, x, gamma, eps)]", "right", ""),
    "all memory": ("np.ones((400, 1000, 1000, 100))", "cannot call", "MemoryError"),
    "hangs": ("\n    while True: pass", "cannot call", "took more than 3 s"),
    "crashes": ("import ctypes; ctypes.string_at(0)", "cannot call", "SIGSEGV"),
    "exits": ("sys.exit(3)", "cannot call", "called sys.exit(3)"),
    "exits at once": ("os._exit(0)", "cannot call", "ended the interpreter"),
    "without end": ("return backward(dy, x, gamma, eps)", "cannot call", "RecursionError"),
    "a generator": ("yield _right(dy, x, gamma, eps)", "cannot call", "a generator; expected"),
    "nothing": ("return None", "cannot call", "returned None; expected (dx, dgamma, dbeta)"),
    "not finished": ("return None, None, None", "cannot call", "it is not finished"),
    "text": ("return 'a', 'b', 'c'", "cannot call", "a str; expected an array of numbers"),
    "objects": (
        "return [a.astype(object) for a in _right(dy, x, gamma, eps)]", "cannot call",
        "an array of object",
    ),
    "complex": ("return [a + 0j for a in _right(dy, x, gamma, eps)]", "cannot call", "is complex"),
    "too many": ("return (*_right(dy, x, gamma, eps), 1)", "right", "returns 4 values; 1 of them"),
    "NaN in dgamma": (
        "a, b, c = _right(dy, x, gamma, eps); return a, b * np.nan, c", "wrong", "NaN or infinity",
    ),
    "integers": (
        "return [a.astype(int) for a in _right(dy, x, gamma, eps)]", "wrong", "fractions are cut",
    ),
    "scalars": ("return 1.0, 2.0, 3.0", "wrong", "has shape (), expected (7, 3)"),
    "by chance": (
        "a, b, c = _right(dy, x, gamma, eps); return a + np.random.rand(), b, c", "wrong", "",
    ),
}  # fmt: skip


def _file(tmp_path, body):
    path = tmp_path / "code.py"
    path.write_text(CODE.format(body=body))
    return str(path)


@pytest.mark.parametrize("case", CASES)
def test_one_clear_answer(tmp_path, case):
    body, verdict, said = CASES[case]
    report = verify(_file(tmp_path, body), timeout=3.0 if case == "hangs" else 30.0)
    assert report.verdict == verdict, str(report)
    assert said in str(report)
    assert "Traceback" not in str(report)
    assert report.code() == {"right": 0, "wrong": 1, "cannot call": 2}[verdict]


def test_what_lies_beside_the_code_is_not_the_standard_library(tmp_path, bncheck):
    (tmp_path / "random.py").write_text("raise SystemExit('not yours')")
    assert bncheck("verify", _file(tmp_path, RETURNS)).returncode == 0


def test_output_is_captured_and_shown_on_request(tmp_path, bncheck):
    path = _file(tmp_path, f"print('hello from the code'); {RETURNS}")
    quiet, loud = bncheck("verify", path), bncheck("verify", path, "--show-output")
    assert "hello" not in quiet.stdout + quiet.stderr
    assert "hello from the code" in loud.stderr


def test_json_has_what_is_promised(tmp_path, bncheck):
    path = _file(tmp_path, "a, b, c = _right(dy, x, gamma, eps); return a * np.nan, b, -c")
    done = bncheck("verify", path, "--json")
    record = json.loads(done.stdout)
    assert (done.returncode, record["schema"], record["exit_code"]) == (1, 1, 1)
    (result,) = record["results"]
    assert {
        "target", "line", "layer", "layout", "eps", "ddof", "verdict", "remarks", "gradients",
        "diagnosis",
    } <= result.keys()  # fmt: skip
    assert {(d["code"], d["gradient"]) for d in result["diagnosis"]} == {
        ("not-finite", "dx"), ("sign", "dbeta"),
    }  # fmt: skip
    lost = bncheck("verify", tmp_path / "none.py", "--json")
    assert lost.returncode == 2
    assert "does not exist" in json.loads(lost.stdout)["error"]


def test_the_other_formats(tmp_path, bncheck):
    path = _file(tmp_path, "a, b, c = _right(dy, x, gamma, eps); return a, b, -c")
    junit = ElementTree.fromstring(bncheck("verify", path, "--format", "junit").stdout)
    assert junit.get("failures") == "1"
    assert "wrong sign" in junit.find("testcase/failure").get("message")
    said = bncheck("verify", path, "--format", "github").stdout
    assert said.startswith(f"::error file={path},line=10,title=")  # the line that is wrong
    table = bncheck("verify", path, "--format", "markdown").stdout
    assert "| **wrong** |" in table
    assert "- dbeta: dbeta has the wrong sign" in table


def test_a_failure_can_be_replayed(tmp_path, bncheck):
    path = _file(
        tmp_path, "a, b, c = _right(dy, x, gamma, eps); return a * (1 + (len(x) == 8)), b, c"
    )
    saved = tmp_path / "failure.npz"
    assert bncheck("verify", path, "--save-failure", saved).returncode == 1
    with np.load(saved) as archive:
        assert set(archive.files) >= {"x", "dy", "gamma", "eps"}
        assert archive["x"].shape[0] == 8
    again = bncheck("verify", path, "--inputs", saved, "--json")
    (result,) = json.loads(again.stdout)["results"]
    assert "your inputs" in result["trials"]
    assert result["verdict"] == "wrong"


def test_inputs_that_are_none(tmp_path, bncheck):
    path = _file(tmp_path, RETURNS)
    other = tmp_path / "text.npz"
    other.write_text("no archive")
    for given, said in ((other, "no .npz file"), (tmp_path / "none.npz", "does not exist")):
        done = bncheck("verify", path, "--inputs", given)
        assert done.returncode == 2
        assert said in done.stderr
    np.savez(other, x=np.ones(3), dy=np.ones(4))
    assert "expected (N, D)" in bncheck("verify", path, "--inputs", other).stdout


def test_strict_fails_remarks(tmp_path, bncheck):
    path = _file(tmp_path, "a, b, c = _right(dy, x, gamma, eps); return a, b[None], c")
    assert bncheck("verify", path).returncode == 0
    assert bncheck("verify", path, "--strict").returncode == 1


def test_options_that_mean_nothing_are_refused(tmp_path, bncheck):
    path = _file(tmp_path, RETURNS)
    for arguments, said in (
        (("--name", "dy"), "expected PARAMETER=ROLE"),
        (("--name", "dy=upstream"), "expected PARAMETER=ROLE"),
        (("--layer", "no-norm"), "no layer is called"),
    ):
        done = bncheck("verify", path, *arguments)
        assert (done.returncode, said in done.stderr) == (2, True)
    done = bncheck("verify", path, "--layer", "batch-norm", "--layout", "XYZ")
    assert (done.returncode, "has no layout" in done.stdout) == (2, True)


def test_assert_gradients_says_it_with_the_report():
    assert assert_gradients(RIGHT["batch closed"][1], layer="batch-norm").verdict == "right"
    with pytest.raises(AssertionError, match=r"dx: .*sign of the path through the variance"):
        assert_gradients(WRONG["variance sign"][1], layer="batch-norm")

    def keeps(dy, x, gamma, beta, eps):
        dx, dgamma, dbeta = RIGHT["batch closed"][1](dy, x, gamma, beta, eps)
        return dx, dgamma[None], dbeta

    assert_gradients(keeps, layer="batch-norm")
    with pytest.raises(AssertionError, match=r"dgamma has shape \(1, 3\)"):
        assert_gradients(keeps, layer="batch-norm", strict=True)
