"""The other layouts that somebody's code accepts: its forward pass is the same layer there."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

from bncheck.algebra.notation import indices_of
from bncheck.calculus.derivation import normalised
from bncheck.identity.crossing import Bench
from bncheck.numbers import layout as layouts
from bncheck.numbers.agreement import SINGLE, distance
from bncheck.numbers.observation import Observation
from bncheck.numbers.trials import draw
from bncheck.telling.errors import CannotAsk

TRIALS = 2
"""So many inputs tell whether a layout is accepted."""


def accepted(bench: Bench) -> Iterator[tuple[Bench, Sequence[Observation]]]:
    """Each other layout in which the forward pass is the same layer and the backward pass gives
    the same gradients, with what they are on a few trials.

    Gradients of other shapes than their operands are no layout that is accepted, but for one of so
    many axes as the docstring says.
    """
    reading = bench.reading
    along = {i.label.name for i in normalised(reading.program)}
    own = {i.label.name for operand in reading.program.inputs[1:] for i in indices_of(operand)}
    for at in layouts.layouts(reading.program):
        if at.order == reading.layout.order or at.split().keys() & (own - along):
            continue  # a feature is one number more, however many axes count the features
        there = replace(
            bench, reading=replace(reading, layout=replace(at, kept=reading.layout.kept))
        )
        trials = islice(draw(reading.program, reading.eps, layout=at), TRIALS)
        try:
            seen = [there.run(trial) for trial in trials]
        except CannotAsk:
            continue
        if all(_is_the_layer(one) for one in seen) and (
            len(at.order) in bench.backward.ranks or all(_fits(one) for one in seen)
        ):
            yield there, seen


def _is_the_layer(one: Observation) -> bool:
    return one.y is not None and distance(one.y, one.reference.output) <= SINGLE


def _fits(one: Observation) -> bool:
    return all(
        one.gradients[name].shape == right.shape
        for name, right in one.reference.gradients.items()
        if name in one.gradients
    )


def is_off(seen: Sequence[Observation]) -> bool:
    """Whether some gradient is not right on one of the trials."""
    return any(one.off(name).any() for one in seen for name in one.gradients)
