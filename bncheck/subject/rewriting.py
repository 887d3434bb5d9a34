"""Somebody's code with one edit of its syntax tree: which edits there are, and what it then gives.

Any function that runs may be edited, a method or a helper as well as the backward pass itself. An
edit replaces a piece of the text; the statement that holds the function is compiled anew, and the
function runs with the code that comes out, until it gets its own back.
"""

import gc
import linecache
import types
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bncheck.subject.messages import Edit, Outcome, plain
from bncheck.subject.tracing import BESIDES, LINES, LONGER, Endless, Run, variables, watched
from bncheck.subject.variants import KINDS, Variants, statements
from bncheck.telling.errors import CannotAsk


def edits(
    files: Sequence[str], run: Run, lines: Sequence[tuple[str, int]], far: bool
) -> list[Edit]:
    """The edits of some lines that run, or of all others; the likelier kinds first.

    ``files``: those watched; the first is that of the backward pass. ``lines``: with the file;
    where the first is ``("", 0)``, the rest of them are left out. ``far``: the edits that put in
    more than takes a place, of which there are many: another factor, a square, a root.
    """
    watch = _Watch(files)
    watch.of(run)
    chosen = {(file or files[0], line) for file, line in lines}
    without = (files[0], 0) in chosen
    places = {place for place in watch.ran if (place in chosen) != without}
    made = [
        edit if edit.file != files[0] else replace(edit, file="")
        for code, scope in watch.scopes.items()
        for statement in statements(code)
        for edit in Variants(code.co_filename, statement, scope, places, watch.whole).made(far)
    ]
    return sorted(dict.fromkeys(made), key=lambda edit: KINDS.index(edit.kind))


def edited(files: Sequence[str], run: Run, tries: Sequence[Edit]) -> list[Outcome | None]:
    """What the code gives with each of the edits; None where it fails.

    Raises ``CannotAsk`` where one run takes more than ``LINES``.
    """
    watch = _Watch(files)
    watch.of(run)
    if watch.lines > LINES:
        raise CannotAsk("the code runs too many lines to try edits")
    functions: dict[types.CodeType, list[types.FunctionType]] = {c: [] for c in watch.scopes}
    for one in gc.get_referrers(*functions):
        if isinstance(one, types.FunctionType) and one.__code__ in functions:
            functions[one.__code__].append(one)
    named = (replace(edit, file=edit.file or files[0]) for edit in tries)
    return [_with_edit(files, run, edit, functions, watch.lines) for edit in named]


def _with_edit(
    files: Sequence[str],
    run: Run,
    edit: Edit,
    functions: Mapping[types.CodeType, Sequence[types.FunctionType]],
    lines: int,
) -> Outcome | None:
    """One run with one edit; with it a run may take ``LONGER`` and is ended then."""
    changed: list[tuple[types.FunctionType, types.CodeType]] = []
    try:
        new = _compiled(edit, next(c.co_flags for c in functions if c.co_filename == edit.file))
        for old, several in functions.items():
            place = old.co_qualname, old.co_firstlineno
            if old.co_filename == edit.file and place in new:
                for function in several:
                    changed.append((function, old))
                    function.__code__ = new[place]
        outcome = _Watch(files, LONGER * lines + BESIDES).of(run)
    except (Exception, SystemExit, Endless):
        return None
    finally:
        for function, code in changed:
            function.__code__ = code
    arrays = (*outcome.gradients.values(), *(() if outcome.y is None else (outcome.y,)))
    return outcome if all(np.asarray(a).dtype.kind in "iuf" for a in arrays) else None


class _Watch:
    """A run that is watched: which functions of the files ran, which lines, what they can name."""

    def __init__(self, files: Sequence[str], most: int | None = None) -> None:
        self.files, self.most, self.lines = files, most, 0
        self.scopes: dict[types.CodeType, dict[str, tuple[int, ...]]] = {}
        self.ran: set[tuple[str, int]] = set()
        self.whole: set[str] = set()

    def of(self, run: Run) -> Outcome:
        return watched(self._entered, run)

    def _entered(self, frame: types.FrameType, event: str, arg: Any) -> Any:
        code = frame.f_code
        if code.co_filename not in self.files or code.co_name[0] == "<":
            return None
        self.scopes.setdefault(code, {})
        return self._seen

    def _seen(self, frame: types.FrameType, event: str, arg: Any) -> Any:
        if event == "line":
            self.lines += 1
            if self.most is not None and self.lines > self.most:
                raise Endless
            if self.most is None:
                self.ran.add((frame.f_code.co_filename, frame.f_lineno))
        elif event == "return" and self.most is None:
            there = variables(frame.f_locals)
            for name, value, *_ in there:
                self.scopes[frame.f_code][name] = np.shape(plain(value))
                if isinstance(value, int):
                    self.whole.add(name)
        return self._seen


def _compiled(edit: Edit, flags: int) -> dict[tuple[str, int], types.CodeType]:
    """The functions of the edited statement by name and line."""
    start, column, end, until = edit.span
    first, last = edit.statement
    lines = [text.encode() for text in linecache.getlines(edit.file)[first - 1 : last]]
    before, after = lines[: start - first], lines[end - first + 1 :]
    middle = lines[start - first][:column] + edit.text.encode() + lines[end - first][until:]
    source = b"\n" * (first - 1) + b"".join((*before, middle, *after))
    future = flags & 0x1FF0000  # the bits of ``from __future__ import ...``
    module = compile(source, edit.file, "exec", flags=future, dont_inherit=True)
    found: dict[tuple[str, int], types.CodeType] = {}
    left = [module]
    while left:
        inner = [c for c in left.pop().co_consts if isinstance(c, types.CodeType)]
        found |= {(code.co_qualname, code.co_firstlineno): code for code in inner}
        left += inner
    return found
