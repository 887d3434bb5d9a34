"""The letters and signs that our LaTeX names, as MathML sets them."""

import re
from html import escape

MINUS = "\N{MINUS SIGN}"
SUM = "<mo>∑</mo>"
THIN = '<mspace width="0.16em"/>'
EMPTY = "<mi></mi></mrow>"
"""Behind a bracket: a script that follows would otherwise stretch it anew."""

LETTERS = {
    "gamma": "γ", "beta": "β", "varepsilon": "ε", "mu": "μ", "sigma": "σ", "delta": "δ",
    "ell": "ℓ", "lambda": "λ", "pi": "π", "Gamma": "Γ", "infty": "∞",
}  # fmt: skip
UPRIGHT = {"partial": "∂", "nabla": "∇"}
SIGNS = {
    "times": "×", "cdot": "·", "leq": "≤", "geq": "≥", "neq": "≠", "wedge": "∧", "vee": "∨",
    "to": "→", "le": "≤", "ge": "≥", "ne": "≠", "colon": ":", "|": "‖",
    "lfloor": "⌊", "rfloor": "⌋", "lceil": "⌈", "rceil": "⌉",
}  # fmt: skip
SPACES = {r"\,": "0.167em", r"\:": "0.222em", r"\;": "0.278em", r"\ ": "0.25em", r"\quad": "1em"}
ACCENTS = {r"\hat": "ˆ", r"\dot": "˙", r"\tilde": "˜", r"\overline": "¯"}
SIZES = {"big": "1.2em", "Big": "1.8em", "bigg": "2.4em", "Bigg": "3em"}
FENCES = {"pmatrix": "()", "matrix": ("", ""), "cases": ("{", "")}


def symbol(name: str) -> str:
    """A letter or sign by its name in LaTeX; what has none is a function, set upright."""
    if name == "sum":
        return SUM
    if name in LETTERS:
        return f"<mi>{LETTERS[name]}</mi>"
    if name in SIGNS:
        return f"<mo>{SIGNS[name]}</mo>"
    return f'<mi mathvariant="normal">{UPRIGHT.get(name, escape(name))}</mi>'


def touching(before: str, after: str) -> bool:
    """Whether the bar of a fraction would run into another, or into a letter."""
    sides = (before, after)
    bar = any(part.startswith("<mfrac>") for part in sides)
    return bar and not any(re.match("<mo[ >]|<mspace|<mrow><mo", part) for part in sides)


def opens(before: str) -> bool:
    """Whether a minus after it is that of a term, as after ``=`` or ``(``."""
    signs = ("=", "(", "+", MINUS, "/", "|", "≤", "≥")
    return before.removesuffix(EMPTY).endswith(tuple(f"{sign}</mo>" for sign in signs))
