"""A derivation laid out for the terminal: titled sections of lines; the colours come later."""

import re
from dataclasses import dataclass

from bncheck.algebra.notation import indices_of, name_of, size
from bncheck.algebra.program import Program, Step
from bncheck.calculus.derivation import Derivation
from bncheck.calculus.jacobian import jacobian
from bncheck.writers.reading import LARGEST, group_size, has_sizes, lines, matrix, shown
from bncheck.writers.unicode import equation, line, spelled


@dataclass(frozen=True)
class Section:
    """A title and rows of one or two columns; ``framed`` for what is to be remembered."""

    title: str
    rows: tuple[tuple[str, ...], ...]
    framed: bool = False


@dataclass(frozen=True)
class Page:
    """The whole derivation."""

    title: str
    subtitle: str
    parts: tuple[Section, ...]


def page(found: Derivation) -> Page:
    """Forward pass, chain rule, closed form with its rewritings, and Jacobian."""
    forward = found.forward
    cached = ", ".join(line(a) for a in found.cached)
    parts = (
        Section("Forward pass", tuple((equation(s), _worded(s.note)) for s in forward.steps)),
        Section(
            "Backward pass, by the chain rule (da stands for ∂ℓ/∂a)",
            tuple((equation(s), _worded(s.note)) for s in found.chain.steps),
        ),
        Section(
            "Closing it",
            tuple((equation(Step(r.target, r.expr)), _worded(r.reason)) for r in lines(found)),
        ),
        Section(
            "Backward pass, in closed form",
            tuple((equation(s),) for s in shown(found.closed)),
            framed=True,
        ),
        Section("Kept from the forward pass", ((cached or "nothing",),)),
        *_jacobians(found),
    )
    return Page(forward.title or forward.name, shapes(forward), tuple(p for p in parts if p.rows))


def shapes(forward: Program) -> str:
    """``x: (m, D), γ: (D,), ...``; joined axes as their product."""
    words = []
    for operand in forward.inputs:
        sizes = [str(size(i)) for i in indices_of(operand)]
        inside = ", ".join(sizes) + ("," if len(sizes) == 1 else "")
        if sizes:
            words.append(f"{spelled(name_of(operand))}: ({inside})")
    return ", ".join(words)


def _worded(note: str) -> str:
    """A note with the names of values as they are spelled in the formulas."""
    return re.sub(r"\w+", lambda word: spelled(word[0]), note)


def _jacobians(found: Derivation) -> list[Section]:
    rows = []
    for operand in found.wrt:
        at = jacobian(found, name_of(operand))
        rows.append((f"∂{line(at.row)}/∂{line(at.column)} = {line(at.entry)}",))
    sections = [Section("Jacobian", tuple(rows))]
    if has_sizes(found):
        sections.append(_matrix(found))
    return sections


def _matrix(found: Derivation) -> Section:
    count = group_size(found)
    first = name_of(found.wrt[0])
    title = (
        f"Jacobian d{name_of(found.forward.outputs[0])}/d{first} of one group, {count} × {count}"
    )
    if count > LARGEST:
        return Section(
            title, ((f"left out beyond {LARGEST} rows; its entries are the line above",),)
        )
    shared, entries = matrix(found, first)
    cells = [[line(e) for e in row] for row in entries]
    widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    rows = [
        "   ".join(cell + " " * (w - _width(cell)) for cell, w in zip(row, widths, strict=True))
        for row in cells
    ]
    ends = _brackets(len(rows))
    front = f"{line(shared)} · " if shared != 1 else ""
    middle = len(rows) // 2
    return Section(
        title,
        tuple(
            ((front if k == middle else " " * _width(front)) + left + " " + row + " " + right,)
            for k, (row, (left, right)) in enumerate(zip(rows, ends, strict=True))
        ),
    )


def _brackets(rows: int) -> list[tuple[str, str]]:
    if rows == 1:
        return [("[", "]")]
    return [("⎡", "⎤"), *[("⎢", "⎥")] * (rows - 2), ("⎣", "⎦")]


def _width(text: str) -> int:
    """Columns in the terminal: combining accents take none."""
    import unicodedata

    return sum(not unicodedata.combining(letter) for letter in text)
