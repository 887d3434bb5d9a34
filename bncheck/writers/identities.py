"""The identities of a layer as blocks: statements of one condition together, each with its proof.

Of a statement that was proved the normal form stands between its two sides: the left side becomes
it, and so does the right one.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from sympy import Expr, S

from bncheck.algebra.notation import Tensor
from bncheck.theory.statements import Evidence, Judgement, Statement
from bncheck.writers.blocks import MARKS, Block, Write, heading, paragraph
from bncheck.writers.formulas.latex import WIDEST, broken, width
from bncheck.writers.prose import listed, title
from bncheck.writers.statements import LATEX, RELATIONS, conditions, open_indices

MOST = 4
"""Statements that stand together, at most."""


def identity_blocks(known: Evidence | None, write: Write) -> list[Block]:
    """The section; nothing where no identities are known."""
    if not known or not known.identities:
        return []
    made = [heading("Identities"), paragraph(_introduction(known, write))]
    for members in _groups(known.identities):
        made.append(paragraph(_title(members)))
        rows = [(_row(one, write), _mark(one)) for one in members]
        parts = [rows] if _fit([row for row, _ in rows]) else [[row] for row in rows]
        made += [Block("equation", *map(tuple, zip(*part, strict=True))) for part in parts]
    return made


def _groups(known: Sequence[Judgement]) -> Iterator[list[Judgement]]:
    """Statements of one condition, no more than one reads at a glance."""
    for _, group in groupby(known, lambda one: _condition(one.statement)):
        members = list(group)
        for start in range(0, len(members), MOST):
            yield members[start : start + MOST]


def _fit(rows: list[str]) -> bool:
    """Whether rows that are set at one equals sign are together narrow enough."""
    sides = [re.split(r" &(?=[=\\])", row, maxsplit=1) for row in rows]
    if any(len(pair) < 2 or r"\\ &" in pair[1] for pair in sides):
        return True  # each is set alone
    return sum(max(width(pair[k]) for pair in sides) for k in (0, 1)) <= WIDEST + 8


def _introduction(known: Evidence, write: Write) -> str:
    rules = listed([f"${_written(a, b, write)} = {_written(b, a, write)}$" for a, b in known.rules])
    told = (
        "What has a stroke is taken where the inputs are changed as is said before the equation. "
        f"Each proof puts {rules} into both sides and collects equal terms; where it says more "
        "than they do and is short, what both become stands between them."
    )
    verdicts = {one.verdict for one in known.identities}
    if "exact" in verdicts:
        told += " What is true of exact rational numbers but was not proved is marked so."
    return told


def _condition(said: Statement) -> tuple[object, ...]:
    """What statements that stand together have in common."""
    return said.given, said.needs, said.runs, said.order


def _title(members: list[Judgement]) -> str:
    """The names of statements, what they share said once, and their condition."""
    said = [one.statement for one in members]
    names = [s.name for s in said]
    shared, between, _ = names[0].partition(": ")
    if between and all(n.startswith(shared + between) for n in names):
        names = [names[0], *(n.removeprefix(shared + between) for n in names[1:])]
    words = title((", " if between else "; ").join(names))
    where = ", ".join(_conditions(replace(said[0], slack=S.Zero)))
    if words[1:2].isalpha():
        words = f"{words[0].upper()}{words[1:]}"
    deduced = [m.statement for m in members if m.verdict == "deduced"]
    bases = dict.fromkeys(name for s in deduced for name in s.follows if name not in names)
    after = f", by {listed(list(map(title, bases)))}" if bases else ""
    return f"{words}{f', where {where}' if where else ''}{after}:"


def _conditions(said: Statement) -> list[str]:
    """Each condition as a formula; of one run the stroke goes without saying."""
    told = [f"${c}$" for c in conditions(said, LATEX) if r"\text" not in c]
    for count in (1, 2, 3):
        stroke = "$" + "'" * count + r"\colon\ "
        if len(said.runs) == 1:
            told = [c.replace(stroke, "$") for c in told]
        else:
            told = [c.replace(stroke, rf"$(\cdot){stroke[1:]}") for c in told]
    return told


def _row(one: Judgement, write: Write) -> str:
    """Left side, normal form, right side: in one line, or each in lines of its own."""
    said = one.statement
    if said.slack != 0:
        apart = said.right - said.left
        sides = _written(apart, said.slack, write), _written(said.slack, apart, write)
        return rf"{_equated(*sides)} \\ &\geq 0"
    left, right = _written(said.left, said.right, write), _written(said.right, said.left, write)
    relation = RELATIONS[said.relation] if one.verdict != "refuted" else r"\ne"
    between = _form(one, (left, right), write)
    if between and width(left) + width(between) <= WIDEST:
        return rf"{left} &= {between} \\ &= {broken(right)}"
    return _equated(left, right, relation)


def _equated(left: str, right: str, relation: str = "=") -> str:
    """Two sides; the right one below the left one where both together are too wide."""
    together = width(left) + min(width(right), WIDEST)
    if width(left) <= WIDEST * 2 // 3 and together <= WIDEST + 8:
        return f"{left} &{relation} {broken(right)}"
    return rf"& {broken(left)} \\ &\quad {relation} {broken(right)}"


def _form(one: Judgement, sides: tuple[str, str], write: Write) -> str:
    """The normal form where it says more than the sides do, and is short."""
    said = one.statement
    if one.form is None or isinstance(said.right, Tensor) or isinstance(-said.right, Tensor):
        return ""
    text = _written(one.form, said.left - said.right, write)
    return "" if text in sides else text


def _written(expr: Expr, other: Expr, write: Write) -> str:
    return write(expr, open_indices(expr, other))


def _mark(one: Judgement) -> str:
    if one.as_expected and not one.statement.holds:
        return ""
    return MARKS[one.verdict]
