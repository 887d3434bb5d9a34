"""Programs evaluated on arrays, an error bound beside each value.

Running error analysis (Higham, Accuracy and Stability of Numerical Algorithms, 3.3): every
operation adds one unit roundoff of the user's dtype, relative to its result, to what its
operands bring along; a sum of N terms counts N operations, since some people write loops.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sympy import Add, Expr, Idx, Indexed, Mul, Pow, Symbol

from bncheck.algebra.notation import Mean, Total, carried, indices_of, name_of
from bncheck.algebra.program import Program

Array = NDArray[Any]


@dataclass(frozen=True)
class Bounded:
    """Values, and how far rounding in the user's precision may have moved each of them."""

    value: Array
    error: Array

    def at(self, slots: tuple[Any, ...], exact: bool) -> "Bounded":
        """Both arrays indexed alike; what has no error keeps none."""
        none = exact or self.error is EXACT
        return Bounded(self.value[slots], EXACT if none else self.error[slots])


def evaluate(
    program: Program, inputs: Mapping[str, Any], roundoff: float = 0.0, smallest: float = 0.0
) -> dict[str, Bounded]:
    """Every input and step of the program, by name.

    ``inputs`` are arrays with one axis per index of the program's inputs, or ``Bounded`` ones;
    their type is the type of the arithmetic. ``roundoff`` is that of the judged dtype,
    ``smallest`` its smallest number: what underflow may take away in a product or quotient.
    """
    known, sizes = {}, {}
    for name, axes in _shapes(program):
        given = inputs[name]
        found = given if isinstance(given, Bounded) else Bounded(np.asarray(given), EXACT)
        known[name] = found
        for (index, size), length in zip(axes, found.value.shape, strict=True):
            sizes[index] = sizes[size] = length
    exact = roundoff == 0 and all(given.error is EXACT for given in known.values())
    long = any(given.value.dtype != np.float64 for given in known.values())
    kind = np.longdouble if long else np.float64
    run = _Run(known, sizes, roundoff, smallest, exact, kind)
    with np.errstate(all="ignore"):
        for name, frame, plan in _plans(program):
            result = plan(run)
            shape = tuple(run.sizes[i] for i in frame)
            error = EXACT if exact else _filled(result.error, shape)
            known[name] = Bounded(_filled(result.value, shape), error)
    return known


@cache
def _shapes(program: Program) -> tuple[tuple[str, tuple[tuple[Idx, Expr], ...]], ...]:
    """For each input its name, and its axes with the symbols of their sizes."""
    return tuple((name_of(a), tuple((i, i.upper) for i in indices_of(a))) for a in program.inputs)


@cache
def _plans(program: Program) -> tuple[tuple[str, tuple[Idx, ...], "_Plan"], ...]:
    """For each step its name, its axes, and how it is found."""
    frames = [(step, indices_of(step.target)) for step in program.steps]
    return tuple(
        (name_of(step.target), frame, _planned(step.expr, frame, program.axes))
        for step, frame in frames
    )


def _filled(values: Array, shape: tuple[int, ...]) -> Array:
    return values if values.shape == shape else np.broadcast_to(values, shape)


EXACT = np.zeros(())
"""The error of what has none."""


@dataclass(frozen=True)
class _Run:
    """One evaluation: what is known so far, the sizes of the axes, the roundoff.

    ``exact``: no errors are followed, because there are none. ``kind``: the type of constants,
    so that sizes and fractions are as long as the arrays, and no longer.
    """

    known: dict[str, Bounded]
    sizes: dict[Any, int]
    roundoff: float
    smallest: float
    exact: bool
    kind: type[np.floating[Any]]


_Plan = Callable[[_Run], Bounded]


@cache
def _planned(expr: Expr, frame: tuple[Idx, ...], axes: tuple[Idx, ...]) -> _Plan:
    """How to find ``expr`` as arrays that broadcast against the axes of ``frame``.

    Expressions are taken apart once; the same programs are evaluated on many inputs.
    """
    if isinstance(expr, Indexed):
        name, slots = name_of(expr), _slots(expr.indices, frame)
        return lambda run: run.known[name].at(slots, run.exact)
    if isinstance(expr, Symbol):
        return _symbol(expr)
    if isinstance(expr, Total):
        return _total(expr, frame, axes)
    if not expr.args and not expr.is_Rational:  # what a changed program divides by zero
        return lambda run: Bounded(np.asarray(np.nan, run.kind), EXACT)
    if not expr.args:
        above, below = expr.p, expr.q
        return lambda run: Bounded(np.asarray(run.kind(above) / run.kind(below)), EXACT)
    if isinstance(expr, Mul) and expr.args[0] == -1:
        return _negative(_planned(-expr, frame, axes))
    args = expr.args
    if isinstance(expr, Add | Mul):
        # the small arrays among themselves first
        args = sorted(args, key=lambda a: len(carried(a)))
    operands = [_planned(a, frame, axes) for a in args]
    if isinstance(expr, Add):
        return lambda run: _sum(run, [operand(run) for operand in operands])
    if isinstance(expr, Mul):
        return lambda run: _product(run, [operand(run) for operand in operands])
    if isinstance(expr, Pow) and expr.exp.is_number:
        return _power(operands[0], expr.exp)
    return _function(expr, operands)


def _negative(operand: _Plan) -> _Plan:
    def plan(run: _Run) -> Bounded:
        given = operand(run)
        return Bounded(-given.value, given.error)

    return plan


def _symbol(symbol: Symbol) -> _Plan:
    def plan(run: _Run) -> Bounded:
        if symbol in run.sizes:
            return Bounded(np.asarray(run.kind(run.sizes[symbol])), EXACT)
        given = run.known[symbol.name]
        return Bounded(given.value, np.maximum(given.error, run.roundoff * _size(given.value)))

    return plan


def _total(expr: Total, frame: tuple[Idx, ...], axes: tuple[Idx, ...]) -> _Plan:
    inner = tuple(i for i in axes if i in carried(expr) or i in expr.over)
    body = _planned(expr.body, inner, axes)
    along = tuple(inner.index(i) for i in expr.over)
    slots = _slots(tuple(i for i in inner if i not in expr.over), frame)
    is_mean = isinstance(expr, Mean)

    def plan(run: _Run) -> Bounded:
        summed = body(run)
        shape = tuple(run.sizes[i] for i in inner)
        terms = prod(run.sizes[i] for i in expr.over)
        value = _filled(summed.value, shape)
        total = value.sum(axis=along)
        if run.exact:
            return Bounded(np.asarray(total / terms if is_mean else total)[slots], EXACT)
        spread = terms * run.roundoff * _size(value).sum(axis=along)
        if summed.error is not EXACT:
            spread = spread + _filled(summed.error, shape).sum(axis=along)
        if is_mean:
            total = total / terms
            spread = spread / terms + run.roundoff * _size(total) + run.smallest
        return Bounded(np.asarray(total)[slots], np.asarray(spread)[slots])

    return plan


def _sum(run: _Run, terms: list[Bounded]) -> Bounded:
    value = terms[0].value
    for term in terms[1:]:
        value = value + term.value
    if run.exact:
        return Bounded(value, EXACT)
    error, size = terms[0].error, _size(terms[0].value)
    for term in terms[1:]:
        size = size + _size(term.value)
        if term.error is not EXACT:
            error = error + term.error
    # the size of the terms, not of the sum: what order they are added in is the user's
    return Bounded(value, error + (len(terms) - 1) * run.roundoff * size)


def _product(run: _Run, factors: list[Bounded]) -> Bounded:
    value = factors[0].value
    for factor in factors[1:]:
        value = value * factor.value
    if run.exact:
        return Bounded(value, EXACT)
    size, error = _size(factors[0].value), factors[0].error
    for factor in factors[1:]:
        other = _size(factor.value)
        # |(a + e)(b + f) - a b|, term by term: as a difference it would lose what it is after
        if factor.error is EXACT:
            error = error * other
        else:
            error = error * (other + factor.error) + size * factor.error
        size = size * other
    more = len(factors) - 1
    return Bounded(value, error + (more * run.roundoff * size + more * run.smallest))


def _power(base: _Plan, exponent: Expr) -> _Plan:
    whole = int(exponent) if exponent.is_integer and exponent > 0 else 0

    def plan(run: _Run) -> Bounded:
        given = base(run)
        value = _raised(given.value, exponent)
        if run.exact:
            return Bounded(value, EXACT)
        rounded = 2 * run.roundoff * _size(value) + run.smallest
        if given.error is EXACT:
            return Bounded(value, rounded)
        if whole:
            slope = whole * (_size(given.value) + given.error) ** (whole - 1)
            return Bounded(value, given.error * slope + rounded)
        # roots and reciprocals are steepest below; where the error reaches zero, anything goes
        low = _raised(np.maximum(given.value - given.error, 0), exponent)
        return Bounded(value, _size(low - value) + rounded)

    return plan


def _function(expr: Expr, operands: list[_Plan]) -> _Plan:
    apply = getattr(np, {"Abs": "abs"}.get(expr.func.__name__, expr.func.__name__))

    def plan(run: _Run) -> Bounded:
        given = [operand(run) for operand in operands]
        value = apply(*(o.value for o in given))
        moved = [apply(*(o.value + sign * o.error for o in given)) for sign in (-1, 1)]
        spread = np.maximum(*(_size(m - value) for m in moved))
        return Bounded(value, spread + 4 * run.roundoff * _size(value))

    return plan


def _size(values: Array) -> Array:
    """Magnitudes as float64: errors need no more digits than that."""
    size = np.asarray(abs(values))
    return size if size.dtype == np.float64 else np.asarray(size, np.float64)


def _raised(base: Array, exponent: Any) -> Array:
    if exponent == -1:
        return 1 / base
    if exponent.is_integer:
        return base ** int(exponent)
    root = np.sqrt(base)
    return root ** int(2 * exponent) if (2 * exponent).is_integer else base ** float(exponent)


def _slots(has: tuple[Idx, ...], frame: tuple[Idx, ...]) -> tuple[Any, ...]:
    """The index that makes an array with axes ``has`` broadcast against ``frame``."""
    slots: list[Any] = [slice(None) if i in has else None for i in frame]
    return tuple(slots)
