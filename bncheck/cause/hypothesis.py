"""A mistake that somebody may have made, with the gradient that it gives; and the one search.

A hypothesis is believed where its numbers are the user's, to within rounding, on every
observation that is asked. Sources give hypotheses, the likeliest first; each knows by the question
(first or second order, which gradient, which layout) whether it has any.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

import numpy as np
from sympy import Expr, Idx

from bncheck.algebra.notation import Tensor, indices_of, name_of
from bncheck.algebra.program import Program, Step
from bncheck.calculus.derivation import Derivation
from bncheck.numbers.agreement import RECOMPUTED, ROUNDING, explains, largest
from bncheck.numbers.arithmetic import Array, evaluate
from bncheck.numbers.layout import Layout
from bncheck.numbers.observation import Observation
from bncheck.telling.codes import Finding, found

ENOUGH = 3
"""Observations on which a hypothesis has to hold."""

SMALL = 1000
"""Entries of a gradient: larger ones are asked only where there are no others."""

MOST_PAIRS = 50
"""Pairs of hypotheses that are tried after a look at two random sums of the numbers."""

Made = Callable[[Observation, str], Array | None]
"""A gradient, by its name, from what is known in an observation; None where it cannot be said."""


@dataclass(frozen=True)
class Hypothesis:
    """``made``: the gradient that this mistake would give; ``program``: where a program gives it.

    ``made`` may look at the user's numbers to choose among many of a kind: other values of gamma,
    say. Then it gives the nearest.
    """

    finding: Finding
    made: Made
    program: Program | None = None


@dataclass(frozen=True, eq=False)
class Question:
    """What may have been written, so that ``gradient`` came out as it did?

    ``observations``: those on which a hypothesis has to hold.
    """

    derivation: Derivation
    gradient: str
    observations: tuple[Observation, ...] = ()
    layout: Layout | None = None

    @property
    def of_input(self) -> bool:
        """Whether it is the gradient with respect to the layer's first input, in first order."""
        d = self.derivation
        return d.order == 1 and self.gradient == name_of(d.chain.outputs[0])


Source = Callable[[Question], Iterable[Hypothesis]]


def asked(off: Iterable[Observation], gradient: str) -> tuple[Observation, ...]:
    """The observations to ask, of those on which a gradient is off: small ones first."""
    return tuple(sorted(off, key=lambda one: np.size(one.gradients[gradient]) > SMALL)[:ENOUGH])


def first(sources: Iterable[Source], question: Question) -> Hypothesis | None:
    """The first hypothesis whose numbers are the user's on every observation."""
    asked_ = question.gradient, question.observations
    return next((h for h in _each(sources, question) if holds(h, *asked_)), None)


def holds(hypothesis: Hypothesis, gradient: str, observations: Iterable[Observation]) -> bool:
    """Whether it gives the user's numbers on every observation."""
    return all(_is_theirs(hypothesis.made(one, gradient), gradient, one) for one in observations)


def _is_theirs(made: Array | None, gradient: str, one: Observation) -> bool:
    """Whether these are the user's numbers, to within rounding."""
    if made is None:
        return False
    right, allowed = one.reference.gradients[gradient], one.reference.allowed[gradient]
    return explains(made, one.gradients[gradient], allowed, ROUNDING, largest(right))


def by_steps(
    finding: Finding, derivation: Derivation, program: Program, steps: Iterable[Step]
) -> Hypothesis:
    """The program with these steps; it may read every value of the forward pass."""
    forward = derivation.forward
    inputs = (*derivation.upstream, *forward.inputs, *forward.targets)
    return by_program(finding, replace(program, inputs=inputs, steps=tuple(steps)))


def by_change(
    finding: Finding, derivation: Derivation, program: Program, put: Mapping[Tensor, Expr]
) -> Hypothesis:
    """The program with other right-hand sides of some targets."""
    return by_steps(finding, derivation, program, with_expressions(program, put))


def with_expressions(program: Program, put: Mapping[Tensor, Expr]) -> tuple[Step, ...]:
    """The steps with other right-hand sides of some targets."""
    return tuple(Step(s.target, put.get(s.target, s.expr), s.note) for s in program.steps)


def by_program(finding: Finding, program: Program) -> Hypothesis:
    """A changed program: its inputs are values of the forward pass and what is given."""
    return Hypothesis(finding, lambda one, name: gradient_of(program, known(one), name), program)


def known(one: Observation) -> dict[str, Array]:
    """Everything that is known in an observation, by name."""
    return {n: np.asarray(v) for n, v in {**one.values, **one.reference.known}.items()}


def lengths(derivation: Derivation, one: Observation) -> dict[Idx, int]:
    """The length of each axis of the program in an observation."""
    first = derivation.forward.inputs[0]
    return dict(zip(indices_of(first), one.reference.known[name_of(first)].shape, strict=True))


def gradient_of(program: Program, values: dict[str, Array], gradient: str) -> Array:
    """One result of a program."""
    with np.errstate(all="ignore"):
        given = {name_of(a): values[name_of(a)] for a in program.inputs}
        return evaluate(program, given)[gradient].value


def pairs(sources: Iterable[Source], question: Question) -> Iterator[Hypothesis]:
    """Two hypotheses of these sources at once, where their errors may add up to the user's.

    All pairs are asked at once: which of the sums of two errors, seen in two random directions,
    is the error of the first observation.
    """
    one, gradient = question.observations[0], question.gradient
    right = np.asarray(one.reference.gradients[gradient], float)
    wanted = (np.asarray(one.gradients[gradient], float) - right).ravel()
    tried = list(_each(sources, question))
    made = (np.asarray(h.made(one, gradient), float) for h in tried)
    errors = np.array([(got - right).ravel() for got in made])
    usable = np.isfinite(errors).all(axis=1) & (abs(errors).max(axis=1, initial=0) > 0)
    tried, errors = [h for h, ok in zip(tried, usable, strict=True) if ok], errors[usable]
    if not tried or not np.isfinite(wanted).all():
        return
    look = np.random.default_rng(0).standard_normal((wanted.size, 2))
    shadows, sought = errors @ look, wanted @ look
    sums = shadows[:, None, :] + shadows[None, :, :] - sought
    close = np.argwhere((abs(sums) <= RECOMPUTED * (1 + largest(sought))).all(axis=2))
    for a, b in close[:MOST_PAIRS]:
        if a < b:
            both = found("two-changes", first=tried[a].finding, second=tried[b].finding)
            yield Hypothesis(both, partial(_together, tried[a], tried[b]))


def is_statistic(step: Step, derivation: Derivation) -> bool:
    """Whether a step's value is shared by a group."""
    return len(indices_of(step.target)) < len(derivation.forward.axes)


def _each(sources: Iterable[Source], question: Question) -> Iterator[Hypothesis]:
    """All hypotheses in order; a program that two sources make is given once."""
    seen: set[Program] = set()
    for hypothesis in chain.from_iterable(source(question) for source in sources):
        if hypothesis.program is not None:
            if hypothesis.program in seen:
                continue
            seen.add(hypothesis.program)
        yield hypothesis


def _together(a: Hypothesis, b: Hypothesis, one: Observation, gradient: str) -> Array | None:
    made = (a.made(one, gradient), b.made(one, gradient))
    if made[0] is None or made[1] is None:
        return None
    return np.asarray(made[0] + made[1] - one.reference.gradients[gradient])
