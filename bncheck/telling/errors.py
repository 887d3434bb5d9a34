"""What can go wrong: one base class, a child for each exit code.

A message says what was checked, what was found, what was expected and what to do.
Verdicts (exit code 1) are results, not errors; they are no exceptions.
"""

from collections.abc import Iterable


class BncheckError(Exception):
    """Base of every error that bncheck raises on purpose; the message is for the user."""

    exit_code: int


class CannotAsk(BncheckError):
    """The question cannot be asked: wrong usage, a file that does not load, a call that fails."""

    exit_code = 2


class Refused(CannotAsk):
    """The user's code raised an exception of its own; what it was is known, not only told.

    Whether to ask in another way is decided on these, never on the message: a small eps where
    ``"eps" in speaks_of``, another layout where ``kinds & WRONG_SHAPES``.

    ``kinds``: the names of the exception's type and of those that it derives from
    (``"ValueError"``, ``"Exception"``, ...); ``speaks_of``: the roles of the parameters that the
    user's own message, or the line that raised it, names (``"eps"`` for *epsilon must be small*);
    ``file``, ``line``: the innermost place in the user's code, None where it is not known.
    """

    def __init__(
        self,
        message: str,
        kinds: Iterable[str] = (),
        speaks_of: Iterable[str] = (),
        file: str | None = None,
        line: int | None = None,
    ) -> None:
        super().__init__(message)
        self.kinds, self.speaks_of = frozenset(kinds), frozenset(speaks_of)
        self.file, self.line = file, line


WRONG_SHAPES = frozenset({"ValueError", "IndexError", "AxisError"})
"""The kinds of exception that NumPy raises for arrays of a shape that the code cannot take."""


class Disagreement(BncheckError):
    """Two of bncheck's own witnesses disagree; its reference is not to be believed."""

    exit_code = 3
