"""Fractions with infinitesimals ``t``, ``u``, exactly and quickly: numbers that know derivatives.

A ``Jet`` is ``a + b*t + c*u + d*t*u`` with ``t**2 = u**2 = 0``: the value of an expression, its
two derivatives and the mixed one. Where a root is not rational, ``Irrational`` says so, and SymPy's
numbers have to do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt, prod
from typing import Any

from sympy import Abs, Add, Expr, Mul, Pow, S, Symbol, diff, expand

from bncheck.calculus.interpret import EXACT, Algebra
from bncheck.theory.statements import t, u


class Irrational(ArithmeticError):
    """A number on the way is no fraction."""


ZERO, ONE = Fraction(0), Fraction(1)


@dataclass(slots=True)
class Jet:
    """``one + t*by_t + u*by_u + t*u*by_both``; a plain number has no more than ``one``."""

    one: Fraction
    by_t: Fraction = ZERO
    by_u: Fraction = ZERO
    by_both: Fraction = ZERO

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
        return self.by_t is ZERO and self.by_u is ZERO and self.by_both is ZERO

    def through(self, value: Fraction, slope: Fraction, bend: Fraction) -> "Jet":
        """A function of the jet, by its value and its first two derivatives at ``one``."""
        if self.plain:
            return Jet(value)
        both = slope * self.by_both + bend * self.by_t * self.by_u
        return Jet(value, slope * self.by_t, slope * self.by_u, both)


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


def _constant(constant: Expr) -> Jet:
    if not constant.is_Rational:
        raise Irrational(str(constant))
    return Jet(Fraction(int(constant.p), int(constant.q)))


def _operation(kind: type[Expr]) -> Callable[..., Jet]:
    if kind not in _OPERATIONS:
        raise Irrational(kind.__name__)
    return _OPERATIONS[kind]


_OPERATIONS: dict[Any, Callable[..., Jet]] = {
    Add: lambda first, *rest: sum(rest, first),
    Mul: lambda first, *rest: prod(rest, start=first),
    Pow: lambda base, exponent: _power(base, exponent.one),
    Abs: lambda jet: jet if jet.one >= 0 else jet * Jet(Fraction(-1)),
}


def exactly(number: Any) -> Expr:
    """A jet as a SymPy expression in t and u; what is one already, as it is."""
    if not isinstance(number, Jet):
        return number
    one, by_t, by_u, both = (S(part.numerator) / part.denominator for part in number.parts)
    return one + t * by_t + u * by_u + t * u * both


def truncated(number: Expr, order: tuple[Symbol, ...] = (t, u)) -> Expr:
    """First powers of what is infinitesimal."""
    for small in order:
        if number.has(small):
            slope = diff(number, small).xreplace({small: S.Zero})
            number = expand(number.xreplace({small: S.Zero}) + small * slope)
    return number


JETS = Algebra(_constant, _operation, lambda jet: jet)
"""Where every root is rational."""
ROOTS = Algebra(EXACT.number, EXACT.operation, truncated)
"""Where one is not: SymPy's numbers."""
