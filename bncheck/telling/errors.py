"""What can go wrong: one base class, a child for each exit code.

A message says what was checked, what was found, what was expected and what to do.
Verdicts (exit code 1) are results, not errors; they are no exceptions.
"""


class BncheckError(Exception):
    """Base of every error that bncheck raises on purpose; the message is for the user."""

    exit_code: int


class CannotAsk(BncheckError):
    """The question cannot be asked: wrong usage, a file that does not load, a call that fails."""

    exit_code = 2


class Disagreement(BncheckError):
    """Two of bncheck's own witnesses disagree; its reference is not to be believed."""

    exit_code = 3
