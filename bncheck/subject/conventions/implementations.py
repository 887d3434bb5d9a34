"""What stands behind a backward pass that was found, how a run of it went, and a convention."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import CodeType, FunctionType
from typing import Any

from numpy.typing import NDArray

from bncheck.subject.messages import Backward, Inputs, Kind
from bncheck.subject.names import layer_hint
from bncheck.subject.signature import Roles, document, line_of, ranks_said
from bncheck.telling.codes import Finding

Gradients = dict[str, NDArray[Any]]
Change = Callable[[Mapping[str, Any], Gradients], Gradients]
"""From the inputs of a call, by role, and the gradients it returned, to those to put instead."""


@dataclass(frozen=True)
class Implementation:
    """A backward pass with the user's own objects, which never leave their process.

    ``roles``: what the user said that parameters are; ``memory``: what calling it has taught;
    ``first``: the backward pass below a double one; ``method``: of an object's class, its name.
    """

    summary: Backward
    backward: Callable[..., Any]
    forward: Callable[..., Any] | None = None
    roles: Roles = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    first: "Implementation | None" = None
    method: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        """Those that hold its backward pass, which come first, and its forward pass."""
        own = vars(self.backward).values() if isinstance(self.backward, type) else ()
        things = (self.backward, *own, self.forward)
        codes = [code for thing in things for code in _codes(getattr(thing, "__func__", thing))]
        names = dict.fromkeys(code.co_filename for code in codes)
        return tuple(sorted(names, key=lambda name: name != self.summary.file))


def _codes(thing: Any, depth: int = 3) -> Iterator[CodeType]:
    """The code of a function, and of those that it was made of by decorators."""
    if not isinstance(thing, FunctionType):
        return
    yield thing.__code__
    for cell in (thing.__closure__ or ()) if depth else ():
        with suppress(ValueError):  # nothing is in it yet
            yield from _codes(cell.cell_contents, depth - 1)


@dataclass(frozen=True)
class Surroundings:
    """Where a backward pass stands: what else is defined there, and what the place is called.

    ``said``: what the user said that parameters are; ``firsts``: for a double backward pass, the
    backward passes that were found; ``method``: the one of a class that is meant, its backward
    pass where it is empty.
    """

    own: Mapping[str, Any]
    place: str = ""
    said: Roles = field(default_factory=dict)
    firsts: tuple[Implementation, ...] = ()
    method: str = ""


@dataclass(frozen=True)
class Ran:
    """One run: the output, what backward returned, and gradients found elsewhere, by name.

    ``shapes``: those of the code's own parameters, by role, where it holds them; ``by_name``:
    gradients that have a name, and not a place among others; ``moves``: the code's own parameters
    that move the output.
    """

    y: NDArray[Any] | None
    result: Any
    extra: Mapping[str, Any]
    remarks: tuple[Finding, ...] = ()
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    by_name: frozenset[str] = frozenset()
    moves: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kept:
    """A layer after its first batch: how it is trained, where its state is, how it is evaluated.

    ``ways``: what may be evaluation mode, one after the other; each takes x and gives y.
    """

    train: Callable[[Any], Any]
    holders: Callable[[], Iterable[Mapping[Any, Any]]]
    ways: Iterator[Callable[[Any], Any]]


@dataclass(frozen=True)
class Convention:
    """One way in which people write a backward pass.

    ``find``: what a thing of a name is in its surroundings, None where it is of another
    convention, ``CannotAsk`` where it is of this one and cannot be called; ``output``: of the
    forward pass alone; ``run``: forward pass, where there is one, and backward pass; ``read``: the
    gradients of a run by name; ``exchange``: put other numbers into what it returns, for the rest
    of the process; ``kept``: what it keeps from batch to batch, None where nothing is, or it is
    not asked.
    """

    kind: Kind
    find: Callable[[str, Any, Surroundings], Implementation | None]
    output: Callable[[Implementation, Inputs], NDArray[Any]]
    run: Callable[[Implementation, Inputs], Ran]
    read: Callable[[Implementation, Ran, Inputs], tuple[dict[str, Any], list[Finding]]]
    exchange: Callable[[Implementation, Change], None]
    kept: Callable[[Implementation, Inputs], Kept | None] | None = None


def summarised(
    name: str,
    kind: Kind,
    backward: Callable[..., Any],
    takes: tuple[str, ...],
    forward: Callable[..., Any] | None,
) -> Backward:
    """A function with the forward pass that belongs to it, as plain data."""
    calls = f"{name}{inspect.signature(backward)}"
    if forward is not None:
        calls = f"{getattr(forward, '__name__', 'forward')}{inspect.signature(forward)}, {calls}"
    return Backward(
        name=name,
        kind=kind,
        line=line_of(backward),
        has_forward=forward is not None,
        takes=takes,
        layer_hint=layer_hint(name, getattr(forward, "__name__", ""), document(backward)),
        description=calls,
        ranks=ranks_said(backward, *(() if forward is None else (forward,))),
    )
