"""Somebody's tests as the rest of bncheck sees them: a child process that runs them on request."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from threading import Timer
from typing import Any

from bncheck.mutants.recipe import Recipe
from bncheck.subject import wire
from bncheck.telling.errors import CannotAsk

QUIET = ("-q", "-s", "-o", "addopts=", "-p", "no:cacheprovider")
"""For pytest: no cache in the user's folder, no options of theirs, a coverage floor say."""


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
        pytest = ("pytest", *QUIET, "-p", "bncheck.mutants.collection")
        run = pytest if importlib.util.find_spec("pytest") else ("bncheck.mutants.collection",)
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
        summary = answer["ok"]["summary"]
        return answer["ok"]["tests"], summary["name"], summary["layer_hint"]

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
