"""Long formulas in several lines: broken before terms, outside the brackets where it can be."""

import re

WIDEST = 56
"""Letters in the longest line that fits the page, about."""


def folded(formula: str) -> str:
    r"""The right-hand side of an equation, with ``\\ &\quad`` where a line ends.

    Brackets that a line would cut in two get a fixed size, because ``\left`` and ``\right`` have
    to stand in one line.
    """
    if width(formula) <= WIDEST:
        return formula
    formula = formula.replace(r"\left(", r"\Bigl(").replace(r"\right)", r"\Bigr)")
    formula = re.sub(r"\\Bigl\(([^(){}]*)\\Bigr\)(?=[^{}]*\})", r"(\1)", formula)  # in fractions
    made, rest = [], formula
    while width(rest) > WIDEST and (places := _places(rest)):
        wide = {at: width(rest[:at]) for _, at in places}
        fitting = [(depth, -at) for depth, at in places if wide[at] <= WIDEST]
        good = [p for p in fitting if wide[-p[1]] > WIDEST // 2]
        at = (
            -min(good)[1]
            if good
            else -min(fitting, key=lambda p: p[1])[1]
            if fitting
            else min(wide)
        )
        made.append(rest[:at])
        rest = rest[at + 1 :]
    return r" \\ &\quad ".join([*made, rest])


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


def _places(formula: str) -> list[tuple[int, int]]:
    """Where a line may end: before a plus or minus outside all braces, with its brackets' depth."""
    braces = depth = 0
    places = []
    for at, letter in enumerate(formula):
        braces += (letter == "{") - (letter == "}")
        depth += (formula[at : at + 6] == r"\Bigl(") - (formula[at : at + 6] == r"\Bigr)")
        if at and not braces and formula[at : at + 3] in (" + ", " - "):
            places.append((depth, at))
    return places
