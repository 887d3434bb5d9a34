"""What can be asked of somebody's code, and who answers: a child process, or this one.

``FileSubject`` is code in a file or module, run in a child with a time limit; ``CallableSubject``
are callables given from Python, run here. Started as ``python -m bncheck.subject.questions`` this
module is that child.
"""

import os
import re
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bncheck.subject import calling, rewriting, tracing
from bncheck.subject.child import Child, Gone, serve, told
from bncheck.subject.conventions import find, from_callables
from bncheck.subject.conventions.implementations import Implementation
from bncheck.subject.loading import described, load
from bncheck.subject.messages import Backward, Inputs, Subject
from bncheck.subject.names import likely_role, role
from bncheck.subject.target import Target
from bncheck.telling.codes import Finding
from bncheck.telling.errors import CannotAsk, Refused


def _looked_into(way: Callable[..., Any]) -> Callable[..., Any]:
    """The same of an implementation and inputs, for what takes files and a run."""

    def asked(own: Implementation, inputs: Inputs, *arguments: Any) -> Any:
        return way(own.files, partial(calling.call, own, inputs), *arguments)

    return asked


QUESTIONS: dict[str, Callable[..., Any]] = {
    "forward": calling.outputs,
    "firsts": calling.first_gradients,
    "call": calling.call,
    "repeated": calling.repeated,
    "running": calling.running_statistics,
    "traced": _looked_into(tracing.traced),
    "replaced": _looked_into(tracing.replaced),
    "edits": _looked_into(rewriting.edits),
    "edited": _looked_into(rewriting.edited),
}
"""By name what answers a question about an implementation: ``(implementation, *arguments)``.

A further question is one row here and one method of ``messages.Subject``; arguments and answers
are what ``messages.encoded`` takes.
"""

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
    last = theirs[-1] if theirs else None
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
