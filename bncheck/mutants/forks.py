"""The server in the process of somebody's tests: every run is a fork of what was collected.

So the tests are imported once, no run sees another, and a run that hangs or crashes ends alone.
Their own function is still called, for the structure of what it returns; the gradients in it are
exchanged where the right recipe reproduces them, that is, where the call is one that bncheck
understands.
"""

import importlib
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bncheck.mutants.recipe import Recipe, reproduced, run, size
from bncheck.subject.child import Child, Gone, serve, told
from bncheck.subject.conventions import convention_of, find
from bncheck.subject.conventions.implementations import Change, Gradients, Implementation
from bncheck.subject.messages import Target, encoded
from bncheck.telling.errors import CannotAsk

Result = tuple[str, int]
"""The first failure, ``""`` where all pass, and how many tests were run."""

MOST_CALLS, MOST_NUMBERS = 24, 2_000_000


class Recorder:
    """Changes nothing, and keeps the first calls: what the tests ask of the function."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def __call__(self, values: Mapping[str, Any], theirs: Gradients) -> Gradients:
        """Keep the call if there is room."""
        held = sum(np.size(v) for call in self.calls for v in call["values"].values())
        if len(self.calls) < MOST_CALLS and held < MOST_NUMBERS:
            self.calls.append({"values": dict(values), "gradients": dict(theirs)})
        return theirs


def mutant(right: Recipe, wrong: Recipe) -> Change:
    """The gradients of another recipe, where ``right`` gives theirs."""

    def change(values: Mapping[str, Any], theirs: Gradients) -> Gradients:
        if not reproduced(right, values, theirs):
            return theirs
        _, found = run(wrong, values)
        return {**theirs, **{name: found[name] for name in found.keys() & theirs.keys()}}

    return change


def noise(right: Recipe, name: str, relative: float) -> Change:
    """One gradient with an error of a size relative to its largest entry, of either sign."""

    def change(values: Mapping[str, Any], theirs: Gradients) -> Gradients:
        if name not in theirs or not reproduced(right, values, theirs):
            return theirs
        signs = np.random.default_rng(0).choice([-1.0, 1.0], np.shape(theirs[name]))
        _, exact = run(right, values)  # theirs may be rounding where the gradient is 0
        error = relative * size(exact[name], values["dy"]) * signs
        return {**theirs, name: np.asarray(theirs[name], np.longdouble) + error}

    return change


def serve_runs(count: int, problem: str, tests: Callable[[], Result]) -> None:
    """Say what was found, then run the tests once for each request until there are no more.

    ``count``: how many tests were collected; ``problem``: why they could not be.
    """
    connection, settings = told()
    target, seconds = Target(**settings["replaced"]), settings["seconds"]
    try:
        if problem:
            raise CannotAsk(f"the tests cannot be collected: {problem}")
        if not count:
            raise CannotAsk("no tests were collected; expected functions called test_...")
        found = _located(target)
    except CannotAsk as error:
        connection.send_bytes(encoded(("cannot", str(error))))
        return
    connection.send_bytes(encoded(("found", (count, found[0].summary))))
    serve(
        connection, lambda question: _forked(partial(_carried_out, found, question, tests), seconds)
    )


def _carried_out(
    found: list[Implementation], question: dict[str, Any], tests: Callable[[], Result]
) -> dict[str, Any]:
    """One run of the tests, in a fork; the calls of the function where they are asked for."""
    recorder = Recorder()
    change: Any = recorder
    if "right" in question:
        right = Recipe(**question["right"])
        change = (
            mutant(right, Recipe(**question["wrong"]))
            if "wrong" in question
            else noise(right, question["gradient"], question["relative"])
        )
    for one in found:
        try:
            convention_of(one).exchange(one, change)
        except CannotAsk as error:
            return {"cannot": str(error)}
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            return {
                "cannot": f"bncheck cannot put anything in the place of {one.summary.name}: {why}"
            }
    failure, ran = tests()
    return {"failure": failure, "ran": ran, "calls": recorder.calls}


def _forked(work: Callable[[], dict[str, Any]], seconds: float) -> dict[str, Any]:
    """What the work gives in a process of its own; ``stopped`` says why it gave nothing."""

    def guarded() -> dict[str, Any]:
        try:
            return work()
        except BaseException as error:
            return {"stopped": f"{type(error).__name__}: {error}"}

    child = Child.forked(guarded, seconds)
    try:
        return dict(child.hear(seconds))
    except Gone as gone:
        if gone.late:
            return {"stopped": f"took more than {seconds:g} s", "late": True}
        return {"stopped": f"ended the interpreter (exit code {gone.code})"}
    finally:
        child.close(patience=0.0)


def _located(target: Target) -> list[Implementation]:
    """The function, in each module that the tests imported it from."""
    modules = [m for m in list(sys.modules.values()) if _is_place(m, target)]
    modules = modules or _imported(target)
    if not modules:
        raise CannotAsk(
            f"the tests do not import {target.place}; name the file or module from which they do"
        )
    name = target.name.partition(".")[0] if target.name else None
    found = [find(vars(module), name, target.place) for module in modules]
    if len(found[0]) > 1:
        names = ", ".join(f.summary.name for f in found[0])
        raise CannotAsk(
            f"{target.place} has several backward passes: {names}; "
            f"name one, --replace {target.shown(found[0][0].summary.name)}"
        )
    return [one[0] for one in found]


def _is_place(module: Any, target: Target) -> bool:
    if target.file is None:
        return getattr(module, "__name__", None) == target.place
    file = getattr(module, "__file__", None)
    if not isinstance(file, str):
        return False
    return Path(file).resolve() == target.file.resolve()


def _imported(target: Target) -> list[Any]:
    """The module, where the tests import it later, from where they would get it."""
    for name in _names(target):
        try:
            module = importlib.import_module(name)
        except Exception:
            continue
        if _is_place(module, target):
            return [module]
    return []


def _names(target: Target) -> list[str]:
    """The names by which a file can be imported, ``package.module`` among them."""
    if target.file is None:
        return [target.place]
    path = target.file.resolve().with_suffix("")
    folders = [Path(entry or ".").resolve() for entry in sys.path]
    inside = [path.relative_to(folder).parts for folder in folders if folder in path.parents]
    return [".".join(parts) for parts in inside if all(map(str.isidentifier, parts))]
