"""Code without a forward pass: the layer, layout and eps whose gradients these are."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from bncheck.algebra.layers import LAYERS
from bncheck.algebra.notation import name_of
from bncheck.calculus.derivation import Derivation
from bncheck.calculus.passes import derived_once
from bncheck.cause.terms import fit
from bncheck.identity.by_outputs import USUAL_EPS, Asked, Identity, program_of
from bncheck.numbers import layout
from bncheck.numbers.observation import Observation
from bncheck.numbers.reference import reference_at
from bncheck.numbers.trials import draw
from bncheck.subject.messages import Backward, Subject
from bncheck.telling.errors import CannotAsk
from bncheck.telling.report import Term
from bncheck.verdict.bench import Case, user_inputs
from bncheck.verdict.judge import judge

Reading = tuple[Identity, Derivation]


def by_gradients(subject: Subject, candidate: Backward, hint: str | None, asked: Asked) -> Reading:
    """The reading in which the code is right, else the one of whose terms its numbers are made,
    else the layer that it is called; raises ``CannotAsk`` for a layout that there is not.
    """
    near: list[Reading] = []
    for reading in _readings(candidate, hint, asked):
        verdict = _first_verdict(subject, candidate, reading)
        if verdict in ("right", "inaccurate"):
            return reading
        if verdict is not None:
            near.append(reading)
    chosen = _likeliest(subject, candidate, near)
    if chosen is None:
        program = program_of(hint or "batch-norm", "gamma" in candidate.takes, 0)
        identity = Identity(program, layout.usual(program), 0, _eps(candidate, asked), known=True)
        return identity, derived_once(program)
    if candidate.eps_settable or asked.eps is not None:
        return chosen
    return _with_eps(subject, candidate, chosen)


def _with_eps(subject: Subject, candidate: Backward, reading: Reading) -> Reading:
    """The same with the eps with which it is right, else with which every term has a reading."""
    others = [(replace(reading[0], eps=eps), reading[1]) for eps in USUAL_EPS]
    for other in others:
        if _first_verdict(subject, candidate, other) in ("right", "inaccurate"):
            return other
    for other in others:
        terms = _terms(Case(subject, candidate, other[1], other[0]))
        if terms and all(t.reading.form != "each-group" for t in terms):
            return other
    return reading


def _readings(candidate: Backward, hint: str | None, asked: Asked) -> Iterator[Reading]:
    affine, eps = "gamma" in candidate.takes, _eps(candidate, asked)
    names = sorted(LAYERS, key=lambda name: (name != hint, name != "batch-norm"))
    problem: CannotAsk | None = None
    there = False
    for name in names if hint is None else [hint]:
        for ddof in (0, 1) if asked.ddof is None else (asked.ddof,):
            try:
                program = program_of(name, affine, ddof)
                known = layout.layouts(program)
                known = (layout.named(program, asked.layout),) if asked.layout else known
            except CannotAsk as error:
                problem = problem or error
                continue
            there = True
            for at in (*known, *map(layout.with_kept, known)):
                yield Identity(program, at, ddof, eps, known=True), derived_once(program)
    if problem is not None and not there:
        raise problem


def _eps(candidate: Backward, asked: Asked) -> float | None:
    """The eps that the code has, to begin with."""
    return (None if candidate.eps_settable else 1e-5) if asked.eps is None else asked.eps


def _first_verdict(subject: Subject, candidate: Backward, reading: Reading) -> str | None:
    """The verdict on the first trial alone; None where it cannot be run."""
    identity, found = reading
    first = next(draw(found.forward, identity.eps, layout=identity.layout))
    first = replace(first, differences=False)
    try:
        report = judge(subject, candidate, found, identity, [first], diagnosed=False)
    except CannotAsk:
        return None
    return report.verdict


def _likeliest(subject: Subject, candidate: Backward, there: Sequence[Reading]) -> Reading | None:
    """The first of whose terms the user's numbers are made; the first of all where none is."""
    for identity, found in there if len(there) > 1 else ():
        if _terms(Case(subject, candidate, found, identity)):
            return identity, found
    return there[0] if there else None


def _terms(case: Case) -> tuple[Term, ...]:
    """The terms of which the first gradient is made on the first trial; none where it is not."""
    found, at = case.found, case.identity.layout
    trial = next(draw(found.forward, case.identity.eps, layout=at))
    outcome = case.subject.call(case.candidate.name, user_inputs(case, trial.values, trial))
    truth = reference_at(found, trial.values, trial.judged)
    theirs = layout.from_user(at, found.forward, outcome.gradients, trial.values, trial.parts)
    name = name_of(found.chain.outputs[0])
    if name not in theirs or theirs[name].shape != truth.gradients[name].shape:
        return ()
    return fit(found, name, [Observation(trial.values, truth, theirs, trial.parts)]).terms
