"""How a name is spelled, in LaTeX and in Unicode; and in what order one reads a formula."""

from collections.abc import Collection, Iterable
from functools import cache
from typing import Any

from sympy import Add, Expr, Idx, Mul, Pow, S
from sympy.printing.str import StrPrinter

from bncheck.algebra.notation import Mean, Total, carried, operands

SPELLINGS: dict[str, tuple[str, str]] = {
    # name in the code: (LaTeX, Unicode)
    "x": ("x", "x"),
    "y": ("y", "y"),
    "xhat": (r"\hat{x}", "x̂"),
    "gamma": (r"\gamma", "γ"),
    "beta": (r"\beta", "β"),
    "eps": (r"\varepsilon", "ε"),
    "mu": (r"\mu", "μ"),
    "var": (r"\sigma^2", "σ²"),
    "sd": ("s", "s"),
    "ms": ("q", "q"),
    "rms": ("r", "r"),
    "v": ("v", "v"),
    "w": ("w", "w"),
    "vhat": (r"\hat{v}", "v̂"),
    "sq": ("q", "q"),
    "norm": ("r", "r"),
    "running_mean": (r"\mu^{\mathrm{run}}", "μʳ"),
    "running_var": (r"v^{\mathrm{run}}", "vʳ"),
    "trJ": (r"\operatorname{tr} J", "tr J"),
    "rankJ": (r"\operatorname{rank} J", "rank J"),
    "normJ": (r"\|J\|_2", "‖J‖₂"),
    "detJ": (r"\det(\lambda - s J/\gamma)", "det(λ − sJ/γ)"),
    "shiftwith": (r"\|G - G'\|^2_{\mathrm{BN}}", "‖G − G′‖² with BN"),
    "shiftwithout": (r"\|G - G'\|^2", "‖G − G′‖² without"),
    "lam": (r"\lambda", "λ"),
    "Wfolded": ("W'", "W′"),
    "cfolded": ("c'", "c′"),
}
"""``sd`` is s, not sigma, so that it never stands beside sigma squared meaning something else."""

SIGNS = {
    # name in LaTeX: Unicode
    "gamma": "γ", "beta": "β", "varepsilon": "ε", "mu": "μ", "sigma": "σ", "delta": "δ",
    "ell": "ℓ", "lambda": "λ", "pi": "π", "rho": "ρ", "Gamma": "Γ", "Sigma": "Σ",
    "partial": "∂", "nabla": "∇", "times": "×", "cdot": "·", "wedge": "∧", "vee": "∨", "to": "→",
    "leq": "≤", "geq": "≥", "neq": "≠", "le": "≤", "ge": "≥", "ne": "≠", "colon": ":", "|": "‖",
    "lfloor": "⌊", "rfloor": "⌋", "lceil": "⌈", "rceil": "⌉", "langle": "⟨", "rangle": "⟩",
    "surd": "√",
}  # fmt: skip
"""Letters and signs that LaTeX has a command for."""

MINUS = "\N{MINUS SIGN}"

PRIME = "1"
"""The suffix of an index that is printed with a prime: ``i1`` is i prime."""


def parsed(name: str, known: Collection[str] = SPELLINGS) -> tuple[str, str]:
    """A derivative's mark and what it is the derivative of: ``ddx`` is ``dd`` of ``x``.

    The marks: ``d`` a gradient of the loss, ``dd`` one with respect to a gradient, ``d2`` a second
    one, ``t`` a tangent. A name that is none has the mark "". ``known``: names that are none.
    """
    if name not in known:
        for mark in ("d2", "dd", "d", "t"):
            rest = name.removeprefix(mark)
            if rest != name and (
                rest in known or rest.startswith("sum_") or parsed(rest, known)[0]
            ):
                return mark, rest
    return "", name


MARKS = "′″‴"
"""Behind a name: the value at changed inputs."""


def unmarked(name: str) -> tuple[str, str]:
    """A name without its mark, and the mark: ``dx′`` is ``("dx", "′")``."""
    bare = name.rstrip(MARKS)
    return bare, name[len(bare) :]


def in_reading_order(expr: Expr) -> tuple[Expr, ...]:
    """The terms of a sum as one reads them: ``x - mu``, never ``-mu + x``."""
    return tuple(sorted(Add.make_args(expr), key=_rank))


def without_content(expr: Expr) -> tuple[Expr, Expr]:
    """A number that all terms of a sum share, and the sum without it: ``-2, x - mu``.

    SymPy multiplies numbers into sums (``2*mu - 2*x``); a reader wants them outside, and the
    term that varies most to be the positive one.
    """
    content, rest = expr.primitive()
    if content == 1 and not all(map(_is_negative, Add.make_args(rest))):
        return content, rest
    widest = max(Add.make_args(rest), key=lambda t: (len(carried(t)), not _is_negative(t)))
    return (-content, -rest) if _is_negative(widest) else (content, rest)


def signed(terms: Iterable[str], minus: str = "-") -> str:
    """Terms one after another; of one that starts with a minus it stands between."""
    text, *rest = terms
    for term in rest:
        text += f" {minus} {term[1:].lstrip()}" if term.startswith(minus) else f" + {term}"
    return text


def plain(expr: Expr) -> str:
    """``expr`` as a line of Python-like text, its sums in reading order."""
    return _PlainPrinter().doprint(expr)


class _PlainPrinter(StrPrinter):
    def _print_Add(self, expr: Add, order: Any = None) -> str:
        return signed(map(self._print, in_reading_order(expr)))


def summands(expr: Add) -> tuple[Expr, ...]:
    """What stands between the signs of a sum: its terms in reading order.

    Of a sum whose terms share a whole number, the product of both.
    """
    content, rest = without_content(expr)
    if content.is_Integer and abs(content) != 1 and isinstance(rest, Add):
        return (Mul(content, rest, evaluate=False),)
    return in_reading_order(expr)


def product_parts(expr: Mul) -> tuple[bool, list[Expr], list[Expr], list[Expr]]:
    """A product as one reads it: a minus or none, numerator, denominator, brackets and sums.

    In each: numbers first, then what has few indices.
    """
    flat: list[Expr] = []
    for factor in expr.args:
        flat += factor.args if isinstance(factor, Mul) else [factor]
    flat = [part for f in flat for part in (_whole_content(f) if isinstance(f, Add) else (f,))]
    number = Mul(*(f for f in flat if f.is_Rational))
    rest = sorted((f for f in flat if not f.is_Rational), key=_width)
    above = [S(abs(number.p))] * (abs(number.p) != 1)
    below = [S(number.q)] * (number.q != 1)
    above += [f for f in rest if not _is_below(f) and not _is_long(f)]
    below += [1 / f for f in rest if _is_below(f)]
    return bool(number < 0), above, below, [f for f in rest if _is_long(f)]


def _is_below(factor: Expr) -> bool:
    """Whether it stands below the bar of a fraction."""
    return isinstance(factor, Pow) and bool(factor.exp.is_number and factor.exp < 0)


@cache
def _width(factor: Expr) -> tuple[bool, bool, int, str]:
    wide = isinstance(factor, Total), isinstance(factor, Add)
    return (*wide, len(factor.atoms(Idx)), str(factor))


def _whole_content(expr: Expr) -> tuple[Expr, Expr]:
    content, rest = without_content(expr)
    return (content, rest) if content.is_Integer else (S.One, expr)


def _is_long(factor: Expr) -> bool:
    return isinstance(factor, Add) or (isinstance(factor, Total) and not isinstance(factor, Mean))


def unclashed(expr: Expr, free: tuple[Idx, ...]) -> Expr:
    """Sums over i inside an expression that carries i run over i prime instead."""
    if isinstance(expr, Total):
        body = unclashed(expr.body, (*free, *expr.over))
        clash = {i: _primed(i) for i in expr.over if i in free}
        over = tuple(clash.get(i, i) for i in expr.over)
        return expr.func(body.xreplace(clash), *over)
    if not expr.has(Total):
        return expr
    kept = {"evaluate": False} if expr.is_Mul or expr.is_Add else {}
    return expr.func(*(unclashed(a, free) for a in expr.args), **kept)


def _primed(index: Idx) -> Idx:
    """The same axis by another letter: i prime."""
    return Idx(f"{index.label}{PRIME}", (index.lower, index.upper))


@cache
def _rank(term: Expr) -> tuple[bool, int, int, str]:
    """Positive first; of those the widest first; of the negative ones the simplest first."""
    width, factors = -len(carried(term)), len(operands(term))
    if _is_negative(term):
        return (True, factors, width, str(term))
    return (False, width, factors, str(term))


def _is_negative(term: Expr) -> bool:
    coefficient, _ = term.as_coeff_Mul()
    return bool(coefficient < 0)
