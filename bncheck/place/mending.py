"""Right values put in the place of the user's: do they make the gradient right?"""

from collections.abc import Callable, Iterable, Mapping, Sequence
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
from bncheck.numbers.observation import Observation
from bncheck.place.recognition import Sighting
from bncheck.place.values import (
    HEAVY,
    Arrangement,
    RightValue,
    RightValues,
    fingerprint,
    multiple,
)
from bncheck.subject.messages import Replacement

Rerun = Callable[[Sequence[Sequence[Replacement]]], Sequence[Mapping[str, Array] | None]]
"""The gradients by name, in the program's axes, with other values in some places."""

MOST = 400
"""How many values are tried in one place at most."""


@dataclass(frozen=True)
class Probe:
    """One gradient that is wrong on one trial, and the user's code, to be run on with other values.

    ``values``: the right ones; ``sightings``: every assignment; ``kept``: the gradients that are
    right already, and have to stay so.
    """

    gradient: str
    one: Observation
    values: RightValues
    sightings: tuple[Sighting, ...]
    arranged: Arrangement
    kept: tuple[str, ...]
    rerun: Rerun

    @property
    def right(self) -> Array:
        """The gradient in question as it should be."""
        return np.asarray(self.one.reference.gradients[self.gradient], float)

    @property
    def yours(self) -> Array:
        """The gradient in question as it is."""
        return self.one.gradients[self.gradient]

    def run(self, *tries: Sequence[Replacement]) -> list[Array | None]:
        """The gradient in question; None where the try fails, or spoils another gradient."""
        results = self.rerun(tries) if tries else ()
        return [
            r.get(self.gradient) if r is not None and self._keeps(r) else None
            for r in results
        ]  # fmt: skip

    def mends(self, result: Array | None) -> bool:
        """Whether a gradient is the right one."""
        return result is not None and is_right(self.one, self.gradient, result)

    def _keeps(self, result: Mapping[str, Array]) -> bool:
        return all(n in result and is_right(self.one, n, result[n]) for n in self.kept)

    def is_upstream(self, one: Sighting) -> bool:
        """Whether it is the upstream gradient, and is called after what holds it: ``dout_T``."""
        name = self.values.upstream
        holders = (
            given.made.name for given in self.sightings
            if given.made.given and given.match is not None and given.match.of.name == name
        )  # fmt: skip
        holder = next(holders, None)
        is_it = one.match is not None and one.match.of.name == name
        return is_it and holder is not None and holder in one.made.name


def probe(
    gradient: str,
    one: Observation,
    values: RightValues,
    sightings: tuple[Sighting, ...],
    rerun: Rerun,
) -> Probe:
    """From what is right and what was assigned on a trial."""
    arranged = Arrangement.learnt((each.value, each.match) for each in sightings)
    there = {n: g for n, g in one.gradients.items() if n in one.reference.gradients}
    kept = tuple(n for n, yours in there.items() if is_right(one, n, yours))
    return Probe(gradient, one, values, sightings, arranged, kept, rerun)


def is_right(one: Observation, name: str, yours: Array) -> bool:
    """Whether a gradient of the user's is right, but for a few digits."""
    right, allowed = one.reference.gradients[name], one.reference.allowed[name]
    return explains(right, yours, allowed, RECOMPUTED)


def is_tried(here: Probe, one: Sighting) -> bool:
    """Whether a line is looked into: it is not right, or right only as a part or by itself."""
    if not np.all(np.isfinite(one.value)):
        return False
    if one.wanted is not None:
        return not one.right or (len(one.wanted.values) > 1 and not one.changed)
    if one.match is not None:
        if here.is_upstream(one):
            return False
        return one.match.factor != 1 or one.match.of.name not in here.values.nodes
    return not one.is_scalar and not negligible(one.value, here.right, ROUNDING)


def put(one: Sighting, value: Array) -> list[Replacement]:
    """The value in this line's place, every time that the line runs."""
    several = value.reshape(len(one.numbers), *one.made.values.shape[1:])
    return [
        Replacement(one.made.line, one.made.name, number, np.asarray(each), one.made.file)
        for number, each in zip(one.numbers, several, strict=True)
    ]


def that_matter(here: Probe, seen: Sequence[Sighting]) -> list[Sighting]:
    """Those on which the gradient depends."""
    still, *moved = here.rerun([[], *(put(one, _moved(one)) for one in seen)])
    name = here.gradient
    if still is None or name not in still:
        return []
    return [
        one for one, result in zip(seen, moved, strict=True)
        if result is None or name not in result or not alike(result[name], still[name], RECOMPUTED)
    ]  # fmt: skip


def _moved(one: Sighting) -> Array:
    if one.made.values.dtype.kind in "iu":
        return one.value + 1
    return one.value * 1.375 + 0.0625


def is_mended(here: Probe, one: Sighting) -> bool:
    """Whether a right value in this place makes the gradient right."""
    if one.wanted is not None:
        tried = one.wanted.tried[one.right :]  # a part that is right is not the whole
        values = [v for k in tried for v in here.arranged(k.value, one.value)]
        if any(map(here.mends, here.run(*(put(one, v) for v in values)))):
            return True
    if (one.right and one.wanted is not None) or one.is_scalar:
        return False
    if one.match is not None and one.wanted is not None:
        return _is_multiple(here, one, turned=True)  # a right value, called something else
    if one.match is None and _is_multiple(here, one):
        return True
    return _is_another(here, one)


def _is_multiple(here: Probe, one: Sighting, turned: bool = False) -> bool:
    """Whether some number times this value makes the gradient right.

    ``turned``: and is then what its name says, but for the sign.
    """
    base, moved = here.run([], put(one, 2 * one.value))
    if base is None or moved is None or base.shape != moved.shape:
        return False
    factor = _solved(here, 2 * base - moved, moved - base)
    if factor is None:
        return False
    if turned and one.wanted is not None:
        now = multiple(one.value, one.wanted.values[0])
        if now is None or not near(abs(factor * now), 1, FITTED):
            return False
    return here.mends(here.run(put(one, factor * one.value))[0])


def _is_another(here: Probe, one: Sighting) -> bool:
    """Whether another right value does, or a plain multiple of one.

    Where the value is a right one by itself, only those that are as simple, or that it is a
    multiple of: else it is a later line that makes the wrong use of it.
    """
    others = here.values.of_size(fingerprint(one.value).size)
    if one.match is not None:
        others = [right for right in others if _is_likely(here, one, right)]
    factors = dict.fromkeys((1.0, one.match.factor if one.match else 1.0))
    values = [
        factor * value
        for right in others for value in here.arranged(right.value, one.value)
        for factor in factors
    ][:MOST]  # fmt: skip
    none, *results = here.run(*(put(one, v) for v in (0 * one.value, *values)))
    for value, result in zip(values, results, strict=True):
        if here.mends(result):
            return True
        if one.match is not None or none is None or result is None or none.shape != result.shape:
            continue
        factor = _solved(here, none, result - none)
        if factor is not None and here.values.is_plain(factor):
            return here.mends(here.run(put(one, factor * value))[0])
    return False


def _is_likely(here: Probe, one: Sighting, right: RightValue) -> bool:
    factor = multiple(one.value, right)
    if factor is not None:
        return bool(right.name) and not near(abs(factor), 1, FITTED)
    weight = here.values.weight(right.value)
    return weight < HEAVY and weight <= here.values.weight(one.value)


def _solved(here: Probe, base: Array, slope: Array) -> float | None:
    """The number t for which ``base + t*slope`` is the right gradient."""
    base, slope = np.asarray(base, float), np.asarray(slope, float)
    wanted = np.asarray(here.right, float) - base
    square = float((slope * slope).sum())
    if not np.isfinite(square) or square == 0 or not np.all(np.isfinite(wanted)):
        return None
    factor = float((slope * wanted).sum()) / square
    left = wanted - factor * slope
    return factor if negligible(left, here.right, FITTED) else None


def mended_together(here: Probe, seen: Iterable[Sighting]) -> Sighting | None:
    """The first of several wrong lines that have to be mended together."""
    wrong = [(one, one.wanted) for one in seen if one.wanted is not None and not one.right]
    puts = [
        replacement
        for one, wanted in wrong
        for value in here.arranged(wanted.values[0].value, one.value)[:1]
        for replacement in put(one, value)
    ]
    return wrong[0][0] if len(wrong) > 1 and here.mends(here.run(puts)[0]) else None
