"""Expressions on fractions, exactly and quickly; infinitesimals ``t``, ``u`` give derivatives.

A ``Jet`` is ``a + b*t + c*u + d*t*u`` with ``t**2 = u**2 = 0``: the value of an expression, its
two derivatives and the mixed one. Where a root is not rational, ``Irrational`` says so, and SymPy's
numbers have to do (``unroll.value_at``).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import isqrt, prod
from typing import Any

from sympy import Add, Expr, Indexed, Mul, Pow, S, Symbol, diff, expand

from bncheck.algebra.notation import Mean, Total, indices_of, name_of, operands
from bncheck.algebra.program import Step
from bncheck.calculus.unroll import places, value_at
from bncheck.theory.parts import Words
from bncheck.theory.statement import t, u


class Irrational(ArithmeticError):
    """A number on the way is no fraction."""


NONE = Fraction(0)


@dataclass(slots=True)
class Jet:
    """``one + t*by_t + u*by_u + t*u*by_both``; a plain number has no more than ``one``."""

    one: Fraction
    by_t: Fraction = NONE
    by_u: Fraction = NONE
    by_both: Fraction = NONE

    def __add__(self, other: "Jet") -> "Jet":
        if self.plain and other.plain:
            return Jet(self.one + other.one)
        return Jet(*(a + b for a, b in zip(self.parts, other.parts, strict=True)))

    def __mul__(self, other: "Jet") -> "Jet":
        if self.plain and other.plain:
            return Jet(self.one * other.one)
        (a, at, au, ab), (b, bt, bu, bb) = self.parts, other.parts
        return Jet(a * b, a * bt + at * b, a * bu + au * b, a * bb + ab * b + at * bu + au * bt)

    @property
    def parts(self) -> tuple[Fraction, Fraction, Fraction, Fraction]:
        """The four coefficients."""
        return (self.one, self.by_t, self.by_u, self.by_both)

    @property
    def plain(self) -> bool:
        """Whether nothing infinitesimal is in it."""
        return self.by_t is NONE and self.by_u is NONE and self.by_both is NONE

    def through(self, value: Fraction, slope: Fraction, bend: Fraction) -> "Jet":
        """A function of the jet, by its value and its first two derivatives at ``one``."""
        if self.plain:
            return Jet(value)
        both = slope * self.by_both + bend * self.by_t * self.by_u
        return Jet(value, slope * self.by_t, slope * self.by_u, both)


Known = dict[str, dict[tuple[int, ...], Any]]


Plan = Callable[[Known, dict[str, int]], Jet]
"""How to find the value of an expression: from the numbers known, and the indices by name."""


def value(expr: Expr, known: Known, at: Mapping[Any, int]) -> Jet:
    """The value of an expression where its free indices are ``at``; raises ``Irrational``."""
    return _planned(expr)(known, {i.label.name: number for i, number in at.items()})


@cache
def _planned(expr: Expr) -> Plan:
    """Expressions are taken apart once: each is asked for at many places, on many numbers."""
    if isinstance(expr, Indexed):
        return _entry(name_of(expr), tuple(i.label.name for i in expr.indices))
    if isinstance(expr, Symbol):
        return _entry(name_of(expr), ())
    if expr.is_Rational:
        number = Jet(Fraction(int(expr.p), int(expr.q)))
        return lambda known, at: number
    if isinstance(expr, Total):
        return _summed(expr)
    parts = [_planned(a) for a in expr.args]
    if isinstance(expr, Add):
        return lambda known, at: sum((p(known, at) for p in parts[1:]), parts[0](known, at))
    if isinstance(expr, Mul):
        return lambda known, at: prod((p(known, at) for p in parts[1:]), start=parts[0](known, at))
    if isinstance(expr, Pow):
        return lambda known, at: _power(parts[0](known, at), parts[1](known, at).one)
    if expr.func.__name__ == "Abs":
        return lambda known, at: _size(parts[0](known, at))
    raise Irrational(str(expr))


def _entry(name: str, letters: tuple[str, ...]) -> Plan:
    return lambda known, at: known[name][tuple([at[letter] for letter in letters])]


def _summed(expr: Total) -> Plan:
    body, letters = _planned(expr.body), [i.label.name for i in expr.over]
    each = [dict(zip(letters, place, strict=True)) for place in places(expr.over)]
    share = Jet(Fraction(1, len(each)))

    def plan(known: Known, at: dict[str, int]) -> Jet:
        total = sum((body(known, at | place) for place in each), Jet(NONE))
        return total * share if isinstance(expr, Mean) else total

    return plan


def _size(jet: Jet) -> Jet:
    return jet if jet.one >= 0 else jet * Jet(Fraction(-1))


def _power(base: Jet, exponent: Fraction) -> Jet:
    """A power with a whole or half exponent."""
    if exponent.denominator > 2:
        raise Irrational(f"power {exponent}")
    root = base.one if exponent.denominator == 1 else square_root(base.one)
    steps = exponent.numerator
    if root == 0 and steps < 4:
        return _at_zero(base, exponent)
    if base.one == 0:
        return base.through(Fraction(0), Fraction(0), Fraction(0))
    number = root**steps
    slope = exponent * number / base.one
    return base.through(number, slope, (exponent - 1) * slope / base.one)


def _at_zero(base: Jet, exponent: Fraction) -> Jet:
    """Powers of what is 0 up to infinitesimals: 1, itself, its square; others are not defined."""
    if exponent == 0:
        return Jet(Fraction(1))
    if exponent in (1, 2, 3):
        return prod([base] * (int(exponent) - 1), start=base)
    if exponent == Fraction(1, 2) and not any(base.parts):
        return base
    raise ZeroDivisionError(f"0 to the power {exponent}")


def square_root(number: Fraction) -> Fraction:
    """The root of a fraction that has a rational one; raises ``Irrational``."""
    if number >= 0:
        above, below = isqrt(number.numerator), isqrt(number.denominator)
        if above**2 == number.numerator and below**2 == number.denominator:
            return Fraction(above, below)
    raise Irrational(f"the root of {number}")


def exactly(jet: Jet) -> Expr:
    """A jet as a SymPy expression in t and u."""
    one, by_t, by_u, both = (S(part.numerator) / part.denominator for part in jet.parts)
    return one + t * by_t + u * by_u + t * u * both


def truncated(number: Expr, order: tuple[Symbol, ...]) -> Expr:
    """First powers of what is infinitesimal."""
    for small in order:
        if number.has(small):
            slope = diff(number, small).xreplace({small: S.Zero})
            number = expand(number.xreplace({small: S.Zero}) + small * slope)
    return number


@dataclass(frozen=True)
class Arithmetic:
    """Fractions where every root is rational, else SymPy's numbers."""

    value: Callable[[Expr, Known, dict[Any, int]], Any]
    exactly: Callable[[Any], Expr]
    number: Callable[[Jet], Any]


FAST = Arithmetic(value, exactly, lambda jet: jet)
SLOW = Arithmetic(lambda *a: truncated(value_at(*a), (t, u)), lambda number: number, exactly)


def evaluate(layer: Words, known: Known, by: Arithmetic, wanted: Iterable[str]) -> None:
    """The steps that ``wanted`` needs, of the forward pass, the closed form and the chain."""
    found = layer.found
    steps = (*found.forward.steps, *found.closed.steps, *found.chain.steps)
    needed, last = set(wanted), {name_of(step.target): step for step in reversed(steps)}
    waiting = list(needed & last.keys())
    while waiting:
        read = {name_of(a) for a in operands(last[waiting.pop()].expr)} - needed
        needed |= read
        waiting += read & last.keys()
    for step in steps:
        name = name_of(step.target)
        if name in needed and last[name] is step:
            work_out(step, known, by)


def work_out(step: Step, known: Known, by: Arithmetic) -> None:
    """One step at all its places."""
    indices = indices_of(step.target)
    known[name_of(step.target)] = {
        at: by.value(step.expr, known, dict(zip(indices, at, strict=True)))
        for at in places(indices)
    }
