"""A child process that is asked one thing after the other, each within a time limit.

What passes is ``messages.encoded``; nothing that comes from the other side is ever unpickled.
"""

import json
import math
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from threading import Thread, Timer
from typing import Any

from bncheck.subject.messages import decoded, encoded

SETTINGS = "BNCHECK_CHILD"
"""The environment variable with what the child is told when it starts, as JSON."""

SHOWN = 64 * 1024
"""Bytes of what the child prints that are kept."""

LARGEST, LONGEST = 1 << 29, 1e6
"""Bytes of an answer, and seconds that may be waited for one: what begins like printed text, in
the place of a length, is a larger number than that."""


class Gone(Exception):
    """The child does not answer any more; ``late``: because it took too long and was stopped.

    ``code``: how it ended, negative for a signal; -9 also where it closed the connection.
    """

    def __init__(self, late: bool, code: int) -> None:
        super().__init__(f"late: {late}, code: {code}")
        self.late, self.code = late, code


class Child:
    """A process, the connection to it, and how to wait for its end."""

    def __init__(
        self, pid: int, connection: "Connection[Any, Any]", ended: Callable[[float | None], int]
    ) -> None:
        self._pid, self._connection, self._ended = pid, connection, ended
        self._printed, self._reader = bytearray(), Thread()
        self._code: int | None = None

    @staticmethod
    def started(command: Sequence[str], settings: Mapping[str, Any], **environment: str) -> "Child":
        """``python COMMAND`` with the settings that ``told`` gives it there."""
        mine, theirs = Pipe()
        package = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
        told = json.dumps({**settings, "connection": theirs.fileno()})
        process = subprocess.Popen(
            [sys.executable, *command],
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={
                **os.environ, "PYTHONPATH": path, "MPLBACKEND": "Agg", SETTINGS: told, **environment
            },
            start_new_session=True,
        )  # fmt: skip
        theirs.close()
        child = Child(process.pid, mine, process.wait)
        child._reader = Thread(target=child._drain, args=(process.stdout,), daemon=True)
        child._reader.start()
        return child

    @staticmethod
    def forked(work: Callable[[], Any], seconds: float) -> "Child":
        """A copy of this process that sends what ``work`` gives; it prints nowhere."""
        mine, theirs = Pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a fork among threads: they are not used after it
            pid = os.fork()
        if not pid:
            mine.close()
            os.setsid()
            signal.alarm(math.ceil(seconds) + 5)  # should this process be gone by then
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
            try:
                theirs.send_bytes(encoded(work()))
            finally:
                os._exit(0)
        theirs.close()
        return Child(pid, mine, partial(_reaped, pid))

    @property
    def printed(self) -> str:
        """What it printed so far, at most ``SHOWN`` bytes of it."""
        return self._printed.decode(errors="replace")

    def ask(self, question: Any, seconds: float) -> Any:
        """The answer to a question; raises ``Gone``."""
        return self._within(seconds, encoded(question))

    def hear(self, seconds: float) -> Any:
        """The next message; raises ``Gone``."""
        return self._within(seconds)

    def _within(self, seconds: float, question: bytes | None = None) -> Any:
        """Send and receive; a child that takes too long is ended, even amid a message."""
        late: list[bool] = []

        def stop() -> None:
            late.append(True)
            self._kill()

        timer = Timer(min(seconds, LONGEST), stop)
        timer.start()
        try:
            if question is not None:
                self._connection.send_bytes(question)
            return decoded(self._connection.recv_bytes(LARGEST))
        except (OSError, EOFError, ValueError):
            pass  # it has gone, or something else has written here
        finally:
            timer.cancel()
        raise self._gone(bool(late))

    def close(self, patience: float = 2.0) -> None:
        """End the child and whatever it started; once is enough."""
        self._connection.close()
        self._end(patience)

    def _gone(self, late: bool) -> Gone:
        return Gone(late, self._end(0.0 if late else 0.05))

    def _end(self, patience: float) -> int:
        """How it ended, after a while of waiting by force."""
        if self._code is None:
            if patience:
                with suppress(subprocess.TimeoutExpired):
                    self._code = self._ended(patience)
            self._kill()
            if self._code is None:
                self._code = self._ended(None)
            if self._reader.ident:
                self._reader.join(1.0)
        return self._code

    def _kill(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._pid, signal.SIGKILL)

    def _drain(self, stream: Any) -> None:
        """Read what it prints, lest it blocks; keep the beginning."""
        with suppress(OSError, ValueError), stream:
            while part := stream.read1(1 << 16):
                self._printed += part[: max(0, SHOWN - len(self._printed))]


def _reaped(pid: int, patience: float | None) -> int:
    """How a fork ended; raises ``TimeoutExpired`` where it has not, unless it is waited for."""
    ended, status = os.waitpid(pid, 0 if patience is None else os.WNOHANG)
    if not ended:
        raise subprocess.TimeoutExpired("fork", 0.0)
    return os.waitstatus_to_exitcode(status)


def told() -> "tuple[Connection[Any, Any], dict[str, Any]]":
    """In the child: the connection to the parent, and what else it was told."""
    settings = json.loads(os.environ.pop(SETTINGS))
    return Connection(settings.pop("connection")), settings


def serve(connection: "Connection[Any, Any]", answer: Callable[[Any], Any]) -> None:
    """In the child: answer questions until there are no more, then end at once."""
    own = os.getpid()
    while True:
        try:
            question = decoded(connection.recv_bytes())
        except EOFError:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)  # what the code would still do at the end, nobody waits for
        said = encoded(answer(question))
        if os.getpid() != own:
            os._exit(0)  # the user's code forked: only one of us may speak
        connection.send_bytes(said)
