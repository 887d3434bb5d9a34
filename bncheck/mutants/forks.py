"""The server in the process of somebody's tests: every run is a fork of what was collected.

So the tests are imported once, no run sees another, and a run that hangs or crashes ends alone.
"""

import importlib
import math
import os
import signal
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from threading import Timer
from typing import Any, BinaryIO

from bncheck.mutants.recipe import Recipe
from bncheck.mutants.replacement import Recorder, mutant, noise
from bncheck.subject import wire
from bncheck.subject.conventions import convention_of, find
from bncheck.subject.conventions.implementations import Implementation
from bncheck.subject.target import Target
from bncheck.telling.errors import CannotAsk

Outcome = tuple[str, int]
"""The first failure, ``""`` where all pass, and how many tests were run."""


def serve(
    replaced: str,
    seconds: float,
    pipes: tuple[int, int],
    collected: tuple[int, str],
    run: Callable[[], Outcome],
) -> None:
    """Say what was found, then run the tests once for each request until there are no more.

    ``replaced``: the function, as ``FILE.py:name`` or ``module:name``; ``seconds``: the limit of
    one run; ``pipes``: file descriptors of requests and replies; ``collected``: how many tests,
    and why they could not be collected.
    """
    with os.fdopen(pipes[0], "rb") as questions, os.fdopen(pipes[1], "wb") as answers:
        try:
            found = _found(Target.parse(replaced), *collected)
        except CannotAsk as error:
            wire.send(answers, {"error": str(error)})
            return
        wire.send(answers, {"ok": {"tests": collected[0], "summary": asdict(found[0].summary)}})
        _answer_all(found, run, seconds, questions, answers)


def _found(target: Target, count: int, problem: str) -> list[Implementation]:
    if problem:
        raise CannotAsk(f"the tests cannot be collected: {problem}")
    if not count:
        raise CannotAsk("no tests were collected; expected functions called test_...")
    return _located(target)


def _answer_all(
    found: list[Implementation],
    run: Callable[[], Outcome],
    seconds: float,
    questions: BinaryIO,
    answers: BinaryIO,
) -> None:
    while True:
        try:
            question = wire.receive(questions)
        except EOFError:
            return
        work = partial(_carried_out, found, question, run)
        wire.send(answers, _forked(work, seconds))


def _carried_out(
    found: list[Implementation], question: dict[str, Any], run: Callable[[], Outcome]
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
        convention_of(one).exchange(one, change)
    failure, ran = run()
    return {"failure": failure, "ran": ran, "calls": recorder.calls}


def _forked(work: Callable[[], dict[str, Any]], seconds: float) -> dict[str, Any]:
    """What the work gives in a process of its own; ``stopped`` says why it gave nothing."""
    hear, say = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a fork among threads: they are not used after it
        child = os.fork()
    if not child:
        os.close(hear)
        os.setsid()
        signal.alarm(math.ceil(seconds) + 5)  # should the server be gone by then
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)  # what the tests print is nobody's business, however much it is
        try:
            answer = work()
        except BaseException as error:
            answer = {"stopped": f"{type(error).__name__}: {error}"}
        with os.fdopen(say, "wb") as reply:
            wire.send(reply, answer)
        os._exit(0)
    os.close(say)
    late: list[bool] = []

    def stop() -> None:
        late.append(True)
        _end(child)

    timer = Timer(seconds, stop)
    timer.start()
    with os.fdopen(hear, "rb") as stream:
        try:
            answer = dict(wire.receive(stream))
        except (EOFError, OSError, ValueError):
            answer = {}
    timer.cancel()
    _end(child)
    _, status = os.waitpid(child, 0)
    if late:
        return {"stopped": f"took more than {seconds:g} s", "late": True}
    return answer or {"stopped": f"ended the interpreter (status {status})"}


def _end(child: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)


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
