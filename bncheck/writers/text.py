"""A derivation laid out for the terminal: titled sections of lines; the colours come later."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from bncheck.algebra.notation import Total, indices_of, like, name_of, size
from bncheck.algebra.program import Program, Step
from bncheck.algebra.spelling import MINUS
from bncheck.calculus.derivation import Derivation
from bncheck.calculus.folding import folded
from bncheck.calculus.jacobians import jacobian
from bncheck.telling.errors import CannotAsk
from bncheck.telling.long_formulas import before_terms, in_lines
from bncheck.writers.formulas.unicode import columns, equation, line, spelled
from bncheck.writers.jacobian_matrix import (
    LARGEST,
    group_size,
    has_sizes,
    matrix,
    sampled,
    shades,
)
from bncheck.writers.reading import action, results, rewritings, written

WIDEST = 66
"""Columns of the longest row in second order: what stands in a terminal of 80 unbroken."""


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
    """Forward pass, chain rule, closed form with its rewritings, and Jacobian or Hessian."""
    layer, what = found.layer, "Backward pass"
    notation, kept = "da stands for ∂ℓ/∂a", "forward pass"
    before, after = [], []
    if found.origin:
        what, kept = "Double backward pass", "forward and the backward pass"
        notation = "d²a stands for ∂S/∂a, dda for ∂S/∂da"
        before, after = _direction(found), [_hessian(found)]
    elif found.mode == "forward":
        what, notation = "Tangents", "with a dot: the derivative along the inputs' direction"
    else:
        after = [*_jacobians(found), *_folding(found)]
    cached = ", ".join(line(s.target) for s in written(found, (Step(a, a) for a in found.cached)))
    closing = ((equation(Step(r.target, r.expr)), _worded(r.reason)) for r in rewritings(found))
    chain = written(found, found.chain.steps)
    parts = [
        Section("Forward pass", _noted(layer.steps)),
        *before,
        Section(f"{what}, by the chain rule ({notation})", _noted(chain)),
        Section("Closing it", tuple(closing)),
        Section(f"{what}, in closed form", _plain(results(found)), framed=True),
        Section(f"Kept from the {kept}", ((cached or "nothing",),)),
        *after,
    ]
    if found.origin or found.mode == "forward":
        parts = list(map(_narrow, parts))
    title = found.forward.title if found.mode == "reverse" else found.chain.title
    return Page(title or found.forward.name, shapes(layer), tuple(p for p in parts if p.rows))


def _folding(found: Derivation) -> tuple[Section, ...]:
    """Where the statistics are given: the linear layer that takes in the one before as well."""
    x, steps = found.forward.inputs[0], found.forward.steps
    if len(indices_of(x)) != 2 or any(step.expr.has(Total) for step in steps):
        return ()
    try:
        made = folded(found.forward)
    except CannotAsk:
        return ()
    rows = _noted((made.separate.steps[0], *made.together.steps))
    return (Section("Folded into a linear layer before it, the same for every size", rows),)


def _narrow(section: Section) -> Section:
    """The section with its long formulas in several rows, each narrow enough for a terminal."""
    rows: list[tuple[str, ...]] = []
    for formula, *note in section.rows:
        first, *more = in_lines(formula, WIDEST, _BREAKS, columns, WIDEST // 3)
        rows += [(first, *note), *((f"    {part}",) for part in more)]
    return Section(section.title, tuple(rows), section.framed)


_BREAKS = before_terms(" + ", f" {MINUS} ")


def _direction(found: Derivation) -> list[Section]:
    """In second order: the backward pass, and the number whose gradients are wanted."""
    assert found.origin
    along = ", ".join(spelled(name_of(a)) for a in found.upstream)
    first = "Backward pass, in closed form (da stands for ∂ℓ/∂a)"
    return [
        Section(first, _plain(results(found.origin))),
        Section(f"The loss along a direction ({along})", ((equation(action(found)),),)),
    ]


def _hessian(found: Derivation) -> Section:
    """What the double backward has to do with the Hessian of a loss that is not linear in y."""
    assert found.origin
    (out, *_), layer = found.layer.outputs, found.forward
    up = line(found.origin.upstream[0])
    moved, bent = (line(like(mark + name_of(out), out)) for mark in ("dd", "d2"))
    made = {*found.closed.outputs}
    rows = []
    for a in found.origin.wrt:
        second, first = layer.gradient(a), found.origin.forward.gradient(a)
        own = f"{line(second)} + " if second in made else ""
        rows.append((f"by {line(a)}: {own}{line(first)} at {bent} for {up}",))
    about = f"{bent} is ∂²ℓ/∂y² times {moved}, how {line(out)} moves"
    return Section(f"Hessian of the loss times the direction ({about})", tuple(rows))


def _noted(steps: Iterable[Step]) -> tuple[tuple[str, ...], ...]:
    return tuple((equation(s), _worded(s.note)) for s in steps)


def _plain(steps: Iterable[Step]) -> tuple[tuple[str, ...], ...]:
    return tuple((equation(s),) for s in steps)


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
        return Section(title, _picture(found))
    shared, entries = matrix(found, first)
    cells = [[line(e) for e in row] for row in entries]
    widths = [max(map(columns, column)) for column in zip(*cells, strict=True)]
    rows = [
        "   ".join(cell + " " * (w - columns(cell)) for cell, w in zip(row, widths, strict=True))
        for row in cells
    ]
    ends = _brackets(len(rows))
    front = f"{line(shared)} · " if shared != 1 else ""
    middle = len(rows) // 2
    return Section(
        title,
        tuple(
            ((front if k == middle else " " * columns(front)) + left + " " + row + " " + right,)
            for k, (row, (left, right)) in enumerate(zip(rows, ends, strict=True))
        ),
    )


def _picture(found: Derivation) -> tuple[tuple[str, ...], ...]:
    """The matrix in shades, where its entries are too many to be written out."""
    at = sampled(found)
    if at is None:
        return (("left out beyond 16 rows; its entries are the line above",),)
    return tuple((line,) for line in shades(at))


def _brackets(rows: int) -> list[tuple[str, str]]:
    if rows == 1:
        return [("[", "]")]
    return [("⎡", "⎤"), *[("⎢", "⎥")] * (rows - 2), ("⎣", "⎦")]
