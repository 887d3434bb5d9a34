"""Recognise an array whatever its shape: by its values, up to order, repetition and a factor.

Arrays of random numbers are known by the set of their values: transposed, broadcast, in a loop or
with axes joined it stays the same. How values lie in an array of some shape is learnt from
another of that shape that was recognised.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import permutations

import numpy as np

from bncheck.numbers.agreement import FITTED, RECOMPUTED, alike, gap, largest, near, negligible
from bncheck.numbers.arithmetic import Array
from bncheck.place.values import Known, Library

HEAVY = 9
"""The weight of a value of which nothing simpler is known."""


@dataclass(frozen=True)
class Match:
    """What a value is: ``factor`` times a right one."""

    known: Known
    factor: float

    def equals(self, known: Known) -> bool:
        """Whether it is that very value."""
        return self.factor == 1 and self.known is known


def fingerprint(value: Array) -> Array:
    """The distinct values in order."""
    flat = np.sort(np.asarray(value, float).ravel())
    if not np.all(np.isfinite(flat)):
        return np.full(2, np.nan)
    apart = np.diff(flat) > RECOMPUTED * largest(flat)
    return flat[np.concatenate(([True], apart))] if flat.size else flat


def is_whole(value: Array) -> bool:
    """Whether it is more than one number."""
    return fingerprint(value).size > 1


@dataclass(frozen=True)
class Shelf:
    """Right values by their number of distinct entries; ``rows``: scaled to 1, in order."""

    nodes: frozenset[str]
    known: dict[int, list[Known]]
    rows: dict[int, Array]
    scales: dict[int, Array]
    plain: Array

    @classmethod
    def of(cls, library: Library) -> "Shelf":
        """Those of a library, the ones with a name first, then by weight."""
        known: dict[int, list[Known]] = {}
        prints: dict[int, list[Array]] = {}
        others = sorted(library.others, key=lambda k: k.weight)
        for one in (*library.named(), *others):
            found = fingerprint(one.value)
            if found.size > 1 and np.all(np.isfinite(found)):
                known.setdefault(found.size, []).append(one)
                prints.setdefault(found.size, []).append(found)
        scales = {n: np.array([abs(p).max() for p in several]) for n, several in prints.items()}
        rows = {n: np.array(several) / scales[n][:, None] for n, several in prints.items()}
        return cls(frozenset(library.nodes), known, rows, scales, _plain(library))

    def weight(self, value: Array) -> int:
        """Of how few factors the value, or a multiple of it, is made."""
        found = fingerprint(value)
        if found.size not in self.rows:
            return HEAVY
        scaled, same = found / abs(found).max(), np.zeros(len(self.known[found.size]), bool)
        for turned in (scaled, -scaled[::-1]):
            same |= gap(self.rows[found.size], turned).max(axis=1) <= FITTED
        several = (self.known[found.size][k].weight for k in np.flatnonzero(same))
        return min(several, default=HEAVY)

    def of_size(self, size: int) -> list[Known]:
        """The right values of so many distinct entries."""
        return self.known.get(size, [])

    def match(self, value: Array, first: Sequence[Known]) -> Match | None:
        """What a value is, up to a plain factor; one of ``first`` before all others."""
        for known in first:
            if self.multiple(value, known) == 1:
                return Match(known, 1)
        found = fingerprint(value)
        if found.size not in self.rows or not np.all(np.isfinite(found)):
            return None
        scale = abs(found).max()
        best: Match | None = None
        for sign, scaled in ((1, found / scale), (-1, -found[::-1] / scale)):
            same = gap(self.rows[found.size], scaled).max(axis=1) <= FITTED
            for number in np.flatnonzero(same):
                factor = sign * scale / self.scales[found.size][number]
                if self.is_plain(factor) and (best is None or near(factor, 1, FITTED)):
                    factor = 1.0 if near(factor, 1, FITTED) else factor
                    if best is None or best.factor != 1:
                        best = Match(self.known[found.size][number], factor)
        return best

    def multiple(self, value: Array, known: Known) -> float | None:
        """The factor by which ``value`` is a multiple of ``known``."""
        one, other = fingerprint(value), fingerprint(known.value)
        if one.size != other.size or not np.all(np.isfinite(one)) or not one.any():
            return None
        for sign, turned in ((1.0, one), (-1.0, -one[::-1])):
            factor = float(abs(one).max() / abs(other).max()) if other.any() else np.inf
            if alike(factor * other, turned, FITTED):
                factor *= sign
                return 1.0 if near(factor, 1, FITTED) else factor
        return None

    def is_plain(self, factor: float) -> bool:
        """Whether it is a factor that right code may put off: 2, -1/2, m, 1/m, ..."""
        return bool(np.any(gap(self.plain, abs(factor)) <= FITTED * self.plain))

    def spelled(self, factor: float) -> str:
        """A factor as people write it."""
        plain = Fraction(factor).limit_denominator(99)
        if negligible(float(plain) - factor, factor, FITTED):
            return str(plain)
        return f"{factor:.4g}"


def _plain(library: Library) -> Array:
    n = float(library.together)
    return np.array(sorted({h * c for h in (0.25, 0.5, 1.0, 2.0, 4.0) for c in (1.0, n, 1 / n)}))


@dataclass(frozen=True)
class Arrangement:
    """Where the entries of a right value lie in an array of some shape."""

    examples: dict[tuple[int, ...], tuple[Array, tuple[int, ...]]]

    @classmethod
    def learnt(cls, looked: Iterable[tuple[Array, Match | None]]) -> "Arrangement":
        """From arrays that were recognised, entry for entry."""
        examples: dict[tuple[int, ...], tuple[Array, tuple[int, ...]]] = {}
        for value, match in looked:
            if match is None or value.size != match.known.value.size or value.shape in examples:
                continue
            if fingerprint(value).size != value.size:
                continue
            places = np.empty(value.size, int)
            own = value.ravel() if match.factor > 0 else -value.ravel()
            places[np.argsort(own)] = np.argsort(match.known.value.ravel())
            examples[value.shape] = places, match.known.value.shape
        return cls(examples)

    def __call__(self, known: Array, like: Array) -> list[Array]:
        """A right value in the shape of ``like``, in each way in which it may lie; or none."""
        shape = like.shape
        if shape in self.examples:
            places, own = self.examples[shape]
            if all(n in (1, o) for n, o in zip(_padded(known, len(own)), own, strict=True)):
                return [np.broadcast_to(known, own).ravel()[places].reshape(shape)]
        found = []
        wanted = tuple(n for n in shape if n != 1)
        bare = np.squeeze(known)
        for order in permutations(range(bare.ndim)):
            turned = bare.transpose(order)
            if turned.shape == wanted:
                found.append(turned.reshape(shape))
        if not found and bare.size == 1:
            found = [np.broadcast_to(bare, shape)]
        return found


def _padded(known: Array, axes: int) -> tuple[int, ...]:
    return (1,) * (axes - known.ndim) + known.shape
