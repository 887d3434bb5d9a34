"""What can be added stands in one file and the rows of its tables; README's list says where.

Oracle: each edit is made in a copy of the package, and the command line of the copy has to know
what was added. An edit that has to touch more than it may fails here.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def house(tmp_path):
    """Edit a copy of the package; run its command line on a file."""
    copy = tmp_path / "copy"
    shutil.copytree(
        ROOT / "bncheck", copy / "bncheck", ignore=shutil.ignore_patterns("__pycache__")
    )

    def add(place, *edits, new=None):
        path = copy / "bncheck" / place
        if new is not None:
            assert not path.exists()
            path.write_text(new)
        for old, more in edits:
            text = path.read_text()
            assert text.count(old) == 1, (place, old)
            path.write_text(text.replace(old, more))

    def verify(source, *options):
        file = tmp_path / "code.py"
        file.write_text(source)
        done = subprocess.run(
            [sys.executable, "-m", "bncheck", "verify", str(file), *options],
            capture_output=True, text=True, timeout=120, cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy)},
        )  # fmt: skip
        assert done.returncode in (0, 1), done.stderr
        return done.stdout

    house = type("House", (), {"add": staticmethod(add), "verify": staticmethod(verify)})
    house.report = staticmethod(lambda s, *o: json.loads(verify(s, "--json", *o))["results"][0])
    return house


BATCH_NORM = """
import numpy as np

def batchnorm_backward(dy, x, gamma, beta, eps):
    xhat = (x - x.mean(0)) / np.sqrt(x.var(0) + eps)
    dx = gamma / np.sqrt(x.var(0) + eps) * (dy - dy.mean(0) - xhat * (dy * xhat).mean(0))
    return dx, (dy * xhat).sum(0), dy.sum(0)
"""

POSITIONAL_NORM = '''

@cache
def positional_norm() -> Program:
    """Positional norm of x: (N, C, L): every position of every sample over its channels."""
    return Program(
        name="positional-norm",
        title="Positional norm",
        axes=(n, c, l),
        inputs=(x[n, c, l], *_affine(True, c), eps),
        steps=(
            Step(mu[n, l], Mean(x[n, c, l], c), "mean of the position"),
            Step(var[n, l], Mean((x[n, c, l] - mu[n, l]) ** 2, c), "variance over the channels"),
            Step(sd[n, l], sqrt(var[n, l] + eps), "standard deviation"),
            Step(xhat[n, c, l], (x[n, c, l] - mu[n, l]) / sd[n, l], "normalised"),
            _scaled(True, (n, c, l), c),
        ),
        outputs=(y[n, c, l],),
        wrt=(x[n, c, l], *_affine(True, c)),
    )


_CENTRED ='''

USER = """
import numpy as np

def forward(x, gamma, beta, eps):
    shape = (1, -1) + (1,) * (x.ndim - 2)
    mean = x.mean(axis=1, keepdims=True)
    sd = np.sqrt(((x - mean) ** 2).mean(axis=1, keepdims=True) + eps)
    xhat = (x - mean) / sd
    return gamma.reshape(shape) * xhat + beta.reshape(shape), (xhat, sd, gamma)

def backward(dy, cache):
    xhat, sd, gamma = cache
    assert dy.ndim == RANK
    rest = (0,) + tuple(range(2, dy.ndim))
    g = dy * gamma.reshape((1, -1) + (1,) * (dy.ndim - 2))
    inner = g.mean(axis=1, keepdims=True)
    inner = inner + xhat * (g * xhat).mean(axis=1, keepdims=True)
    return (g - inner) / sd, (dy * xhat).sum(axis=rest), dy.sum(axis=rest)
"""


def test_a_layer_is_one_row_and_is_recognised_in_rows_and_in_images(house):
    house.add(
        "algebra/layers.py",
        ("\n\n_CENTRED =", POSITIONAL_NORM),
        ('    "weight-norm": (weight_norm, {}),\n',
         '    "weight-norm": (weight_norm, {}),\n    "positional-norm": (positional_norm, {}),\n'),
    )  # fmt: skip
    for rank, layout in ((3, "(N, C, L)"), (4, "(N, C, H, W)")):
        right = USER.replace("RANK", str(rank))
        report = house.report(right)
        assert (report["verdict"], report["layer"], report["layout"]) == (
            "right", "positional-norm", layout,
        )  # fmt: skip
        wrong = right.replace("inner = g.mean(axis=1, keepdims=True)", "inner = 0.0")
        report = house.report(wrong)
        assert report["verdict"] == "wrong"
        assert report["diagnosis"][0]["code"] == "path-missing"


def test_a_calling_convention_is_a_file_and_a_row(house):
    row = '    Convention("double", double.find,'
    house.add(
        "subject/conventions/__init__.py",
        (row, '    Convention("generator", generator.find, generator.output_of, generator.run,\n'
         "               read, functions.exchange_alone),\n" + row),
        ("import autograd, double, functions", "import autograd, double, functions, generator"),
    )  # fmt: skip
    house.add(
        "subject/conventions/generator.py",
        new='''"""A generator: it gives y, is sent dy."""

import inspect
from dataclasses import replace

from bncheck.subject.conventions.implementations import Implementation, Ran, summarised
from bncheck.subject.conventions.returned import output
from bncheck.subject.signature import called, roles_taken


def find(name, thing, beside):
    if not inspect.isgeneratorfunction(thing):
        return None
    takes = roles_taken(thing, name, beside.said)
    found = summarised(name, "generator", thing, takes, None)
    return Implementation(replace(found, has_forward=True), thing, thing, beside.said)


def output_of(own, given):
    return output(next(called(own.forward, given, own.roles)))


def run(own, given):
    started = called(own.forward, given, own.roles)
    y = output(next(started))
    return Ran(y, started.send(given["dy"]), {})
''',
    )
    right = """
import numpy as np

def norm_and_backward(x, gamma, beta, eps):
    sd = np.sqrt(x.var(0) + eps)
    xhat = (x - x.mean(0)) / sd
    dy = yield gamma * xhat + beta
    dx = gamma / sd * (dy - dy.mean(0) - 1.0 * xhat * (dy * xhat).mean(0))
    yield dx, (dy * xhat).sum(0), dy.sum(0)
"""
    report = house.report(right)
    assert (report["verdict"], report["layer"]) == ("right", "batch-norm")
    assert {g["name"] for g in report["gradients"]} == {"dx", "dgamma", "dbeta"}
    assert house.report(right.replace("1.0 * xhat", "2.0 * xhat"))["verdict"] == "wrong"


def test_a_cause_is_a_source_and_two_rows(house):
    house.add(
        "cause/cubes.py",
        new='''"""A gradient that was cubed."""

from bncheck.cause.hypothesis import Hypothesis
from bncheck.telling.codes import found


def cubed(question):
    def made(one, gradient):
        return one.reference.gradients[gradient] ** 3

    yield Hypothesis(found("cubed", gradient=question.gradient), made)
''',
    )
    house.add(
        "cause/causes.py",
        ("import forwards,", "import cubes, forwards,"),
        ("    programs.joint_counts,\n", "    cubes.cubed,\n    programs.joint_counts,\n"),
    )
    row = "_CAUSE: dict[str, Code] = {\n"
    house.add("telling/sentences.py",
              (row, row + '    "cubed": Code("cause", "{gradient} is cubed"),\n'))  # fmt: skip
    report = house.report(BATCH_NORM.replace("return dx,", "return dx**3,"))
    assert [(d["code"], d["text"]) for d in report["diagnosis"]] == [("cubed", "dx is cubed")]


def test_a_remark_is_made_in_one_place_and_has_a_row(house):
    old = "    first = True\n    for trial in trials:\n"
    house.add("verdict/observations.py",
              (old, '    findings.append(found("asked-often", count=len(trials)))\n' + old)
              )  # fmt: skip
    row = "_VERDICT: dict[str, Code] = {\n"
    house.add("telling/sentences.py",
              (row, row + '    "asked-often": Code("remark", "asked {count} times"),\n')
              )  # fmt: skip
    report = house.report(BATCH_NORM)
    (remark,) = (r for r in report["remarks"] if r["code"] == "asked-often")
    assert remark["text"] == f"asked {len(report['trials'])} times"


def test_an_output_format_is_a_function_and_a_row(house):
    row = '    "json": as_json,\n'
    house.add(
        "telling/formats.py",
        (row, row + '    "csv": as_csv,\n'),
        ("def as_json(", "def as_csv(reports, strict):\n"
         '    return "".join(f"{r.name},{r.verdict}\\n" for r in reports)\n\n\ndef as_json('),
    )  # fmt: skip
    assert house.verify(BATCH_NORM, "--format", "csv") == "batchnorm_backward,right\n"


def test_an_option_of_verify_is_a_field_and_what_it_does(house):
    house.add("settings.py", (
        "    lines: bool = option(",
        '    example: bool = option(True, "The smallest input.", "--example/--no-example")\n'
        "    lines: bool = option(",
    ))  # fmt: skip
    house.add("verification.py", (
        "if by_hand else None\n    with",
        "if by_hand and settings.example else None\n    with",
    ))  # fmt: skip
    wrong = BATCH_NORM.replace("dy - dy.mean(0)", "dy")
    assert house.report(wrong)["counterexample"] is not None
    assert house.report(wrong, "--no-example")["counterexample"] is None


def test_an_edit_that_does_not_fit_is_seen(house):
    with pytest.raises(AssertionError):
        house.add("settings.py", ("no such line", ""))
