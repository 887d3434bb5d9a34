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
from bncheck.place.recognition import Recognised
from bncheck.place.values import (
    HEAVY,
    Arrangement,
    RightValue,
    RightValues,
    fingerprint,
    is_same,
    multiple,
)
from bncheck.subject.messages import Edit, Replacement, Written

Rerun = Callable[[Sequence[Sequence[Replacement]]], Sequence[Mapping[str, Array] | None]]
"""The gradients by name, in the program's axes, with other values in some places."""

Truth = Mapping[str, tuple[Array, Array]]
"""Gradients by name: what is right, and what rounding allows."""

AT_ONCE = 400
"""How many values are tried in one place at most."""


@dataclass(frozen=True)
class Experiment:
    """One gradient that is wrong, and the user's code, to be run on with other values.

    ``values``: the right ones; ``looked``: every assignment; ``kept``: the gradients that are
    right already, and have to stay so.
    """

    gradient: str
    values: RightValues
    looked: tuple[Recognised, ...]
    arranged: Arrangement
    truth: Truth
    kept: frozenset[str]
    rerun: Rerun

    @property
    def right(self) -> Array:
        """The gradient in question as it should be."""
        return np.asarray(self.truth[self.gradient][0], float)

    def run(self, *tries: Sequence[Replacement]) -> list[Array | None]:
        """The gradient in question; None where the try fails, or spoils another gradient."""
        results = self.rerun(tries) if tries else ()
        return [None if r is None or self._spoils(r) else r.get(self.gradient) for r in results]

    def mends(self, result: Array | None) -> bool:
        """Whether a gradient is the right one."""
        return result is not None and is_right(result, *self.truth[self.gradient])

    def is_upstream(self, one: Recognised) -> bool:
        """Whether it is the upstream gradient, and is called after what holds it: ``dout_T``."""
        name = self.values.upstream
        holders = (
            given.made.name for given in self.looked
            if given.made.given and given.match is not None and given.match.of.name == name
        )  # fmt: skip
        holder = next(holders, None)
        is_it = one.match is not None and one.match.of.name == name
        return is_it and holder is not None and holder in one.made.name

    def _spoils(self, result: Mapping[str, Array]) -> bool:
        return not all(n in result and is_right(result[n], *self.truth[n]) for n in self.kept)


def experiment(
    gradient: str,
    values: RightValues,
    looked: tuple[Recognised, ...],
    yours: Mapping[str, Array],
    truth: Truth,
    rerun: Rerun,
) -> Experiment:
    """``yours``, ``truth``: the gradients as they are, and as they should be."""
    arranged = Arrangement.learnt((one.value, one.match) for one in looked)
    kept = frozenset(n for n, t in truth.items() if n in yours and is_right(yours[n], *t))
    return Experiment(gradient, values, looked, arranged, truth, kept, rerun)


def is_right(yours: Array, right: Array, allowed: Array) -> bool:
    """Whether a gradient is the right one, but for rounding."""
    return explains(right, yours, allowed, RECOMPUTED)


def is_tried(here: Experiment, one: Recognised) -> bool:
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


def put(one: Recognised, value: Array) -> list[Replacement]:
    """The value in this line's place, every time that the line runs."""
    several = value.reshape(len(one.numbers), *one.made.values.shape[1:])
    return [
        Replacement(one.made.line, one.made.name, number, np.asarray(each))
        for number, each in zip(one.numbers, several, strict=True)
    ]


def that_matter(here: Experiment, looked: Sequence[Recognised]) -> list[Recognised]:
    """Those on which the gradient depends."""
    still, *moved = here.rerun([[], *(put(one, _moved(one)) for one in looked)])
    name = here.gradient
    if still is None or name not in still:
        return []
    return [
        one for one, result in zip(looked, moved, strict=True)
        if result is None or name not in result or not alike(result[name], still[name], RECOMPUTED)
    ]  # fmt: skip


def _moved(one: Recognised) -> Array:
    if one.made.values.dtype.kind in "iu":
        return one.value + 1
    return one.value * 1.375 + 0.0625


def is_mended(here: Experiment, one: Recognised) -> bool:
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


def _is_multiple(here: Experiment, one: Recognised, turned: bool = False) -> bool:
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


def _is_another(here: Experiment, one: Recognised) -> bool:
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
    ][:AT_ONCE]  # fmt: skip
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


def _is_likely(here: Experiment, one: Recognised, right: RightValue) -> bool:
    factor = multiple(one.value, right)
    if factor is not None:
        return bool(right.name) and not near(abs(factor), 1, FITTED)
    weight = here.values.weight(right.value)
    return weight < HEAVY and weight <= here.values.weight(one.value)


def _solved(here: Experiment, base: Array, slope: Array) -> float | None:
    """The number t for which ``base + t*slope`` is the right gradient."""
    base, slope = np.asarray(base, float), np.asarray(slope, float)
    wanted = np.asarray(here.right, float) - base
    square = float((slope * slope).sum())
    if not np.isfinite(square) or square == 0 or not np.all(np.isfinite(wanted)):
        return None
    factor = float((slope * wanted).sum()) / square
    left = wanted - factor * slope
    return factor if negligible(left, here.right, FITTED) else None


def mended_together(here: Experiment, looked: Iterable[Recognised]) -> Recognised | None:
    """The first of several wrong lines that have to be mended together."""
    wrong = [(one, one.wanted) for one in looked if one.wanted is not None and not one.right]
    puts = [
        replacement
        for one, wanted in wrong
        for value in here.arranged(wanted.values[0].value, one.value)[:1]
        for replacement in put(one, value)
    ]
    return wrong[0][0] if len(wrong) > 1 and here.mends(here.run(puts)[0]) else None


def simplest(
    here: Experiment, blamed: Recognised, yours: Array, ways: Iterable[Written]
) -> tuple[Edit, ...]:
    """The first way to write the line with which the gradient is right; its edits, or none.

    ``yours``: the gradient as it is.
    """
    wanted = [right.value for right in blamed.wanted.tried] if blamed.wanted is not None else []
    if is_same(blamed.value, yours):
        wanted.append(here.right)
    likely = [way for way in ways if any(is_same(way.value, value) for value in wanted)][:AT_ONCE]
    results = here.run(*(put(blamed, np.asarray(way.value, float)) for way in likely))
    mended = (way.edits for way, r in zip(likely, results, strict=True) if here.mends(r))
    return next(mended, ())
