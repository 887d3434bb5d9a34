"""Somebody's tests, collected in a child process; what runs them is in ``forks``.

With pytest this module is a plugin, ``python -m pytest -p bncheck.mutants.collection TESTS``, and
puts itself in the place of pytest's own loop over the tests. Without pytest it is a program,
``python -m bncheck.mutants.collection TESTS``, that runs the functions called ``test_...``.
"""

import sys
import types
from pathlib import Path
from typing import Any

from bncheck.mutants.forks import Result, serve_runs

_failures: list[str] = []


def pytest_collectreport(report: Any) -> None:
    """Note a test file that cannot be imported."""
    _note(report)


def pytest_runtest_logreport(report: Any) -> None:
    """Note a test that fails, in its body or in a fixture."""
    _note(report)


def pytest_runtestloop(session: Any) -> bool:
    """Serve; True says to pytest that the tests were run."""

    def run() -> Result:
        for order, item in enumerate(session.items):
            after = session.items[order + 1] if order + 1 < len(session.items) else None
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
            if _failures:
                return _failures[0], order + 1
        return "", len(session.items)

    problem = _failures[0] if _failures else ""
    serve_runs(len(session.items), problem, run)
    return True


# what pytest.hookimpl(tryfirst=True) would set; pytest itself is not imported by bncheck
pytest_runtestloop.pytest_impl = {"tryfirst": True}  # type: ignore[attr-defined]


def main(tests: str) -> None:
    """Without pytest: the functions called ``test_...``, called without arguments."""
    path, problem = Path(tests.partition("::")[0]), ""
    sys.path.insert(0, str(path.resolve().parent))
    module = types.ModuleType(path.stem)
    module.__file__ = str(path)
    sys.modules[path.stem] = module
    try:
        exec(compile(path.read_text("utf-8"), str(path), "exec"), vars(module))
    except Exception as error:
        problem = f"{path}: {type(error).__name__}: {error}"
    found = {n: t for n, t in vars(module).items() if n.startswith("test") and callable(t)}

    def run() -> Result:
        for order, (name, test) in enumerate(found.items()):
            try:
                test()
            except Exception as error:
                return f"{path}::{name}: {type(error).__name__}: {error}", order + 1
        return "", len(found)

    serve_runs(len(found), problem, run)


def _note(report: Any) -> None:
    if report.failed:
        _failures.append(f"{report.nodeid}: {_crash(report.longrepr)}")


def _crash(problem: Any) -> str:
    """The message of a failure, without the lines of source around it."""
    crash = getattr(problem, "reprcrash", None)
    lines = (crash.message if crash else str(problem)).strip().splitlines() or ["failed"]
    said = next((line for line in lines if line.startswith("E ")), lines[0])
    return str(said.removeprefix("E ").strip())


if __name__ == "__main__":
    main(sys.argv[1])
