"""The oracle is whoever made the mistake: the line that was changed is the line to mend."""

import os
import runpy
import sys
import threading

import numpy as np
import pytest

from bncheck.place import edits, lines
from bncheck.verification import verify
from tests.conftest import ROOT
from tests.mutants import WRONG
from tests.staged import MISTAKES, SEEN, SOURCES, every_mistake, wrong

SHARE = 0.9
EVERY = 11
"""Of the mistakes one in so many is tried here; ``tests/benchmarks/lines.py`` tries all."""


def named(path, *case):
    source, line = wrong(*case)
    path.write_text(source)
    report = verify(str(path))
    assert report.verdict == "wrong", case
    return report.diagnosis[0], line


def test_nearly_always_it_is_the_line_that_was_changed(tmp_path):
    cases = every_mistake()[::EVERY]
    assert len(cases) >= 20
    missed = []
    for number, case in enumerate(cases):
        found, line = named(tmp_path / f"case{number}.py", *case)
        if found.line != line:
            missed.append((case, line, found.line_text))
    assert len(missed) <= (1 - SHARE) * len(cases), missed


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", SOURCES)
def test_right_ones_are_right_and_get_no_line(name, tmp_path):
    path = tmp_path / "right.py"
    path.write_text(SOURCES[name].lstrip())
    report = verify(str(path))
    assert (report.verdict, report.diagnosis) == ("right", ())


@pytest.mark.parametrize(
    ("case", "text"),
    [
        (("nine steps", "0.5 * 1. / np.sqrt", "1. / np.sqrt"), "dvar: 2 x the right value"),
        (("nine steps", "dmu = -1 * np.sum", "dmu = np.sum"), "dmu: -1 x the right value"),
        (("nine steps", "dsq = 1. / N", "dsq = 1. / (N - 1)"), "dsq: 7/6 x the right value"),
        (("paper", "m = x.shape[0]", "m = x.shape[1]"), "m: 3 where 7 belongs"),
        (("helpers", "return -np.sum(", "return np.sum("), "gmean: -1 x the right value"),
    ],
)
def test_what_is_said(case, text, tmp_path):
    found, line = named(tmp_path / "case.py", *case)
    assert found.line == line
    assert found.line_text.startswith(f"line {line}, {text}")


def test_the_line_before_it_that_is_right_is_named(tmp_path):
    case = "nine steps", "0.5 * 1. / np.sqrt", "1. / np.sqrt"
    found, line = named(tmp_path / "case.py", *case)
    assert "; dsqrtvar on line 30 is right; `" in found.line_text


def test_one_line_of_the_report_and_none_where_it_is_not_wanted(bncheck, tmp_path):
    path = tmp_path / "case.py"
    source, line = wrong("paper", "* -0.5 * (var", "* 0.5 * (var")
    path.write_text(source)
    done = bncheck("verify", path)
    assert f"line {line}, dvar: -1 x the right value; dx_norm on line" in done.stdout
    assert len(done.stdout.splitlines()) <= 25
    assert f"line {line}," not in bncheck("verify", path, "--no-lines").stdout
    assert f'"line": {line}' in bncheck("verify", path, "--json").stdout


def test_callables_have_lines_too():
    before = sys.gettrace()
    report = verify(WRONG["variance twice"][1], layer="batch-norm")
    assert sys.gettrace() is before
    assert report.diagnosis[0].line is not None


def backward_of(body):
    """A wrong backward pass with something in it that is hard to trace."""
    return f"""
import sys, threading
import numpy as np

def depth(n):
    return 0 if n == 0 else depth(n - 1)

def batchnorm_backward(dout, x, gamma, beta, eps):
    m = len(x)
    xmu = x - x.mean(axis=0)
    std = np.sqrt((xmu ** 2).mean(axis=0) + eps)
    xhat = xmu / std
{body}
    dbeta = dout.sum(axis=0)
    dgamma = (dout * xhat).sum(axis=0)
    dx = gamma / std * (dout - dbeta / m + xhat * dgamma / m)  # <-- here
    return dx, dgamma, dbeta
"""


HARD = {
    "threads": """
    found = {}
    worker = threading.Thread(target=lambda: found.update(s=dout.sum(axis=0)))
    worker.start()
    worker.join()
""",
    "exec": '    exec("total = dout.sum(axis=0)", {"dout": dout})\n',
    "generator": "    rows = list(row * 2 for row in dout)\n    total = sum(rows)\n",
    "recursion": "    depth(500)\n",
    "own trace": "    sys.settrace(None)\n",
    "many steps": "    for k in range(30000):\n        total = k * 0.5\n",
    "comprehension": "    total = [[v for v in row] for row in dout]\n",
    "caught": "    try:\n        dout[10 ** 6]\n    except IndexError:\n        total = 0\n",
    "objects": "    self = type('Thing', (), {})()\n    self.a = dout\n    self.b = {}\n",
    "closure": "    def inner():\n        return xhat * 2\n    total = inner()\n",
    "random": "    noise = np.random.default_rng().normal(size=3)\n",
    "complex": "    z = dout * 1j\n    nothing = np.zeros((0, 3))\n    text = np.array(['a'])\n",
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", HARD)
def test_what_cannot_be_traced_changes_no_verdict(kind, tmp_path):
    path = tmp_path / "hard.py"
    path.write_text(backward_of(HARD[kind]).lstrip())
    with_lines = verify(str(path), layer="batch-norm")
    without = verify(str(path), layer="batch-norm", lines=False)
    assert [d.text for d in with_lines.diagnosis] == [d.text for d in without.diagnosis]
    assert with_lines.verdict == without.verdict == "wrong"
    assert {d.line for d in without.diagnosis} == {None}
    here = next(n for n, t in enumerate(path.read_text().splitlines(), 1) if "here" in t)
    assert with_lines.diagnosis[0].line in (here, None)
    if kind not in ("own trace", "many steps"):
        assert with_lines.diagnosis[0].line == here


ENDLESS = "    k, step = 0, float(m)\n    while k != m:\n        k += m / step\n"


STUBBORN = """    k, step = 0, float(m)
    while k != m:
        try:
            k += m / step
        except Exception:
            pass
"""


@pytest.mark.parametrize("body", [ENDLESS, STUBBORN])
def test_a_value_in_anothers_place_may_not_run_for_ever(body, tmp_path):
    path = tmp_path / "endless.py"
    path.write_text(backward_of(body).lstrip())
    report = verify(str(path), layer="batch-norm", timeout=20)
    assert report.verdict == "wrong"
    assert "took more than" not in report.assumed


def test_code_that_would_have_to_be_run_too_often_keeps_its_verdict(monkeypatch, tmp_path):
    path = tmp_path / "case.py"
    path.write_text(wrong("nine steps", "dx = dx1 + dx2", "dx = dx1 - dx2")[0])
    (full,) = verify(str(path)).diagnosis
    monkeypatch.setattr(lines, "RUNS", 1)
    monkeypatch.setattr(edits, "MOST", 0)
    (short,) = verify(str(path)).diagnosis
    assert (full.line is None, short.line) == (False, None)
    assert (short.text, short.terms) == (full.text, full.terms)


STARRED = """
import torch

class LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, gamma, beta, eps):
        mu = x.mean(dim=1, keepdim=True)
        rstd = (((x - mu) ** 2).mean(dim=1, keepdim=True) + eps) ** -0.5
        xhat = (x - mu) * rstd
        ctx.save_for_backward(xhat, rstd, gamma)
        return gamma * xhat + beta

    @staticmethod
    def backward(ctx, *grads):
        xhat, rstd, gamma = ctx.saved_tensors
        dout, = grads
        dxhat = dout * gamma
        a = dxhat.mean(dim=1, keepdim=True)
        b = (dxhat * xhat).mean(dim=1, keepdim=True)
        dx = (dxhat - a + xhat * b) * rstd  # <-- here
        return dx, (dout * xhat).sum(dim=0), dout.sum(dim=0), None
"""


def test_an_upstream_gradient_may_come_under_a_star(tmp_path):
    """No argument of the backward pass is an array: which one holds dy is not to be seen."""
    pytest.importorskip("torch")
    path = tmp_path / "starred.py"
    path.write_text(STARRED.lstrip())
    (cause,) = verify(str(path)).diagnosis
    here = next(n for n, t in enumerate(path.read_text().splitlines(), 1) if "here" in t)
    assert (cause.gradient, cause.line) == ("dx", here)


APART = {
    "forwards.py": """
import numpy as np


def batchnorm_forward(x, gamma, beta, eps):
    xmu = x - x.mean(axis=0)
    ivar = 1 / np.sqrt((xmu ** 2).mean(axis=0) + eps)
    xhat = xmu * ivar
    rstd = ivar * 2
    return gamma * xhat + beta, (xhat, gamma, rstd)
""",
    "backwards.py": """
def batchnorm_backward(dout, cache):
    xhat, gamma, rstd = cache
    m = len(dout)
    dxhat = dout * gamma
    dbeta = dout.sum(axis=0)
    dgamma = (dout * xhat).sum(axis=0)
    inner = m * dxhat - dxhat.sum(axis=0) - xhat * (dxhat * xhat).sum(axis=0)
    return inner * rstd / m, dgamma, dbeta
""",
}


def test_a_line_of_another_file_is_said_to_be_there(tmp_path):
    """The cause has no line then: those of a report are the file's own."""
    namespaces = {}
    for name, text in APART.items():
        (tmp_path / name).write_text(text)
        namespaces[name] = runpy.run_path(str(tmp_path / name))
    forward = namespaces["forwards.py"]["batchnorm_forward"]
    backward = namespaces["backwards.py"]["batchnorm_backward"]
    (cause,) = verify(backward, forward=forward, layer="batch-norm").diagnosis
    assert cause.line is None
    assert cause.line_text.startswith("line 9 of forwards.py, rstd: 2 x the right value")


def test_tracing_is_taken_off_where_it_fails():
    def backward(dy, x, gamma, beta, eps):
        assert threading.current_thread() is threading.main_thread()
        return dy * np.nan, dy[0], dy[0]

    assert verify(backward, layer="batch-norm").verdict == "wrong"
    assert sys.gettrace() is None or "coverage" in repr(sys.gettrace())


def test_the_cases_are_many_and_of_many_kinds():
    assert set(MISTAKES) == set(SOURCES)
    assert len(every_mistake()) >= 200
    assert len(SEEN) < len(SOURCES)


NO_CLOCK = """
import subprocess, sys, threading, time


def broken(own):
    def clock(*_):
        asker = sys._getframe(1).f_globals["__name__"]
        if asker == "multiprocessing.connection":  # which ends a child that never answers
            return own()
        raise RuntimeError(f"{asker} looks at the clock")

    return clock


for name in dir(time):
    if name.startswith(("monotonic", "perf_counter", "process_time", "thread_time")):
        setattr(time, name, broken(getattr(time, name)))
"""


TIMELESS = {
    "many tries": wrong("nine steps", "dx = dx1 + dx2", "dx = dx1 - dx2")[0],
    "without end": backward_of(ENDLESS).lstrip(),
}


@pytest.mark.parametrize("case", TIMELESS)
def test_no_clock_decides_anything(case, bncheck, tmp_path):
    """Neither here nor in the child, which finds ``sitecustomize`` on its path as well."""
    path = tmp_path / "case.py"
    path.write_text(TIMELESS[case])
    (tmp_path / "sitecustomize.py").write_text(NO_CLOCK)
    timeless = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    usual, without = (bncheck("verify", path, "--json", env=env) for env in ({}, timeless))
    assert '"line":' in usual.stdout
    assert (without.returncode, without.stdout) == (usual.returncode, usual.stdout)
