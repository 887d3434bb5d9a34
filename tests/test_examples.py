"""Oracle: the folder an example lies in; and for the wrong ones, the mistake in its name."""

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

EXAMPLES = ROOT / "examples"
SAID = {
    "mean_path_missing": "path through the batch mean is missing",
    "variance_path_missing": "path through the variance is missing",
    "variance_sign_flipped": "sign of the path through the variance is flipped",
    "m_minus_1": "divided by m - 1 where m belongs",
    "sum_for_mean": "a sum where a mean belongs",
    "gamma_forgotten": "gamma is forgotten",
    "gamma_twice": "gamma is counted twice",
    "eps_forgotten": "eps is forgotten",
    "variance_for_std": "the root is missing",
    "dgamma_from_x": "stands where",
    "double_backward": "2/3 times",
}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("right/*.py")), ids=lambda p: p.stem)
def test_right_ones_exit_0(bncheck, path):
    done = bncheck("verify", path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("right")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("wrong/*.py")), ids=lambda p: p.stem)
def test_wrong_ones_exit_1_and_name_the_mistake(bncheck, path):
    done = bncheck("verify", path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(f"is wrong: .*{re.escape(SAID[path.stem])}", done.stdout)
    reports = re.findall(r"^(?:right|wrong)  ", done.stdout, re.MULTILINE)
    assert len(done.stdout.splitlines()) <= 25 * len(reports)


def test_every_mistake_has_its_example():
    assert {p.stem for p in EXAMPLES.glob("wrong/*.py")} == set(SAID)


def test_a_layer_of_your_own(bncheck):
    done = bncheck("derive", "examples/power_norm.py:POWER_NORM")
    assert done.returncode == 0, done.stderr
    assert "dxᵢⱼ = γⱼ/rootⱼ·" in done.stdout


def test_nothing_lies_in_examples_unseen():
    known = {*EXAMPLES.glob("right/*.py"), *EXAMPLES.glob("wrong/*.py"),
             EXAMPLES / "power_norm.py", EXAMPLES / "torch_higher_order.py"}  # fmt: skip
    found = {p for p in Path(EXAMPLES).rglob("*") if p.is_file() and "__pycache__" not in str(p)}
    assert found == known
