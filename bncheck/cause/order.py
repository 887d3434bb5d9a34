"""Right values in the wrong order: reshaped where an axis should have been moved."""

from collections.abc import Iterator, Sequence
from itertools import permutations

import numpy as np

from bncheck.algebra.notation import name_of
from bncheck.calculus.derivation import Derivation
from bncheck.numbers import layout as layouts
from bncheck.numbers.agreement import RECOMPUTED, alike
from bncheck.numbers.arithmetic import Array, evaluate
from bncheck.numbers.layout import Layout
from bncheck.numbers.observation import Observation


def reordered(found: Derivation, at: Layout, gradient: str, seen: Sequence[Observation]) -> str:
    """What is read or returned in another order, in a sentence; nothing where that is not it."""
    whole = gradient == name_of(found.chain.outputs[0])
    if seen and whole and all(_is_shuffled(found, at, gradient, one) for one in seen):
        return f"{gradient} holds the right values in another order: {_WHY}"
    upstream = name_of(found.upstream[0])
    counts = [set(_upstream(found, at, gradient, one)) for one in seen]
    if counts and set.intersection(*counts):
        return f"{upstream} is read in another order: {_WHY}"
    return ""


_WHY = "reshaped where an axis should be moved, or the other way round"


def _is_shuffled(found: Derivation, at: Layout, gradient: str, one: Observation) -> bool:
    right, theirs = (
        _theirs(found, at, np.asarray(g[gradient], float), one)
        for g in (one.reference.gradients, one.gradients)
    )
    return any(alike(moved, theirs, RECOMPUTED) for _, moved in _moved(right))


def _upstream(found: Derivation, at: Layout, gradient: str, one: Observation) -> Iterator[int]:
    """The numbers of the orders of the upstream gradient that give the user's gradient."""
    program, closed = found.forward, found.closed
    name = name_of(found.upstream[0])
    everything = {**one.values, **one.reference.known}
    known = {name_of(a): np.asarray(everything[name_of(a)]) for a in closed.inputs}
    right = known[name]
    for number, moved in _moved(_theirs(found, at, right, one)):
        own = layouts.array_from_user(
            at, program, program.outputs[0], moved, right.shape, one.parts
        )  # fmt: skip
        with np.errstate(all="ignore"):
            made = np.asarray(evaluate(closed, {**known, name: own})[gradient].value, float)
        if alike(made, np.asarray(one.gradients[gradient], float), RECOMPUTED):
            yield number


def _theirs(found: Derivation, at: Layout, value: Array, one: Observation) -> Array:
    """An array with all axes of the program as it lies in the user's."""
    operand = found.forward.inputs[0]
    return np.asarray(layouts.array_to_user(at, found.forward, operand, value, one.parts))


def _moved(value: Array) -> Iterator[tuple[int, Array]]:
    """All other orders that a transposition and a reshape make of it."""
    shape = value.shape
    for number, order in enumerate(permutations(range(value.ndim))):
        if order != tuple(range(value.ndim)):
            yield number, value.transpose(order).reshape(shape)
            there = [shape[k] for k in order]
            yield -number, value.reshape(there).transpose(np.argsort(order))
