"""Formulas as lines of Unicode, for the terminal: ``γⱼ/sⱼ·(dyᵢⱼ − dβⱼ/m − dγⱼ·x̂ᵢⱼ/m)``."""

from typing import Any
from unicodedata import combining, normalize

from sympy import Add, Expr, Idx, Indexed, KroneckerDelta, Mul, Pow, S, Symbol
from sympy.printing.precedence import PRECEDENCE
from sympy.printing.str import StrPrinter

from bncheck.algebra.notation import Mean, Total, indices_of, name_of
from bncheck.algebra.program import Step
from bncheck.algebra.spelling import (
    MINUS,
    PRIME,
    SPELLINGS,
    parsed,
    product_parts,
    signed,
    summands,
    unclashed,
    unmarked,
)

_LOWERED = str.maketrans("aehijklmnoprstuvx0123456789", "ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ₀₁₂₃₄₅₆₇₈₉")
_RAISED = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def line(expr: Expr, free: tuple[Idx, ...] = ()) -> str:
    """One expression; ``free``: the indices of what it defines."""
    return _Printer().doprint(unclashed(expr, free))


def equation(step: Step) -> str:
    """``target = expr``."""
    return f"{line(step.target)} = {line(step.expr, indices_of(step.target))}"


def spelled(name: str) -> str:
    """A tensor's name, also a gradient's: ``dxhat`` is ``dx̂``, ``d2xhat`` is ``d²x̂``."""
    name, primes = unmarked(name)
    if primes:
        return spelled(name) + primes
    if name in SPELLINGS:
        return SPELLINGS[name][1]
    if name.startswith("sum_"):
        return f"(Σ {'·'.join(map(spelled, name.split('_')[1:]))})"
    mark, rest = parsed(name)
    if mark == "t":
        return _dotted(spelled(rest))
    return {"d2": "d²"}.get(mark, mark) + spelled(rest) if mark else name


def _dotted(word: str) -> str:
    """A tangent's letter: ``ẋ`` for ``x``, the dot above whatever the letter wears already."""
    wears = next((k for k, c in enumerate(word) if k and not combining(c)), len(word))
    return normalize("NFC", f"{word[:wears]}\N{COMBINING DOT ABOVE}{word[wears:]}")


def columns(text: str) -> int:
    """The width in a terminal: accents that combine with a letter take none."""
    return sum(not combining(letter) for letter in text)


class _Printer(StrPrinter):
    printmethod = "_unicode"  # SymPy's Indexed would print itself otherwise

    def _print_Indexed(self, expr: Indexed) -> str:
        return spelled(name_of(expr)) + _subscript(expr.indices)

    def _print_Symbol(self, expr: Symbol) -> str:
        return spelled(expr.name)

    def _print_Idx(self, expr: Idx) -> str:
        return str(expr.label).replace(PRIME, "′")

    def _print_KroneckerDelta(self, expr: KroneckerDelta) -> str:
        return "δ" + _subscript(sorted(expr.args, key=lambda i: len(str(i))))

    def _print_Total(self, expr: Total) -> str:
        body = self._print(expr.body)
        return f"Σ{_subscript(expr.over)} " + (f"({body})" if expr.body.is_Add else body)

    def _print_Mean(self, expr: Mean) -> str:
        return f"mean{_subscript(expr.over)}({self._print(expr.body)})"

    def _print_Add(self, expr: Add, order: Any = None) -> str:
        return signed(map(self._print, summands(expr)), MINUS)

    def _print_Mul(self, expr: Mul) -> str:
        negative, above, below, last = product_parts(expr)
        sign = MINUS if negative else ""
        behind = [self._factor(f) for f in last[:-1]]
        if last:
            final = isinstance(last[-1], Total)
            behind.append(self._print(last[-1]) if final else self._factor(last[-1]))
        if below:
            bottom = "·".join(map(self._factor, below))
            bottom = f"({bottom})" if len(below) > 1 else bottom
            if not above and len(last) == 1 and isinstance(last[0], Add):
                return f"{sign}{behind[0]}/{bottom}"
            top = "·".join(map(self._factor, above)) or "1"
            return sign + "·".join([f"{top}/{bottom}", *behind])
        return sign + "·".join([*map(self._factor, above), *behind])

    def _factor(self, factor: Expr) -> str:
        text = self.parenthesize(factor, PRECEDENCE["Mul"])
        return f"({text})" if isinstance(factor, Total) and not isinstance(factor, Mean) else text

    def _print_Pow(self, expr: Pow, rational: bool = False) -> str:
        if isinstance(expr.base, Total) and expr.exp.is_Integer and expr.exp > 0:
            return f"({self._print(expr.base)})" + str(expr.exp).translate(_RAISED)
        if expr.exp == S.Half:
            return f"√{self.parenthesize(expr.base, PRECEDENCE['Atom'])}"
        if expr.exp.is_Integer and expr.exp < 0:
            return f"1/{self.parenthesize(1 / expr, PRECEDENCE['Pow'])}"
        if expr.exp.is_Integer:
            base = self.parenthesize(expr.base, PRECEDENCE["Pow"])
            return base + str(expr.exp).translate(_RAISED)
        return f"{self.parenthesize(expr.base, PRECEDENCE['Pow'])}^({self._print(expr.exp)})"

    def _print_Abs(self, expr: Expr) -> str:
        return f"|{self._print(expr.args[0])}|"

    def _print_Integer(self, expr: Expr) -> str:
        return str(expr.p).replace("-", MINUS)

    def _print_Rational(self, expr: Expr) -> str:
        return f"{expr.p}/{expr.q}".replace("-", MINUS)


def _subscript(indices: Any) -> str:
    letters = "".join(
        str(i.label).replace(PRIME, "′") if isinstance(i, Idx) else str(i) for i in indices
    )
    if any(not isinstance(i, Idx) and not str(i).isdigit() for i in indices):
        return f"_{letters}"
    lowered = letters.translate(_LOWERED)
    return lowered if not set(lowered) & set("bcdfgqwyz") else f"_{letters}"
