"""In CI, where LaTeX and PyTorch are installed, a skipped test is a failure: nothing may hide."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """A test that skips, in its body, in a fixture or by a mark."""
    return failed_in_ci((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    """A module that skips as a whole, as `pytest.importorskip` at its top does."""
    return failed_in_ci((yield))


def failed_in_ci(report, in_ci=IN_CI):
    """The report, where a skip counts as a failure; an expected failure is no skip."""
    if in_ci and report.skipped and not hasattr(report, "wasxfail"):
        path, line, reason = report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{path}:{line}: {reason}. In CI nothing may be skipped: install it."
    return report


def pytest_addoption(parser):
    parser.addoption("--accept", action="store_true", help="rewrite the golden files")


@pytest.fixture
def golden(request):
    """Compare a text with ``tests/goldens/NAME``; ``--accept`` rewrites it."""

    def compare(name, text):
        path = ROOT / "tests" / "goldens" / name
        if request.config.getoption("--accept"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.read_text(encoding="utf-8") == text, f"run pytest --accept to accept {name}"

    return compare


@pytest.fixture
def bncheck():
    """Run the command line in a process of its own; the completed process."""

    def run(*arguments, cwd=ROOT, **options):
        return subprocess.run(
            [sys.executable, "-m", "bncheck", *map(str, arguments)],
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})},
            **options,
        )

    return run
