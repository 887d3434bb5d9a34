"""What was returned, by name, and what differences say: of first or of second order."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bncheck.algebra.notation import name_of
from bncheck.calculus.derivation import Derivation
from bncheck.identity.assignment import in_order, read
from bncheck.numbers import layout
from bncheck.numbers.agreement import within
from bncheck.numbers.arithmetic import Array, evaluate
from bncheck.numbers.differences import Differences, Pass, measure
from bncheck.numbers.observation import Reference
from bncheck.numbers.trials import Trial
from bncheck.subject.messages import Outcome
from bncheck.telling.errors import CannotAsk
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
    found, together = case.found, case.identity.known
    try:
        moved = _their_backward(case, trial) if found.order == 2 else _their_forward(case, trial)
        measured = measure(moved, found, trial.values, together)
    except (CannotAsk, KeyError):
        if found.order == 1 and case.candidate.has_forward:
            raise
        if found.order == 2 and not case.identity.known:
            raise CannotAsk(
                f"{case.candidate.name}: its forward pass is of no layer that bncheck knows, and "
                "there is no backward pass of which differences could be taken"
            ) from None
        measured = measure(_ours(found), found, trial.values, together)
        measured = replace(measured, of_reference=True)
    case.method = measured.witness
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


def _their_forward(case: Case, trial: Trial) -> Pass:
    """The user's own; raises ``CannotAsk`` where there is none."""
    if not case.candidate.has_forward:
        raise CannotAsk("there is no forward pass")
    program, at = case.found.forward, case.identity.layout
    out = name_of(program.outputs[0])

    def moved(many: Sequence[Mapping[str, Any]]) -> list[dict[str, Array]]:
        asked = [user_inputs(case, values, trial) for values in many]
        outputs = case.subject.forward(case.candidate.name, asked)
        return [
            {out: layout.output_from_user(at, program, y, trial.values, trial.parts)}
            for y in outputs
        ]

    return moved


def _their_backward(case: Case, trial: Trial) -> Pass:
    """The one below a double one; raises ``CannotAsk`` where there is none to be called."""
    if not case.candidate.first:
        raise CannotAsk("there is no backward pass below")
    program, at = case.found.layer, case.identity.layout

    def moved(many: Sequence[Mapping[str, Any]]) -> list[dict[str, Array]]:
        asked = [user_inputs(case, _all_complex(values), trial) for values in many]
        made = case.subject.firsts(case.candidate.name, asked)
        return [
            _by_value(case, layout.from_user(at, program, one, trial.values, trial.parts))
            for one in made
        ]

    return moved


def _by_value(case: Case, made: dict[str, Array]) -> dict[str, Array]:
    """dgamma and dbeta by value: where they are nearer the other way round, they are swapped."""
    if not {"dgamma", "dbeta"} <= made.keys():
        return made
    right = case.seen[0].reference.known if case.seen else {}
    if "dgamma" not in right or made["dgamma"].shape != np.shape(right["dgamma"]):
        return made

    def apart(one: str, other: str) -> float:
        return float(abs(made[one] - np.asarray(right[other], float)).sum())

    straight = apart("dgamma", "dgamma") + apart("dbeta", "dbeta")
    if apart("dgamma", "dbeta") + apart("dbeta", "dgamma") < straight:
        return {**made, "dgamma": made["dbeta"], "dbeta": made["dgamma"]}
    return made


def _ours(found: Derivation) -> Pass:
    def moved(many: Sequence[Mapping[str, Any]]) -> list[dict[str, Array]]:
        return [{n: np.asarray(b.value) for n, b in evaluate(found.forward, values).items()}
                for values in many]  # fmt: skip

    return moved


def _all_complex(values: Mapping[str, Any]) -> dict[str, Any]:
    """Every array complex where one is: code may make its results as x is."""
    if not any(np.iscomplexobj(v) for v in values.values()):
        return dict(values)
    return {n: v.astype(complex) if isinstance(v, np.ndarray) else v for n, v in values.items()}
