r"""Formulas in presentation MathML, read off the LaTeX that the blocks of a derivation hold.

The LaTeX writer says how a formula is spelled, grouped and broken; this one only sets the same
formula in MathML. So the two cannot differ, and no formula is printed by two printers. It reads
what our own printer writes, not LaTeX at large; a command that it does not know is set upright,
as the name of a function (``\tanh``).
"""

import re
from collections import deque
from html import escape

from bncheck.algebra.spelling import MINUS, SIGNS

SUM = "<mo>∑</mo>"
THIN = '<mspace width="0.16em"/>'
EMPTY = "<mi></mi></mrow>"
"""Behind a bracket: a script that follows would otherwise stretch it anew."""

UPRIGHT = {"partial", "nabla"}
SPACES = {r"\,": "0.167em", r"\:": "0.222em", r"\;": "0.278em", r"\ ": "0.25em", r"\quad": "1em"}
ACCENTS = {r"\hat": "ˆ", r"\dot": "˙", r"\tilde": "˜", r"\overline": "¯"}
SIZES = {"big": "1.2em", "Big": "1.8em", "bigg": "2.4em", "Bigg": "3em"}
FENCES = {"pmatrix": "()", "matrix": ("", ""), "cases": ("{", "")}

Tokens = deque[str]

_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|\d+(?:\.\d+)?|\s+|\S")


def mathml_of(latex: str, display: bool = False) -> str:
    """A ``<math>`` element; ``display``: sums with their bounds above and below.

    Raises ``ValueError`` where brackets do not match.
    """
    tokens = deque(_TOKEN.findall(latex))
    body = _row(tokens)
    if tokens:
        raise ValueError(f"{latex}: {tokens[0]} closes nothing")
    style = ' displaystyle="true"' if display else ""
    return f"<math{style}>{body}</math>"


def _row(tokens: Tokens, *ends: str) -> str:
    """What stands side by side, up to one of the ends, which stays."""
    parts: list[str] = []
    while (token := _peek(tokens)) and token not in (*ends, "}", r"\right", r"\end"):
        part = _sign(tokens, parts) if token in "+-" else _scripted(tokens)
        if parts and _touching(parts[-1], part):
            parts.append(THIN)
        parts.append(part)
    return "".join(parts)


def _sign(tokens: Tokens, before: list[str]) -> str:
    """Plus or minus: between terms, or, after another sign and at the start, of a term."""
    token = tokens.popleft()
    single = token == "-" and (not before or _opens(before[-1]))
    form = "prefix" if single else "infix"
    return f'<mo form="{form}">{token.replace("-", MINUS)}</mo>'


def _scripted(tokens: Tokens) -> str:
    """An atom with what stands below and above it."""
    atom = _atom(tokens)
    scripts: dict[str, str] = {}
    while (mark := _peek(tokens)) in ("_", "^"):
        tokens.popleft()
        scripts[mark] = _atom(tokens)
    tags = ("munder", "mover", "munderover") if atom == SUM else ("msub", "msup", "msubsup")
    below, above = scripts.get("_", ""), scripts.get("^", "")
    if not scripts:
        return atom
    tag = tags[2 if below and above else 0 if below else 1]
    return f"<{tag}>{atom}{below}{above}</{tag}>"


def _atom(tokens: Tokens) -> str:
    """One letter, number or sign, or a command with its arguments."""
    _peek(tokens)
    token = tokens.popleft() if tokens else ""
    if token == "{":
        return _group(tokens)
    if token.startswith("\\"):
        return _command(token, tokens)
    if token[:1].isdigit():
        return f"<mn>{token}</mn>"
    if token.isalpha():
        return f"<mi>{token}</mi>"
    if token == "'":
        return '<mi mathvariant="normal">′</mi>'
    if token in "()|[]":
        return f'<mo stretchy="false">{token}</mo>'
    if token == "/":
        return '<mo lspace="0.06em" rspace="0.06em">/</mo>'
    return f"<mo>{escape(token.replace('-', MINUS))}</mo>"


def _command(token: str, tokens: Tokens) -> str:
    name = token[1:]
    if token in SPACES:
        return f'<mspace width="{SPACES[token]}"/>'
    if token == r"\frac":
        return f"<mfrac>{_atom(tokens)}{_atom(tokens)}</mfrac>"
    if token == r"\sqrt":
        return _root(tokens)
    if token in ACCENTS:
        accent = f'<mo stretchy="false">{ACCENTS[token]}</mo>'
        return f'<mover accent="true">{_atom(tokens)}{accent}</mover>'
    if token in (r"\mathrm", r"\operatorname", r"\text"):
        tag = "mtext" if name == "text" else "mi"
        word = f'<{tag} mathvariant="normal">{escape(_words(tokens))}</{tag}>'
        return f"<mrow>{word}{THIN}</mrow>" if name == "operatorname" else word
    if token == r"\textstyle":
        return _atom(tokens).replace("<mo>", '<mo largeop="false">')
    if token == r"\left":
        return _fenced(tokens)
    if name[:-1] in SIZES:
        return _sized(name, tokens)
    if token == r"\begin":
        return _table(_words(tokens), tokens)
    return _symbol(name)


def _symbol(name: str) -> str:
    """A letter or sign by its name in LaTeX; what has none is a function, set upright."""
    sign = SIGNS.get(name)
    if name == "sum":
        return SUM
    if sign is None or name in UPRIGHT:
        return f'<mi mathvariant="normal">{sign or escape(name)}</mi>'
    return f"<mi>{sign}</mi>" if sign.isalpha() else f"<mo>{sign}</mo>"


def _touching(before: str, after: str) -> bool:
    """Whether the bar of a fraction would run into another, or into a letter."""
    sides = (before, after)
    bar = any(part.startswith("<mfrac>") for part in sides)
    return bar and not any(re.match("<mo[ >]|<mspace|<mrow><mo", part) for part in sides)


def _opens(before: str) -> bool:
    """Whether a minus after it is that of a term, as after ``=`` or ``(``."""
    signs = ("=", "(", "+", MINUS, "/", "|", "≤", "≥")
    return before.removesuffix(EMPTY).endswith(tuple(f"{sign}</mo>" for sign in signs))


def _group(tokens: Tokens) -> str:
    """What the braces hold, the opening one being read."""
    body = _row(tokens)
    _expect("}", tokens)
    return f"<mrow>{body}</mrow>"


def _root(tokens: Tokens) -> str:
    if _peek(tokens) != "[":
        return f"<msqrt>{_atom(tokens)}</msqrt>"
    tokens.popleft()
    order = _row(tokens, "]")
    _expect("]", tokens)
    return f"<mroot>{_atom(tokens)}<mrow>{order}</mrow></mroot>"


def _fenced(tokens: Tokens) -> str:
    left = _delimiter(tokens)
    body = _row(tokens)
    _expect(r"\right", tokens)
    right = _delimiter(tokens)
    # stretched brackets have room inside; what is not tall has plain ones
    tall = "true" if any(tag in body for tag in ("<mfrac>", "∑", "<mtable>")) else "false"
    opening, closing = (
        f'<mo form="{form}" stretchy="{tall}">{sign}</mo>'
        for form, sign in (("prefix", left), ("postfix", right))
    )
    return f"<mrow>{opening}<mrow>{body}</mrow>{closing}</mrow>"


def _sized(name: str, tokens: Tokens) -> str:
    """A bracket of a fixed height, whose partner may stand in another line."""
    size, form = SIZES[name[:-1]], "prefix" if name.endswith("l") else "postfix"
    height = f'stretchy="true" symmetric="true" minsize="{size}" maxsize="{size}"'
    return f'<mrow><mo form="{form}" {height}>{_delimiter(tokens)}</mo>{EMPTY}'


def _delimiter(tokens: Tokens) -> str:
    _peek(tokens)
    token = tokens.popleft()
    return "" if token == "." else SIGNS.get(token[1:], token[-1])


def _table(name: str, tokens: Tokens) -> str:
    """The rows of a matrix, between its brackets."""
    rows: list[list[str]] = [[]]
    while True:
        rows[-1].append(f"<mtd>{_row(tokens, '&', chr(92) * 2)}</mtd>")
        token = tokens.popleft() if tokens else ""
        if token == r"\end":
            break
        if token not in ("&", r"\\"):
            raise ValueError(f"{name} has no end")
        if token == r"\\":
            rows.append([])
    _words(tokens)
    body = "".join(f"<mtr>{''.join(cells)}</mtr>" for cells in rows)
    left, right = (f"<mo>{sign}</mo>" if sign else "" for sign in FENCES.get(name, ("", "")))
    return f"<mrow>{left}<mtable>{body}</mtable>{right}</mrow>"


def _words(tokens: Tokens) -> str:
    """The letters between braces as they are, without the strokes that escape them."""
    _expect("{", tokens)
    words = ""
    while tokens and tokens[0] != "}":
        words += re.sub(r"^\\(?=[^A-Za-z])", "", tokens.popleft())
    _expect("}", tokens)
    return words


def _peek(tokens: Tokens) -> str:
    """The next token that is no space, or nothing."""
    while tokens and tokens[0].isspace():
        tokens.popleft()
    return tokens[0] if tokens else ""


def _expect(token: str, tokens: Tokens) -> None:
    if _peek(tokens) != token:
        raise ValueError(f"expected {token} before {''.join(tokens) or 'the end'}")
    tokens.popleft()
