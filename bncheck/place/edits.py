"""One edit of the code with which a wrong gradient is right: what stands there, and what should.

Lines that give a value that is not right come first, the first of them before all others; there
the likelier edits first. What mends one small trial is tried on all the others.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from bncheck.identity.crossing import Bench
from bncheck.numbers.agreement import RECOMPUTED, alike
from bncheck.numbers.arithmetic import Array
from bncheck.numbers.observation import Observation
from bncheck.numbers.reference import truth_of
from bncheck.numbers.trials import USUAL_EPS, with_eps
from bncheck.place.mending import is_right
from bncheck.place.recognition import Sighting, source
from bncheck.subject.messages import Edit
from bncheck.telling.errors import CannotAsk

MOST, AT_ONCE = 2_000, 50
"""How many edits are tried for one backward pass, and how often the code is run for one question:
a time limit holds for each."""

LARGEST = 600
"""Entries of the inputs on trials that an edit is tried on."""

Look = Callable[[Observation], Sequence[Sighting]]

REST = ("", 0)
"""Among places, files and lines: all but the others."""


def single_edits(
    bench: Bench, gradients: Sequence[str], observations: Sequence[Observation], look: Look
) -> dict[str, Edit]:
    """For each gradient that is wrong the first edit that mends it and spoils nothing else.

    ``observations``: all easy ones; ``look``: what a trial gave on the way.
    """
    small = [s for s in observations if 1 < _size(s) <= LARGEST]
    found: dict[str, Edit] = {}
    for one in sorted(small, key=lambda s: (len({1, *s.trial.sizes}) < 3, _size(s))):
        wrong = {n for n in gradients if _is_wrong(one, n)}
        if not wrong or (one is not small[-1] and not _is_finite(one)):
            continue
        others = [s for s in small if s is not one and _is_finite(s)]
        with suppress(CannotAsk):  # too slow, or no source: then other ways have to do
            found |= _on(bench, one, others, wrong, look(one))
        break
    return found


def _on(
    bench: Bench,
    one: Observation,
    others: Sequence[Observation],
    wrong: set[str],
    seen: Sequence[Sighting],
) -> dict[str, Edit]:
    """The edits for the gradients that are wrong on one observation."""
    found: dict[str, Edit] = {}
    is_known = bench.backward.has_forward or bench.backward.eps_settable
    readings = [
        (eps, _with_eps(bench, one, eps)) for eps in (None, *(() if is_known else USUAL_EPS))
    ]
    for edit, made in _tried(bench, one, seen):
        for eps, reading in readings if made is not None else ():
            mended = _mended(reading, made) & wrong - found.keys()
            for other in others if mended else ():
                there = _with_eps(bench, other, eps)
                mended &= _mended(there, bench.edited(other.trial, [edit])[0])
            found |= dict.fromkeys(mended, edit)
        if found.keys() == wrong:
            break
    return found


def _with_eps(bench: Bench, one: Observation, eps: float | None) -> Observation:
    """The same numbers, held against another eps: one that is in the code is not yet known, where
    there is no forward pass and the gradients are wrong.
    """
    if eps is None or "eps" not in one.values:
        return one
    trial = with_eps(one.trial, eps)
    return replace(one, trial=trial, reference=truth_of(bench.reading.found, trial))


def _size(one: Observation) -> int:
    return max(np.size(value) for value in one.values.values())


def _is_finite(one: Observation) -> bool:
    return all(np.isfinite(np.asarray(g, float)).all() for g in one.gradients.values())


def _is_wrong(one: Observation, name: str) -> bool:
    return name in one.gradients and not is_right(one, name, one.gradients[name])


_Made = tuple[Mapping[str, Array], Array | None] | None


def _tried(
    bench: Bench, one: Observation, seen: Sequence[Sighting]
) -> Iterator[tuple[Edit, _Made]]:
    """Edits in the order of their likelihood, each with the gradients and the output."""
    off = [
        s for s in seen
        if not (s.made.given or s.right) and (s.wanted is not None or not s.is_scalar)
    ]  # fmt: skip
    blamed = [s for one_ in off for s in (source(seen, one_), one_)]
    places = list(dict.fromkeys((s.made.file, s.made.line) for s in blamed))
    left, first = MOST, places[:1]
    for lines, far in (
        (first, False), (first, True), (places[1:], False), ((*places, REST), False),
        (places[1:], True), ((*places, REST), True),
    ):  # fmt: skip
        edits = bench.edits(one.trial, lines, far)[:left] if lines else ()
        left -= len(edits)
        for start in range(0, len(edits), AT_ONCE):
            some = edits[start : start + AT_ONCE]
            yield from zip(some, bench.edited(one.trial, some), strict=True)


def _mended(one: Observation, made: _Made) -> set[str]:
    """The gradients that are right with an edit; none where it spoils one, or the output."""
    if made is None:
        return set()
    gradients, y = made
    if one.y is not None and (y is None or not alike(y, one.y, RECOMPUTED, least=1.0)):
        return set()
    before, right = (
        {n for n in one.reference.gradients if n in some and is_right(one, n, some[n])}
        for some in (one.gradients, gradients)
    )
    return right if before <= right else set()
