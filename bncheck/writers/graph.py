"""Pictures of the computation graph: Mermaid, DOT, TikZ and SVG.

The inputs stand on the left, every step to the right of what it reads. In TikZ and SVG a line that
would cross other nodes is bent round them. The colours of SVG are those of its page (``--ink``,
``--plus``, ...), so that it follows light and dark.
"""

from dataclasses import dataclass
from html import escape

from bncheck.algebra.notation import Tensor, indices_of, name_of, operands
from bncheck.algebra.program import Program
from bncheck.writers.formulas.latex import latex_of
from bncheck.writers.formulas.unicode import columns, line, spelled

APART, BELOW = 42, 66
"""Pixels between two columns of an SVG, and from row to row."""

NARROWEST, HIGH = 50, 34
"""Pixels of a box; a long name makes all of them wider."""


@dataclass(frozen=True)
class Node:
    """A value of the forward pass, with its place: layer from the left, row from the top."""

    operand: Tensor
    kind: str
    layer: int
    row: float


def nodes(forward: Program) -> tuple[Node, ...]:
    """The inputs, steps and outputs with their places."""
    depth: dict[Tensor, int] = dict.fromkeys(forward.inputs, 0)
    for step in forward.steps:
        depth[step.target] = 1 + max((depth[a] for a in operands(step.expr)), default=0)
    for a in forward.inputs[1:]:  # a parameter stands just before its first use
        users = forward.users(a)
        depth[a] = max(0, min((depth[u.target] for u in users), default=1) - 1)
    main = {forward.inputs[0], *forward.targets}
    below: dict[int, int] = {}
    placed = []
    for a in (*forward.inputs, *forward.targets):
        row = 0.0
        if a not in main:
            below[depth[a]] = below.get(depth[a], 0) + 1
            row = -1.0 * below[depth[a]]
        kind = "result" if a in forward.outputs else "given" if a in forward.inputs else "made"
        placed.append(Node(a, kind, depth[a], row))
    return tuple(placed)


def edges(forward: Program) -> tuple[tuple[Tensor, Tensor], ...]:
    """Every pair (read, target)."""
    return tuple((a, step.target) for step in forward.steps for a in operands(step.expr))


def mermaid(forward: Program) -> str:
    """A flow chart that GitHub renders in a ``mermaid`` block."""
    shapes = {"given": ('(["', '"])'), "made": ('["', '"]'), "result": ('[["', '"]]')}
    rows = ["graph LR"]
    for node in nodes(forward):
        left, right = shapes[node.kind]
        rows.append(f"    {_identifier(node.operand)}{left}{line(node.operand)}{right}")
    rows += [f"    {_identifier(a)} --> {_identifier(b)}" for a, b in edges(forward)]
    return "\n".join(rows) + "\n"


def dot(forward: Program) -> str:
    """A graph for Graphviz."""
    shapes = {"given": "ellipse", "made": "box", "result": "box, peripheries=2"}
    rows = [f'digraph "{forward.name}" {{', "    rankdir=LR;"]
    for node in nodes(forward):
        label = f'label="{line(node.operand)}", shape={shapes[node.kind]}'
        rows.append(f'    "{_identifier(node.operand)}" [{label}];')
    rows += [f'    "{_identifier(a)}" -> "{_identifier(b)}";' for a, b in edges(forward)]
    return "\n".join([*rows, "}"]) + "\n"


def tikz(forward: Program) -> str:
    """A ``tikzpicture``; the document needs ``\\usepackage{tikz}``."""
    placed = {node.operand: node for node in nodes(forward)}
    rows = [
        r"\begin{tikzpicture}[x=18mm, y=12mm, >=stealth,",
        r"    value/.style={draw, rounded corners=2pt, minimum height=7mm, minimum width=9mm},",
        r"    given/.style={value, fill=black!6}, made/.style={value},",
        r"    result/.style={value, very thick}]",
    ]
    for node in placed.values():
        rows.append(
            f"  \\node[{node.kind}] ({_identifier(node.operand)}) "
            f"at ({node.layer}, {node.row:g}) {{${latex_of(node.operand)}$}};"
        )
    for a, b in edges(forward):
        rows.append(f"  \\draw[->] ({_identifier(a)}) {_bend(placed[a], placed[b])} "
                    f"({_identifier(b)});")  # fmt: skip
    return "\n".join([*rows, r"\end{tikzpicture}"]) + "\n"


def _bend(start: Node, end: Node) -> str:
    """A straight line to a neighbour; over the nodes between, an arc that grows with them."""
    between = _between(start, end)
    return f"to[bend left={min(25 + 8 * between, 50)}]" if between else "--"


def _identifier(operand: Tensor) -> str:
    return name_of(operand).replace("_", "")


def svg(forward: Program) -> str:
    """Boxes and arrows, laid out as ``nodes`` says; an arrow over other boxes is an arc."""
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
    return image(
        width, height, f"Computation graph of {forward.title or forward.name}", tip, *parts
    )


def _width(operand: Tensor) -> int:
    """Pixels that a box needs for its label, about."""
    letters = columns(spelled(name_of(operand)))
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
        + label(node.operand, "".join(str(i.label) for i in indices_of(node.operand)), x, y)
    )


def label(operand: Tensor, below: tuple[int, ...] | str, x: float, y: float) -> str:
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


def image(width: float, height: float, about: str, *parts: str) -> str:
    """An SVG element; ``about``: what it is, for those who cannot see it."""
    inside = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(about)}" '
        f'font-family="Latin Modern Math, STIX Two Math, Cambria Math, serif">\n{inside}\n</svg>'
    )


GRAPHS = {"mermaid": mermaid, "dot": dot, "tikz": tikz}
"""Those that are a text of their own."""
