"""Why a gradient is wrong: which term, by what factor; and which change explains it.

Programs with one change are tried, the likeliest first, until one gives the user's numbers to
within rounding on every trial; then two changes at once; then it is said where it fails.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np

from bncheck.algebra.notation import name_of
from bncheck.algebra.program import Program
from bncheck.calculus.derivation import Derivation
from bncheck.cause.axes import elsewhere
from bncheck.cause.edits import edits
from bncheck.cause.forwards import PRIME, forward_changes
from bncheck.cause.inputs import Hold, holds
from bncheck.cause.misreadings import misread
from bncheck.cause.places import is_off, sizes, where
from bncheck.cause.programs import Change, changes
from bncheck.cause.terms import fit, same_factor
from bncheck.numbers.agreement import RECOMPUTED, ROUNDING, explains, largest
from bncheck.numbers.arithmetic import Array, evaluate
from bncheck.numbers.observation import Observation
from bncheck.telling.report import Diagnosis, Term
from bncheck.writers.unicode import equation

ENOUGH = 3
"""Trials on which an explanation has to hold."""


def diagnose(found: Derivation, gradient: str, seen: Sequence[Observation]) -> Diagnosis:
    """What is wrong with one gradient; ``seen``: all easy trials, the right ones too."""
    fine = [one for one in seen if not is_off(one, gradient).any()]
    off = [one for one in seen if is_off(one, gradient).any()]
    fitted = fit(found, gradient, off[0])
    code, text = _reason(found, gradient, off, fine, fitted)
    step = found.closed.step(found.closed.tensors[gradient])
    return Diagnosis(code, gradient, text, fitted, equation(step))


def _reason(
    found: Derivation,
    gradient: str,
    off: Sequence[Observation],
    fine: Sequence[Observation],
    fitted: tuple[Term, ...],
) -> tuple[str, str]:
    change = _explained(found, gradient, off[:ENOUGH])
    if change is not None:
        everywhere = all(_reproduces(change, gradient, one) for one in fine)
        limits = [] if everywhere else sizes(found, off, fine)
        if change.code == "divided-by-count" and gradient != name_of(found.chain.outputs[0]):
            limits.append("the average over the batch is a convention: --batch-average accepts it")
        return change.code, "; ".join([change.text, *limits])
    wrong = [t for t in fitted if t.reading != "ok"]
    several = any(t.reading.startswith("another") for t in fitted)
    same = same_factor(fitted) if fitted and not several else None
    if same is not None:
        return "factor", f"{gradient} is {same:.9g} times the right value"
    if wrong and not several:
        return _code_of(wrong), joined(wrong)
    more = (
        _held(found, gradient, off[:ENOUGH])
        or misread(found, gradient, off[:ENOUGH])
        or _two(found, gradient, off[:ENOUGH])
    )
    if more:
        return more
    place = where(found, gradient, off, fine)
    if wrong:
        return "term-factor", f"{joined(wrong)}; {place}"
    return "unexplained", f"no change of the program explains it: {place}"


def _explained(found: Derivation, gradient: str, seen: Sequence[Observation]) -> Change | None:
    tried = (
        change
        for change in _all_changes(found, gradient)
        if all(_reproduces(change, gradient, one) for one in seen)
    )
    return next(tried, None)


def _all_changes(found: Derivation, gradient: str) -> Iterator[Change]:
    yield from changes(found, gradient)
    yield from _forward_changes(found)
    yield from _edits(found)
    if gradient == name_of(found.chain.outputs[0]):
        yield from _elsewhere(found)


@cache
def _forward_changes(found: Derivation) -> tuple[Change, ...]:
    return tuple(forward_changes(found))


@cache
def _elsewhere(found: Derivation) -> tuple[Change, ...]:
    return tuple(elsewhere(found))


@cache
def _edits(found: Derivation) -> tuple[Change, ...]:
    return tuple(edits(found))


def _reproduces(change: Change, gradient: str, one: Observation) -> bool:
    return is_theirs(_made(change, gradient, one), gradient, one)


def _made(change: Change, gradient: str, one: Observation) -> Array:
    """The gradient that a changed program gives."""
    known = _known(one)
    with np.errstate(all="ignore"):
        if change.other is not None:
            given = {name_of(a): known[name_of(a)] for a in change.other.inputs}
            other = evaluate(change.other, given)
            known |= {name + PRIME: bounded.value for name, bounded in other.items()}
        inputs = {name_of(a): known[name_of(a)] for a in change.program.inputs}
        return evaluate(change.program, inputs)[gradient].value


def is_theirs(got: Array, gradient: str, one: Observation) -> bool:
    """Whether these are the user's numbers, to within rounding."""
    theirs, allowed = one.gradients[gradient], one.reference.allowed[gradient]
    right = one.reference.gradients[gradient]
    return explains(got, theirs, allowed, ROUNDING, largest(right))


def _known(one: Observation) -> dict[str, Any]:
    return {n: np.asarray(v) for n, v in {**one.values, **one.reference.known}.items()}


def _held(found: Derivation, gradient: str, seen: Sequence[Observation]) -> tuple[str, str] | None:
    """Other statistics or another upstream gradient with the right programs."""
    for hold in holds(found):
        for program in (found.closed, found.chain):
            if all(is_theirs(_with(hold, program, gradient, s), gradient, s) for s in seen):
                return hold.code, hold.text
    return None


def _with(hold: Hold, program: Program, gradient: str, one: Observation) -> Array:
    with np.errstate(all="ignore"):
        values = hold.values(_known(one))
        given = {name_of(a): values[name_of(a)] for a in program.inputs}
        return evaluate(program, given)[gradient].value


def _two(found: Derivation, gradient: str, seen: Sequence[Observation]) -> tuple[str, str] | None:
    """Two changes whose errors add up to the user's; all pairs are tried at once."""
    one = seen[0]
    right = np.asarray(one.reference.gradients[gradient], float)
    wanted = (np.asarray(one.gradients[gradient], float) - right).ravel()
    tried = [*_all_changes(found, gradient)]
    made = (np.asarray(_made(change, gradient, one), float) for change in tried)
    errors = np.array([(got - right).ravel() for got in made])
    usable = np.isfinite(errors).all(axis=1) & (abs(errors).max(axis=1, initial=0) > 0)
    tried, errors = [c for c, ok in zip(tried, usable, strict=True) if ok], errors[usable]
    if not len(tried) or not np.isfinite(wanted).all():
        return None
    look = np.random.default_rng(0).standard_normal((wanted.size, 2))
    shadows, sought = errors @ look, wanted @ look
    sums = shadows[:, None, :] + shadows[None, :, :] - sought
    close = np.argwhere((abs(sums) <= RECOMPUTED * (1 + largest(sought))).all(axis=2))
    for first, second in close[:50]:
        if first < second and all(
            is_theirs(_sum(tried[first], tried[second], gradient, s), gradient, s) for s in seen
        ):
            return "two-changes", f"{tried[first].text}; and {tried[second].text}"
    return None


def _sum(first: Change, second: Change, gradient: str, one: Observation) -> Array:
    right = one.reference.gradients[gradient]
    return np.asarray(_made(first, gradient, one) + _made(second, gradient, one) - right)


def _code_of(wrong: Sequence[Term]) -> str:
    codes = {"sign flipped": "term-sign", "missing": "term-missing"}
    readings = {t.reading for t in wrong}
    return codes.get(readings.pop(), "term-factor") if len(readings) == 1 else "term-factor"


def joined(wrong: Sequence[Term]) -> str:
    """Terms with one reading together: ``sign flipped in A and B``."""
    by: dict[str, list[str]] = {}
    for term in wrong:
        by.setdefault(term.reading, []).append(term.formula)
    return "; ".join(f"{reading}, in {' and '.join(names)}" for reading, names in by.items())
