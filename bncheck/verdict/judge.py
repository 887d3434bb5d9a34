"""Is this backward pass the gradient of that layer? Trials, witnesses, verdicts, diagnosis."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bncheck.algebra.notation import name_of
from bncheck.algebra.spelling import plain
from bncheck.calculus.derivation import Derivation
from bncheck.cause.causes import explain
from bncheck.identity.assignment import with_beta
from bncheck.identity.by_outputs import Identity
from bncheck.numbers.agreement import compare, result_of, within
from bncheck.numbers.arithmetic import Array
from bncheck.numbers.differences import Differences
from bncheck.numbers.observation import Observation, Reference
from bncheck.numbers.reference import precision, truth_of
from bncheck.numbers.trials import Trial
from bncheck.place.lines import locate
from bncheck.subject.messages import SECOND, Backward, Subject
from bncheck.telling.errors import CannotAsk, Disagreement
from bncheck.telling.report import (
    WORST_FIRST,
    Comparison,
    GradientResult,
    Heat,
    Remark,
    Report,
)
from bncheck.verdict.bench import Case, Retraced, assumed, remark, user_inputs
from bncheck.verdict.counterexample import smallest
from bncheck.verdict.heat import heat
from bncheck.verdict.outputs import check_output, check_type, is_output
from bncheck.verdict.rounding import is_rounding, is_single
from bncheck.verdict.witnesses import measured_at, named


def judge(
    subject: Subject,
    candidate: Backward,
    found: Derivation,
    identity: Identity,
    trials: Sequence[Trial],
    diagnosed: bool = True,
    averaged: bool = False,
    lines: bool = True,
) -> Report:
    """The report on one backward pass; raises ``CannotAsk`` where an easy trial cannot be run."""
    case = Case(subject, candidate, found, identity, averaged)
    for said in identity.remarks:
        remark(case, said)
    for trial in trials:
        _try(case, trial)
    if diagnosed:
        _try_again(case, trials[0])
    if not case.comparisons:
        wanted = ", ".join(map(plain, found.wrt))
        raise CannotAsk(f"{candidate.name} returned no gradient of {wanted}")
    _say_what_is_missing(case)
    easy = {trial.name for trial in trials if trial.easy}
    gradients = tuple(
        result_of(name, _graded(case, made, trials), easy)
        for name, made in case.comparisons.items()
    )
    wrong = [g for g in gradients if g.verdict in ("wrong", "inaccurate")]
    shapes = {g.name: case.remarks.get(f"shape {g.name}") for g in wrong}
    causes = tuple(
        explain(
            found,
            result,
            case.seen,
            next(t for t in trials if t.name == result.comparisons[0].trial),
            identity.layout,
            own=identity.known,
            ignored=identity.ignored,
            shape=shapes[result.name],
        )
        for result in wrong
        if diagnosed
    )
    if lines and identity.known and found.order == 1:
        pairs = [(t, one) for t in trials if t.easy for one in case.seen if one.values is t.values]
        causes = locate(causes, found, Retraced(case), pairs)
    return Report(
        target=candidate.name,
        verdict=min((g.verdict for g in gradients), key=WORST_FIRST.index),
        order=found.order,
        layer=found.layer.name if identity.known else None,
        layout=identity.layout.name,
        eps=identity.eps,
        ddof=identity.ddof,
        assumed=assumed(case),
        gradients=gradients,
        remarks=tuple(dict.fromkeys(case.remarks.values())),
        diagnosis=causes,
        trials=tuple(t.name for t in trials),
        counterexample=smallest(case, wrong) if diagnosed else None,
        failure=_failure(case, wrong, trials),
        picture=_picture(case, wrong) if diagnosed else None,
    )


def _picture(case: Case, wrong: Sequence[GradientResult]) -> Heat | None:
    """Of the first gradient that is wrong here and right there."""
    names = [g.name for g in wrong if g.verdict == "wrong"]
    drawn = (heat(case.found, case.seen, name) for name in names)
    return next((picture for picture in drawn if picture), None)


def _failure(
    case: Case, wrong: Sequence[GradientResult], trials: Sequence[Trial]
) -> dict[str, Any] | None:
    """The inputs, as the user's code gets them, on which the first wrong gradient is worst."""
    if not wrong:
        return None
    name = wrong[0].comparisons[0].trial
    trial = next(t for t in trials if t.name == name)
    return user_inputs(case, trial.values, trial)


def _try(case: Case, trial: Trial) -> None:
    if trial.memory == SECOND and case.candidate.kind != "class":
        return
    try:
        asked = user_inputs(case, trial.values, trial)
        outcome = case.subject.call(case.candidate.name, asked, trial.memory)
    except CannotAsk as error:
        if trial.easy and not _is_wrong(case):
            raise
        if trial.memory == "plain" and not trial.may_fail:
            remark(case, Remark("fails-on", f"fails where {trial.name}: {error}"))
        elif trial.memory == "read-only":
            remark(case, Remark("fails-on", f"fails on read-only arrays: {error}"))
        return
    for said in outcome.remarks:
        remark(case, said)
    truth = truth_of(case.found, trial)
    if trial.memory == SECOND and not is_output(case, trial, outcome, truth):
        text = "the output depends on the batches before: on running statistics?"
        remark(case, Remark("state", text))
        return
    gradients = named(case, trial, outcome, truth)
    truth = with_beta(truth, gradients)
    if trial.easy:
        case.seen.append(Observation(trial.values, truth, gradients, trial.parts))
    measured = measured_at(case, trial) if trial.differences else None
    if case.identity.known and case.found.order == 1:
        check_output(case, trial, outcome, truth)
    check_type(case, trial, gradients)
    for name in truth.gradients:
        if name in gradients:
            _compare(case, trial, name, gradients[name], truth, measured)


def _is_wrong(case: Case) -> bool:
    """Whether a gradient was wrong already: then code that fails elsewhere has a verdict."""
    return any(c.verdict == "wrong" for made in case.comparisons.values() for c in made)


def _try_again(case: Case, trial: Trial) -> None:
    """The same call twice, with another of the same shapes between."""
    other = {k: _moved(v) if isinstance(v, np.ndarray) else v for k, v in trial.values.items()}
    first, second = (user_inputs(case, values, trial) for values in (trial.values, other))
    for said in case.subject.repeated(case.candidate.name, first, second):
        remark(case, said)


def _moved(value: Array) -> Array:
    """Other values: neither a shift nor a scaling, which a normalization does not see."""
    return np.asarray(1.0 + value * np.linspace(0.5, 1.5, value.size).reshape(value.shape))


def _compare(
    case: Case,
    trial: Trial,
    name: str,
    yours: Array,
    truth: Reference,
    measured: Differences | None,
) -> None:
    made = case.comparisons.setdefault(name, [])
    u, _ = precision(trial.judged)
    right = truth.gradients[name]
    if yours.shape != right.shape:
        place = tuple(0 for _ in right.shape)
        made.append(Comparison("yours", "symbolic", np.inf, np.inf, place, 0.0,
                               0.0, trial.name, "wrong"))  # fmt: skip
        text = f"{name} has shape {yours.shape}, expected {right.shape}"
        remark(case, Remark("shape", text))
        return
    if case.averaged and name != name_of(case.found.chain.outputs[0]):
        yours = _not_averaged(case, trial, name, yours, truth)
    if case.identity.known:
        found = compare(("yours", "symbolic"), yours, right, truth.allowed[name], trial.name, u)
        if found.verdict == "wrong" and (
            is_single(case, trial, name, yours, right)
            or is_rounding(case, trial, name, yours, right)
        ):
            found = replace(found, verdict="inaccurate")
        made.append(found)
    if measured is not None and name in measured.gradients:
        slope, off = measured.gradients[name], measured.error[name]
        allowed = truth.allowed[name] + off
        made.append(compare(("yours", case.method), yours, slope, allowed, trial.name, u))
        if case.identity.known:
            between = compare(("symbolic", case.method), right, slope, allowed, trial.name, u)
            _believe(case, between)
            if between.verdict == "wrong" and case.found.order == 2:
                text = (
                    f"{case.candidate.first}, of which differences were taken, is another layer's"
                )
                remark(case, Remark("first-differs", text))
            made.append(between)


def _not_averaged(case: Case, trial: Trial, name: str, yours: Array, truth: Reference) -> Array:
    """The sum of which the user's parameter gradient is an average, if it is one."""
    right, allowed = truth.gradients[name], truth.allowed[name]
    x = user_inputs(case, trial.values, trial)["x"]
    for count in dict.fromkeys((x.shape[0], x.size // max(1, right.size))):
        if within(yours * count, right, (1 + count) * allowed):
            text = f"{name} is divided by the batch size, which was accepted"
            remark(case, Remark("batch-average", text))
            return np.asarray(yours * count)
    return yours


def _believe(case: Case, between: Comparison) -> None:
    """Symbolic gradient and differences of the reference forward agree, or bncheck is wrong."""
    if between.verdict == "wrong" and case.method.endswith("of the reference"):
        raise Disagreement(
            f"{case.found.forward.name}: the symbolic gradient and finite differences of the "
            f"reference differ at {list(between.at)}: {between.first:.17g} and "
            f"{between.second:.17g}. This is a defect of bncheck; please report it."
        )


def _graded(case: Case, made: list[Comparison], trials: Sequence[Trial]) -> list[Comparison]:
    """Digits lost in short arithmetic are remarks; with inputs of the user's, so are all others.

    Where the user gives inputs, accuracy is graded on these.
    """
    by_name = {trial.name: trial for trial in trials}
    own = {trial.name for trial in trials if trial.own}
    graded = []
    for c in made:
        low = c.of_bound <= by_name[c.trial].grace
        if c.verdict == "inaccurate" and (low or (own and c.trial not in own)):
            remark(case, Remark("loses-digits", f"digits are lost where {c.trial}"))
            c = replace(c, verdict="right")
        graded.append(c)
    return graded


def _say_what_is_missing(case: Case) -> None:
    for out in case.found.chain.outputs:
        name = name_of(out)
        if name not in case.comparisons:
            remark(case, Remark("not-returned", f"{name} is not returned and was not checked"))
