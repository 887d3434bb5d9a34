"""Which layer's double backward pass is it, where there is no forward pass to ask?"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bncheck.algebra.notation import name_of
from bncheck.checking import layout as layouts
from bncheck.checking.case import Case, user_inputs
from bncheck.checking.convention import Candidate
from bncheck.checking.identify import USUAL_EPS, Asked, Identity, program_of
from bncheck.checking.judge import judge
from bncheck.checking.layout import Layout
from bncheck.checking.reference import derivation_of, double_of, reference
from bncheck.checking.second_trials import second_trials
from bncheck.checking.subject import Subject
from bncheck.checking.trials import trials
from bncheck.errors import CannotAsk
from bncheck.layers import LAYERS


def by_second_gradients(
    subject: Subject, candidate: Candidate, hint: str | None, asked: Asked
) -> Identity:
    """The layer whose second gradients these are; else that of most of them, or of the backward
    pass below, or what it is called.
    """
    best, most, last = next(_choices(candidate, hint, asked)), 0, ""
    below = next((i for i in _choices(candidate, hint, asked) if _is_below(subject, candidate, i)),
                 None)  # fmt: skip
    for identity in (*([below] if below else []), *_choices(candidate, hint, asked)):
        if most and identity.program.name != last:
            break  # one of three is right to within rounding: that is no chance
        last = identity.program.name
        score = _score(subject, candidate, identity)
        if score == _ALL:
            return identity
        if score > most:
            best, most = identity, score
    return best if most or below is None else below


_ALL = 9
"""The score of a double backward pass all of whose gradients are right."""


def _choices(candidate: Candidate, hint: str | None, asked: Asked) -> Iterator[Identity]:
    for name, ddof, at in _variants(candidate, hint, asked):
        program = program_of(name, "gamma" in candidate.takes, ddof)
        for eps in _eps(candidate, asked) if "eps" in program.tensors else (None,):
            yield Identity(program, at, ddof, eps, known=True)


def _variants(
    candidate: Candidate, hint: str | None, asked: Asked
) -> Iterator[tuple[str, int, Layout]]:
    names = sorted(LAYERS, key=lambda name: (name != hint, name != "batch-norm"))
    for name in names if hint is None else [hint]:
        for ddof in (0, 1) if asked.ddof is None else (asked.ddof,):
            try:
                program = program_of(name, "gamma" in candidate.takes, ddof)
                there = layouts.layouts(program)
                if asked.layout:
                    there = (layouts.named(program, asked.layout),)
            except CannotAsk:
                continue
            for at in there:
                yield name, ddof, at
            for at in there if "gamma" in candidate.takes and not asked.layout else ():
                yield name, ddof, layouts.with_kept(at)


def _eps(candidate: Candidate, asked: Asked) -> tuple[float | None, ...]:
    """None where it can be set, or where the code is handed what it was needed for."""
    if asked.eps is not None:
        return (asked.eps,)
    if candidate.eps_settable or {"rstd", "sd"} & set(candidate.takes):
        return (None,)
    return USUAL_EPS


def _score(subject: Subject, candidate: Candidate, identity: Identity) -> int:
    """How many gradients are right on the first trial; 0 where it cannot be run."""
    found = double_of(identity.program, seen=False)
    first = next(second_trials(found, identity, candidate.takes))
    first = replace(first, differences=False)
    try:
        report = judge(subject, candidate, found, identity, [first], diagnosed=False)
    except CannotAsk:
        return 0
    right = [g.verdict in ("right", "inaccurate") for g in report.gradients]
    return _ALL if all(right) else sum(right)


def _is_below(subject: Subject, candidate: Candidate, identity: Identity) -> bool:
    """Whether the user's own backward pass is this layer's."""
    if not candidate.first:
        return False
    program, at = identity.program, identity.layout
    found = derivation_of(program)
    trial = next(trials(program, identity.eps, layout=at))
    case = Case(subject, candidate, found, identity)
    try:
        (made,) = subject.firsts(candidate.name, [user_inputs(case, trial.values, trial)])
    except CannotAsk:
        return False
    back = layouts.from_user(at, program, made, trial.values, trial.parts)
    name = "d" + name_of(program.inputs[0])
    truth = reference(found, trial.values)
    yours, right = back.get(name), truth.gradients[name]
    if yours is None or yours.shape != right.shape:
        return False
    return bool(np.all(abs(yours - right) <= truth.allowed[name]))
