"""How a name is spelled: one table for LaTeX and for Unicode, and one reading order for sums."""

from typing import Any

from sympy import Add, Expr
from sympy.printing.str import StrPrinter

from bncheck.algebra.notation import carried

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
}
"""``sd`` is s, not sigma, so that it never stands beside sigma squared meaning something else."""


def in_reading_order(expr: Expr) -> tuple[Expr, ...]:
    """The terms of a sum as one reads them: positive ones first, in the order they were written.

    ``x - mu``, never ``-mu + x``. Among terms of one sign those with more indices come first.
    """
    return tuple(sorted(Add.make_args(expr), key=_rank))


def without_content(expr: Expr) -> tuple[Expr, Expr]:
    """A number that all terms of a sum share, and the sum without it: ``2, x - mu``.

    SymPy multiplies numbers into sums (``2*x - 2*mu``); a reader wants them outside. The sign
    goes with the number where every term, or the first in reading order, is negative.
    """
    content, rest = expr.primitive()
    if isinstance(rest, Add) and all(t.could_extract_minus_sign() for t in rest.args):
        content, rest = -content, -rest
    return content, rest


def plain(expr: Expr) -> str:
    """``expr`` as a line of Python-like text, its sums in reading order."""
    return _PlainPrinter().doprint(expr)


class _PlainPrinter(StrPrinter):  # type: ignore[misc]
    def _print_Add(self, expr: Add, order: Any = None) -> str:
        text = self._print(in_reading_order(expr)[0])
        for term in map(self._print, in_reading_order(expr)[1:]):
            text += f" - {term[1:]}" if term.startswith("-") else f" + {term}"
        return text


def _rank(term: Expr) -> tuple[bool, int, str]:
    coefficient, _ = term.as_coeff_Mul()
    return (bool(coefficient < 0), -len(carried(term)), str(term))
