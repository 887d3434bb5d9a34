"""Programs on exact numbers, entry by entry: one walk over expressions, whatever the numbers are.

What kind of numbers they are is an ``Algebra``: SymPy's own here, fractions with infinitesimals in
``theory/rationals``. It knows what a sum over an index is, and nothing of derivatives, so that the
witness may use it; for arrays, with their rounding, see ``numbers/arithmetic``.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

from sympy import Add, Expr, Idx, Indexed, Mul, Rational, Symbol, expand, sympify

from bncheck.algebra.notation import Mean, Tensor, Total, indices_of, name_of, operands, size
from bncheck.algebra.program import Program, Step

Place = tuple[int, ...]
Numbers = dict[str, dict[Place, Any]]
"""Entries by name and place, indices from 1; a scalar has the one place ()."""
Given = Mapping[str, Any]
"""The same, where a scalar may be a plain number: ``{"x": {(1, 1): 10, (2, 1): 4}, "eps": 0}``."""


@dataclass(frozen=True)
class Algebra:
    """A kind of numbers.

    ``number``: a constant of an expression as one of them; ``operation``: what a kind of node
    (``Add``, ``Mul``, ``Pow``, ...) does to them; ``tidied``: the form in which a result is kept.
    """

    number: Callable[[Expr], Any]
    operation: Callable[[type[Expr]], Callable[..., Any]]
    tidied: Callable[[Any], Any]


def _short(number: Expr) -> Expr:
    """A polynomial multiplied out: the same, and what SymPy differentiates in half the time."""
    symbols = number.free_symbols
    return expand(number) if symbols and number.is_polynomial(*symbols) else number


EXACT = Algebra(lambda constant: constant, lambda kind: kind, _short)
"""SymPy's numbers, symbols included."""


def evaluate(program: Program, values: Given) -> Numbers:
    """Every input and step of a program of known sizes, in SymPy's numbers."""
    known: Numbers = {}
    for operand in program.inputs:
        given = entries(values[name_of(operand)])
        known[name_of(operand)] = {at: sympify(number) for at, number in given.items()}
    for step in program.steps:
        work_out(step, known)
    return known


def evaluate_for(
    wanted: Iterable[str], steps: tuple[Step, ...], known: Numbers, by: Algebra
) -> None:
    """Put beside ``known`` what ``wanted`` needs of the steps; of two for one name, the earlier."""
    needed, first = set(wanted), {name_of(step.target): step for step in reversed(steps)}
    waiting = list(needed & first.keys())
    while waiting:
        read = {name_of(a) for a in operands(first[waiting.pop()].expr)} - needed
        needed |= read
        waiting += read & first.keys()
    for step in steps:
        if name_of(step.target) in needed and first[name_of(step.target)] is step:
            work_out(step, known, by)


def work_out(step: Step, known: Numbers, by: Algebra = EXACT) -> None:
    """Put one step beside ``known``, at all its places."""
    indices = indices_of(step.target)
    known[name_of(step.target)] = {
        at: value_at(step.expr, known, dict(zip(indices, at, strict=True)), by)
        for at in places(indices)
    }


def value_at(expr: Expr, known: Numbers, at: Mapping[Idx, int], by: Algebra = EXACT) -> Any:
    """The value of an expression where its free indices are ``at``."""
    here = {i.label.name: number for i, number in at.items()}
    return by.tidied(_planned(expr, by)(known, here))


def entries(given: Any) -> Mapping[Place, Any]:
    """The numbers of a tensor by place; a scalar has the one place ()."""
    return given if isinstance(given, Mapping) else {(): given}


def places(indices: Iterable[Idx]) -> Iterator[Place]:
    """All values of the indices, each from 1 to its size."""
    return product(*(range(1, int(size(i)) + 1) for i in indices))


_Plan = Callable[[Numbers, dict[str, int]], Any]
"""How to find the value of an expression: from the numbers known, and the indices by letter."""


@cache
def _planned(expr: Expr, by: Algebra) -> _Plan:
    """Expressions are taken apart once: each is asked for at many places, on many numbers."""
    if isinstance(expr, Indexed | Symbol):
        return _entry(expr)
    if isinstance(expr, Total):
        return _summed(expr, by)
    if not expr.args:
        number = by.number(expr)
        return lambda known, at: number
    parts, operation = [_planned(a, by) for a in expr.args], by.operation(expr.func)
    return lambda known, at: operation(*[part(known, at) for part in parts])


def _entry(operand: Tensor) -> _Plan:
    name, letters = name_of(operand), [i.label.name for i in indices_of(operand)]
    return lambda known, at: known[name][tuple([at[letter] for letter in letters])]


def _summed(expr: Total, by: Algebra) -> _Plan:
    body, letters = _planned(expr.body, by), [i.label.name for i in expr.over]
    each = [dict(zip(letters, place, strict=True)) for place in places(expr.over)]
    added, times = by.operation(Add), by.operation(Mul)
    share = by.number(Rational(1, len(each))) if isinstance(expr, Mean) else None

    def plan(known: Numbers, at: dict[str, int]) -> Any:
        total = added(*[body(known, at | place) for place in each])
        return total if share is None else times(total, share)

    return plan
