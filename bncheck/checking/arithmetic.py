"""Programs evaluated on arrays, an error bound beside each value.

Running error analysis (Higham, Accuracy and Stability of Numerical Algorithms, 3.3): every
operation adds one unit roundoff of the user's dtype, relative to its result, to what its
operands bring along; a sum of N terms counts N operations, since some people write loops.
"""

from collections.abc import Mapping
from dataclasses import dataclass
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

    def at(self, slots: tuple[Any, ...]) -> "Bounded":
        """Both arrays indexed alike."""
        return Bounded(self.value[slots], self.error[slots])


def evaluate(
    program: Program, inputs: Mapping[str, Any], roundoff: float = 0.0
) -> dict[str, Bounded]:
    """Every input and step of the program, by name.

    ``inputs`` are arrays with one axis per index of the program's inputs, or ``Bounded`` ones;
    their type is the type of the arithmetic. ``roundoff`` is that of the judged dtype.
    """
    known = {}
    for operand in program.inputs:
        given = inputs[name_of(operand)]
        exact = given if isinstance(given, Bounded) else Bounded(np.asarray(given), _none(given))
        known[name_of(operand)] = exact
    run = _Run(known, _sizes(program, known), program.axes, roundoff)
    with np.errstate(all="ignore"):
        for step in program.steps:
            frame = indices_of(step.target)
            result = run.value(step.expr, frame)
            shape = tuple(run.sizes[i] for i in frame)
            known[name_of(step.target)] = Bounded(
                np.broadcast_to(result.value, shape), np.broadcast_to(result.error, shape)
            )
    return known


def _none(given: Any) -> Array:
    return np.zeros(np.shape(given))


def _sizes(program: Program, known: Mapping[str, Bounded]) -> dict[Any, int]:
    sizes: dict[Any, int] = {}
    for operand in program.inputs:
        shape = known[name_of(operand)].value.shape
        for index, length in zip(indices_of(operand), shape, strict=True):
            sizes[index] = length
            sizes[index.upper] = length
    return sizes


@dataclass(frozen=True)
class _Run:
    """One evaluation: what is known so far, the sizes of the axes, the roundoff."""

    known: dict[str, Bounded]
    sizes: dict[Any, int]
    axes: tuple[Idx, ...]
    roundoff: float

    def value(self, expr: Expr, frame: tuple[Idx, ...]) -> Bounded:
        """``expr`` as arrays that broadcast against the axes of ``frame``."""
        if isinstance(expr, Indexed):
            return self.known[name_of(expr)].at(_slots(expr.indices, frame))
        if isinstance(expr, Symbol):
            return self._symbol(expr)
        if isinstance(expr, Total):
            return self._total(expr, frame)
        if not expr.args:
            number = np.asarray(np.longdouble(expr.p) / np.longdouble(expr.q))
            return Bounded(number, np.zeros(()))
        operands = [self.value(a, frame) for a in expr.args]
        if isinstance(expr, Add):
            return self._sum(operands)
        if isinstance(expr, Mul):
            return self._product(operands)
        if isinstance(expr, Pow) and expr.exp.is_number:
            return self._power(operands[0], expr)
        return self._function(expr, operands)

    def _symbol(self, symbol: Symbol) -> Bounded:
        if symbol in self.sizes:
            return Bounded(np.asarray(np.longdouble(self.sizes[symbol])), np.zeros(()))
        given = self.known[symbol.name]
        return Bounded(given.value, np.maximum(given.error, self.roundoff * abs(given.value)))

    def _total(self, expr: Total, frame: tuple[Idx, ...]) -> Bounded:
        inner = tuple(i for i in self.axes if i in carried(expr) or i in expr.over)
        body = self.value(expr.body, inner)
        shape = tuple(self.sizes[i] for i in inner)
        value, error = np.broadcast_to(body.value, shape), np.broadcast_to(body.error, shape)
        axes = tuple(inner.index(i) for i in expr.over)
        terms = int(np.prod([self.sizes[i] for i in expr.over]))
        total = value.sum(axis=axes)
        spread = error.sum(axis=axes) + terms * self.roundoff * abs(value).sum(axis=axes)
        if isinstance(expr, Mean):
            total, spread = total / terms, spread / terms + self.roundoff * abs(total / terms)
        slots = _slots(tuple(i for i in inner if i not in expr.over), frame)
        return Bounded(np.asarray(total)[slots], np.asarray(spread)[slots])

    def _sum(self, terms: list[Bounded]) -> Bounded:
        value, error, size = terms[0].value, terms[0].error, abs(terms[0].value)
        for term in terms[1:]:
            value, error, size = value + term.value, error + term.error, size + abs(term.value)
        # the size of the terms, not of the sum: what order they are added in is the user's
        return Bounded(value, error + (len(terms) - 1) * self.roundoff * size)

    def _product(self, factors: list[Bounded]) -> Bounded:
        value, upper = factors[0].value, abs(factors[0].value) + factors[0].error
        for factor in factors[1:]:
            value, upper = value * factor.value, upper * (abs(factor.value) + factor.error)
        rounding = (len(factors) - 1) * self.roundoff * abs(value)
        return Bounded(value, np.maximum(upper - abs(value), 0) + rounding)

    def _power(self, base: Bounded, expr: Pow) -> Bounded:
        value = _raised(base.value, expr.exp)
        if expr.exp.is_integer and expr.exp > 0:
            spread = _raised(abs(base.value) + base.error, expr.exp) - abs(value)
        else:
            # where the error reaches zero, a root or a reciprocal can be anything
            low = np.maximum(base.value - base.error, 0)
            spread = abs(_raised(low, expr.exp) - value)
            spread = np.maximum(spread, abs(_raised(base.value + base.error, expr.exp) - value))
            spread = np.where(base.error == 0, 0, spread)
        return Bounded(value, spread + 2 * self.roundoff * abs(value))

    def _function(self, expr: Expr, operands: list[Bounded]) -> Bounded:
        apply = getattr(np, {"Abs": "abs"}.get(expr.func.__name__, expr.func.__name__))
        value = apply(*(o.value for o in operands))
        moved = [apply(*(o.value + sign * o.error for o in operands)) for sign in (-1, 1)]
        spread = np.maximum(*(abs(m - value) for m in moved))
        return Bounded(value, spread + 4 * self.roundoff * abs(value))


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
