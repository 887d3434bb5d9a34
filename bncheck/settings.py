"""What a user may say about a verification, besides the target and inputs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from bncheck.algebra.program import Program
from bncheck.telling.errors import CannotAsk


@dataclass(frozen=True)
class Settings:
    """One verification as it is asked for.

    ``timeout``: seconds for one call; ``seed``, ``trials``: of the random inputs, and how many
    of random sizes are added; ``names``: what parameters are (``{"G": "dy"}``); ``ordinary``:
    import a file as Python would; ``averaged``: accept parameter gradients divided by the batch
    size; ``lines``: name the line that is wrong; ``layer``, ``layout``, ``eps``, ``ddof``: what
    bncheck would otherwise find out.
    """

    timeout: float = 30.0
    seed: int = 0
    trials: int = 0
    names: Mapping[str, str] = field(default_factory=dict)
    ordinary: bool = False
    averaged: bool = False
    layer: Program | None = None
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
