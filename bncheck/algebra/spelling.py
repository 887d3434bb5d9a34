"""How a name is spelled: one table for LaTeX and for Unicode, and one reading order for sums."""

from functools import cache
from typing import Any

from sympy import Add, Expr
from sympy.printing.str import StrPrinter

from bncheck.algebra.notation import carried, operands

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


def parsed(name: str) -> tuple[str, str]:
    """A derivative's mark and what it is the derivative of: ``ddx`` is ``dd`` of ``x``.

    The marks: ``d`` a gradient of the loss, ``dd`` one with respect to a gradient, ``d2`` a second
    one, ``t`` a tangent. A name that is none has the mark "".
    """
    if name not in SPELLINGS:
        for mark in ("d2", "dd", "d", "t"):
            rest = name.removeprefix(mark)
            if rest != name and (rest in SPELLINGS or rest.startswith("sum_") or parsed(rest)[0]):
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


def plain(expr: Expr) -> str:
    """``expr`` as a line of Python-like text, its sums in reading order."""
    return _PlainPrinter().doprint(expr)


class _PlainPrinter(StrPrinter):
    def _print_Add(self, expr: Add, order: Any = None) -> str:
        text = self._print(in_reading_order(expr)[0])
        for term in map(self._print, in_reading_order(expr)[1:]):
            text += f" - {term[1:]}" if term.startswith("-") else f" + {term}"
        return text


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
