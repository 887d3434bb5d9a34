"""The witness: scalars, plain ``sympy.diff`` and exact rationals.

It shares nothing with the derivation but the forward program (it imports neither the chain
rule nor the closed form): a program is evaluated entry by entry, in exact numbers, and the
gradient is SymPy's derivative of the loss with respect to one scalar at a time.
"""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from sympy import (
    Dummy,
    Expr,
    Float,
    Function,
    Idx,
    Indexed,
    Pow,
    Rational,
    S,
    Symbol,
    diff,
    expand,
    sympify,
)

from bncheck.algebra.notation import (
    Mean,
    Tensor,
    Total,
    count,
    indices_of,
    name_of,
    size,
)
from bncheck.algebra.program import Program

Values = Mapping[Any, Any]
"""Exact numbers by name: a number for a scalar, ``{(1, 1): 10, (2, 1): 4, ...}`` for a tensor."""


def evaluate(program: Program, values: Values) -> dict[str, dict[tuple[int, ...], Expr]]:
    """Every input and step of a program of known sizes, entry by entry, indices from 1.

    The numbers can be of any exact kind that SymPy takes, symbols included.
    """
    known: dict[str, dict[tuple[int, ...], Expr]] = {}
    for operand in program.inputs:
        entries = _entries(values[name_of(operand)])
        known[name_of(operand)] = {at: sympify(number) for at, number in entries.items()}
    for step in program.steps:
        indices = indices_of(step.target)
        known[name_of(step.target)] = {
            at: value_at(step.expr, known, dict(zip(indices, at, strict=True)))
            for at in places(indices)
        }
    return known


def gradients(
    forward: Program, values: Values, wrt: tuple[Tensor, ...], most: int | None = None
) -> dict[str, dict[tuple[int, ...], Expr]]:
    """The gradients of ``sum(dy*y)`` by ``sympy.diff``, one scalar at a time, exactly.

    ``values`` holds the inputs and, as ``dy``, the upstream gradient of each output ``y``.
    ``most``: at how many places of each gradient, spread from first to last; all by default.
    """
    return {
        "d" + name_of(operand): {
            at: _partial(forward, values, operand, at)
            for at in spread(list(places(indices_of(operand))), most)
        }
        for operand in wrt
    }


def value_at(expr: Expr, known: Mapping[str, Any], at: dict[Idx, int]) -> Expr:
    """The value of an expression where its free indices are ``at``."""
    if isinstance(expr, Indexed):
        return known[name_of(expr)][tuple(at[i] for i in expr.indices)]
    if isinstance(expr, Symbol):
        return known[name_of(expr)][()]
    if isinstance(expr, Total):
        terms = (
            value_at(expr.body, known, at | dict(zip(expr.over, place, strict=True)))
            for place in places(expr.over)
        )
        total = sum(terms, S.Zero)
        return total / count(expr.over) if isinstance(expr, Mean) else total
    if not expr.args:
        return expr
    return expr.func(*(value_at(a, known, at) for a in expr.args))


def places(indices: tuple[Idx, ...]) -> Iterator[tuple[int, ...]]:
    """All values of the indices, each from 1 to its size."""
    return product(*(range(1, int(size(i)) + 1) for i in indices))


def spread(all_places: list[tuple[int, ...]], most: int | None) -> list[tuple[int, ...]]:
    """``most`` of the places, from the first to the last; all where None."""
    if most is None or len(all_places) <= most:
        return all_places
    last = len(all_places) - 1
    return [all_places[last * order // max(most - 1, 1)] for order in range(most)]


def sample(forward: Program) -> dict[str, Any]:
    """Exact inputs and upstream gradients on which no mistake hides: see ``_scatter``."""
    wanted = {name_of(a): a for a in forward.inputs}
    wanted |= {"d" + name_of(out): out for out in forward.outputs}
    return {name: _scatter(name, a) for name, a in wanted.items()}


def in_digits(forward: Program, values: Values) -> dict[str, Any]:
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


def _entries(given: Any) -> Mapping[tuple[int, ...], Any]:
    """The numbers of a tensor by place; a scalar has the one place ()."""
    return given if isinstance(given, Mapping) else {(): given}


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


def _partial(forward: Program, values: Values, operand: Tensor, at: tuple[int, ...]) -> Expr:
    given = values[name_of(operand)]
    here = given[at] if at else given
    moving = Dummy(positive=True) if operand.is_positive else Dummy(real=True)
    moved = {**given, at: moving} if at else moving
    known = evaluate(forward, {**values, name_of(operand): moved})
    loss = sum(
        (
            _entries(values["d" + name_of(out)])[place] * y
            for out in forward.outputs
            for place, y in known[name_of(out)].items()
        ),
        S.Zero,
    )
    return diff(loss, moving).xreplace({moving: sympify(here)})


def _has_one_form(number: Expr) -> bool:
    return not number.has(Function) and all(p.base.is_Rational for p in number.atoms(Pow))
