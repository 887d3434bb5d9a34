"""The line where a backward pass first goes wrong: one more call, traced, for a wrong gradient.

A line is wrong where the value that it gives to a name is not right, and with the right value in
its place the gradient would be. So values are compared with those that bncheck derives
(``intermediates``), and then put in (``mending``), and the user's own code computes on from there:
whatever convention it follows, only what mends the gradient is blamed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePath
from typing import Any, Protocol

import numpy as np

from bncheck.calculus.derivation import Derivation
from bncheck.numbers.agreement import FITTED
from bncheck.numbers.arithmetic import Array
from bncheck.numbers.observation import Observation, Trial
from bncheck.place.intermediates import right_values
from bncheck.place.mending import (
    Probe,
    Rerun,
    is_mended,
    is_tried,
    mended_together,
    probe,
    simplest,
    that_matter,
)
from bncheck.place.recognition import Sighting, origin, sightings, source
from bncheck.place.values import RightValues, fingerprint, multiple, spelled
from bncheck.subject.messages import Assigned, Edit, Replacement, Written
from bncheck.telling.codes import Finding, found
from bncheck.telling.errors import BncheckError, CannotAsk
from bncheck.telling.report import Cause

NO_LINE = ("shape", "inaccurate", "corner", "not-finite", "not-own-gradient")
"""Causes that no line of arithmetic is to blame for, as far as bncheck can tell."""

VAGUE = ("unexplained", "term-factor", "two-changes")
"""Causes for which other ways to write the line are looked for."""

RUNS, WORK, AT_ONCE = 2_000, 1_000_000, 50
"""How often the code is run for one gradient, how many values it gives to names in that, and how
often it is run for one question: a time limit holds for each."""

LARGEST = 300
"""Entries of a gradient on a trial that is traced."""


Ways = Callable[[int, str], Sequence[Written]]
"""Other ways to write a line that gives a name its value, and what they give."""


class Rerunnable(Protocol):
    """The user's code on our numbers, as ``Bench`` has it; raises ``CannotAsk`` where it fails."""

    def traced(self, trial: Trial) -> Sequence[Assigned]:
        """Every value that a line gives to a name, as it lies in the user's axes."""

    def replaced(
        self, trial: Trial, tries: Sequence[Sequence[Replacement]]
    ) -> Sequence[Mapping[str, Array] | None]:
        """The gradients with other values in some places; None where the code fails."""

    def rewritten(self, trial: Trial, line: int, variable: str) -> Sequence[Written]:
        """What other ways to write a line would give."""


@dataclass(frozen=True)
class _WrongLine:
    """``findings``: what is wrong there; ``edits``: with which it would be right, if any are.

    ``line``: None in another file than that of the backward pass.
    """

    line: int | None
    findings: tuple[Finding, ...]
    edits: tuple[Edit, ...] = ()


def locate(
    causes: Sequence[Cause],
    derivation: Derivation,
    code: Rerunnable,
    observations: Sequence[Observation],
) -> tuple[Cause, ...]:
    """Each cause with its line; as it is where none can be told."""
    search = _Search(derivation, code, {})
    with np.errstate(all="ignore"):
        return tuple(_located(cause, search, observations) for cause in causes)


def _located(cause: Cause, search: "_Search", observations: Sequence[Observation]) -> Cause:
    name = cause.gradient
    one = max(observations, key=lambda one: _off(one, name), default=None)
    if one is None or not _off(one, name) or cause.code in NO_LINE:
        return cause
    ways = partial(search.code.rewritten, one.trial) if cause.code in VAGUE else _no_ways
    try:
        wrong = _first_wrong(search.probe(name, one), ways)
    except (BncheckError, ArithmeticError, LookupError, ValueError):
        return cause  # a verdict is not lost for want of a line
    return cause if wrong is None else _with_line(cause, wrong)


def _no_ways(line: int, variable: str) -> Sequence[Written]:
    return ()


def _with_line(cause: Cause, wrong: _WrongLine) -> Cause:
    cause = replace(cause, line=wrong.line, place=wrong.findings)
    if not wrong.edits:
        return cause
    ways = tuple(found("way", edit.kind, **edit.pieces) for edit in wrong.edits)
    edit = found("edit", ways=ways, line=wrong.line)
    unread = any(term.reading.form == "each-group" for term in cause.terms)
    if cause.code == "term-factor" and not unread:
        return replace(cause, limits=(*cause.limits, edit))
    return replace(cause, finding=edit, limits=(), terms=())


@dataclass(frozen=True)
class _Search:
    """``known``: the right values and the user's, of trials that were traced already."""

    derivation: Derivation
    code: Rerunnable
    known: dict[Trial, tuple[RightValues, tuple[Sighting, ...]]]

    def probe(self, gradient: str, one: Observation) -> Probe:
        """The code on one trial, to be run on; a trial is traced once for all gradients."""
        trial = one.trial
        if trial not in self.known:
            values = right_values(self.derivation, trial.values)
            self.known[trial] = values, sightings(values, self.code.traced(trial))
        values, seen = self.known[trial]
        rerun = _counted(self.code, trial, sum(len(each.made.values) for each in seen))
        return probe(gradient, one, values, seen, rerun)


def _counted(code: Rerunnable, trial: Trial, events: int) -> Rerun:
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
        return [result for part in parts for result in code.replaced(trial, part)]

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


def _first_wrong(here: Probe, ways: Ways) -> _WrongLine | None:
    """The line to mend for the gradient; None where no line gives its value."""
    last = origin(here.sightings, here.yours, here.gradient)
    if last is None:
        return None
    matter = _looked_into(here, here.sightings[: here.sightings.index(last)])
    mending = next((one for one in matter if is_mended(here, one)), None)
    chosen = mending or mended_together(here, matter) or last
    blamed = source(here.sightings, chosen)
    edits = _edits(here, blamed, ways)
    beside = _not_right(matter, last) if chosen is last and not edits else ()
    line = None if blamed.made.file else blamed.made.line
    return _WrongLine(line, (*_said(here, blamed, chosen), *beside), edits)


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


def _edits(here: Probe, blamed: Sighting, ways: Ways) -> tuple[Edit, ...]:
    if len(blamed.numbers) != 1 or blamed.made.file:
        return ()
    try:
        written = ways(blamed.made.line, blamed.made.name)
    except CannotAsk:
        return ()  # the line is known without it
    return simplest(here, blamed, written)


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
        return "number", {"value": float(one.value), "right": float(belong[0].value.flat[0])}
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
