"""Which layer's double backward pass is it, where there is no forward pass to ask?"""

from collections.abc import Iterator
from functools import cache

import numpy as np

from bncheck.algebra.layers import LAYERS
from bncheck.algebra.notation import name_of
from bncheck.algebra.program import Program
from bncheck.calculus.passes import derived_once
from bncheck.identity.by_outputs import USUAL_EPS, Asked, Identity, program_of
from bncheck.numbers import layout as layouts
from bncheck.numbers.agreement import SINGLE, distance, within
from bncheck.numbers.layout import Layout
from bncheck.numbers.reference import reference_at
from bncheck.numbers.trials import directed, draw
from bncheck.subject.messages import Backward, Subject
from bncheck.telling.errors import CannotAsk
from bncheck.verdict.bench import Case, user_inputs
from bncheck.verdict.witnesses import named


def by_second_gradients(
    subject: Subject, candidate: Backward, hint: str | None, asked: Asked
) -> Identity:
    """The layer whose second gradients these are; else that of most of them, or of the backward
    pass below, or what it is called. Raises ``CannotAsk`` where eps would only be guessed.
    """
    choices = list(_choices(candidate, hint, asked))
    if not choices:
        raise CannotAsk(f"{candidate.name}: no layer has the layout {asked.layout!r} and that ddof")
    below = [i for i in choices if _is_below(subject, candidate, i)] if candidate.first else []
    best, most, ran = (below or choices)[0], (0, 0.0), False
    failed: set[tuple[Program, Layout]] = set()
    for identity in (*below[:1], *choices):
        if most[0] and identity.program.name != best.program.name:
            break  # one of three is right to some digits: that is no chance
        variant = identity.program, identity.layout
        if variant in failed:
            continue  # with another eps it would fail again
        score = _score(subject, candidate, identity)
        failed |= {variant} if score is None else set()
        ran |= score is not None
        if score == _ALL:
            return identity
        if score is not None and score > most:
            best, most = identity, score
    if ran and not most[0] and not below and best.eps not in (None, asked.eps):
        raise CannotAsk(
            f"{candidate.name} takes no eps, and with none of the usual ones is any of its "
            "gradients that of a layer; say which eps it has with --eps"
        )
    return best


@cache
def _program(name: str, affine: bool, ddof: int) -> Program:
    return program_of(name, affine, ddof)


Score = tuple[int, float]
_ALL = (9, 0.0)
"""The score of a double backward pass all of whose gradients are right."""


def _choices(candidate: Backward, hint: str | None, asked: Asked) -> Iterator[Identity]:
    for program, ddof, at in _variants(candidate, hint, asked):
        for eps in _eps(candidate, asked) if "eps" in program.tensors else (None,):
            yield Identity(program, at, ddof, eps, known=True)


def _variants(
    candidate: Backward, hint: str | None, asked: Asked
) -> Iterator[tuple[Program, int | None, Layout]]:
    said, affine = asked.program, "gamma" in candidate.takes
    if said is not None and LAYERS.get(said.name) != said:
        yield from ((said, None, at) for at in _layouts(said, asked.layout, affine))
        return
    if said is not None:
        hint = said.name
    names = sorted(LAYERS, key=lambda name: (name != hint, name != "batch-norm"))
    for name in names if hint is None else [hint]:
        for ddof in (0, 1) if asked.ddof is None else (asked.ddof,):
            try:
                program = _program(name, affine, ddof)
                there = _layouts(program, asked.layout, affine)
            except CannotAsk:
                continue
            yield from ((program, ddof, at) for at in there)


def _layouts(program: Program, said: str | None, affine: bool) -> tuple[Layout, ...]:
    """With parameters as they usually are, then with parameters that keep all axes."""
    there = (layouts.named(program, said),) if said else layouts.layouts(program)
    return (*there, *(layouts.with_kept(at) for at in there if affine))


def _eps(candidate: Backward, asked: Asked) -> tuple[float | None, ...]:
    """None where it can be set, or where the code is handed what it was needed for."""
    if asked.eps is not None:
        return (asked.eps,)
    if candidate.eps_settable or {"rstd", "sd"} & set(candidate.takes):
        return (None,)
    return USUAL_EPS


def _score(subject: Subject, candidate: Backward, identity: Identity) -> Score | None:
    """How many gradients are near, and how near; None where it cannot be run.

    Where eps has to be found out, on inputs that show it.
    """
    found = derived_once(identity.program, 2)
    drawn = draw(identity.program, identity.eps, layout=identity.layout)
    trial = next(trial for trial in drawn if trial.shows_eps or identity.eps is None)
    rng = np.random.default_rng(2)
    trial = directed(found, identity.layout, candidate.takes, trial, rng)
    case = Case(subject, candidate, found, identity)
    try:
        outcome = subject.call(candidate.name, user_inputs(case, trial.values, trial))
        truth = reference_at(found, trial.values)
        made = named(case, trial, outcome, truth)
    except CannotAsk:
        return None
    there = [n for n in truth.gradients if n in made]
    if all(within(made[n], truth.gradients[n], truth.allowed[n]) for n in there):
        return _ALL
    apart = [distance(made[n], truth.gradients[n]) for n in there]
    near = [a for a in apart if a <= SINGLE]
    return len(near), -sum(near)


def _is_below(subject: Subject, candidate: Backward, identity: Identity) -> bool:
    """Whether the user's own backward pass is this layer's."""
    if not candidate.first:
        return False
    program, at = identity.program, identity.layout
    found = derived_once(program)
    trial = next(draw(program, identity.eps, layout=at))
    case = Case(subject, candidate, found, identity)
    try:
        (made,) = subject.firsts(candidate.name, [user_inputs(case, trial.values, trial)])
    except CannotAsk:
        return False
    back = layouts.from_user(at, program, made, trial.values, trial.parts)
    name = "d" + name_of(program.inputs[0])
    truth = reference_at(found, trial.values)
    yours, right = back.get(name), truth.gradients[name]
    return yours is not None and distance(yours, right) <= SINGLE
