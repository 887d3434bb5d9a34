"""Assignments as they are looked at: what each value is, and what it should be by its name."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bncheck.numbers.agreement import ROUNDING, alike, negligible
from bncheck.numbers.arithmetic import Array
from bncheck.place.expected import Expected, expected
from bncheck.place.matching import Match, Shelf, fingerprint
from bncheck.place.values import Known, Library
from bncheck.subject.messages import Assigned


@dataclass(frozen=True, eq=False)
class Look:
    """One assignment as it is looked at: all its values, or those that a loop ended with."""

    made: Assigned
    value: Array
    numbers: tuple[int, ...]
    match: Match | None
    wanted: Expected | None

    @property
    def right(self) -> bool:
        """Whether it is what its name says, or, for other names, something that is right."""
        if self.wanted is None:
            return self.match is not None
        if any(_is_nothing(self.value, self.wanted, known) for known in self.wanted.values):
            return True
        return self.match is not None and any(
            self.match.equals(known) for known in self.wanted.values
        )


def _is_nothing(value: Array, wanted: Expected, known: Known) -> bool:
    """Whether both are zero but for rounding, as the path to the mean through the variance is."""
    beside = wanted.values[0].value
    return negligible(value, beside, ROUNDING) and negligible(known.value, beside, ROUNDING)


def looks_at(library: Library, shelf: Shelf, traced: Sequence[Assigned]) -> tuple[Look, ...]:
    """Everything that was assigned, but for what only starts a sum or an array to fill."""
    return tuple(_looks(library, shelf, [m for m in traced if not _is_start(m, traced)]))


def origin(looks: Sequence[Look], yours: Array, gradient: str) -> Look | None:
    """Where the gradient that was returned comes from: the first line that has it, and should not.

    Where all may have it under the names they have, it is the last.
    """
    there = [
        look for look in looks
        if not look.made.given and yours.size > 1 and is_same(fingerprint(look.value), yours)
    ]  # fmt: skip
    if there:
        own = [look for look in there if not look.made.returned] or there
        return next((look for look in there if not look.right), own[-1])
    named = [
        look for look in looks
        if look.wanted is not None and look.wanted.name == gradient
        and is_same(fingerprint(look.value), yours)
    ]  # fmt: skip
    return named[-1] if named else None


def source(looks: Sequence[Look], chosen: Look) -> Look:
    """Where a wrong value came from: a helper's line, say, that returned it."""
    wrong = fingerprint(chosen.value)
    before = [
        look for look in looks[: looks.index(chosen)]
        if wrong.size > 1 and is_same(fingerprint(look.value), wrong)
    ]  # fmt: skip
    if any(look.right and not look.made.returned for look in before):
        return chosen
    return next((look for look in before if not look.made.given), chosen)


def _is_start(made: Assigned, traced: Sequence[Assigned]) -> bool:
    """Whether it is the zero that a sum starts from, or an array that is filled later."""
    if made.given or not _again(made, traced):
        return False
    filled = any(o.text.startswith(f"{made.name}[") for o in traced if o is not made)
    return filled or not made.values.any()


def _looks(library: Library, shelf: Shelf, traced: Sequence[Assigned]) -> Iterator[Look]:
    names = _forward_names(shelf, traced)
    for made in traced:
        again = _again(made, traced)
        wanted = None if made.given else expected(library, made, names, again)
        if again and wanted is not None and not _is_alike(made, wanted):
            wanted = None  # the name is not yet what it says: dvar before its sum
        looked = []
        views = [made.ends, tuple(range(len(made.values)))]
        for numbers in dict.fromkeys(views if _gathers(made) else views[::-1]):
            value = np.asarray(made.values[list(numbers)], float)
            value = value[0] if len(numbers) == 1 else value
            match = shelf.match(value, wanted.values if wanted else ())
            looked.append(Look(made, value, numbers, match, wanted))
        yield next((look for look in looked if look.match is not None), looked[0])


def _is_alike(made: Assigned, wanted: Expected) -> bool:
    """Whether any value has as many distinct entries as the one that is wanted."""
    size = fingerprint(wanted.values[0].value).size
    values = np.asarray(made.values, float)
    return size in (fingerprint(values).size, fingerprint(values[-1]).size)


def _gathers(made: Assigned) -> bool:
    """Whether the line goes on from the value that it finds: ``s += a``, ``s[i] = a``."""
    target, _, rest = made.text.partition("=")
    return target.strip() != made.name or bool(re.search(rf"\b{re.escape(made.name)}\b", rest))


def _forward_names(shelf: Shelf, traced: Sequence[Assigned]) -> dict[str, str]:
    """What the user calls the values of the forward pass: name to node."""
    names: dict[str, str] = {}
    for made in traced:
        value = np.asarray(made.values[-1], float)
        match = shelf.match(value, ()) if value.size > 1 else None
        if match is not None and match.factor == 1 and match.known.name in shelf.nodes:
            names.setdefault(made.name.removeprefix("self.").lower(), match.known.name)
    return names


def _again(made: Assigned, traced: Sequence[Assigned]) -> bool:
    """Whether a later line changes the same name: then this one need not hold the whole."""
    later = traced[list(traced).index(made) + 1 :] if not made.given else ()
    return any((o.name, o.function) == (made.name, made.function) for o in later)


def is_same(one: Array, other: Array) -> bool:
    """Whether two arrays are the same but for rounding."""
    return alike(one, other, ROUNDING)
