"""The derivation as a document: LaTeX to compile, LaTeX to ``\\input``, Markdown for GitHub.

All three are the same list of blocks; only how a block is set differs.
"""

from collections.abc import Iterable

from bncheck.algebra.program import Program
from bncheck.calculus.derivation import Derivation
from bncheck.theory.statements import Evidence
from bncheck.writers import graph
from bncheck.writers.latex_blocks import (
    Block,
    Marks,
    Write,
    chain_blocks,
    closing_blocks,
    jacobian_blocks,
    marker,
    notation,
    prose,
    step_blocks,
    writer,
)
from bncheck.writers.latex_identities import identity_blocks
from bncheck.writers.latex_lines import WIDEST, width
from bncheck.writers.latex_second import forward_mode, second_order
from bncheck.writers.reading import has_sizes

PREAMBLE = r"""\documentclass[11pt,a4paper]{article}
\usepackage[T1]{fontenc}
\usepackage[margin=25mm]{geometry}
\usepackage{amsmath}
\usepackage{tikz}
\allowdisplaybreaks
\setlength{\parindent}{0pt}
\setlength{\parskip}{4pt plus 1pt}
"""


def document(found: Derivation, known: Evidence | None = None) -> str:
    """A complete LaTeX document; it needs amsmath, geometry and TikZ.

    ``known``: how each equation is known, and what holds besides; without it nothing is said of
    either.
    """
    head = PREAMBLE + rf"\title{{{prose(title(found))}}}" + "\n" + r"\date{}" + "\n"
    return f"{head}\\begin{{document}}\n\\maketitle\n{fragment(found, known)}\\end{{document}}\n"


def fragment(found: Derivation, known: Evidence | None = None) -> str:
    r"""The same without preamble, to ``\input`` in a document that loads amsmath and TikZ."""
    return written(blocks(found, known), found.layer)


def written(made: Iterable[Block], forward: Program) -> str:
    """Blocks as LaTeX; ``forward``: what the graph is of."""
    return "\n".join(_set_latex(block, forward) for block in made if block.kind != "heat") + "\n"


def markdown(found: Derivation, known: Evidence | None = None) -> str:
    """Markdown with mathematics and a Mermaid graph, as GitHub renders them."""
    parts = [f"# {title(found)}"]
    made = blocks(found, known)
    parts += [_set_markdown(block, found.layer) for block in made if block.kind != "heat"]
    return "\n\n".join(parts) + "\n"


def title(found: Derivation) -> str:
    """What the document is called."""
    about = "second order" if found.origin else {"forward": "forward mode"}.get(found.mode)
    return f"{found.layer.title or found.layer.name}: {about or 'forward and backward'}"


def blocks(found: Derivation, known: Evidence | None = None) -> list[Block]:
    """The derivation from the forward pass to the Jacobian, second order, and the identities."""
    write, marks = writer(found.layer), marker(known)
    made = [
        Block("text", (notation(found.layer, write),)),
        *([Block("text", (checking(found, known),))] if known else []),
        Block("heading", ("Forward pass",)),
        *step_blocks(found.layer, write),
        Block("heading", ("Computation graph",)),
        Block("graph", ()),
    ]
    if found.mode == "forward":
        made += forward_mode(found, write, marks)
    else:
        made += _first_order(found.origin or found, write, marks)
    if found.origin:
        made += second_order(found, write, marks, known)
    return made + (identity_blocks(known, write) if known else [])


def _first_order(found: Derivation, write: Write, marks: Marks) -> list[Block]:
    return [
        Block("heading", ("Backward pass by the chain rule",)),
        *chain_blocks(found, write, marks),
        Block("heading", ("Closed form",)),
        *closing_blocks(found, write, marks),
        Block("heading", ("Jacobian",)),
        *jacobian_blocks(found, write, marks),
    ]


def checking(found: Derivation, known: Evidence) -> str:
    """What is said of how the equations are known."""
    if found.mode == "forward":
        rule = (
            r"its right side $r$ is what $v$ grows by, $v \to v + t r$ with $t^{2} = 0$, when "
            "every input moves by $t$ times its tangent"
        )
    else:
        loss = r"\sum y \, \partial \ell / \partial y"
        rule = (
            rf"with its right side $r$, ${loss}$ grows by $t \sum a \, r$ when $v$ moves by $t a$ "
            "and all that follows from $v$ with it, where $t^{2} = 0$"
        )
    sizes = "these sizes" if has_sizes(found) else "every size"
    what = "for the tangent of $v$" if found.mode == "forward" else "for the gradient of $v$"
    told = (
        "The forward pass is a definition; every other equation is checked. "
        f"One {what} is true if {rule}. That was proved from the forward pass for {sizes}."
    )
    if known.all_proved:
        return told
    return (
        f"{told} Not of all: what is true of exact rational numbers but was not proved is marked "
        "(not proved), and what they refute (refuted)."
    )


def with_mark(row: str, mark: str) -> str:
    """An equation with its mark behind it, or in a line of its own where the row is long."""
    if not mark:
        return row
    wide = r"\\ &" in row or width(row) > WIDEST - len(mark) - 4
    return rf"{row} \\ &\quad \text{{({mark})}}" if wide else rf"{row} \qquad \text{{({mark})}}"


def _set_latex(block: Block, forward: Program) -> str:
    if block.kind == "heading":
        return rf"\section*{{{block.lines[0]}}}"
    if block.kind == "graph":
        return f"\\begin{{center}}\n{graph.tikz(forward)}\\end{{center}}"
    if block.kind == "text":
        return "\n" + block.lines[0]
    lines = [with_mark(row, mark) for row, mark in block.rows]
    if block.kind == "result":
        rows = r" \\ ".join(lines)
        box = f"\\boxed{{\\begin{{aligned}}\n{rows}\n\\end{{aligned}}}}"
        return f"\\begin{{equation}}\n{box}\n\\end{{equation}}"
    if any(r"\\ &" in row for row in lines):
        return "\n".join(
            f"\\begin{{equation}}\n\\begin{{split}}\n{row}\n\\end{{split}}\n\\end{{equation}}"
            for row in lines
        )
    rows = " \\\\\n".join(lines)
    return f"\\begin{{align}}\n{rows}\n\\end{{align}}"


def _set_markdown(block: Block, forward: Program) -> str:
    if block.kind == "heading":
        return f"## {block.lines[0]}"
    if block.kind == "graph":
        return f"```mermaid\n{graph.mermaid(forward)}```"
    if block.kind == "text":
        return block.lines[0]
    lines = [with_mark(row, mark) for row, mark in block.rows]
    rows = " \\\\\n".join(lines)
    return f"$$\n\\begin{{aligned}}\n{rows}\n\\end{{aligned}}\n$$"
