"""A diagnosis with the line that is to blame: one more call, traced, where a gradient is wrong."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from bncheck.cause.terms import EACH
from bncheck.identity.crossing import Bench
from bncheck.numbers.agreement import FITTED
from bncheck.numbers.arithmetic import Array
from bncheck.numbers.observation import Observation
from bncheck.numbers.trials import Trial
from bncheck.place.lines import first_wrong
from bncheck.place.values import library
from bncheck.subject.messages import Assigned, Replacement
from bncheck.telling.errors import BncheckError, CannotAsk
from bncheck.telling.report import Cause, Remark

NO_LINE = ("shape", "inaccurate", "corner", "not-finite", "not-own-gradient")
"""Kinds of failure that no line of arithmetic is to blame for, as far as bncheck can tell."""

VAGUE = ("unexplained", "term-factor", "two-changes")
"""Kinds of failure for which other ways to write the line are looked for."""

RUNS, WORK = 4_000, 1_000_000
"""How often the code is run for one gradient, and how many values it gives to names in that."""

LARGEST = 300
"""Entries of a gradient on a trial that is traced."""


def with_lines(
    causes: Sequence[Cause], bench: Bench, seen: Sequence[Observation]
) -> tuple[Cause, ...]:
    """Each diagnosis with its line; as it is where none can be told."""
    runs: dict[Trial, list[Assigned]] = {}
    with np.errstate(all="ignore"):
        return tuple(_with_line(cause, bench, seen, runs) for cause in causes)


def _with_line(
    cause: Cause, bench: Bench, seen: Sequence[Observation], runs: dict[Trial, list[Assigned]]
) -> Cause:
    name = cause.gradient
    if cause.code in NO_LINE or not seen:
        return cause
    one = max(seen, key=lambda one: _off(one, name))
    trial = one.trial
    if not _off(one, name):
        return cause
    truth = {n: (g, one.reference.allowed[n]) for n, g in one.reference.gradients.items()}
    try:
        if trial not in runs:
            runs[trial] = bench.traced(trial)
        rerun = _rerun(bench, trial, runs[trial])
        right = library(bench.reading.found, trial.values)
        rewrite = partial(bench.rewritten, trial) if cause.code in VAGUE else None
        place = first_wrong(right, runs[trial], name, one.gradients, truth, rerun, rewrite)
    except (BncheckError, ArithmeticError, LookupError, TypeError, ValueError):
        return cause  # a verdict is not lost for want of a line
    if place is None:
        return cause
    if place.mended:
        text = f"right {place.mended}, on line {place.line}"
        if cause.code == "term-factor" and EACH not in cause.text:
            cause = replace(cause, limits=(*cause.limits, Remark("edit", text)))
        else:
            cause = replace(cause, finding=Remark("edit", text), limits=(), terms=())
    return replace(cause, line=place.line, place=(Remark("line", place.text),))


def _rerun(
    bench: Bench, trial: Trial, traced: Sequence[Assigned]
) -> Callable[[Sequence[Sequence[Replacement]]], list[Mapping[str, Array] | None]]:
    """The user's code with values replaced; its gradients in the program's axes."""
    left = min(RUNS, WORK // max(1, sum(len(made.values) for made in traced)))

    def rerun(tries: Sequence[Sequence[Replacement]]) -> list[Mapping[str, Array] | None]:
        nonlocal left
        if left <= 0:
            name = bench.backward.name
            raise CannotAsk(f"{name} would have to be run too often to look into each line")
        left -= len(tries)
        return [*bench.replaced(trial, tries)]

    return rerun


def _off(seen: Observation, name: str) -> float:
    """How suitable a trial is to look at: sizes that differ, few values, and far off."""
    sizes = seen.trial.sizes
    if name not in seen.gradients or len(set(sizes)) < len(sizes):
        return 0.0
    right, yours = seen.reference.gradients[name], seen.gradients[name]
    if yours.shape != right.shape or seen.gradients[name].size > LARGEST:
        return 0.0
    apart = float(abs(yours - right).max() / (abs(right).max() or 1.0))
    return min(1e-3, apart) if apart > FITTED else 0.0
