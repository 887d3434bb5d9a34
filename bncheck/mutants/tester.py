"""The tester tested: which wrong backward passes would somebody's own tests let through?

The mistakes are changes of the layer's program; each is put in the place of the user's function
while the tests run, in a child process. What is missed gets the input that would have shown it.
"""

import importlib.util
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bncheck.algebra.layers import LAYERS
from bncheck.algebra.layers import layer as layer_by_name
from bncheck.algebra.program import Program
from bncheck.mutants.mistakes import Mistake, gradient_roles, mistakes_in
from bncheck.mutants.recipe import Recipe
from bncheck.mutants.recognition import Call, Recognised, recognise
from bncheck.mutants.remedies import remedy
from bncheck.subject.child import Child, Gone
from bncheck.subject.messages import Target
from bncheck.subject.names import layer_hint
from bncheck.telling.errors import CannotAsk
from bncheck.telling.report import Examination, Mutant

FINEST = 13
"""Relative errors from 1 to 10 to the power of minus this are tried on the tests."""

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
    target = Target.parse(replaced)
    if target.file and not target.file.is_file():
        raise CannotAsk(f"{target.place} does not exist; expected the file of the function")
    suite = Suite(tests, target, timeout)
    try:
        count, name, hint = suite.collected()
        calls = _calls(suite.run(), tests, replaced, timeout)
        known = recognise(calls, asked, hint or layer_hint(target.stem, Path(tests).stem))
        if known is None:
            raise CannotAsk(_unknown(replaced, asked))
        returned = {name for call in known.calls for name in call.gradients}
        made = _read_alike(mistakes_in(known.found), known.right, returned)
        failures = [suite.failure(right=known.right, wrong=m.recipe) for m in made]
        tolerances = _tolerances(suite, known, returned, all(failures))
    finally:
        suite.close()
    names = {role: name for name, role in gradient_roles(known.found).items()}
    return Examination(
        tests=tests,
        replaced=target.shown(target.name or name),
        layer=known.found.forward.name,
        count=count,
        asked=len(known.calls),
        calls=len(calls),
        mutants=tuple(
            _mutant(known, one, failure, names, tolerances)
            for one, failure in zip(made, failures, strict=True)
        ),
        tolerances={names[role]: passing for role, passing in tolerances.items()},
    )


def _read_alike(
    mistakes: Iterable[Mistake], right: Recipe, returned: set[str]
) -> tuple[Mistake, ...]:
    """Those in gradients that are returned, called like the right recipe."""
    return tuple(
        replace(m, recipe=replace(m.recipe, fold=right.fold, defaults=right.defaults))
        for m in mistakes
        if returned & set(m.gradients)
    )


def _mutant(
    known: Recognised,
    made: Mistake,
    failure: str,
    names: Mapping[str, str],
    tolerances: Mapping[str, float | None],
) -> Mutant:
    """``names``: of the gradients, by role."""
    gradients = tuple(names[role] for role in made.gradients)
    advice = "" if failure else remedy(known, made, tolerances)
    return Mutant(made.code, made.text, gradients, bool(failure), failure, advice)


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
    suite: Suite, known: Recognised, returned: Iterable[str], none_missed: bool
) -> dict[str, float | None]:
    """The relative error that the tests let pass, by gradient; only asked where it matters."""
    names = [name for name in known.right.gives if name in set(returned)]
    return {} if none_missed else {name: _tolerance(suite, known.right, name) for name in names}


def _tolerance(suite: Suite, right: Recipe, gradient: str) -> float | None:
    def passes(power: int) -> bool:
        return not suite.failure(right=right, gradient=gradient, relative=10.0**-power)

    if passes(0):
        return None
    fails, good = 0, FINEST
    while good - fails > 1:
        middle = (fails + good) // 2
        fails, good = (fails, middle) if passes(middle) else (middle, good)
    return 10.0**-good
