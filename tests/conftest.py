"""In CI, where LaTeX and PyTorch are installed, a skipped test is a failure: nothing may hide."""

import io
import os
import subprocess
import sys
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = {}
"""``cases``: how many were not run, because their test is sampled."""
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
    parser.addoption("--whole", action="store_true", help="all cases of tests that are sampled")


def pytest_collection_modifyitems(config, items):
    """Of a test marked ``sampled(N, first)`` every N-th case, but with ``--whole``."""
    seen, kept, left = Counter(), [], []
    for item in items:
        sample = item.get_closest_marker("sampled")
        if sample and not config.getoption("--whole"):
            every, first = (*sample.args, 0)[:2]
            here = item.path, item.originalname
            (kept if seen[here] % every == first else left).append(item)
            seen[here] += 1
        else:
            kept.append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=left)
    getattr(config, "workeroutput", LEFT_OUT)["cases"] = len(left)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    LEFT_OUT.update(cases=getattr(node, "workeroutput", {}).get("cases", 0))


def pytest_terminal_summary(terminalreporter):
    if LEFT_OUT.get("cases"):
        terminalreporter.write_line(f"{LEFT_OUT['cases']} cases not in the sample; --whole: all")


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
    """Run the command line; the completed process.

    In this process, which saves the imports; in one of its own where anything is said about it
    (``env``, ``cwd``), and in tests/test_readme.py and tests/test_examples.py.
    """

    def run(*arguments, **options):
        words = [str(argument) for argument in arguments]
        return _apart(words, **options) if options else _here(words)

    return run


def _here(words):
    from bncheck.cli import main

    out, err = io.StringIO(), io.StringIO()
    before = sys.argv
    sys.argv = ["bncheck", *words]
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main()
        code = 0
    except SystemExit as ended:
        code = ended.code or 0
    finally:
        sys.argv = before
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def _apart(words, cwd=ROOT, env=None, **options):
    return subprocess.run(
        [sys.executable, "-m", "bncheck", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
        **options,
    )
