"""What can be asked of somebody's code, and who answers: a child process, or this one.

``FileSubject`` is code in a file or module, run in a child with a time limit; ``CallableSubject``
are callables given from Python, run here. Started as ``python -m bncheck.subject.questions`` this
module is that child.
"""

import os
import re
import signal
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bncheck.numbers.agreement import RECOMPUTED, alike
from bncheck.subject import rewriting, tracing
from bncheck.subject.child import Child, Gone, serve, told
from bncheck.subject.conventions import (
    convention_of,
    find,
    from_callables,
    running,
)
from bncheck.subject.conventions.forms import tried
from bncheck.subject.conventions.implementations import Implementation, Ran
from bncheck.subject.conventions.returned import by_field
from bncheck.subject.loading import described, load
from bncheck.subject.messages import SECOND, Backward, Inputs, Outcome, Subject, Target, is_place
from bncheck.subject.names import likely_role, role
from bncheck.telling.codes import Finding, found
from bncheck.telling.errors import CannotAsk, Refused


def outputs(own: Implementation, many: Sequence[Inputs]) -> list[NDArray[Any]]:
    """The outputs of the user's forward pass."""
    return [tried(own, convention_of(own).output, _copied(inputs)) for inputs in many]


def call(own: Implementation, inputs: Inputs, memory: str = "plain") -> Outcome:
    """Forward pass, where there is one, and backward pass, on copies of the inputs."""
    given = _copied(inputs, memory)
    earlier = {**given, "x": 2.0 * given["x"][::-1] + 1.0} if memory == SECOND else {}
    ran: Ran = tried(own, convention_of(own).run, {**given, "earlier": earlier})
    named, remarks = convention_of(own).read(own, ran, inputs)
    remarks = [*ran.remarks, *remarks, *_overwritten(given, inputs), *_aliased(named, given)]
    returned_by_name = isinstance(by_field(ran.result), dict)
    in_order = not (returned_by_name or {"dgamma", "dbeta"} <= ran.by_name)
    arrays = {n: np.array(g) for n, g in named.items()}
    return Outcome(ran.y, arrays, tuple(remarks), in_order, ran.moves)


def repeated(own: Implementation, first: Inputs, second: Inputs) -> tuple[Finding, ...]:
    """What the first result has to do with later calls: it should not change, nor differ.

    Both inputs have the same shapes, so that a cache or a work buffer would be used again.
    """
    once = _read(own, first)
    kept = {name: np.array(value) for name, value in once.items() if name != "y"}
    _read(own, second)
    changed = {n for n, v in kept.items() if not np.array_equal(once[n], v, equal_nan=True)}
    again = _read(own, first)
    remarks = []
    for name, value in kept.items():
        if not np.array_equal(again[name], value, equal_nan=True):
            remarks.append(found("state", "again", name=name))
        elif name in changed:
            remarks.append(found("reused-buffer", name=name))
    if not remarks and own.summary.has_object:
        remarks = _in_one_object(own, first, second)
    return tuple(remarks)


def _in_one_object(own: Implementation, first: Inputs, second: Inputs) -> list[Finding]:
    """Whether a second batch through an object, there and back, gives what it gives in a fresh one.

    Parameter gradients may add up from batch to batch: many want it so.
    """
    same = partial(alike, tolerance=RECOMPUTED, least=1.0)
    try:
        fresh, other = _read(own, first), _read(own, second)
        again = _read(own, first, earlier=_copied(second), there_and_back=True)
    except Exception:
        return []  # one use for each object
    for name, value in fresh.items():
        added_up = (
            name not in ("y", "dx") and name in again and same(again[name], value + other[name])
        )
        if name not in again or not (same(again[name], value) or added_up):
            return [found("state", "stale", name="the output" if name == "y" else name)]
    return []


def _read(own: Implementation, inputs: Inputs, **earlier: Any) -> dict[str, Any]:
    """The output and the gradients by name; of a backward pass that is none of an object's, or
    with what goes through the object before.
    """
    ran: Ran = tried(own, convention_of(own).run, {**_copied(inputs), **earlier})
    named, _ = convention_of(own).read(own, ran, inputs)
    return {"y": ran.y, **{n: g for n, g in named.items() if not is_place(n)}}


def first_gradients(own: Implementation, many: Sequence[Inputs]) -> list[dict[str, NDArray[Any]]]:
    """The gradients of the backward pass below a double one, for several inputs."""
    below = own.first
    if below is None:
        raise CannotAsk(f"{own.summary.name} has no backward pass below it")
    made = (_read(below, inputs) for inputs in many)
    return [{n: np.array(g) for n, g in one.items() if n != "y"} for one in made]


def running_statistics(own: Implementation, inputs: Inputs) -> dict[str, Any] | None:
    """What the code keeps from batch to batch, and its evaluation mode: see ``running``."""

    def observed(own: Implementation, given: Inputs) -> dict[str, Any] | None:
        kept = convention_of(own).kept
        return None if kept is None else running.observed(kept(own, given), given)

    return tried(own, observed, _copied(inputs))


def _copied(inputs: Inputs, memory: str = "plain") -> dict[str, Any]:
    return {n: _laid_out(v, memory) if isinstance(v, np.ndarray) else v for n, v in inputs.items()}


def _laid_out(value: NDArray[Any], memory: str) -> NDArray[Any]:
    if memory == "not contiguous":
        wide = np.zeros((*value.shape[:-1], 2 * value.shape[-1]), value.dtype)
        wide[..., ::2] = value
        return wide[..., ::2]
    copied = np.array(value, order="F" if memory == "Fortran order" else "C")
    if memory == "read-only":
        copied.flags.writeable = False
    return copied


def _overwritten(given: Inputs, inputs: Inputs) -> list[Finding]:
    changed = [
        name
        for name, value in given.items()
        if isinstance(value, np.ndarray) and not np.array_equal(value, inputs[name], equal_nan=True)
    ]
    return [found("input-overwritten", names=tuple(changed))] if changed else []


def _aliased(named: Mapping[str, Any], given: Inputs) -> list[Finding]:
    for name, result in named.items():
        for source, value in given.items():
            if isinstance(value, np.ndarray) and value.size and np.shares_memory(result, value):
                return [found("aliases-input", name=name, source=source)]
    return []


def _looked_into(way: Callable[..., Any]) -> Callable[..., Any]:
    """The same of an implementation and inputs, for what takes files and a run."""

    def asked(own: Implementation, inputs: Inputs, *arguments: Any) -> Any:
        return way(own.files, partial(call, own, inputs), *arguments)

    return asked


QUESTIONS: dict[str, Callable[..., Any]] = {
    "forward": outputs,
    "firsts": first_gradients,
    "call": call,
    "repeated": repeated,
    "running": running_statistics,
    "traced": _looked_into(tracing.traced),
    "replaced": _looked_into(tracing.replaced),
    "edits": _looked_into(rewriting.edits),
    "edited": _looked_into(rewriting.edited),
}
"""By name what answers a question about an implementation: ``(implementation, *arguments)``.

A further question is one row here and one method of ``messages.Subject``; arguments and answers
are what ``messages.encoded`` takes.
"""

LIBRARIES = tuple(map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib")))
"""Where Python and what is installed beside it lie: no line there is the user's."""

MEMORY_SHARE = 0.75
"""How much of the machine's memory the user's code may address."""


class FileSubject(Subject):
    """A file or module in a child process, started at once and asked later."""

    def __init__(
        self,
        target: str,
        timeout: float = 30.0,
        names: Mapping[str, str] | None = None,
        ordinary: bool = False,
    ) -> None:
        """Start the child; ``timeout``: seconds that one request may take.

        ``target``: as ``Target.parse`` takes it, which raises ``CannotAsk``; ``names``: roles of
        parameters by name; ``ordinary``: import the file as Python would.
        """
        self.target, self._timeout, self._death = Target.parse(target), timeout, ""
        self._notes: tuple[Finding, ...] = ()
        settings = {"target": asdict(self.target), "names": dict(names or {}), "ordinary": ordinary}
        # -P: what lies beside the code must not stand in for the standard library
        self._child = Child.started(("-P", "-m", "bncheck.subject.questions"), settings)

    @property
    def notes(self) -> tuple[Finding, ...]:
        """What loading the code ran into, once the candidates are known."""
        return self._notes

    @property
    def printed(self) -> str:
        """What the code printed, the beginning of it."""
        return self._child.printed

    def candidates(self) -> tuple[Backward, ...]:
        """What was found in the file; raises ``CannotAsk`` where it cannot be loaded."""
        summaries, self._notes = self.ask("found", "")
        return summaries

    def ask(self, question: str, name: str, *arguments: Any) -> Any:
        """One of ``QUESTIONS``, in the child."""
        if self._death:
            raise CannotAsk(self._death)
        try:
            kind, answer = self._child.ask((question, name, arguments), self._timeout)
        except Gone as gone:
            self._death = self._why(gone)
            raise CannotAsk(self._death) from None
        if kind == "refused":
            raise Refused(*answer)
        if kind == "cannot":
            raise CannotAsk(answer)
        return answer

    def close(self) -> None:
        """End the child and whatever it started; once is enough."""
        self._child.close()

    def _why(self, gone: Gone) -> str:
        """Why the child does not answer: out of time, a signal, an exit."""
        if gone.late:
            return (
                f"{self.target} took more than {self._timeout:g} s and was stopped; "
                "give it more time with --timeout, or a smaller problem"
            )
        if gone.code == -signal.SIGKILL:
            return f"{self.target} closed its connection to bncheck, or was killed (out of memory?)"
        if gone.code < 0:
            return f"{self.target} crashed the interpreter ({signal.Signals(-gone.code).name})"
        return f"{self.target} ended the interpreter (exit code {gone.code}) instead of returning"


class CallableSubject(Subject):
    """Callables given from Python, run in this process."""

    notes: tuple[Finding, ...] = ()
    printed = ""

    def __init__(
        self,
        backward: Callable[..., Any],
        forward: Callable[..., Any] | None = None,
        first: Callable[..., Any] | None = None,
    ) -> None:
        """Raises ``CannotAsk`` where bncheck does not know how to call them.

        ``first``: the backward pass of which ``backward`` is the double one.
        """
        self._own = from_callables(backward, forward, first)

    def candidates(self) -> tuple[Backward, ...]:
        """The one that was given."""
        return (self._own.summary,)

    def ask(self, question: str, name: str, *arguments: Any) -> Any:
        """One of ``QUESTIONS``, here."""
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return QUESTIONS[question](self._own, *arguments)
        except CannotAsk:
            raise
        except Exception as error:
            raise _refusal(error, self._own.summary.name, with_line=False) from error

    def close(self) -> None:
        """Nothing to end."""


def main() -> None:
    """The child: load, then answer until there are no more questions."""
    sys.setrecursionlimit(3000)
    _limit_memory()
    connection, settings = told()
    target = Target(**settings["target"])
    loaded: tuple[list[Implementation], tuple[Finding, ...]] | BaseException
    try:
        source = load(target, settings["ordinary"])
        there = find(source.namespace, target.name, target.place, settings["names"])
        found = [replace(f, summary=replace(f.summary, file=source.file)) for f in there]
        loaded = found, source.notes
    except BaseException as error:
        loaded = error  # said when asked

    def answer(message: tuple[str, str, tuple[Any, ...]]) -> tuple[str, Any]:
        question, name, arguments = message
        try:
            if isinstance(loaded, BaseException):
                raise loaded
            found, notes = loaded
            if question == "found":
                return "answer", (tuple(f.summary for f in found), notes)
            own = next(f for f in found if f.summary.name == name)
            with np.errstate(all="ignore"):
                return "answer", QUESTIONS[question](own, *arguments)
        except CannotAsk as error:
            return "cannot", str(error)
        except BaseException as error:
            refused = _refusal(error, name or f"{target}:")
            kinds, speaks_of = sorted(refused.kinds), sorted(refused.speaks_of)
            return "refused", (str(refused), kinds, speaks_of, refused.file, refused.line)

    serve(connection, answer)


def _refusal(error: BaseException, name: str, with_line: bool = True) -> Refused:
    """The exception as ``name``'s refusal; its message says the line of the user's code."""
    here = str(Path(__file__).resolve().parent)
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [f for f in frames if not f.filename.startswith(here) and f.filename[:1] != "<"]
    own = [f for f in theirs if not f.filename.startswith(LIBRARIES)]
    last = own[-1] if own else theirs[-1] if theirs else None
    where = f" (line {last.lineno}: {last.line})" if last and with_line else ""
    text = described(error)
    said = f"called sys.exit({error.code!r})" if isinstance(error, SystemExit) else f"raised {text}"
    words = re.findall(r"[A-Za-z_]\w+", f"{text} {last.line if last else ''}")
    return Refused(
        f"{name} {said}{where}",
        kinds=[kind.__name__ for kind in type(error).__mro__],
        speaks_of=[r for w in words if (r := role(w) or likely_role(w))],
        file=last.filename if last else None,
        line=last.lineno if last else None,
    )


def _limit_memory() -> None:
    """Let greedy code meet a MemoryError rather than the machine's killer of processes."""
    try:
        import resource

        whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (int(whole * MEMORY_SHARE), -1))
    except (ImportError, ValueError, OSError, AttributeError):
        return  # not everywhere can it be limited


if __name__ == "__main__":
    main()
