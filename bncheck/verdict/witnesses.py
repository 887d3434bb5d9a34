"""What was returned, by name, and what differences say: of first or of second order."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bncheck.algebra.notation import name_of
from bncheck.identity.assignment import in_order, read
from bncheck.numbers import layout
from bncheck.numbers.agreement import within
from bncheck.numbers.arithmetic import Array, evaluate
from bncheck.numbers.differences import Differences, differences
from bncheck.numbers.observation import Reference
from bncheck.numbers.second_differences import second_differences
from bncheck.numbers.trials import Trial
from bncheck.subject.messages import Outcome
from bncheck.telling.report import Remark
from bncheck.verdict.bench import Case, remark, user_inputs


def named(case: Case, trial: Trial, outcome: Outcome, truth: Reference) -> dict[str, Array]:
    """The gradients by the program's names and in its axes; their order may be found here."""
    if case.found.order == 2:
        return in_order(case, trial, dict(outcome.gradients), truth)
    at, program = case.identity.layout, case.found.forward
    back = layout.from_user(at, program, outcome.gradients, trial.values, trial.parts)
    return _in_order(case, trial, back, truth) if outcome.in_order else back


def named_again(case: Case, trial: Trial, made: Mapping[str, Array]) -> dict[str, Array]:
    """The same where the order is known."""
    if case.found.order == 2:
        return read(case, trial, dict(made))
    at, program = case.identity.layout, case.found.forward
    back = layout.from_user(at, program, made, trial.values, trial.parts)
    if case.swapped:
        back = {**back, "dgamma": back["dbeta"], "dbeta": back["dgamma"]}
    return back


def measured_at(case: Case, trial: Trial) -> Differences:
    """Differences of the user's own pass below, or of the reference's where there is none."""
    measured = second_differences(case, trial) if case.found.order == 2 else _first(case, trial)
    case.method = measured.method
    return measured


def _in_order(
    case: Case, trial: Trial, gradients: dict[str, Array], truth: Reference
) -> dict[str, Array]:
    """dgamma and dbeta by value: where they fit only the other way round, that is the order."""
    names = ("dgamma", "dbeta")
    if not case.identity.known or not all(n in gradients and n in truth.gradients for n in names):
        return gradients
    other = {**gradients, "dgamma": gradients["dbeta"], "dbeta": gradients["dgamma"]}
    if not case.comparisons:

        def fits(made: dict[str, Array]) -> bool:
            return all(within(made[n], truth.gradients[n], truth.allowed[n]) for n in names)

        case.swapped = fits(other) and not fits(gradients)
        if case.swapped:
            remark(case, Remark("return-order", "returns dbeta before dgamma"))
    return other if case.swapped else gradients


def _first(case: Case, trial: Trial) -> Differences:
    """Of the forward pass."""
    program, at = case.found.forward, case.identity.layout

    def theirs(many: Sequence[Any]) -> list[Array]:
        asked = [user_inputs(case, values, trial) for values in many]
        outputs = case.subject.forward(case.candidate.name, asked)
        return [layout.output_from_user(at, program, y, trial.values, trial.parts) for y in outputs]

    def ours(many: Sequence[Any]) -> list[Array]:
        out = name_of(program.outputs[0])
        return [np.asarray(evaluate(program, v)[out].value) for v in many]

    forward = theirs if case.candidate.has_forward else ours
    measured = differences(forward, case.found, trial.values, together=case.identity.known)
    whose = "" if case.candidate.has_forward else " of the reference"
    return replace(measured, method=measured.method + whose)
