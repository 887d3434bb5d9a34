"""The line where a backward pass first goes wrong: one more call, traced, for a wrong gradient.

A line is wrong where the value that it gives to a name is not right, and with the right value in
its place the gradient would be. So values are compared with those that bncheck derives
(``intermediates``), and then put in (``mending``), and the user's own code computes on from there:
whatever convention it follows, only what mends the gradient is blamed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

import numpy as np

from bncheck.calculus.derivation import Derivation
from bncheck.identity.crossing import Bench
from bncheck.numbers.agreement import FITTED
from bncheck.numbers.arithmetic import Array
from bncheck.numbers.observation import Observation, Trial
from bncheck.place.edits import AT_ONCE, single_edits
from bncheck.place.intermediates import right_values
from bncheck.place.mending import (
    Probe,
    Rerun,
    is_mended,
    is_tried,
    mended_together,
    probe,
    that_matter,
)
from bncheck.place.recognition import Sighting, origin, sightings, source
from bncheck.place.values import RightValues, fingerprint, multiple, spelled
from bncheck.subject.messages import Edit, Replacement
from bncheck.telling.codes import Finding, found
from bncheck.telling.errors import CannotAsk
from bncheck.telling.report import Cause

NO_LINE = ("shape", "inaccurate", "corner", "not-finite", "not-own-gradient")
"""Causes that no line of arithmetic is to blame for, as far as bncheck can tell."""

UNNAMED = ("unexplained", "term-factor", "two-changes")
"""Causes that say less than the edit that mends them."""

RUNS, WORK = 2_000, 1_000_000
"""How often the code is run for one gradient, and how many values it gives to names in that."""

LARGEST = 300
"""Entries of a gradient on a trial that is traced."""


@dataclass(frozen=True)
class Search:
    """``observations``: all easy ones; ``known``: the right values and the user's, of trials that
    were traced already.
    """

    derivation: Derivation
    bench: Bench
    observations: Sequence[Observation]
    known: dict[Trial, tuple[RightValues, tuple[Sighting, ...]]]

    def sighted(self, trial: Trial) -> tuple[RightValues, tuple[Sighting, ...]]:
        """What is right on a trial, and what the code has; it is traced once."""
        if trial not in self.known:
            values = right_values(self.derivation, trial.values)
            self.known[trial] = values, sightings(values, self.bench.traced(trial))
        return self.known[trial]

    def worst(self, gradient: str) -> Observation | None:
        """The most suitable observation to look at for a gradient, if there is one."""
        one = max(self.observations, key=lambda one: _off(one, gradient), default=None)
        return None if one is None or not _off(one, gradient) else one

    def probe(self, gradient: str, one: Observation) -> Probe:
        """The code on one trial, to be run on."""
        values, seen = self.sighted(one.trial)
        rerun = _counted(self.bench, one.trial, sum(len(each.made.values) for each in seen))
        return probe(gradient, one, values, seen, rerun)


def mends(search: Search, gradients: Sequence[str]) -> dict[str, Edit]:
    """By gradient the edit of the code that makes it right, where there is one."""
    with np.errstate(all="ignore"):
        return single_edits(
            search.bench, gradients, search.observations, lambda one: search.sighted(one.trial)[1]
        )


def locate(causes: Sequence[Cause], search: Search, edits: Mapping[str, Edit]) -> tuple[Cause, ...]:
    """Each cause with its line; as it is where none can be told."""
    with np.errstate(all="ignore"):
        return tuple(
            _edited(c, search, edits[c.gradient]) if c.gradient in edits else _located(c, search)
            for c in causes
        )


def _edited(cause: Cause, search: Search, edit: Edit) -> Cause:
    """The cause with its edit; where it says no more than that, the edit is the cause."""
    line = None if edit.file else edit.line
    pieces: dict[str, Any] = {"column": edit.column, "old": edit.old, "new": edit.new}
    file = PurePath(edit.file).name
    whole = found("edit", line=edit.line, file=file, **pieces)
    if cause.code in UNNAMED:
        return replace(cause, finding=whole, limits=(), line=line)
    one = search.worst(cause.gradient)
    if one is None:
        return replace(cause, line=line, place=(whole,))
    here = search.probe(cause.gradient, one)
    for chosen in here.sightings:
        blamed = source(here.sightings, chosen)
        if (blamed.made.file, blamed.made.line) == (edit.file, edit.line) and not (
            chosen.right or chosen.made.given or chosen.made.returned
        ):
            said = (*_said(here, blamed, chosen), found("edit", "there", **pieces))
            return replace(cause, line=line, place=said)
    return replace(cause, line=line, place=(whole,))


def _located(cause: Cause, search: Search) -> Cause:
    one = search.worst(cause.gradient)
    if one is None or cause.code in NO_LINE:
        return cause
    try:
        findings = _first_wrong(search.probe(cause.gradient, one))
    except CannotAsk:
        return cause  # a verdict is not lost for want of a line
    if not findings:
        return cause
    line = None if findings[0].arguments["file"] else findings[0].arguments["line"]
    return replace(cause, line=line, place=findings)


def _counted(bench: Bench, trial: Trial, events: int) -> Rerun:
    """Runs on a trial, as long as no more than ``RUNS`` and ``WORK`` are asked for.

    ``events``: how many values one run gives to names.
    """
    left = min(RUNS, WORK // max(1, events))

    def counted(tries: Sequence[Sequence[Replacement]]) -> Sequence[Mapping[str, Array] | None]:
        nonlocal left
        left -= len(tries)
        if left < 0:
            raise CannotAsk("the code would have to be run too often to look into each line")
        parts = (tries[k : k + AT_ONCE] for k in range(0, len(tries), AT_ONCE))
        return [result for part in parts for result in bench.replaced(trial, part)]

    return counted


def _off(one: Observation, gradient: str) -> float:
    """How suitable a trial is to look at: sizes that differ, few values, and far off."""
    if gradient not in one.gradients or len(set(one.trial.sizes)) < len(one.trial.sizes):
        return 0.0
    right, yours = one.reference.gradients[gradient], one.gradients[gradient]
    if yours.shape != right.shape or yours.size > LARGEST:
        return 0.0
    apart = float(abs(yours - right).max() / (abs(right).max() or 1.0))
    return min(1e-3, apart) if apart > FITTED else 0.0


def _first_wrong(here: Probe) -> tuple[Finding, ...]:
    """The line to mend for the gradient; none where no line gives its value."""
    last = origin(here.sightings, here.yours, here.gradient)
    if last is None:
        return ()
    matter = _looked_into(here, here.sightings[: here.sightings.index(last)])
    mending = next((one for one in matter if is_mended(here, one)), None)
    chosen = mending or mended_together(here, matter) or last
    blamed = source(here.sightings, chosen)
    beside = _not_right(matter, last) if chosen is last else ()
    return (*_said(here, blamed, chosen), *beside)


def _looked_into(here: Probe, before: Sequence[Sighting]) -> list[Sighting]:
    """Those that may have to be mended.

    Not a right one of whose name another line does not matter: it is that later line, which
    leaves one part out.
    """
    open_ = [one for one in before if not one.made.given and not one.made.returned]
    matter = that_matter(here, [one for one in open_ if is_tried(here, one)])
    unused = {one.wanted.name for one in open_ if one.wanted and one not in matter}
    return [
        one for one in matter
        if not (one.right and one.wanted is not None and one.wanted.name in unused)
    ]  # fmt: skip


def _said(here: Probe, blamed: Sighting, chosen: Sighting) -> Iterator[Finding]:
    """How the value differs from the one that belongs there, and what is right before it."""
    name = here.gradient if chosen.made.returned else chosen.made.name
    form, more = _difference(here, chosen)
    file = PurePath(blamed.made.file).name
    yield found("line", form, line=blamed.made.line, file=file, name=name, **more)
    before = _last_right(here, blamed)
    if before is not None:
        yield found("line-before", name=before.made.name, line=before.made.line)


def _difference(here: Probe, one: Sighting) -> tuple[str, Mapping[str, Any]]:
    wholes = here.values.wholes
    belong = one.wanted.values if one.wanted is not None else ()
    if not belong and here.gradient in wholes:
        belong = (wholes[here.gradient],)
    if one.is_scalar and belong:
        return "number", {
            "value": float(one.value.flat[0]),
            "right": float(belong[0].value.flat[0]),
        }
    for right in belong:
        factor = multiple(one.value, right)
        if factor == 1:
            return "part", {}
        if factor is not None:
            return "multiple", {"factor": spelled(factor)}
    return "", {}


def _last_right(here: Probe, blamed: Sighting) -> Sighting | None:
    """The last line before it, of the same function, that gives a gradient its right value."""
    before = [
        (one, one.wanted) for one in here.sightings[: here.sightings.index(blamed)]
        if one.right and one.wanted is not None and not one.made.given
        and _function(one) == _function(blamed) and one.made.line != blamed.made.line
        and fingerprint(one.value).size > 1
    ]  # fmt: skip
    gradients = [(one, wanted) for one, wanted in before if wanted.name[:1] == "d"]
    return (gradients or before)[-1][0] if before else None


def _function(one: Sighting) -> tuple[str, str]:
    return one.made.file, one.made.function


def _not_right(matter: Sequence[Sighting], last: Sighting) -> tuple[Finding, ...]:
    """The first value that is not what its name says, where mending it alone is not enough."""
    others = (
        one for one in matter
        if one.made.name != last.made.name and one.match is None
        and one.wanted is not None and not one.is_scalar and not one.right
    )  # fmt: skip
    first = next(others, None)
    if first is None:
        return ()
    return (found("line-beside", name=first.made.name, line=first.made.line),)
