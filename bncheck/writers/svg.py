"""Pictures as inline SVG: the computation graph, and the Jacobian as a heat map.

Colours are those of the page (``--ink``, ``--plus``, ...), so that both follow light and dark.
"""

from html import escape
from unicodedata import combining

from bncheck.algebra.notation import Tensor, indices_of, name_of
from bncheck.algebra.program import Program
from bncheck.writers.graph import Node, edges, nodes
from bncheck.writers.sampled import Place, Sampled
from bncheck.writers.unicode import MINUS, spelled

APART, BELOW = 42, 66
"""Pixels between two columns of the graph, and from row to row."""

NARROWEST, HIGH = 50, 34
"""Pixels of a box; a long name makes all of them wider."""

CELL = 46
"""Pixels of a cell of the heat map."""


def graph(forward: Program) -> str:
    """Boxes and arrows, laid out as in ``graph.nodes``; an arrow over other boxes is an arc."""
    placed = {node.operand: node for node in nodes(forward)}
    arcs = [arc for a, b in edges(forward) if (arc := _between(placed[a], placed[b])) > 0]
    top = HIGH / 2 + 8 + max(map(_rise, arcs), default=0)
    wide = max(NARROWEST, *map(_width, placed))
    width = (wide + APART) * max(n.layer for n in placed.values()) + wide + 16
    height = top + BELOW * max(-n.row for n in placed.values()) + HIGH / 2 + 8
    parts = [_arrow(placed[a], placed[b], top, wide) for a, b in edges(forward)]
    parts += [_box(node, top, wide) for node in placed.values()]
    tip = (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0.8 L8 4 L0 7.2 z" fill="currentColor"/>'
        "</marker></defs>"
    )
    return _svg(width, height, f"Computation graph of {forward.title or forward.name}", tip, *parts)


def heat(at: Sampled) -> str:
    """A cell for every entry: red above 0, blue below, the stronger the larger."""
    left, top, count = 44, 34, len(at.rows)
    largest = max(abs(v) for row in at.rows for v in row) or 1.0
    parts = []
    for p, row in enumerate(at.rows):
        middle = CELL * (p + 0.5)
        parts.append(_label(at.output, at.places[p], left / 2, top + middle))
        parts.append(_label(at.operand, at.places[p], left + middle, top / 2))
        parts += [_cell(v, largest, left + CELL * q, top + CELL * p) for q, v in enumerate(row)]
    side = CELL * count
    return _svg(left + side + 8, top + side + 8, "The Jacobian as a heat map", *parts)


def _svg(width: float, height: float, about: str, *parts: str) -> str:
    inside = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(about)}" '
        f'font-family="Latin Modern Math, STIX Two Math, Cambria Math, serif">\n{inside}\n</svg>'
    )


def _width(operand: Tensor) -> int:
    """Pixels that a box needs for its label, about."""
    letters = sum(not combining(c) for c in spelled(name_of(operand)))
    return 10 * letters + 6 * len(indices_of(operand)) + 12


def _centre(node: Node, top: float, wide: int) -> tuple[float, float]:
    return 8 + wide / 2 + (wide + APART) * node.layer, top - BELOW * node.row


def _box(node: Node, top: float, wide: int) -> str:
    x, y = _centre(node, top, wide)
    heavy = 2.4 if node.kind == "result" else 1.1
    fill = "var(--box)" if node.kind == "given" else "var(--paper)"
    round_ = HIGH / 2 if node.kind == "given" else 4
    return (
        f'<rect x="{x - wide / 2:g}" y="{y - HIGH / 2:g}" width="{wide}" height="{HIGH}" '
        f'rx="{round_:g}" fill="{fill}" stroke="currentColor" stroke-width="{heavy}"/>'
        + _label(node.operand, "".join(str(i.label) for i in indices_of(node.operand)), x, y)
    )


def _label(operand: Tensor, below: Place | str, x: float, y: float) -> str:
    """A value's letter with its indices, or with the numbers of a place, at its foot."""
    places = below if isinstance(below, str) else " ".join(map(str, below))
    foot = f'<tspan dy="5" font-size="12">{escape(places)}</tspan>' if places else ""
    letter = escape(spelled(name_of(operand)))
    return (
        f'<text x="{x:g}" y="{y + 5:g}" text-anchor="middle" font-size="18" font-style="italic" '
        f'fill="currentColor">{letter}{foot}</text>'
    )


def _between(start: Node, end: Node) -> int:
    """How many columns lie between two boxes of one row."""
    return end.layer - start.layer - 1 if start.row == end.row else 0


def _rise(between: int) -> float:
    """How high an arc goes over the boxes between."""
    return 16.0 + 13 * between


def _arrow(start: Node, end: Node, top: float, wide: int) -> str:
    (x1, y1), (x2, y2) = _centre(start, top, wide), _centre(end, top, wide)
    line = 'fill="none" stroke="currentColor" stroke-width="1.1" marker-end="url(#tip)"'
    if between := _between(start, end):
        high = y1 - HIGH / 2 - _rise(between) * 4 / 3
        x1, x2, y = x1 + 8, x2 - 8 - 4 * between, y1 - HIGH / 2
        return (
            f'<path d="M{x1:g} {y:g} C{x1 + 30:g} {high:g} {x2 - 30:g} {high:g} {x2:g} {y:g}" '
            f"{line}/>"
        )
    if y1 == y2:
        x1, x2 = x1 + wide / 2, x2 - wide / 2
    else:  # from a parameter below: out of its right side, up to the foot of the box
        x1, y2 = x1 + wide / 2, y2 + HIGH / 2
        x2 -= 14 if start.row == -1 else -2 - 8 * start.row
    return f'<path d="M{x1:g} {y1:g} L{x2:g} {y2:g}" {line}/>'


def _cell(value: float, largest: float, x: float, y: float) -> str:
    shade = 0.06 * bool(value) + 0.64 * abs(value) / largest
    colour = "--plus" if value > 0 else "--minus"
    text = f"{round(value, 2) + 0.0:.2f}".replace("-", MINUS)  # 0.00, never -0.00
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{CELL}" height="{CELL}" fill="var({colour})" '
        f'fill-opacity="{shade:.3f}" stroke="var(--paper)"/>'
        f'<text x="{x + CELL / 2:g}" y="{y + CELL / 2 + 4:g}" text-anchor="middle" '
        f'font-size="12" font-family="system-ui, sans-serif" fill="currentColor">{text}</text>'
    )
