"""Where somebody's code is: ``FILE.py:name`` or ``package.module:name``, taken apart once."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bncheck.telling.errors import CannotAsk


@dataclass(frozen=True)
class Target:
    """A file or a module, and the name asked for in it, if any.

    ``place``: the path of the file or the dotted name of the module, ``""`` for callables given
    from Python.
    """

    place: str
    name: str | None = None
    is_file: bool = False

    @staticmethod
    def parse(text: str) -> "Target":
        """Of ``FILE.py``, ``FILE.py:name`` or ``package.module:name``.

        Raises ``CannotAsk`` where the text is none of these.
        """
        place, colon, name = text.rpartition(":") if ":" in text else (text, "", "")
        if not place or (colon and not name):
            raise CannotAsk(f"{text!r}: expected FILE.py, FILE.py:name or package.module:name")
        if place.endswith((".py", ".ipynb")) or os.sep in place or Path(place).exists():
            return Target(place, name or None, is_file=True)
        if not all(part.isidentifier() for part in place.split(".")):
            raise CannotAsk(
                f"{text!r} is neither a file nor a module: expected FILE.py, FILE.py:name "
                "or package.module:name"
            )
        return Target(place, name or None)

    @staticmethod
    def of(function: Any) -> "Target":
        """Of a callable given from Python."""
        return Target("", getattr(function, "__name__", type(function).__name__))

    def __str__(self) -> str:
        """As it was typed."""
        return self.shown(self.name) if self.name else self.place

    def shown(self, name: str) -> str:
        """What a report calls the backward pass of this name."""
        return f"{self.place}:{name}" if self.place else name

    @property
    def file(self) -> Path | None:
        """The path; None for a module, whose file is known where it has been imported."""
        return Path(self.place) if self.is_file else None

    @property
    def stem(self) -> str:
        """The last part of the path or of the module's name, which may speak of the layer."""
        return Path(self.place).stem if self.is_file else self.place.rpartition(".")[2]
