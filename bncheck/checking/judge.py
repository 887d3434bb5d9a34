"""Is this backward pass the gradient of that layer? Trials, witnesses, verdicts, diagnosis."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from bncheck.algebra.notation import name_of
from bncheck.algebra.spelling import plain
from bncheck.calculus.derivation import Derivation
from bncheck.checking import layout
from bncheck.checking.arithmetic import Array
from bncheck.checking.calling import Outcome
from bncheck.checking.compare import compare
from bncheck.checking.convention import Candidate
from bncheck.checking.diagnose import Seen, diagnose
from bncheck.checking.differences import Differences, differences
from bncheck.checking.identify import Identity
from bncheck.checking.reference import Reference, reference
from bncheck.checking.results import (
    WORST_FIRST,
    Comparison,
    Diagnosis,
    GradientResult,
    Remark,
    Report,
)
from bncheck.checking.subject import Subject
from bncheck.checking.trials import Trial
from bncheck.errors import CannotAsk, Disagreement

LOST = 64.0
"""An error that shrinks by this factor in longer arithmetic is rounding, not mathematics."""


@dataclass
class _Case:
    """What is being judged, and what has been found so far."""

    subject: Subject
    candidate: Candidate
    found: Derivation
    identity: Identity
    comparisons: dict[str, list[Comparison]] = field(default_factory=dict)
    remarks: dict[str, Remark] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    method: str = ""


def judge(
    subject: Subject,
    candidate: Candidate,
    found: Derivation,
    identity: Identity,
    trials: Sequence[Trial],
    diagnosed: bool = True,
) -> Report:
    """The report on one backward pass; raises ``CannotAsk`` where an easy trial cannot be run."""
    case = _Case(subject, candidate, found, identity)
    for trial in trials:
        _try(case, trial)
    if diagnosed:
        _try_again(case, trials[0])
    if not case.comparisons:
        raise CannotAsk(f"{candidate.name} returned no gradient of {_wanted(found)}")
    _say_what_is_missing(case)
    easy = {trial.name for trial in trials if trial.easy}
    gradients = tuple(
        _result(name, _graded(case, made, trials), easy) for name, made in case.comparisons.items()
    )
    wrong = [g for g in gradients if g.verdict in ("wrong", "inaccurate")]
    causes = tuple(_cause(case, g) for g in wrong) if diagnosed else ()
    program = found.forward
    return Report(
        target=candidate.name,
        verdict=min((g.verdict for g in gradients), key=WORST_FIRST.index),
        layer=program.name if identity.known else None,
        eps=identity.eps,
        ddof=identity.ddof,
        assumed=_assumed(case),
        gradients=gradients,
        remarks=tuple(case.remarks.values()),
        diagnosis=causes,
        trials=tuple(t.name for t in trials),
    )


def _try(case: _Case, trial: Trial) -> None:
    program = case.found.forward
    try:
        outcome = case.subject.call(case.candidate.name, layout.to_user(program, trial.values))
    except CannotAsk as error:
        if trial.easy:
            raise
        _remark(case, Remark("fails-on", f"fails where {trial.name}: {error}"))
        return
    for remark in outcome.remarks:
        _remark(case, remark)
    dtype = np.asarray(trial.values[name_of(program.inputs[0])]).dtype
    truth = reference(case.found, trial.values, dtype)
    gradients = layout.from_user(program, outcome.gradients, trial.values)
    measured = _differences(case, trial) if trial.differences else None
    if case.identity.known:
        _check_output(case, trial, outcome, truth)
    if trial.easy:
        case.seen.append(Seen(trial.values, truth, gradients))
    for name in truth.gradients:
        if name in gradients:
            _compare(case, trial, name, gradients[name], truth, measured)


def _try_again(case: _Case, trial: Trial) -> None:
    """The same call twice, with another of the same shapes between."""
    program = case.found.forward
    other = {k: v + 1.0 if isinstance(v, np.ndarray) else v for k, v in trial.values.items()}
    first, second = (layout.to_user(program, values) for values in (trial.values, other))
    for remark in case.subject.repeated(case.candidate.name, first, second):
        _remark(case, remark)


def _compare(
    case: _Case,
    trial: Trial,
    name: str,
    yours: Array,
    truth: Reference,
    measured: Differences | None,
) -> None:
    made = case.comparisons.setdefault(name, [])
    right = truth.gradients[name]
    if yours.shape != right.shape:
        place = tuple(0 for _ in right.shape)
        made.append(Comparison("yours", "symbolic", np.inf, np.inf, place, 0.0,
                               0.0, trial.name, "wrong"))  # fmt: skip
        text = f"{name} has shape {yours.shape}, expected {right.shape}"
        _remark(case, Remark("shape", text))
        return
    if case.identity.known:
        found = compare(("yours", "symbolic"), yours, right, truth.allowed[name], trial.name)
        if found.verdict == "wrong" and _is_rounding(case, trial, name, yours, right):
            found = Comparison(**{**vars(found), "verdict": "inaccurate"})
        made.append(found)
    if measured is not None:
        slope, off = measured.gradients[name], measured.error[name]
        allowed = truth.allowed[name] + off
        made.append(compare(("yours", case.method), yours, slope, allowed, trial.name))
        if case.identity.known:
            between = compare(("symbolic", case.method), right, slope, allowed, trial.name)
            _believe(case, between)
            made.append(between)


def _believe(case: _Case, between: Comparison) -> None:
    """Symbolic gradient and differences of the reference forward agree, or bncheck is wrong."""
    if between.verdict == "wrong" and not case.candidate.has_forward:
        raise Disagreement(
            f"{case.found.forward.name}: the symbolic gradient and finite differences of the "
            f"reference forward differ at {list(between.at)}: {between.first:.17g} and "
            f"{between.second:.17g}. This is a defect of bncheck; please report it."
        )


def _differences(case: _Case, trial: Trial) -> Differences:
    """Differences of the user's own forward pass, or of the reference where there is none."""
    program = case.found.forward

    def theirs(many: Sequence[Any]) -> list[Array]:
        asked = [layout.to_user(program, values) for values in many]
        outputs = case.subject.forward(case.candidate.name, asked)
        return [layout.output_from_user(program, y, trial.values) for y in outputs]

    def ours(many: Sequence[Any]) -> list[Array]:
        from bncheck.checking.arithmetic import evaluate

        out = name_of(program.outputs[0])
        return [np.asarray(evaluate(program, v)[out].value) for v in many]

    forward = theirs if case.candidate.has_forward else ours
    measured = differences(forward, case.found, trial.values, together=case.identity.known)
    whose = "" if case.candidate.has_forward else " of the reference"
    case.method = measured.method + whose
    return measured


def _check_output(case: _Case, trial: Trial, outcome: Outcome, truth: Reference) -> None:
    if outcome.y is None:
        return
    y = layout.output_from_user(case.found.forward, outcome.y, trial.values)
    made = compare(("yours", "symbolic"), y, truth.output, truth.output_allowed, trial.name)
    if made.verdict == "wrong" and trial.easy:
        text = f"the forward pass is not {case.found.forward.name} where {trial.name}"
        _remark(case, Remark("forward-differs", text))


def _is_rounding(case: _Case, trial: Trial, name: str, yours: Array, right: Array) -> bool:
    """Whether the error shrinks with the precision: then digits are lost, and nothing else."""
    longer = {
        k: np.asarray(v, np.longdouble) if isinstance(v, np.ndarray) else v
        for k, v in trial.values.items()
    }
    program = case.found.forward
    try:
        outcome = case.subject.call(case.candidate.name, layout.to_user(program, longer))
    except CannotAsk:
        return False
    again = layout.from_user(program, outcome.gradients, trial.values).get(name)
    if again is None or again.shape != right.shape:
        return False
    before, after = float(abs(yours - right).max()), float(abs(again - right).max())
    return bool(np.isfinite(before) and after * LOST < before)


def _graded(case: _Case, made: list[Comparison], trials: Sequence[Trial]) -> list[Comparison]:
    """With inputs of the user's, accuracy is graded there; digits lost elsewhere are remarks."""
    if not any(trial.own for trial in trials):
        return made
    own = {trial.name for trial in trials if trial.own}
    for c in made:
        if c.verdict == "inaccurate" and c.trial not in own:
            _remark(case, Remark("loses-digits", f"digits are lost where {c.trial}"))
    return [
        replace(c, verdict="right") if c.verdict == "inaccurate" and c.trial not in own else c
        for c in made
    ]


def _result(name: str, made: list[Comparison], easy: set[str]) -> GradientResult:
    """The worst comparison of each pair of witnesses, and the verdict that follows.

    Of two that are as bad, the one on an easy trial: its numbers are those to look at.
    """
    pairs = dict.fromkeys((c.first_witness, c.second_witness) for c in made)
    worst = tuple(
        max(
            (c for c in made if (c.first_witness, c.second_witness) == pair),
            key=lambda c: (-WORST_FIRST.index(c.verdict), c.trial in easy, c.of_bound),
        )
        for pair in pairs
    )
    mine = [c.verdict for c in worst if c.first_witness == "yours"]
    symbolic = [c.verdict for c in worst if c.second_witness == "symbolic"]
    return GradientResult(name, worst, min(symbolic or mine, key=WORST_FIRST.index))


def _cause(case: _Case, result: GradientResult) -> Diagnosis:
    name = result.name
    shape = case.remarks.get("shape")
    if shape is not None and shape.text.startswith(f"{name} "):
        return Diagnosis("shape", name, shape.text)
    seen = [s for s in case.seen if name in s.gradients]
    easy = [s for s in seen if _is_off(s, name)]
    worst = result.comparisons[0]
    if result.verdict == "inaccurate":
        digits = f"{max(0.0, 15.95 - np.log10(max(worst.ulps, 1.0))):.0f} digits are right"
        text = f"right mathematics, lost digits where {worst.trial}: {digits}"
        return Diagnosis("inaccurate", name, text)
    if not easy:
        return Diagnosis("corner", name, f"right elsewhere, wrong where {worst.trial}")
    if not case.identity.known:
        return Diagnosis("not-own-gradient", name, "not the derivative of its own forward pass")
    return diagnose(case.found, name, easy[:3])


def _is_off(seen: Seen, name: str) -> bool:
    right, yours = seen.reference.gradients[name], seen.gradients[name]
    return yours.shape == right.shape and not np.all(
        abs(yours - right) <= seen.reference.allowed[name]
    )


def _say_what_is_missing(case: _Case) -> None:
    for out in case.found.chain.outputs:
        name = name_of(out)
        if name not in case.comparisons:
            _remark(case, Remark("not-returned", f"{name} is not returned and was not checked"))


def _remark(case: _Case, remark: Remark) -> None:
    case.remarks.setdefault(f"{remark.code} {remark.text.split(' ')[0]}", remark)
    case.remarks.setdefault(remark.code, remark) if remark.code == "shape" else None


def _assumed(case: _Case) -> str:
    identity, program = case.identity, case.found.forward
    eps = "" if identity.eps is None else f", eps = {identity.eps:g}"
    ddof = "" if identity.ddof is None else f", ddof = {identity.ddof}"
    layer = f"{program.title.lower()}{ddof}{eps}"
    if not identity.known:
        return f"forward pass of no known layer (nearest: {layer}); {case.candidate.description}"
    return f"{layer}; {case.candidate.description}"


def _wanted(found: Derivation) -> str:
    return ", ".join(plain(a) for a in found.wrt)
