"""What the user's code computes on the way: every value that a line gives to a name.

Runs where the user's code runs. ``sys.settrace`` shows each line of the user's own file before
it runs; what is new or changed among the local variables since then was done by the line before.
The same way a value can be replaced by another one, to see what becomes of the result.
"""

import linecache
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bncheck.subject.messages import Assigned, Outcome, Replacement, plain
from bncheck.telling.errors import CannotAsk

LINES, EVENTS, ENTRIES = 40_000, 20_000, 4_000_000
"""Lines that are watched in one run, assignments that are kept, and entries of all of them; after
them nothing more is recorded, and the code runs on untraced."""

LARGEST, ALL = 4_096, 40_000
"""Entries of one value, and of all values of one line."""

LONGER, BESIDES = 4, 1_000
"""With a value replaced a run may take so many times the lines that it takes untouched, and so
many more: code that does not end then is ended."""


Run = Callable[[], Outcome]
"""One forward and backward pass of the user's."""


def traced(files: Sequence[str], run: Run) -> list[Assigned]:
    """Every value of one run, in the order of first assignment; ``files``: those watched.

    The first of the files is that of the backward pass.
    """
    recorder = _Recorder(files, LINES)
    watched(recorder.entered, run)
    return [made for kept in recorder.kept.values() if (made := _assigned(kept, files)) is not None]


def replaced(
    files: Sequence[str], run: Run, tries: Sequence[Sequence[Replacement]]
) -> list[dict[str, NDArray[Any]] | None]:
    """The gradients with other values in some places, for each try; None where it fails.

    Raises ``CannotAsk`` where one run takes more than ``LINES``.
    """
    untouched = _Recorder(files, LINES, only=frozenset())
    watched(untouched.entered, run)
    if untouched.lines > LINES:
        raise CannotAsk("the code runs too many lines to look into each")
    most = LONGER * untouched.lines + BESIDES
    results: list[dict[str, NDArray[Any]] | None] = []
    for one in tries:
        puts = {(r.file or files[0], r.line, r.name, r.number): r.value for r in one}
        recorder = _Recorder(files, most, puts, frozenset(r.name for r in one))
        try:
            results.append(watched(recorder.entered, run).gradients)
        except (Exception, Endless):
            results.append(None)
    return results


def watched(entered: Callable[..., Any], run: Run) -> Outcome:
    """One run with a trace function for its calls."""
    before = sys.gettrace()
    sys.settrace(entered)
    try:
        return run()
    finally:
        sys.settrace(before)


@dataclass
class _Kept:
    """What one line gave to one name so far."""

    line: int
    name: str
    function: str
    file: str
    given: bool
    values: list[Any] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)


class Endless(BaseException):
    """With something changed the code does not end; no ``except Exception`` of its own holds it."""


@dataclass
class _Recorder:
    """One traced run, of ``most`` lines; with ``only`` nothing is kept, and ``puts`` are put in.

    ``lines``, ``events``, ``entries``: how many lines were watched so far, how many values were
    given to names, and of how many entries these were.
    """

    files: Sequence[str]
    most: int
    puts: Mapping[tuple[str, int, str, int], Any] = field(default_factory=dict)
    only: frozenset[str] | None = None
    kept: dict[tuple[str, int, str], _Kept] = field(default_factory=dict)
    last: dict[tuple[str, str], _Kept] = field(default_factory=dict)
    lines: int = 0
    events: int = 0
    entries: int = 0

    def entered(self, frame: types.FrameType, event: str, arg: Any) -> Any:
        """The trace function for calls: frames of the user's file are watched."""
        code = frame.f_code
        if event != "call" or code.co_filename not in self.files or code.co_name[0] == "<":
            return None
        if self.is_over():
            sys.settrace(None)
            return None
        return _Frame(self, frame).seen

    def is_over(self) -> bool:
        """Whether enough was seen; with another value in place the code itself is ended then."""
        if self.only is None:
            full = self.events > EVENTS or self.entries > ENTRIES
            return full or self.lines > self.most
        if self.puts and self.lines > self.most:
            raise Endless
        return self.lines > self.most

    def note(self, frame: types.FrameType, line: int, name: str, value: Any, given: bool) -> int:
        """Keep a value; how many of its kind there were before."""
        self.events += 1
        code = frame.f_code
        file, function = code.co_filename, code.co_qualname
        kept = self.kept.setdefault((file, line, name), _Kept(line, name, function, file, given))
        before = self.last.get((function, name))
        if before is not None and before is not kept:
            before.ends.append(len(before.values) - 1)
        self.last[function, name] = kept
        if self.only is None:
            kept.values.append(np.array(plain(value)))
            self.entries += kept.values[-1].size
        else:
            kept.values.append(None)
        return len(kept.values) - 1


class _Frame:
    """One call of a function of the user's: what its variables held at the last line."""

    def __init__(self, recorder: _Recorder, frame: types.FrameType) -> None:
        self.recorder, self.line = recorder, frame.f_lineno
        self.before: dict[str, tuple[Any, Any]] = {}
        self._changes(frame, given=True)

    def seen(self, frame: types.FrameType, event: str, arg: Any) -> Any:
        """The trace function for lines; whatever goes wrong here stays here."""
        try:
            self._changes(frame)
            if event == "return" and self.recorder.only is None:
                for place, part in enumerate(arg if isinstance(arg, tuple) else (arg,)):
                    if is_number(part):
                        self.recorder.note(frame, self.line, f"return[{place}]", part, False)
        except Exception:
            sys.settrace(None)
            return None
        if event == "line":
            self.line = frame.f_lineno
            self.recorder.lines += 1
        if self.recorder.is_over():
            sys.settrace(None)
            return None
        return self.seen

    def _changes(self, frame: types.FrameType, given: bool = False) -> None:
        for name, value, holder, key in list(variables(frame.f_locals)):
            if self.recorder.only is not None and name not in self.recorder.only:
                continue
            content = value.tobytes() if isinstance(value, np.ndarray) else value
            was = self.before.get(name)
            if was is not None and was[0] is value and _same(was[1], content):
                continue
            self.before[name] = value, content
            number = self.recorder.note(frame, self.line, name, value, given)
            place = frame.f_code.co_filename, self.line, name, number
            put = self.recorder.puts.get(place)
            if put is not None:
                new = _put(holder, key, value, put, mutated=was is not None and was[0] is value)
                after = new.tobytes() if isinstance(new, np.ndarray) else new
                self.before[name] = new, after


def variables(variables: Any) -> Iterator[tuple[str, Any, Any, Any]]:
    """Numbers and arrays by name, with where each is held: locals, ``self``, dictionaries."""
    for name, value in list(variables.items()):
        if is_number(value):
            yield name, value, variables, name
        elif isinstance(value, dict):
            yield from _entries(name, value)
        elif name in ("self", "ctx") and hasattr(value, "__dict__"):
            for attribute, inner in list(vars(value).items()):
                if is_number(inner):
                    yield f"{name}.{attribute}", inner, vars(value), attribute
                elif isinstance(inner, dict):
                    yield from _entries(f"{name}.{attribute}", inner)


def _entries(name: str, holder: dict[Any, Any]) -> Iterator[tuple[str, Any, Any, Any]]:
    for key, value in list(holder.items()):
        if isinstance(key, str) and is_number(value):
            yield f"{name}[{key!r}]", value, holder, key


def is_number(value: Any) -> bool:
    """Whether it is a number, or an array or tensor of not too many."""
    if isinstance(value, np.ndarray | np.generic):
        return 0 < value.size <= LARGEST and value.dtype.kind in "iuf"
    if isinstance(value, int | float):
        return not isinstance(value, bool)
    if not (hasattr(value, "detach") and hasattr(value, "cpu")):
        return False
    count = value.numel()  # what stands in for an optimizer has all attributes, and no numbers
    return isinstance(count, int) and 0 < count <= LARGEST


def _same(one: Any, other: Any) -> bool:
    return one is other or bool(type(one) is type(other) and np.all(one == other))


def _put(holder: Any, key: Any, old: Any, new: NDArray[Any], mutated: bool) -> Any:
    """A value in another's place, of its type and shape."""
    made: Any
    if isinstance(old, np.ndarray):
        made = np.asarray(new, old.dtype).reshape(old.shape)
        if mutated and old.flags.writeable:
            old[...] = made
            return old
    elif hasattr(old, "new_tensor"):
        made = old.new_tensor(np.asarray(new, float).reshape(tuple(old.shape)))
    else:
        made = type(old)(np.asarray(new).item())
    holder[key] = made
    return made


def _assigned(kept: _Kept, files: Sequence[str]) -> Assigned | None:
    """All values stacked, where they have one shape; else, or where they are many, the last."""
    ends = dict.fromkeys((*kept.ends, len(kept.values) - 1))
    values = kept.values
    if len({v.shape for v in values}) > 1 or sum(v.size for v in values) > ALL:
        return None
    stacked = np.stack([np.asarray(v) for v in values])
    if stacked.dtype.kind not in "iuf":
        return None
    source = linecache.getline(kept.file, kept.line).strip()
    return Assigned(
        kept.line, kept.name, kept.function, stacked, tuple(ends), kept.given, source,
        file="" if kept.file == files[0] else kept.file,
    )  # fmt: skip
