"""The tester tested: which wrong backward passes would somebody's own tests let through?

The mistakes are changes of the layer's program; each is put in the place of the user's function
while the tests run, in a child process. What is missed gets the input that would have shown it.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Timer
from typing import Any

from bncheck.algebra.program import Program
from bncheck.checking import wire
from bncheck.checking.mistakes import gradient_roles, mistakes
from bncheck.checking.names import layer_hint
from bncheck.checking.recipe import Recipe
from bncheck.checking.recognition import Call, Recognised, recognise
from bncheck.checking.remedies import remedy
from bncheck.checking.source import parse_target
from bncheck.errors import CannotAsk
from bncheck.layers import LAYERS
from bncheck.layers import layer as layer_by_name

QUIET = ("-q", "-s", "-o", "addopts=", "-p", "no:cacheprovider")
"""For pytest: no cache in the user's folder, no options of theirs, a coverage floor say."""

FINEST = 13
"""Relative errors from 1 to 10 to the power of minus this are tried on the tests."""


@dataclass(frozen=True)
class Finding:
    """One mistake: whether the tests caught it, and what would have, where they did not.

    ``gradients``: those that the mistake changes; ``by``: the first failure.
    """

    code: str
    text: str
    gradients: tuple[str, ...]
    caught: bool
    by: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Examination:
    """What the tests are worth: every mistake, and the errors that they let pass.

    ``tolerances``: by gradient, the largest power of ten of a relative error that passes; None
    where any error does, since no test compares that gradient. ``asked``: calls of the function
    on which the mistakes were put, out of ``calls``.
    """

    tests: str
    replaced: str
    layer: str
    count: int
    asked: int
    calls: int
    findings: tuple[Finding, ...]
    tolerances: Mapping[str, float | None]

    @property
    def caught(self) -> int:
        """How many mistakes the tests caught."""
        return sum(f.caught for f in self.findings)

    @property
    def exit_code(self) -> int:
        """0 where all mistakes were caught, else 1."""
        return int(self.caught < len(self.findings))


def examine(
    tests: str, replaced: str, layer: str | Program | None = None, timeout: float = 30.0
) -> Examination:
    """Run the tests once for each mistake in the function that they test.

    ``tests``: what pytest takes, ``test_file.py`` or ``test_file.py::test_name``; ``replaced``:
    their backward pass, ``FILE.py:name`` or ``module:name``; ``layer``: which layer it is, where
    bncheck should not find out; ``timeout``: seconds for one run of the tests. Raises
    ``CannotAsk`` where the tests cannot be run, fail already, or never call the function.
    """
    asked = layer_by_name(layer) if isinstance(layer, str) else layer
    target = parse_target(replaced)
    if target.is_file and not Path(target.place).is_file():
        raise CannotAsk(f"{target.place} does not exist; expected the file of the function")
    suite = Suite(tests, replaced, timeout)
    try:
        count, name, hint = suite.collected()
        first = suite.run()
        calls = _calls(first, tests, replaced, timeout)
        hint = hint or layer_hint(Path(replaced.partition(":")[0]).stem, Path(tests).stem)
        known = recognise(calls, asked, hint)
        if known is None:
            raise CannotAsk(_unknown(replaced, asked))
        made = mistakes(known.found, fold=known.right.fold, defaults=known.right.defaults)
        returned = {name for call in known.calls for name in call.gradients}
        made = tuple(m for m in made if returned & set(m.gradients))
        failures = [suite.failure(right=known.right, wrong=m.recipe) for m in made]
        tolerances = _tolerances(suite, known, returned, all(failures))
    finally:
        suite.close()
    names = {role: name for name, role in gradient_roles(known.found).items()}
    return Examination(
        tests=tests,
        replaced=replaced if ":" in replaced else f"{replaced}:{name}",
        layer=known.found.forward.name,
        count=count,
        asked=len(known.calls),
        calls=len(calls),
        findings=tuple(
            Finding(
                code=m.code,
                text=m.text,
                gradients=tuple(names[role] for role in m.gradients),
                caught=bool(failure),
                by=failure,
                remedy="" if failure else remedy(known, m, tolerances),
            )
            for m, failure in zip(made, failures, strict=True)
        ),
        tolerances={names[role]: passing for role, passing in tolerances.items()},
    )


def _calls(first: dict[str, Any], tests: str, replaced: str, timeout: float) -> list[Call]:
    """The calls of the function as it is, once the tests pass with it."""
    if first.get("late"):
        raise CannotAsk(
            f"{tests} took more than {timeout:g} s with the function as it is; "
            "give it more time with --timeout, or name fewer tests"
        )
    problem = first.get("stopped") or first["failure"]
    if problem:
        raise CannotAsk(f"the tests have to pass with the function as it is, and do not: {problem}")
    if not first["calls"]:
        raise CannotAsk(f"the tests pass, but they never call {replaced}")
    return [Call(**call) for call in first["calls"]]


def _unknown(replaced: str, asked: Program | None) -> str:
    what = asked.name if asked else "any layer that bncheck knows (" + ", ".join(LAYERS) + ")"
    return (
        f"on the inputs of the tests, {replaced} does not return the gradients of {what}, so "
        f"there is nothing to change in it; bncheck verify {replaced} says what it returns"
    )


def _tolerances(
    suite: "Suite", known: Recognised, returned: Iterable[str], none_missed: bool
) -> dict[str, float | None]:
    """The relative error that the tests let pass, by gradient; only asked where it matters."""
    names = [name for name in known.right.gives if name in set(returned)]
    return {} if none_missed else {name: _tolerance(suite, known.right, name) for name in names}


def _tolerance(suite: "Suite", right: Recipe, gradient: str) -> float | None:
    def passes(power: int) -> bool:
        return not suite.failure(right=right, gradient=gradient, relative=10.0**-power)

    if passes(0):
        return None
    fails, good = 0, FINEST
    while good - fails > 1:
        middle = (fails + good) // 2
        fails, good = (fails, middle) if passes(middle) else (middle, good)
    return 10.0**-good


class Suite:
    """Somebody's tests in a child process, collected once and run on request."""

    def __init__(self, tests: str, replaced: str, timeout: float) -> None:
        """Start the child; raises ``CannotAsk`` where there are no such tests."""
        path = Path(tests.partition("::")[0])
        if not path.exists():
            raise CannotAsk(f"{path} does not exist; expected a file with tests")
        if not hasattr(os, "fork"):
            raise CannotAsk("bncheck mutants needs a system with fork: Linux, macOS or WSL")
        self._tests, self._timeout = tests, timeout
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the child
        self._scratch = tempfile.TemporaryDirectory()
        pipes = os.pipe(), os.pipe()
        theirs = pipes[0][0], pipes[1][1]
        pytest = ("pytest", *QUIET, "-p", "bncheck.checking.suite")
        run = pytest if importlib.util.find_spec("pytest") else ("bncheck.checking.suite",)
        settings = {"replaced": replaced, "seconds": timeout, "pipes": theirs}
        self._child = subprocess.Popen(
            [sys.executable, "-m", *run, tests],
            pass_fds=theirs,
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=subprocess.STDOUT,
            env=self._environment(settings),
            start_new_session=True,
        )
        for pipe in theirs:
            os.close(pipe)
        self._questions, self._answers = os.fdopen(pipes[0][1], "wb"), os.fdopen(pipes[1][0], "rb")

    def _environment(self, settings: dict[str, Any]) -> dict[str, str]:
        """No bytecode, no database of examples: nothing is left where the tests are."""
        package = str(Path(__file__).resolve().parents[2])
        return {
            **os.environ,
            "BNCHECK_SUITE": json.dumps(settings),
            "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")])),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HYPOTHESIS_STORAGE_DIRECTORY": self._scratch.name,
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            "MPLBACKEND": "Agg",
        }

    def collected(self) -> tuple[int, str, str | None]:
        """How many tests there are, the function's name, and the layer it speaks of."""
        answer = self._heard()
        if "error" in answer:
            raise CannotAsk(answer["error"])
        candidate = answer["ok"]["candidate"]
        return answer["ok"]["tests"], candidate["name"], candidate["layer_hint"]

    def run(self, **question: Any) -> dict[str, Any]:
        """One run of the tests; without a question with the function as it is."""
        recipes = {k: asdict(v) if isinstance(v, Recipe) else v for k, v in question.items()}
        try:
            wire.send(self._questions, recipes)
        except OSError:
            raise CannotAsk(self._gone()) from None
        return self._heard()

    def failure(self, **question: Any) -> str:
        """The first failure of a run, ``""`` where all tests pass; out of time is a failure."""
        answer = self.run(**question)
        return str(answer.get("stopped") or answer["failure"])

    def close(self) -> None:
        """End the child and whatever it started."""
        for stream in (self._questions, self._answers, self._said):
            with suppress(OSError):
                stream.close()
        self._kill()
        self._child.wait()
        self._scratch.cleanup()

    def _heard(self) -> dict[str, Any]:
        late: list[bool] = []

        def stop() -> None:
            late.append(True)
            self._kill()

        timer = Timer(self._timeout + 10, stop)  # the child keeps the limit of a run itself
        timer.start()
        try:
            return dict(wire.receive(self._answers))
        except (OSError, EOFError, ValueError):
            text = f"{self._tests} took more than {self._timeout:g} s to be collected"
            raise CannotAsk(text if late else self._gone()) from None
        finally:
            timer.cancel()

    def _gone(self) -> str:
        """Why the child does not answer: what it said last."""
        self._kill(patience=1.0)
        code = self._child.wait()
        self._said.seek(0)
        lines = self._said.read()[-2000:].decode(errors="replace").strip().splitlines()
        said = next((line for line in reversed(lines) if "error" in line.lower()), "no message")
        return f"the tests could not be started (exit code {code}): {said.removeprefix('ERROR: ')}"

    def _kill(self, patience: float = 0.0) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(patience)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)
