"""Words in LaTeX: what stands for a value is set as mathematics, the rest is escaped."""

import re

from bncheck.algebra.spelling import SIGNS, SPELLINGS, parsed

LETTERS = {
    "x̂": r"$\hat{x}$", "ŷ": r"$\hat{y}$", "ℓ̂": r"$\hat{\ell}$", "Ŵ": r"$\hat{W}$",
    "σ²": r"$\sigma^2$", "₀": "$_0$", "₁": "$_1$", "₂": "$_2$", "²": "$^2$", "ᵀ": r"$^{\top}$",
    "½": r"$\frac{1}{2}$", "′": "$'$", "−": "$-$", "…": r"$\dots$", "‘": "`", "’": "'",
    **{sign: rf"$\{name}$" for name, sign in SIGNS.items() if not sign.isascii()},
}  # fmt: skip
"""What LaTeX's text fonts lack."""

_LETTER = re.compile("|".join(map(re.escape, sorted(LETTERS, key=len, reverse=True))))

CODE = {letter: name for name, (_, letter) in SPELLINGS.items() if not letter.isascii()}
"""A value's name by its Unicode letter."""

WORDS = {"w", "y", "norm"}
"""Names that are words, or could be."""

SHORT = {"dx", "dy", "dv"}
"""Gradients whose names could be words."""

DERIVATIVES = {
    "": "{}", "d": r"\partial \ell / \partial {}", "d2": r"\partial S / \partial {}",
    "t": r"\dot{{{}}}",
}  # fmt: skip


def listed(words: list[str]) -> str:
    """``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def note(text: str) -> str:
    """A note, with the names of values (``dgamma``) and differences (``m - 1``) in it."""
    text = "".join(_value(word) or _escaped(word) for word in re.split(r"(\W+)", text))
    text = re.sub(r"\b([mD]|K L|L) - 1", r"$\1 - 1$", text)
    return re.sub(r"\b([mD]|K L|L)(?= not )", r"$\1$", text)


def title(name: str) -> str:
    """The name of a statement, with what stands for values in it, by letter or by name."""
    for letter in sorted(CODE, key=len, reverse=True):
        name = name.replace(letter, CODE[letter])
    name = re.sub(r"∂(d\w+)", r"∂(\1)", name)
    text = _lettered("".join(map(_word, re.split(r"(\W+)", name))))
    return text.replace(">", "$>$").replace("$$", " ")


def label(words: str) -> str:
    """The name of a statement, or a note about it, letter by letter as it stands."""
    words = re.sub("dx(?!\N{COMBINING CIRCUMFLEX ACCENT})|[|<>]", r"$\g<0>$", words)
    return _lettered(re.sub("[_&%]", r"\\\g<0>", words).replace("^", r"\^{}"))


def _lettered(text: str) -> str:
    return _LETTER.sub(lambda found: LETTERS[found[0]], text)


def _word(word: str) -> str:
    if re.fullmatch("[b-zB-Z]|sJ", word):  # a is a word
        return f"${word}$"
    return rf"$\partial \ell / \partial {word[1]}$" if word in SHORT else note(word)


def _value(word: str) -> str:
    """A word as mathematics, where it is the name of a value or of a derivative; else nothing."""
    mark, value = parsed(word)
    if value not in SPELLINGS or mark not in DERIVATIVES or word in WORDS | {"d" + value[:1]}:
        return ""
    return f"${DERIVATIVES[mark].format(SPELLINGS[value][0])}$"


def _escaped(words: str) -> str:
    return re.sub(r"([#$%&_{}])", r"\\\1", words)
