"""Somebody's tests as the rest of bncheck sees them: a child process that runs them on request."""

import importlib.util
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bncheck.mutants.recipe import Recipe
from bncheck.subject.child import Child, Gone
from bncheck.subject.target import Target
from bncheck.telling.errors import CannotAsk

QUIET = ("-q", "-s", "-o", "addopts=", "-p", "no:cacheprovider")
"""For pytest: no cache in the user's folder, no options of theirs, a coverage floor say."""

COLLECTION = "bncheck.mutants.collection"


class Suite:
    """Somebody's tests in a child process, collected once and run on request."""

    def __init__(self, tests: str, replaced: Target, timeout: float) -> None:
        """Start the child; raises ``CannotAsk`` where there are no such tests."""
        path = Path(tests.partition("::")[0])
        if not path.exists():
            raise CannotAsk(f"{path} does not exist; expected a file with tests")
        if not hasattr(os, "fork"):
            raise CannotAsk("bncheck mutants needs a system with fork: Linux, macOS or WSL")
        self._tests, self._timeout = tests, timeout
        self._scratch = tempfile.TemporaryDirectory()
        run = ("pytest", *QUIET, "-p", COLLECTION)
        self._child = Child.started(
            ("-m", *(run if importlib.util.find_spec("pytest") else (COLLECTION,)), tests),
            {"replaced": asdict(replaced), "seconds": timeout},
            # no bytecode, no database of examples: nothing is left where the tests are
            PYTHONDONTWRITEBYTECODE="1",
            HYPOTHESIS_STORAGE_DIRECTORY=self._scratch.name,
            OPENBLAS_NUM_THREADS="1",
            OMP_NUM_THREADS="1",
        )

    def collected(self) -> tuple[int, str, str | None]:
        """How many tests there are, the function's name, and the layer it speaks of."""
        try:
            kind, answer = self._child.hear(self._timeout + 10)
        except Gone as gone:
            text = f"{self._tests} took more than {self._timeout:g} s to be collected"
            raise CannotAsk(text if gone.late else self._said(gone)) from None
        if kind == "cannot":
            raise CannotAsk(answer)
        count, summary = answer
        return count, summary.name, summary.layer_hint

    def run(self, **question: Any) -> dict[str, Any]:
        """One run of the tests; without a question with the function as it is.

        ``stopped``: why there is no result; ``late``: because it took too long; ``failure``: the
        first one; ``ran``: how many tests were run; ``calls``: of the function.
        """
        recipes = {k: asdict(v) if isinstance(v, Recipe) else v for k, v in question.items()}
        try:  # the child keeps the limit of a run itself
            answer = dict(self._child.ask(recipes, self._timeout + 10))
        except Gone as gone:
            raise CannotAsk(self._said(gone)) from None
        if "cannot" in answer:
            raise CannotAsk(answer["cannot"])
        return answer

    def failure(self, **question: Any) -> str:
        """The first failure of a run, ``""`` where all tests pass; out of time is a failure."""
        answer = self.run(**question)
        return str(answer.get("stopped") or answer["failure"])

    def close(self) -> None:
        """End the child and whatever it started."""
        self._child.close(patience=0.0)
        self._scratch.cleanup()

    def _said(self, gone: Gone) -> str:
        """Why the child does not answer: what it said last."""
        lines = self._child.printed[-2000:].strip().splitlines()
        said = next((line for line in reversed(lines) if "error" in line.lower()), "no message")
        said = said.removeprefix("ERROR: ")
        return f"the tests could not be started (exit code {gone.code}): {said}"
