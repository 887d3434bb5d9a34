"""Pictures of the computation graph: Mermaid, DOT and TikZ.

The inputs stand on the left, every step to the right of what it reads. In the TikZ picture a
line that would cross other nodes is bent round them.
"""

from dataclasses import dataclass

from bncheck.algebra.notation import Tensor, name_of, operands
from bncheck.algebra.program import Program
from bncheck.writers.latex_printer import latex_of
from bncheck.writers.unicode import line


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
    between = end.layer - start.layer - 1
    if start.row != end.row or between == 0:
        return "--"
    return f"to[bend left={min(25 + 8 * between, 50)}]"


def _identifier(operand: Tensor) -> str:
    return name_of(operand).replace("_", "")
