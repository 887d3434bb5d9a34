"""What is asked for in one verification, besides the target."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from bncheck.identity.by_outputs import Asked
from bncheck.numbers.trials import Trial
from bncheck.subject.messages import Subject
from bncheck.subject.target import Target
from bncheck.telling.errors import CannotAsk


@dataclass(frozen=True)
class Options:
    """What a user may say about a verification, besides the target.

    ``timeout``: seconds for one call; ``seed``, ``trials``: of the random inputs, and how many
    of random sizes are added; ``names``: what parameters are (``{"G": "dy"}``); ``ordinary``:
    import a file as Python would; ``averaged``: accept parameter gradients divided by the batch
    size; ``lines``: name the line that is wrong; ``layout``, ``eps``, ``ddof``: what bncheck would
    otherwise find out.
    """

    timeout: float = 30.0
    seed: int = 0
    trials: int = 0
    names: Mapping[str, str] = field(default_factory=dict)
    ordinary: bool = False
    averaged: bool = False
    layout: str | None = None
    eps: float | None = None
    ddof: int | None = None
    lines: bool = True

    def __post_init__(self) -> None:
        """Raises ``CannotAsk`` for numbers that mean nothing."""
        for name, value, fits, expected in (
            ("timeout", self.timeout, self.timeout > 0, "a number of seconds above 0"),
            ("seed", self.seed, self.seed >= 0, "a whole number from 0 on"),
            ("trials", self.trials, self.trials >= 0, "a whole number from 0 on"),
            ("eps", self.eps, self.eps is None or 0 <= self.eps < np.inf, "a number from 0 on"),
            ("ddof", self.ddof, self.ddof in (None, 0, 1), "0 or 1"),
        ):
            if not fits:
                raise CannotAsk(f"{name} is {value}; expected {expected}")


@dataclass(frozen=True)
class Work:
    """One verification: the code, what the user said and gave, and where the code is."""

    subject: Subject
    asked: Asked
    options: Options
    given: Mapping[str, Any]
    target: Target


def at_most(trial: Trial, own: list[Trial]) -> Trial:
    """With inputs of the user's in short arithmetic no more than float32 can be asked for."""
    short = any(one.dtype.itemsize <= 4 for one in own)
    return replace(trial, at_most=np.dtype(np.float32)) if short else trial
