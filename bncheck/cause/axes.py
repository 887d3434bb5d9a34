"""Axes exchanged: values in another order, sums over other axes, gamma outside the sums.

In layer norm and its kin gamma differs within a group: it does not commute with the sums.
"""

from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import chain, combinations, permutations

import numpy as np
from sympy import Expr, S, Symbol

from bncheck.algebra.notation import Total, count, indices_of, name_of, operands, size, tensor
from bncheck.algebra.program import Step
from bncheck.calculus.derivation import Derivation, normalised
from bncheck.cause.hypothesis import (
    Hypothesis,
    Question,
    by_program,
    gradient_of,
    knowing,
    known,
)
from bncheck.numbers import layout as layouts
from bncheck.numbers.arithmetic import Array
from bncheck.numbers.layout import Layout
from bncheck.numbers.observation import Observation
from bncheck.telling.codes import found

Moved = Callable[[Array], Array]
"""An array in another order."""


def reordered(question: Question) -> Iterator[Hypothesis]:
    """Right values in the wrong order: reshaped where an axis should have been moved."""
    derivation, at = question.derivation, question.layout
    if at is None or derivation.order == 2:
        return
    moves = [
        partial(way, order)
        for order in permutations(range(len(at.order)))
        if order != tuple(range(len(at.order)))
        for way in (_transposed, _reshaped)
    ]
    if question.of_input:
        said = found("reordered", "values", gradient=question.gradient)
        for move in moves:
            yield Hypothesis(said, partial(_result, derivation, at, move))
    said = found("reordered", "upstream", upstream=name_of(derivation.upstream[0]))
    for move in moves:
        yield Hypothesis(said, partial(_of_upstream, derivation, at, move))


def _transposed(order: tuple[int, ...], value: Array) -> Array:
    return value.transpose(order).reshape(value.shape)


def _reshaped(order: tuple[int, ...], value: Array) -> Array:
    return value.reshape([value.shape[k] for k in order]).transpose(np.argsort(order))


def _result(
    derivation: Derivation, at: Layout, move: Moved, one: Observation, gradient: str
) -> Array | None:
    right = np.asarray(one.reference.gradients[gradient], float)
    return _moved(derivation, at, move, right, one)


def _of_upstream(
    derivation: Derivation, at: Layout, move: Moved, one: Observation, gradient: str
) -> Array | None:
    before, name = known(one), name_of(derivation.upstream[0])
    moved = _moved(derivation, at, move, before[name], one)
    return gradient_of(derivation.closed, {**before, name: moved}, gradient)


def _moved(
    derivation: Derivation, at: Layout, move: Moved, value: Array, one: Observation
) -> Array:
    """An array with all axes of the program, in another order in the user's axes."""
    forward = derivation.forward
    operand, parts = forward.inputs[0], one.parts
    theirs = np.asarray(layouts.array_to_user(at, forward, operand, value, parts))
    back = layouts.array_from_user(at, forward, operand, move(theirs), value.shape, parts)
    return np.asarray(back)


def elsewhere(question: Question) -> tuple[Hypothesis, ...]:
    """Changed programs for the gradient of the layer's input."""
    return _elsewhere(question.derivation) if question.of_input else ()


@cache
def _elsewhere(derivation: Derivation) -> tuple[Hypothesis, ...]:
    return (*_gammas(derivation), *_axes(derivation))


def _gammas(derivation: Derivation) -> Iterator[Hypothesis]:
    closed, gamma = derivation.closed, derivation.forward.tensors.get("gamma")
    if gamma is None or not set(indices_of(gamma)) & set(normalised(derivation.forward)):
        return
    last = closed.step(closed.tensors[name_of(derivation.chain.outputs[0])])
    for finding, inside in (
        (found("gamma-outside"), S.One),
        (found("gamma-twice", "sums"), gamma),
    ):
        steps = (Step(s.target, s.expr.xreplace({gamma: inside}), s.note)
                 for s in closed.steps if s is not last)  # fmt: skip
        outer = Step(last.target, gamma * last.expr.xreplace({gamma: inside}), last.note)
        yield by_program(finding, knowing(derivation, closed, (*steps, outer)))


def _axes(derivation: Derivation) -> Iterator[Hypothesis]:
    """The sums of the closed form over any other axes; one of them, or all together.

    What does not commute with such a sum may stand inside it: gamma, the standard deviation.
    """
    closed, tensors = derivation.closed, derivation.forward.tensors
    last = closed.step(closed.tensors[name_of(derivation.chain.outputs[0])])
    sums = [s for s in closed.steps if s.target in operands(last.expr) and s.expr.has(Total)]
    frame = indices_of(last.target)
    roots = [s.target for s in derivation.forward.steps if s.expr.is_Pow and not s.expr.has(Total)]
    read = [a for a in (tensors.get("gamma"), *roots) if a in operands(last.expr)]
    sets = chain.from_iterable(combinations(frame, n) for n in range(1, len(frame) + 1))
    for over in sets:
        inside = [S.One, *(a for a in read if set(indices_of(a)) & set(over))]
        for chosen in dict.fromkeys((*((s,) for s in sums), tuple(sums))):
            if all(set(over) != set(_over(s)) for s in chosen):
                for factor in inside:
                    yield from _summed(derivation, last, chosen, over, factor)


def _summed(
    derivation: Derivation,
    last: Step,
    chosen: tuple[Step, ...],
    over: tuple[Expr, ...],
    inside: Expr,
) -> Iterator[Hypothesis]:
    """The chosen sums over other axes, with a factor inside them."""
    said = {
        "over": tuple(str(size(i)) for i in over),
        "right": tuple(str(size(i)) for i in _over(chosen[0])),
        "sums": tuple(name_of(s.target) for s in chosen),
    }
    left = tuple(i for i in indices_of(last.target) if i not in over)
    for form in ("mean", "sum"):
        put, extra = {}, []
        for step in chosen:
            name = f"other_{name_of(step.target)}"
            other = tensor(name)[left] if left else Symbol(name, real=True)
            body = next(iter(step.expr.atoms(Total))).body
            factor = count(_over(step)) / count(over) if form == "mean" else S.One
            extra.append(Step(other, factor * Total(inside * body, *over)))
            put[step.target] = other / inside
        steps = (s for s in derivation.closed.steps if s is not last)
        changed = Step(last.target, last.expr.xreplace(put), last.note)
        program = knowing(derivation, derivation.closed, (*steps, *extra, changed))
        yield by_program(found("axis", form, **said), program)


def _over(step: Step) -> tuple[Expr, ...]:
    return tuple(next(iter(step.expr.atoms(Total))).over)
