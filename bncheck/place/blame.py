"""A diagnosis with the line that is to blame: one more call, traced, where a gradient is wrong."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from bncheck.calculus.derivation import Derivation
from bncheck.cause.terms import EACH
from bncheck.numbers import layout
from bncheck.numbers.agreement import FITTED
from bncheck.numbers.arithmetic import Array
from bncheck.numbers.layout import Layout
from bncheck.numbers.observation import Observation
from bncheck.numbers.trials import Trial
from bncheck.place.lines import first_wrong
from bncheck.place.values import library
from bncheck.subject.messages import Assigned, Replacement, Subject
from bncheck.telling.errors import BncheckError, CannotAsk
from bncheck.telling.report import Cause, Remark
from bncheck.verdict.bench import Case, user_inputs

NO_LINE = ("shape", "inaccurate", "corner", "not-finite", "not-own-gradient")
"""Kinds of failure that no line of arithmetic is to blame for, as far as bncheck can tell."""

VAGUE = ("unexplained", "term-factor", "two-changes")
"""Kinds of failure for which other ways to write the line are looked for."""

RUNS, WORK = 4_000, 1_000_000
"""How often the code is run for one gradient, and how many values it gives to names in that."""

LARGEST = 300
"""Entries of a gradient on a trial that is traced."""


@dataclass(frozen=True)
class Traceable:
    """The user's code and how to call it: ``inputs`` gives what it gets in a trial.

    ``swapped``: whether it returns dbeta before dgamma.
    """

    subject: Subject
    name: str
    found: Derivation
    layout: Layout
    inputs: Callable[[Trial], Mapping[str, Any]]
    swapped: bool = False


def traceable(case: Case) -> Traceable:
    """The code of a case, to be called once more."""
    name, at = case.candidate.name, case.identity.layout
    inputs = partial(_inputs_of, case)
    return Traceable(case.subject, name, case.found, at, inputs, case.swapped)


def _inputs_of(case: Case, trial: Trial) -> dict[str, Any]:
    return user_inputs(case, trial.values, trial)


def with_lines(
    causes: Sequence[Cause],
    code: Traceable,
    seen: Sequence[Observation],
    trials: Sequence[Trial],
) -> tuple[Cause, ...]:
    """Each diagnosis with its line; as it is where none can be told."""
    runs: dict[str, list[Assigned]] = {}
    with np.errstate(all="ignore"):
        return tuple(_with_line(cause, code, seen, trials, runs) for cause in causes)


def _with_line(
    cause: Cause,
    code: Traceable,
    seen: Sequence[Observation],
    trials: Sequence[Trial],
    runs: dict[str, list[Assigned]],
) -> Cause:
    name = cause.gradient
    pairs = [(t, s) for t in trials if t.easy for s in seen if s.values is t.values]
    if cause.code in NO_LINE or not pairs:
        return cause
    trial, one = max(pairs, key=lambda pair: _off(pair[0], pair[1], name))
    if not _off(trial, one, name):
        return cause
    truth = {n: (g, one.reference.allowed[n]) for n, g in one.reference.gradients.items()}
    try:
        inputs = code.inputs(trial)
        if trial.name not in runs:
            runs[trial.name] = code.subject.traced(code.name, inputs)
        rerun = _rerun(code, trial, inputs, runs[trial.name])
        right = library(code.found, trial.values)
        rewrite = (
            partial(code.subject.rewritten, code.name, inputs) if cause.code in VAGUE else None
        )
        place = first_wrong(right, runs[trial.name], name, one.gradients, truth, rerun, rewrite)
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
    code: Traceable, trial: Trial, inputs: Mapping[str, Any], traced: Sequence[Assigned]
) -> Callable[[Sequence[Sequence[Replacement]]], list[Mapping[str, Array] | None]]:
    """The user's code with values replaced; its gradients in the program's axes."""
    program = code.found.forward
    left = min(RUNS, WORK // max(1, sum(len(made.values) for made in traced)))

    def read(made: Mapping[str, Array]) -> Mapping[str, Array]:
        back = layout.from_user(code.layout, program, made, trial.values, trial.parts)
        if code.swapped and {"dgamma", "dbeta"} <= back.keys():
            back |= {"dgamma": back["dbeta"], "dbeta": back["dgamma"]}
        return back

    def rerun(tries: Sequence[Sequence[Replacement]]) -> list[Mapping[str, Array] | None]:
        nonlocal left
        if left <= 0:
            raise CannotAsk(f"{code.name} would have to be run too often to look into each line")
        left -= len(tries)
        made = code.subject.replaced(code.name, inputs, tries)
        return [None if one is None else read(one) for one in made]

    return rerun


def _off(trial: Trial, seen: Observation, name: str) -> float:
    """How suitable a trial is to look at: sizes that differ, few values, and far off."""
    if name not in seen.gradients or len(set(trial.sizes)) < len(trial.sizes):
        return 0.0
    right, yours = seen.reference.gradients[name], seen.gradients[name]
    if yours.shape != right.shape or seen.gradients[name].size > LARGEST:
        return 0.0
    apart = float(abs(yours - right).max() / (abs(right).max() or 1.0))
    return min(1e-3, apart) if apart > FITTED else 0.0
