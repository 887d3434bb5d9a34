"""Right values, and an array told by them whatever its shape: up to order, repetition, a factor.

Arrays of random numbers are known by the set of their values: transposed, broadcast, in a loop or
with axes joined it stays the same. How values lie in an array of some shape is learnt from
another of that shape that was recognised. Who makes right values is ``intermediates``.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import chain, permutations

import numpy as np

from bncheck.numbers.agreement import (
    FITTED,
    RECOMPUTED,
    ROUNDING,
    alike,
    gap,
    largest,
    near,
    negligible,
)  # fmt: skip
from bncheck.numbers.arithmetic import Array

HEAVY = 9
"""The weight of a value of which nothing simpler is known."""


@dataclass(frozen=True, eq=False)
class RightValue:
    """A right value: float64, one axis per axis of the program, of length 1 where it has none.

    ``weight``: of how many factors it is made, where that is known.
    """

    name: str
    value: Array
    weight: int = HEAVY

    @cached_property
    def entries(self) -> Array:
        """The distinct values in order."""
        return fingerprint(self.value)


@dataclass(frozen=True)
class Multiple:
    """What a value is: ``factor`` times a right one."""

    of: RightValue
    factor: float

    def equals(self, right: RightValue) -> bool:
        """Whether it is that very value."""
        return self.factor == 1 and self.of is right


@dataclass(frozen=True)
class _Alike:
    """Right values of one number of distinct entries; ``rows``: these, scaled to 1, in order."""

    values: tuple[RightValue, ...]
    rows: Array
    scales: Array

    def places(self, scaled: Array) -> Array:
        """Which of them a fingerprint is, when scaled to 1."""
        return np.flatnonzero(gap(self.rows, scaled).max(axis=1) <= FITTED)


@dataclass(frozen=True)
class RightValues:
    """All right values on one trial.

    ``nodes``: values of the forward pass by name; ``wholes``: gradients by name; ``parts``: what
    single paths contribute to a gradient; ``sums``: what several contribute together; ``others``:
    terms and products; ``roles``: which node a role of ``subject/names`` is; ``counts``: sizes
    of the axes; ``together``: how many values are normalised together; ``width``: of gamma.
    """

    nodes: Mapping[str, RightValue]
    wholes: Mapping[str, RightValue]
    parts: Mapping[str, Sequence[RightValue]]
    sums: Mapping[str, Sequence[RightValue]]
    others: Sequence[RightValue]
    roles: Mapping[str, str]
    counts: Mapping[str, int]
    together: int
    width: int

    @property
    def upstream(self) -> str:
        """The name of the upstream gradient, ``dy``."""
        return "d" + self.roles["dy"]

    def named(self) -> Iterator[RightValue]:
        """Values with a name, the plainest first."""
        yield from self.nodes.values()
        yield from self.wholes.values()
        yield from chain(*self.parts.values(), *self.sums.values())

    @cached_property
    def _by_size(self) -> dict[int, _Alike]:
        """By the number of distinct entries; those with a name first, then by weight."""
        values: dict[int, list[RightValue]] = {}
        prints: dict[int, list[Array]] = {}
        for one in (*self.named(), *sorted(self.others, key=lambda other: other.weight)):
            found = one.entries
            if found.size > 1 and np.all(np.isfinite(found)):
                values.setdefault(found.size, []).append(one)
                prints.setdefault(found.size, []).append(found)
        scales = {size: np.array([largest(p) for p in prints[size]]) for size in prints}
        return {
            size: _Alike(tuple(several), np.array(prints[size]) / scales[size][:, None],
                         scales[size])
            for size, several in values.items()
        }  # fmt: skip

    @cached_property
    def _plain(self) -> Array:
        n = float(self.together)
        return np.array([h * c for h in (0.25, 0.5, 1.0, 2.0, 4.0) for c in (1.0, n, 1 / n)])

    def of_size(self, size: int) -> Sequence[RightValue]:
        """The right values of so many distinct entries."""
        return self._by_size[size].values if size in self._by_size else ()

    def weight(self, value: Array) -> int:
        """Of how few factors the value, or a multiple of it, is made."""
        found = fingerprint(value)
        if found.size not in self._by_size:
            return HEAVY
        there, scaled = self._by_size[found.size], found / largest(found)
        same = (there.values[k] for turn in (scaled, -scaled[::-1]) for k in there.places(turn))
        return min((one.weight for one in same), default=HEAVY)

    def match(self, value: Array, first: Sequence[RightValue]) -> Multiple | None:
        """What a value is, up to a plain factor; one of ``first`` before all others."""
        for right in first:
            if multiple(value, right) == 1:
                return Multiple(right, 1)
        found = fingerprint(value)
        if found.size not in self._by_size or not np.all(np.isfinite(found)):
            return None
        there, scale = self._by_size[found.size], largest(found)
        best: Multiple | None = None
        for sign, scaled in ((1, found / scale), (-1, -found[::-1] / scale)):
            for place in there.places(scaled):
                factor = _tidy(sign * scale / there.scales[place])
                if (best is None and self.is_plain(factor)) or factor == 1:
                    best = Multiple(there.values[place], factor)
                if best is not None and best.factor == 1:
                    return best
        return best

    def is_plain(self, factor: float) -> bool:
        """Whether it is a factor that right code may put off: 2, -1/2, m, 1/m, ..."""
        return bool(np.any(gap(self._plain, abs(factor)) <= FITTED * self._plain))


def fingerprint(value: Array) -> Array:
    """The distinct values in order; two NaN where one is not finite."""
    flat = np.sort(np.asarray(value, float).ravel())
    if not np.all(np.isfinite(flat)):
        return np.full(2, np.nan)
    apart = np.diff(flat) > RECOMPUTED * largest(flat)
    return flat[np.concatenate(([True], apart))] if flat.size else flat


def is_same(one: Array, other: Array) -> bool:
    """Whether two arrays hold the same values, but for order, repetition and rounding."""
    return alike(fingerprint(one), fingerprint(other), ROUNDING)


def multiple(value: Array, right: RightValue) -> float | None:
    """The factor by which ``value`` is a multiple of a right one."""
    one, other = fingerprint(value), right.entries
    if one.size != other.size or not np.all(np.isfinite(one)) or not one.any():
        return None
    factor = largest(one) / largest(other) if other.any() else np.inf
    for sign, turned in ((1.0, one), (-1.0, -one[::-1])):
        if alike(factor * other, turned, FITTED):
            return _tidy(sign * factor)
    return None


def _tidy(factor: float) -> float:
    return 1.0 if near(factor, 1, FITTED) else float(factor)


def spelled(factor: float) -> str:
    """A factor as people write it: 2, -1/7, 0.3183."""
    plain = Fraction(factor).limit_denominator(99)
    return str(plain) if negligible(float(plain) - factor, factor, FITTED) else f"{factor:.4g}"


@dataclass(frozen=True)
class Arrangement:
    """Where the entries of a right value lie in an array of some shape."""

    examples: Mapping[tuple[int, ...], tuple[Array, tuple[int, ...]]]

    @classmethod
    def learnt(cls, recognised: Iterable[tuple[Array, Multiple | None]]) -> "Arrangement":
        """From arrays that were recognised, entry for entry."""
        examples: dict[tuple[int, ...], tuple[Array, tuple[int, ...]]] = {}
        for value, match in recognised:
            if match is None or value.size != match.of.value.size or value.shape in examples:
                continue
            if fingerprint(value).size != value.size:
                continue
            places = np.empty(value.size, int)
            own = value.ravel() if match.factor > 0 else -value.ravel()
            places[np.argsort(own)] = np.argsort(match.of.value.ravel())
            examples[value.shape] = places, match.of.value.shape
        return cls(examples)

    def __call__(self, right: Array, like: Array) -> list[Array]:
        """A right value in the shape of ``like``, in each way in which it may lie; or none."""
        shape = like.shape
        if shape in self.examples:
            places, own = self.examples[shape]
            padded = (1,) * (len(own) - right.ndim) + right.shape
            if all(n in (1, o) for n, o in zip(padded, own, strict=True)):
                return [np.broadcast_to(right, own).ravel()[places].reshape(shape)]
        bare, wanted = np.squeeze(right), tuple(n for n in shape if n != 1)
        turned = (bare.transpose(order) for order in permutations(range(bare.ndim)))
        found = [one.reshape(shape) for one in turned if one.shape == wanted]
        return found or ([np.broadcast_to(bare, shape)] if bare.size == 1 else [])
