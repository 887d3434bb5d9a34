"""The witness: scalars, plain ``sympy.diff`` and exact rationals.

It shares nothing with the derivation but the forward program (it imports neither the chain
rule nor the closed form): a program is evaluated entry by entry, in exact numbers, and the
gradient is SymPy's derivative of the loss with respect to one scalar at a time.
"""

from collections.abc import Mapping
from typing import Any

from sympy import Dummy, Expr, Float, Function, Pow, Rational, S, diff, expand

from bncheck.algebra.notation import Tensor, indices_of, name_of
from bncheck.algebra.program import Program
from bncheck.calculus.interpret import Given, Numbers, Place, entries, evaluate, places


def gradients(
    forward: Program, values: Given, wrt: tuple[Tensor, ...], most: int | None = None
) -> Numbers:
    """The gradients of ``sum(dy*y)`` by ``sympy.diff``, one scalar at a time, exactly.

    ``values`` holds the inputs and, as ``dy``, the upstream gradient of each output ``y``.
    ``most``: at how many places of each gradient, spread from first to last; all by default.
    """
    return {
        "d" + name_of(operand): {
            at: _loss(forward, _rates(forward, values, {name_of(operand): {at: 1}}), values, "d")
            for at in spread(list(places(indices_of(operand))), most)
        }
        for operand in wrt
    }


def tangents(forward: Program, values: Given, most: int | None = None, mark: str = "t") -> Numbers:
    """The derivative of each output along a direction, by ``sympy.diff``, exactly.

    ``values`` holds, besides the inputs, the direction: ``tx`` for an input ``x`` that moves.
    """
    inputs = map(name_of, forward.inputs)
    towards = {name: values[mark + name] for name in inputs if mark + name in values}
    return {mark + out: at for out, at in _rates(forward, values, towards, most).items()}


def second_gradients(
    forward: Program, values: Given, wrt: tuple[Tensor, ...], most: int | None = None
) -> Numbers:
    """The gradients of S, the derivative of ``sum(dy*y)`` along ``ddx``, ``ddgamma``, ...

    ``d2x`` for an input ``x``, ``ddy`` for the upstream gradient ``dy``: two derivatives of the
    forward pass, no backward pass. Where ``values`` has ``d2y``, S has ``sum(d2y*y)`` as well.
    """
    outputs = {"d" + name_of(out) for out in forward.outputs}
    found = {}
    for operand in wrt:
        if name_of(operand) not in outputs:
            found["d2" + name_of(operand)] = {
                at: second_derivative(forward, values, {name_of(operand): {at: 1}})
                for at in spread(list(places(indices_of(operand))), most)
            }
    moved = {"d" + name: at for name, at in tangents(forward, values, most, "dd").items()}
    return found | {
        name.removeprefix("d"): numbers
        for name, numbers in moved.items()
        if name.removeprefix("dd") in {name_of(a) for a in wrt}
    }


def second_derivative(forward: Program, values: Given, towards: Given) -> Expr:
    """How S, as in ``second_gradients``, changes along ``towards``: numbers for x, gamma, dy."""
    way = Dummy(real=True)
    moved = _along(values, towards, way)
    rates = {name[2:]: at for name, at in tangents(forward, moved, mark="dd").items()}
    whole = _loss(forward, rates, moved, "d")
    if any("d2" + name_of(out) in values for out in forward.outputs):
        whole += _loss(forward, evaluate(forward, moved), moved, "d2")
    return diff(whole, way).xreplace({way: S.Zero})


def spread(all_places: list[Place], most: int | None) -> list[Place]:
    """``most`` of the places, from the first to the last; all where None."""
    if most is None or len(all_places) <= most:
        return all_places
    last = len(all_places) - 1
    return [all_places[last * order // max(most - 1, 1)] for order in range(most)]


def sample(forward: Program, *more: Tensor) -> dict[str, Any]:
    """Exact inputs and upstream gradients on which no mistake hides: see ``_scatter``.

    ``more``: what else is given, upstream gradients of second order or tangents.
    """
    wanted = {name_of(a): a for a in (*forward.inputs, *more)}
    if not more:
        wanted |= {"d" + name_of(out): out for out in forward.outputs}
    return {name: _scatter(name, a) for name, a in wanted.items()}


def in_digits(forward: Program, values: Given) -> dict[str, Any]:
    """The same numbers with 80 digits, where exact ones could not be compared; else as given.

    SymPy brings sums of products of rationals and their roots to one form; it has none for roots
    of roots, roots below a fraction bar and exponentials.
    """
    known = evaluate(forward, values)
    reached = [number for numbers in known.values() for number in numbers.values()]
    if all(_has_one_form(number) for number in reached):
        return dict(values)
    return {
        name: {at: Float(number, 80) for at, number in given.items()}
        if isinstance(given, Mapping)
        else Float(given, 80)
        for name, given in values.items()
    }


def exactly_equal(a: Expr, b: Expr) -> bool:
    """Whether two exact numbers are the same; of numbers with 80 digits, whether 50 are."""
    apart = a - b
    if apart.has(Float):
        return bool(abs(apart) < Rational(1, 10**50))
    return expand(apart) == S.Zero


def _scatter(name: str, operand: Tensor) -> Any:
    """Rationals of both signs, unequal, not centred; a positive one where a root needs it."""
    seed = sum(map(ord, name))
    if not indices_of(operand):
        return Rational(11 + seed % 5, 7)
    numbers = {}
    for order, at in enumerate(places(indices_of(operand))):
        above = (seed + 7 * order + 3 * order**2) % 23 - 9
        number = Rational(above or 5, 2 + (seed + order) % 3)
        numbers[at] = abs(number) if operand.is_positive else number
    return numbers


def _rates(forward: Program, values: Given, towards: Given, most: int | None = None) -> Numbers:
    """The derivatives of the outputs where the values move along ``towards``."""
    time = Dummy(real=True)
    known = evaluate(forward, _along(values, towards, time))
    return {
        name: {
            at: diff(known[name][at], time).xreplace({time: S.Zero})
            for at in spread(list(known[name]), most)
        }
        for name in map(name_of, forward.outputs)
    }


def _along(values: Given, towards: Given, time: Expr) -> dict[str, Any]:
    """The values on their way: ``x + time*tx`` for every ``x`` that has a direction ``tx``."""
    return dict(values) | {
        name: {at: number + time * entries(direction).get(at, S.Zero)
               for at, number in entries(values[name]).items()}
        for name, direction in towards.items()
    }  # fmt: skip


def _loss(forward: Program, known: Mapping[str, Any], values: Given, mark: str) -> Expr:
    """``sum(dy*y)`` over the outputs that have a ``dy``."""
    return sum(
        (
            entries(values[mark + name_of(out)])[place] * y
            for out in forward.outputs
            if mark + name_of(out) in values
            for place, y in known[name_of(out)].items()
        ),
        S.Zero,
    )


def _has_one_form(number: Expr) -> bool:
    return not number.has(Function) and all(p.base.is_Rational for p in number.atoms(Pow))
