"""The code under test as the rest of bncheck sees it: arrays by role in, outcomes back.

Two kinds with the same methods: code in a file, run in a child process with a time limit, and
callables given from Python, run here.
"""

import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from threading import TIMEOUT_MAX, Thread, Timer
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bncheck.subject import calling, rewriting, tracing, wire
from bncheck.subject.conventions import from_callables
from bncheck.subject.exceptions import refusal
from bncheck.subject.messages import Assigned, Backward, Inputs, Outcome, Replacement, Written
from bncheck.subject.target import Target
from bncheck.telling.codes import Finding
from bncheck.telling.errors import CannotAsk, Refused

SHOWN = 64 * 1024
"""Bytes of what the user's code prints that are kept."""


class FileSubject:
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
        self.target, self._timeout = Target.parse(target), min(timeout, TIMEOUT_MAX)
        self._printed, self._death = bytearray(), ""
        place = asdict(self.target)
        told = json.dumps({"target": place, "names": dict(names or {}), "ordinary": ordinary})
        requests, self._ask = os.pipe()
        self._hear, replies = os.pipe()
        package = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
        self._child = subprocess.Popen(
            [
                sys.executable,
                "-P",  # what lies beside the code must not stand in for the standard library
                "-m",
                "bncheck.subject.worker",
                str(requests),
                str(replies),
                told,
            ],
            pass_fds=(requests, replies),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": path, "MPLBACKEND": "Agg"},
            start_new_session=True,
        )
        os.close(requests)
        os.close(replies)
        self._questions = os.fdopen(self._ask, "wb")
        self._answers = os.fdopen(self._hear, "rb")
        self._reader = Thread(target=self._drain, daemon=True)
        self._reader.start()
        self.notes: tuple[Finding, ...] = ()

    @property
    def printed(self) -> str:
        """What the code printed, at most ``SHOWN`` bytes of it."""
        return self._printed.decode(errors="replace")

    def candidates(self) -> tuple[Backward, ...]:
        """What was found in the file; raises ``CannotAsk`` where it cannot be loaded."""
        answer = self._request({"do": "list"})
        self.notes = tuple(Finding(**n) for n in answer["notes"])
        return tuple(Backward(**{**c, "takes": tuple(c["takes"])}) for c in answer["candidates"])

    def forward(self, name: str, inputs: Sequence[Inputs]) -> list[NDArray[Any]]:
        """The outputs of the forward pass for several inputs."""
        return list(self._request({"do": "forward", "name": name, "inputs": list(inputs)}))

    def firsts(self, name: str, inputs: Sequence[Inputs]) -> list[dict[str, NDArray[Any]]]:
        """The gradients of the backward pass below a double one, for several inputs."""
        return list(self._request({"do": "firsts", "name": name, "inputs": list(inputs)}))

    def call(self, name: str, inputs: Inputs, memory: str = "plain") -> Outcome:
        """One forward and backward pass; ``memory``: how the arrays lie (``calling.MEMORY``)."""
        asked = {"do": "call", "name": name, "inputs": dict(inputs), "memory": memory}
        answer = self._request(asked)
        remarks = tuple(Finding(**r) for r in answer["remarks"])
        return Outcome(answer["y"], answer["gradients"], remarks, answer["in_order"])

    def repeated(self, name: str, first: Inputs, second: Inputs) -> tuple[Finding, ...]:
        """Whether results depend on earlier calls or change in later ones."""
        asked = [dict(first), dict(second)]
        answer = self._request({"do": "repeat", "name": name, "inputs": asked})
        return tuple(Finding(**r) for r in answer)

    def traced(self, name: str, inputs: Inputs) -> list[Assigned]:
        """Every value that a line gives to a name in one call; see ``tracing``."""
        answer = self._request({"do": "trace", "name": name, "inputs": dict(inputs)})
        return [Assigned(**{**one, "ends": tuple(one["ends"])}) for one in answer]

    def replaced(
        self, name: str, inputs: Inputs, tries: Sequence[Sequence[Replacement]]
    ) -> list[dict[str, NDArray[Any]] | None]:
        """The gradients with other values in some places, for each try."""
        told = [[vars(r) for r in one] for one in tries]
        asked = {"do": "replace", "name": name, "inputs": dict(inputs), "tries": told}
        return list(self._request(asked))

    def rewritten(self, name: str, inputs: Inputs, line: int, variable: str) -> list[Written]:
        """What other ways to write a line would give; see ``rewriting``."""
        asked = {"do": "rewrite", "name": name, "inputs": dict(inputs)}
        answer = self._request({**asked, "line": line, "variable": variable})
        return [Written(**one) for one in answer]

    def running(self, name: str, inputs: Inputs) -> dict[str, Any] | None:
        """Running statistics after each batch, and outputs in evaluation mode (``running``)."""
        return self._request({"do": "running", "name": name, "inputs": dict(inputs)})

    def close(self) -> None:
        """End the child and whatever it started; once is enough."""
        if self._answers.closed:
            return
        for stream in (self._questions, self._answers):
            with suppress(OSError):
                stream.close()
        self._kill(patience=2.0)
        self._child.wait()
        self._reader.join(1.0)

    def _drain(self) -> None:
        """Read what the code prints, lest it blocks; keep the beginning."""
        assert self._child.stdout is not None
        with suppress(OSError, ValueError), self._child.stdout as stream:
            while part := stream.read1(1 << 16):  # type: ignore[attr-defined]
                self._printed += part[: max(0, SHOWN - len(self._printed))]

    def _request(self, question: dict[str, Any]) -> Any:
        late: list[bool] = []

        def stop() -> None:
            late.append(True)
            self._kill()

        if self._death:
            raise CannotAsk(self._death)
        timer = Timer(self._timeout, stop)
        timer.start()
        try:
            wire.send(self._questions, question)
            answer = wire.receive(self._answers)
        except (OSError, EOFError, ValueError):
            self._death = self._gone(bool(late))
            raise CannotAsk(self._death) from None
        finally:
            timer.cancel()
        if "refused" in answer:
            kinds, speaks_of, file, line = answer["refused"]
            raise Refused(answer["error"], frozenset(kinds), frozenset(speaks_of), file, line)
        if "error" in answer:
            raise CannotAsk(answer["error"])
        return answer["ok"]

    def _gone(self, late: bool) -> str:
        """Why the child does not answer: out of time, a signal, an exit."""
        if late:
            return (
                f"{self.target} took more than {self._timeout:g} s and was stopped; "
                "give it more time with --timeout, or a smaller problem"
            )
        self._kill()
        code = self._child.wait()
        if code == -signal.SIGKILL:
            return f"{self.target} closed its connection to bncheck, or was killed (out of memory?)"
        if code < 0:
            return f"{self.target} crashed the interpreter ({signal.Signals(-code).name})"
        return f"{self.target} ended the interpreter (exit code {code}) instead of returning"

    def _kill(self, patience: float = 0.05) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(patience)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)


class CallableSubject:
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
        self._found = from_callables(backward, forward, first)

    def candidates(self) -> tuple[Backward, ...]:
        """The one candidate."""
        return (self._found.summary,)

    def forward(self, name: str, inputs: Sequence[Inputs]) -> list[NDArray[Any]]:
        """The outputs of the forward pass for several inputs."""
        return list(self._guarded(calling.outputs, inputs))

    def firsts(self, name: str, inputs: Sequence[Inputs]) -> list[dict[str, NDArray[Any]]]:
        """The gradients of the backward pass below a double one, for several inputs."""
        return list(self._guarded(calling.first_gradients, inputs))

    def call(self, name: str, inputs: Inputs, memory: str = "plain") -> Outcome:
        """One forward and backward pass; ``memory``: how the arrays lie (``calling.MEMORY``)."""
        outcome: Outcome = self._guarded(calling.call, inputs, memory)
        return outcome

    def repeated(self, name: str, first: Inputs, second: Inputs) -> tuple[Finding, ...]:
        """Whether results depend on earlier calls or change in later ones."""
        return tuple(self._guarded(calling.repeated, first, second))

    def traced(self, name: str, inputs: Inputs) -> list[Assigned]:
        """Every value that a line gives to a name in one call; see ``tracing``."""
        return list(self._guarded(tracing.traced, inputs))

    def replaced(
        self, name: str, inputs: Inputs, tries: Sequence[Sequence[Replacement]]
    ) -> list[dict[str, NDArray[Any]] | None]:
        """The gradients with other values in some places, for each try."""
        return list(self._guarded(tracing.replaced, inputs, tries))

    def rewritten(self, name: str, inputs: Inputs, line: int, variable: str) -> list[Written]:
        """What other ways to write a line would give; see ``rewriting``."""
        return list(self._guarded(rewriting.rewritten, inputs, line, variable))

    def running(self, name: str, inputs: Inputs) -> dict[str, Any] | None:
        """Running statistics after each batch, and outputs in evaluation mode (``running``)."""
        return self._guarded(calling.running_statistics, inputs)

    def close(self) -> None:
        """Nothing to end."""

    def _guarded(self, way: Callable[..., Any], *inputs: Any) -> Any:
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return way(self._found, *inputs)
        except CannotAsk:
            raise
        except Exception as error:
            raise refusal(error, self._found.summary.name, with_line=False) from error
