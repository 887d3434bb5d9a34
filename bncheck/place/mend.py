"""Right values put in the place of the user's: do they make the gradient right?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bncheck.numbers.agreement import (
    FITTED,
    RECOMPUTED,
    ROUNDING,
    alike,
    explains,
    near,
    negligible,
)
from bncheck.numbers.arithmetic import Array
from bncheck.place.matching import HEAVY, Arrangement, Shelf, fingerprint
from bncheck.place.recognise import Look
from bncheck.place.values import Known, Library
from bncheck.subject.messages import Replacement

Rerun = Callable[[Sequence[Sequence[Replacement]]], Sequence[Mapping[str, Array] | None]]
"""The gradients by name, in the program's axes, with other values in some places."""

Truth = Mapping[str, tuple[Array, Array]]
"""Gradients by name: what is right, and what rounding allows."""

AT_ONCE = 400
"""How many values are tried in one place at most."""


@dataclass(frozen=True)
class Search:
    """What a search has to go by: see ``first_wrong``."""

    library: Library
    shelf: Shelf
    looks: tuple[Look, ...]
    arranged: Arrangement
    gradient: str
    truth: Truth
    kept: frozenset[str]
    again: Rerun

    @property
    def right(self) -> Array:
        """The gradient in question as it should be."""
        return np.asarray(self.truth[self.gradient][0], float)

    def run(self, *tries: Sequence[Replacement]) -> list[Array | None]:
        """The gradient in question; None where the try fails, or spoils another gradient."""
        results = self.again(tries) if tries else ()
        return [None if r is None or self._spoils(r) else r.get(self.gradient) for r in results]

    @property
    def upstream(self) -> str:
        """The upstream gradient, ``dy``."""
        return "d" + self.library.roles["dy"]

    def is_upstream(self, name: str) -> bool:
        """Whether a variable is called after what holds the upstream gradient: ``dout_T``."""
        holder = next(
            look.made.name for look in self.looks
            if look.made.given and look.match and look.match.known.name == self.upstream
        )  # fmt: skip
        return holder in name

    def mends(self, result: Array | None) -> bool:
        """Whether a gradient is the right one."""
        return result is not None and is_right(result, *self.truth[self.gradient])

    def _spoils(self, result: Mapping[str, Array]) -> bool:
        return not all(n in result and is_right(result[n], *self.truth[n]) for n in self.kept)


def is_right(yours: Array, right: Array, allowed: Array) -> bool:
    """Whether a gradient is the right one, but for rounding."""
    return explains(right, yours, allowed, RECOMPUTED)


def is_tried(search: Search, look: Look) -> bool:
    """Whether a line is looked into: it is not right, or right only as a part or by itself."""
    if not np.all(np.isfinite(look.value)):
        return False
    if look.wanted is not None:
        return not look.right or (len(look.wanted.values) > 1 and not _is_changed(search, look))
    if look.match is not None:
        if look.match.known.name == search.upstream and search.is_upstream(look.made.name):
            return False
        return look.match.factor != 1 or look.match.known.name not in search.library.nodes
    return not is_scalar(look) and not negligible(look.value, search.right, ROUNDING)


def _is_changed(search: Search, look: Look) -> bool:
    """Whether a later line changes the same name."""
    later = search.looks[search.looks.index(look) + 1 :]
    own = look.made.name, look.made.function
    return any((o.made.name, o.made.function) == own for o in later)


def is_scalar(look: Look) -> bool:
    """Whether it is a single number: a count, say."""
    return look.made.values[0].size == 1 and len(look.made.values) == 1


def put(look: Look, value: Array) -> list[Replacement]:
    """The value in this line's place, every time that the line runs."""
    several = value.reshape(len(look.numbers), *look.made.values.shape[1:])
    return [
        Replacement(look.made.line, look.made.name, number, np.asarray(one))
        for number, one in zip(look.numbers, several, strict=True)
    ]


def that_matter(search: Search, looks: Sequence[Look]) -> list[Look]:
    """Those on which the gradient depends."""
    still, *moved = search.again([[], *(put(look, _moved(look)) for look in looks)])
    name = search.gradient
    if still is None:
        return []
    return [
        look for look, result in zip(looks, moved, strict=True)
        if result is None or not alike(result[name], still[name], RECOMPUTED)
    ]  # fmt: skip


def _moved(look: Look) -> Array:
    if look.made.values.dtype.kind in "iu":
        return look.value + 1
    return look.value * 1.375 + 0.0625


def is_mended(search: Search, look: Look) -> bool:
    """Whether a right value in this place makes the gradient right."""
    if look.wanted is not None:
        tried = look.wanted.tried[look.right :]  # a part that is right is not the whole
        values = [v for k in tried for v in search.arranged(k.value, look.value)]
        if any(map(search.mends, search.run(*(put(look, v) for v in values)))):
            return True
    if (look.right and look.wanted is not None) or is_scalar(look):
        return False
    if look.match is not None and look.wanted is not None:
        return _is_multiple(search, look, turned=True)  # a right value, called something else
    if look.match is None and _is_multiple(search, look):
        return True
    return _is_another(search, look)


def _is_multiple(search: Search, look: Look, turned: bool = False) -> bool:
    """Whether some number times this value makes the gradient right.

    ``turned``: and is then what its name says, but for the sign.
    """
    base, moved = search.run([], put(look, 2 * look.value))
    if base is None or moved is None or base.shape != moved.shape:
        return False
    factor = _solved(search, 2 * base - moved, moved - base)
    if factor is None:
        return False
    if turned and look.wanted is not None:
        now = search.shelf.multiple(look.value, look.wanted.values[0])
        if now is None or not near(abs(factor * now), 1, FITTED):
            return False
    return search.mends(search.run(put(look, factor * look.value))[0])


def _is_another(search: Search, look: Look) -> bool:
    """Whether another right value does, or a plain multiple of one.

    Where the value is a right one by itself, only those that are as simple, or that it is a
    multiple of: else it is a later line that makes the wrong use of it.
    """
    known = search.shelf.of_size(fingerprint(look.value).size)
    if look.match is not None:
        known = [k for k in known if _is_likely(search, look, k)]
    factors = {1.0, look.match.factor if look.match else 1.0}
    values = [
        f * v for k in known for v in search.arranged(k.value, look.value) for f in factors
    ][:AT_ONCE]  # fmt: skip
    none, *results = search.run(*(put(look, v) for v in (0 * look.value, *values)))
    for value, result in zip(values, results, strict=True):
        if search.mends(result):
            return True
        if look.match is not None or none is None or result is None or none.shape != result.shape:
            continue
        factor = _solved(search, none, result - none)
        if factor is not None and search.shelf.is_plain(factor):
            return search.mends(search.run(put(look, factor * value))[0])
    return False


def _is_likely(search: Search, look: Look, known: Known) -> bool:
    factor = search.shelf.multiple(look.value, known)
    if factor is not None:
        return bool(known.name) and not near(abs(factor), 1, FITTED)
    weight = search.shelf.weight(known.value)
    return weight < HEAVY and weight <= search.shelf.weight(look.value)


def _solved(search: Search, base: Array, slope: Array) -> float | None:
    """The number t for which ``base + t*slope`` is the right gradient."""
    base, slope = np.asarray(base, float), np.asarray(slope, float)
    wanted = np.asarray(search.right, float) - base
    square = float((slope * slope).sum())
    if not np.isfinite(square) or square == 0 or not np.all(np.isfinite(wanted)):
        return None
    factor = float((slope * wanted).sum()) / square
    left = wanted - factor * slope
    return factor if negligible(left, search.right, FITTED) else None
