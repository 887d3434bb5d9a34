r"""Formulas in LaTeX: ``\frac{\gamma_j}{s_j}\Bigl(\cdots\Bigr)``; broken where they are long.

Gradients are ``\frac{\partial \ell}{\partial x_{ij}}``, never a bar, which reads as a mean.
"""

import re
from collections.abc import Iterable
from typing import Any

from sympy import Add, Expr, Idx, Indexed, KroneckerDelta, Mul, Pow, Symbol
from sympy.printing.latex import LatexPrinter

from bncheck.algebra.notation import Mean, Tensor, Total, count, indices_of, name_of, size
from bncheck.algebra.spelling import (
    MARKS,
    PRIME,
    SPELLINGS,
    parsed,
    product_parts,
    signed,
    summands,
    unclashed,
    unmarked,
)
from bncheck.telling.long_formulas import in_lines

WIDEST = 56
"""Letters in the longest line that fits the page, about."""


def latex_of(expr: Expr, free: tuple[Idx, ...] = (), gradients: Iterable[str] = ()) -> str:
    """One expression; ``free``: the indices of what it defines.

    ``gradients``: the names of the tensors whose ``d...`` is a gradient; by default those that
    have a spelling.
    """
    return _Printer(set(gradients) or set(SPELLINGS)).doprint(unclashed(expr, free))


def flat_latex(operand: Tensor, values: Iterable[str]) -> str:
    """A value for above or below the bar of a derivative: a gradient in brackets with a stroke."""
    indices = "".join(str(i.label).replace(PRIME, "'") for i in indices_of(operand))
    return _Printer({v for v in values if not v.startswith("sum_")})._flat(
        name_of(operand), indices
    )


class _Printer(LatexPrinter):
    printmethod = "_bncheck_latex"  # SymPy's Indexed would print itself otherwise

    def __init__(self, gradients: set[str]) -> None:
        super().__init__({"fold_short_frac": False})
        self._gradients = gradients

    def _print_Indexed(self, expr: Indexed) -> str:
        return self._named(str(expr.base.label), "".join(map(self._print, expr.indices)))

    def _print_Symbol(self, expr: Symbol, style: str = "plain") -> str:
        return self._named(expr.name, "")

    def _print_Idx(self, expr: Idx) -> str:
        return str(expr.label).replace(PRIME, "'").replace("π", r"\pi ")

    def _print_KroneckerDelta(self, expr: KroneckerDelta, exp: str | None = None) -> str:
        indices = sorted(expr.args, key=lambda i: len(str(i)))
        return rf"\delta_{{{''.join(map(self._print, indices))}}}"

    def _print_Total(self, expr: Total) -> str:
        return f"{_sums(expr, self)} {self._inside(expr.body)}"

    def _print_Mean(self, expr: Mean) -> str:
        terms = self._print(count(expr.over))
        return rf"\frac{{1}}{{{terms}}} {_sums(expr, self)} {self._inside(expr.body)}"

    def _print_Add(self, expr: Add, order: Any = None) -> str:
        return signed(map(self._print, summands(expr)))

    def _print_Mul(self, expr: Mul) -> str:
        """A fraction of the short factors, then brackets and sums behind it."""
        negative, above, below, last = product_parts(expr)
        sign = "-" if negative else ""
        tall = [f for f in above if self._is_tall(f)]
        short = [f for f in above if f not in tall]
        last = [*tall, *last] if below or len(above) > 1 else last
        above = short if below or len(above) > 1 else above
        last.sort(key=lambda f: isinstance(f, Total))
        behind = " ".join(self._bracketed(f, final=f is last[-1]) for f in last)
        bottom = self._print(below[0]) if len(below) == 1 else self._run(below)
        if below and not above and len(last) == 1 and self._is_plain_sum(last[0]):
            return rf"{sign}\frac{{{self._print(last[0])}}}{{{bottom}}}"
        if below:
            return rf"{sign}\frac{{{self._run(above) or 1}}}{{{bottom}}} {behind}".rstrip()
        return f"{sign}{self._run(above)} {behind}".strip() if above else f"{sign}{behind}"

    def _is_tall(self, factor: Expr) -> bool:
        """What is printed as a fraction itself stands beside a fraction, not in it."""
        if isinstance(factor, Pow):
            return self._is_tall(factor.base)
        if isinstance(factor, Indexed):
            return self._print(factor).lstrip("{").startswith(r"\frac")
        return isinstance(factor, Mean)

    def _is_plain_sum(self, factor: Expr) -> bool:
        """A bracket that stands well in a numerator: no sums, no fractions."""
        tall = any(self._is_tall(a) for a in factor.atoms(Indexed))
        return isinstance(factor, Add) and not factor.has(Total) and not tall

    def _run(self, factors: list[Expr]) -> str:
        return r" \, ".join(self._factor(f) for f in factors)

    def _factor(self, factor: Expr) -> str:
        wide = isinstance(factor, Add | Total)
        return rf"\left({self._print(factor)}\right)" if wide else self._print(factor)

    def _bracketed(self, factor: Expr, final: bool) -> str:
        if isinstance(factor, Total) and final:
            return self._print(factor)
        return self._factor(factor)

    def _inside(self, body: Expr) -> str:
        return rf"\left({self._print(body)}\right)" if isinstance(body, Add) else self._print(body)

    def _print_Pow(self, expr: Expr) -> str:
        if isinstance(expr.base, Total) and expr.exp.is_Integer and expr.exp > 0:
            return rf"\left({self._print(expr.base)}\right)^{{{expr.exp}}}"
        if isinstance(expr.base, Indexed | Symbol) and expr.exp.is_Integer and expr.exp > 0:
            base = self._print(expr.base)
            plain = "^" not in base and r"\frac" not in base
            return f"{base}^{{{expr.exp}}}" if plain else rf"\left({base}\right)^{{{expr.exp}}}"
        if expr.exp.is_Rational and expr.exp < 0:  # SymPy would take it for a product
            return rf"\frac{{1}}{{{self._print(Pow(expr.base, -expr.exp))}}}"
        text: str = super()._print_Pow(expr)
        return text

    def _named(self, name: str, subscript: str) -> str:
        name, primes = unmarked(name)
        if primes:
            strokes = "'" * (MARKS.index(primes) + 1)
            return rf"{{{self._named(name, subscript)}}}{strokes}"
        mark, inner = parsed(name, self._gradients)
        if mark == "d":
            return rf"\frac{{\partial \ell}}{{\partial {self._named(inner, subscript)}}}"
        if mark == "d2":
            return rf"\frac{{\partial S}}{{\partial {self._flat(inner, subscript)}}}"
        if name.startswith("sum_"):
            factors = r" \, ".join(self._flat(part, "") for part in name.split("_")[1:])
            return _subscripted(rf"\bigl(\textstyle\sum {factors}\bigr)", subscript)
        if mark:
            head, caret, power = self._named(inner, "").partition("^")
            return _subscripted(rf"\dot{{{head}}}{caret}{power}", subscript)
        return _subscripted(SPELLINGS[name][0] if name in SPELLINGS else _escaped(name), subscript)

    def _flat(self, name: str, subscript: str) -> str:
        """A value below a fraction bar: a gradient in brackets and with a stroke."""
        mark, inner = parsed(name, self._gradients)
        if mark != "d":
            return self._named(name, subscript)
        return rf"(\partial \ell / \partial {self._named(inner, subscript)})"


def _subscripted(letter: str, subscript: str) -> str:
    if not subscript:
        return letter
    head, caret, power = letter.partition("^")
    return f"{head}_{{{subscript}}}{caret}{power}"


def _sums(expr: Total, printer: _Printer) -> str:
    return " ".join(rf"\sum_{{{printer._print(i)}=1}}^{{{size(i)}}}" for i in expr.over)


def _escaped(name: str) -> str:
    """A name that has no letter of its own: as it is if it is one letter, else upright."""
    if re.fullmatch(r"[A-Za-z]", name):
        return name
    letters = re.sub(r"[^A-Za-z0-9]", r"\\_", name)
    return rf"\mathrm{{{letters}}}"


def latex_lines(formula: str) -> list[str]:
    r"""The right-hand side of an equation in lines that fit the page.

    Brackets that a line would cut in two get a fixed size, because ``\left`` and ``\right`` have
    to stand in one line.
    """
    if width(formula) <= WIDEST:
        return [formula]
    formula = formula.replace(r"\left(", r"\Bigl(").replace(r"\right)", r"\Bigr)")
    formula = re.sub(r"\\Bigl\(([^(){}]*)\\Bigr\)(?=[^{}]*\})", r"(\1)", formula)  # in fractions
    return in_lines(formula, WIDEST, _breaks, width, WIDEST // 2)


def broken(formula: str) -> str:
    r"""The same with ``\\ &\quad`` where a line ends."""
    return r" \\ &\quad ".join(latex_lines(formula))


def width(formula: str) -> int:
    """The letters that stand beside one another: a fraction counts as its longer part."""
    text = re.sub(r"\\(left|right|[Bb]igl|[Bb]igr|textstyle|,|;)", "", formula)
    text = re.sub(r" [-+] ", "+++", re.sub(r"[_^]\{[^{}]*\}", "i", text))
    part = r"\{([^{}]*)\}"
    letter, fraction = rf"\\(?:dot|hat|mathrm){part}", rf"\\frac{part}{part}"
    while (short := re.sub(fraction, _longer, re.sub(letter, r"\1", text))) != text:
        text = short
    return len(re.sub(r"[{}\s]", "", re.sub(r"\\[A-Za-z]+", "aa", re.sub(r"\\sum", "aaa", text))))


def _longer(fraction: re.Match[str]) -> str:
    return max((re.sub(r"\\[A-Za-z]+|\s", "a", part) for part in fraction.groups()), key=len)


def _breaks(formula: str) -> list[tuple[int, int]]:
    """Before a plus or minus outside all braces, by how many brackets of a fixed size are open."""
    braces = depth = 0
    places = []
    for at, letter in enumerate(formula):
        braces += (letter == "{") - (letter == "}")
        depth += (formula[at : at + 6] == r"\Bigl(") - (formula[at : at + 6] == r"\Bigr)")
        if at and not braces and formula[at : at + 3] in (" + ", " - "):
            places.append((depth, at))
    return places
