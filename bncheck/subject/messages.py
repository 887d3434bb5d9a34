"""What passes between bncheck and somebody's code: plain data, whichever process the code is in.

``Subject`` is the code as the rest of bncheck sees it: it is asked by the name of a backward pass,
with arrays by role, and answers with these types; who implements it is ``questions``.
"""

import io
import json
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bncheck.subject.names import STATISTICS
from bncheck.telling.codes import Finding
from bncheck.telling.errors import CannotAsk

Kind = str
"""Which convention: a row of ``conventions.CONVENTIONS``."""

Inputs = Mapping[str, Any]
"""Arrays and numbers by role: dy, x, gamma, beta, eps, groups; and what ``statistics`` asks."""

MEMORY = ("plain", "read-only", "not contiguous", "Fortran order")
"""How the arrays that the user's code gets lie in memory."""

SECOND = "second batch"
"""Besides those: an object sees another batch before the one that counts."""

BATCHES = ("x", "second batch", "third batch", "evaluated batch")
"""Inputs of four sizes: the first makes the layer, two move it, the last is evaluated."""


@dataclass(frozen=True)
class Target:
    """Where somebody's code is: a file or a module, and the name asked for in it, if any.

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


@dataclass(frozen=True)
class Backward:
    """A backward pass that was found; plain data, so that it can leave the child process.

    ``takes``: the roles that reach the code; ``eps_settable``: whether eps is one of them.
    ``first``: the name of the backward pass below a double one; ``problem``: why it cannot be
    called; ``file``: where it is, a path that exists, or ``""`` for callables given from Python;
    ``has_object``: whether an object of a class holds what is handed from pass to pass; ``ranks``:
    how many axes the docstrings say that x has.
    """

    name: str
    kind: Kind
    line: int
    has_forward: bool
    takes: tuple[str, ...]
    layer_hint: str | None
    description: str
    first: str = ""
    problem: str = ""
    file: str = ""
    has_object: bool = False
    ranks: tuple[int, ...] = ()

    @property
    def eps_settable(self) -> bool:
        """Whether eps can be given; where it cannot, it has to be found out."""
        return "eps" in self.takes or "params" in self.takes

    @property
    def statistics(self) -> tuple[str, ...]:
        """What the backward pass wants of the forward pass, where none is there to give it."""
        if self.kind not in ("function", "double") or "cache" in self.takes:
            return ()
        return tuple(r for r in self.takes if r in STATISTICS)


@dataclass(frozen=True)
class Outcome:
    """What one call gave: the output where there is a forward pass, the gradients by name.

    ``in_order``: dgamma and dbeta were told apart by their places, and may be the other way round;
    ``moves``: the code's own parameters ("gamma", "beta") that move the output.
    """

    y: NDArray[Any] | None
    gradients: dict[str, NDArray[Any]]
    remarks: tuple[Finding, ...] = ()
    in_order: bool = True
    moves: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Assigned:
    """The values that one line gave to one name, in the order of time.

    ``name``: a variable, ``self.name``, ``name['key']``, or ``return[0]``, ... for what a
    function returned; ``values``: (times, *shape); ``ends``: those after which another line had
    its turn with the name: the sums of a loop, not the steps to them; ``given``: an argument of
    a function, which no line assigned; ``source``: the line;
    ``file``: where it is, if not where the backward pass is.
    """

    line: int
    name: str
    function: str
    values: NDArray[Any]
    ends: tuple[int, ...]
    given: bool = False
    source: str = ""
    file: str = ""

    @property
    def returned(self) -> bool:
        """Whether it has no name, and is what a function returned."""
        return self.name.startswith("return[")


@dataclass(frozen=True, eq=False)
class Replacement:
    """Another value for the ``number``-th one that a line gives to a name, from 0.

    ``file``: as in ``Assigned``.
    """

    line: int
    name: str
    number: int
    value: NDArray[Any]
    file: str = ""


@dataclass(frozen=True)
class Edit:
    """One edit of the code: ``old`` stands on the line, and ``new`` in its place.

    ``kind``: of ``rewriting.KINDS``; ``span``: first line and column and last line and column of
    what is replaced, columns in bytes from 0; ``statement``: first and last line of the statement
    of the file that holds it; ``text``: what is written there, and may be longer than ``new``.
    """

    file: str
    line: int
    column: int
    kind: str
    old: str
    new: str
    span: tuple[int, int, int, int]
    statement: tuple[int, int]
    text: str


def is_place(key: str) -> bool:
    """Whether a key of gradients says where an array was found, and not which gradient it is."""
    return "." in key or "[" in key


def holds_numbers(dtype: np.dtype[Any]) -> bool:
    """Whether arrays of this type hold numbers; NumPy does not know it of bfloat16."""
    return dtype.kind in "iufc" or dtype.name == "bfloat16"


def plain(result: Any) -> Any:
    """Tensors as arrays, in tuples, lists and dictionaries too; all else as it is."""
    if hasattr(result, "detach") and hasattr(result, "cpu"):
        return result.detach().cpu().resolve_conj().numpy()
    if type(result) in (tuple, list):
        return type(result)(plain(part) for part in result)
    return result


TYPES = {t.__name__: t for t in (Backward, Outcome, Assigned, Replacement, Edit, Finding)}
"""What a message may hold besides dicts by text, lists, tuples, texts, numbers and arrays."""

_LENGTH = struct.Struct("<Q")


def encoded(message: Any) -> bytes:
    """A message as bytes: JSON, and the arrays in NumPy's own format."""
    arrays: list[NDArray[Any]] = []
    header = json.dumps(_packed(message, arrays)).encode()
    body = io.BytesIO()
    body.write(_LENGTH.pack(len(header)) + header)
    for array in arrays:
        np.lib.format.write_array(body, array, allow_pickle=False)
    return body.getvalue()


def decoded(data: bytes) -> Any:
    """The message back; raises ``ValueError`` where the bytes are none. Nothing is unpickled."""
    try:
        end = _LENGTH.size + _LENGTH.unpack_from(data)[0]
        header = json.loads(data[_LENGTH.size : end])
        body = io.BytesIO(data[end:])
        arrays: list[NDArray[Any]] = []
        while body.tell() < len(data) - end:
            arrays.append(np.lib.format.read_array(body, allow_pickle=False))
        return _unpacked(header, arrays)
    except (struct.error, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"no message: {error}") from None


def _packed(message: Any, arrays: list[NDArray[Any]]) -> Any:
    """Each JSON object is ``{type: content}``; lists, texts, numbers and None are themselves."""
    if isinstance(message, np.ndarray | np.generic):
        arrays.append(np.asarray(message))
        return {"array": len(arrays) - 1}
    if isinstance(message, Mapping):
        return {"dict": {key: _packed(value, arrays) for key, value in message.items()}}
    if isinstance(message, tuple):
        return {"tuple": [_packed(value, arrays) for value in message]}
    if isinstance(message, list):
        return [_packed(value, arrays) for value in message]
    if type(message).__name__ in TYPES:
        return {type(message).__name__: _packed(vars(message), arrays)["dict"]}
    return message


def _unpacked(message: Any, arrays: Sequence[NDArray[Any]]) -> Any:
    if isinstance(message, list):
        return [_unpacked(value, arrays) for value in message]
    if not isinstance(message, dict):
        return message
    ((kind, content),) = message.items()
    if kind == "array":
        return arrays[content]
    if kind == "tuple":
        return tuple(_unpacked(value, arrays) for value in content)
    fields = {key: _unpacked(value, arrays) for key, value in content.items()}
    return fields if kind == "dict" else TYPES[kind](**fields)


class Subject(Protocol):
    """The code under test. Each question raises ``CannotAsk`` where the code fails, ``Refused``
    where it raised. How a question gets to the code is ``ask``.
    """

    @property
    def notes(self) -> tuple[Finding, ...]:
        """What loading the code ran into."""

    @property
    def printed(self) -> str:
        """What the code printed."""

    def candidates(self) -> tuple[Backward, ...]:
        """The backward passes that were found."""

    def ask(self, question: str, name: str, *arguments: Any) -> Any:
        """The answer to one of ``questions.QUESTIONS`` about the backward pass of a name."""

    def close(self) -> None:
        """End what was started; once is enough."""

    def forward(self, name: str, inputs: Sequence[Inputs]) -> list[NDArray[Any]]:
        """The outputs of the forward pass for several inputs."""
        return self.ask("forward", name, inputs)

    def firsts(self, name: str, inputs: Sequence[Inputs]) -> list[dict[str, NDArray[Any]]]:
        """The gradients of the backward pass below a double one, for several inputs."""
        return self.ask("firsts", name, inputs)

    def call(self, name: str, inputs: Inputs, memory: str = "plain") -> Outcome:
        """One forward and backward pass; ``memory``: how the arrays lie (``MEMORY``)."""
        return self.ask("call", name, inputs, memory)

    def repeated(self, name: str, first: Inputs, second: Inputs) -> tuple[Finding, ...]:
        """Whether results depend on earlier calls or change in later ones."""
        return self.ask("repeated", name, first, second)

    def running(self, name: str, inputs: Inputs) -> dict[str, Any] | None:
        """Running statistics after each batch, and outputs in evaluation mode."""
        return self.ask("running", name, inputs)

    def traced(self, name: str, inputs: Inputs) -> list[Assigned]:
        """Every value that a line gives to a name in one call; see ``tracing``."""
        return self.ask("traced", name, inputs)

    def replaced(
        self, name: str, inputs: Inputs, tries: Sequence[Sequence[Replacement]]
    ) -> list[dict[str, NDArray[Any]] | None]:
        """The gradients with other values in some places, for each try."""
        return self.ask("replaced", name, inputs, tries)

    def edits(
        self, name: str, inputs: Inputs, lines: Sequence[tuple[str, int]], far: bool
    ) -> list[Edit]:
        """The edits of some lines; see ``rewriting``."""
        return self.ask("edits", name, inputs, lines, far)

    def edited(self, name: str, inputs: Inputs, tries: Sequence[Edit]) -> list[Outcome | None]:
        """What the code gives with each edit; None where it fails."""
        return self.ask("edited", name, inputs, tries)
