"""What a user may say about a verification, besides the target and inputs: a field for each.

A field made by ``option`` is an option of the command line too; nothing else has to be written
for it there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any

from bncheck.telling.errors import CannotAsk

if TYPE_CHECKING:
    from bncheck.algebra.program import Program


def option(usual: Any, purpose: str, *names: str, **limits: Any) -> Any:
    """A field with its usual value, told on the command line.

    ``names``: its flags, where they are not made of the field's name; ``limits``: ``min``.
    """
    return field(default=usual, metadata={"purpose": purpose, "names": names, "limits": limits})


@dataclass(frozen=True)
class Settings:
    """One verification as it is asked for.

    ``names``: what parameters are (``{"G": "dy"}``); ``layer``, ``layout``, ``eps``, ``ddof``:
    what bncheck would otherwise find out; ``timeout`` in seconds. Raises ``CannotAsk`` for numbers
    that mean nothing.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    layer: "Program | None" = None
    layout: str | None = option(None, "Which layout, say NCHW, where it should not find out.")
    eps: float | None = option(None, "The eps that the code has.")
    ddof: int | None = option(None, "0: variance over m; 1: over m - 1.")
    averaged: bool = option(
        False, "Accept dgamma and dbeta divided by the batch size.", "--batch-average"
    )
    ordinary: bool = option(False, "Import the file as Python does: run all of it.", "--import")
    seed: int = option(0, "Of the random inputs.", min=0)
    trials: int = option(0, "Further inputs, of random sizes.", min=0)
    timeout: float = option(30.0, "Seconds that one call may take.", min=0.1)
    lines: bool = option(True, "Name the line that is wrong.", "--lines/--no-lines")

    def __post_init__(self) -> None:
        for name, value, fits, expected in (
            ("timeout", self.timeout, self.timeout > 0, "a number of seconds above 0"),
            ("seed", self.seed, self.seed >= 0, "a whole number from 0 on"),
            ("trials", self.trials, self.trials >= 0, "a whole number from 0 on"),
            ("eps", self.eps, self.eps is None or 0 <= self.eps < inf, "a number from 0 on"),
            ("ddof", self.ddof, self.ddof in (None, 0, 1), "0 or 1"),
        ):
            if not fits:
                raise CannotAsk(f"{name} is {value}; expected {expected}")
