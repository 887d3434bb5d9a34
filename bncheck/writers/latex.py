"""The derivation as a document: LaTeX to compile, LaTeX to ``\\input``, Markdown for GitHub.

All three are the same list of blocks; only how a block is set differs.
"""

from bncheck.algebra.program import Program
from bncheck.calculus.derivation import Derivation
from bncheck.writers import graph
from bncheck.writers.latex_blocks import (
    Block,
    chain_blocks,
    closing_blocks,
    jacobian_blocks,
    notation,
    prose,
    step_blocks,
    writer,
)
from bncheck.writers.latex_second import forward_mode, second_order

PREAMBLE = r"""\documentclass[11pt,a4paper]{article}
\usepackage[T1]{fontenc}
\usepackage[margin=25mm]{geometry}
\usepackage{amsmath}
\usepackage{tikz}
\allowdisplaybreaks
\setlength{\parindent}{0pt}
\setlength{\parskip}{4pt plus 1pt}
"""


def document(found: Derivation) -> str:
    """A complete LaTeX document; it needs amsmath, geometry and TikZ."""
    head = PREAMBLE + rf"\title{{{prose(title(found))}}}" + "\n" + r"\date{}" + "\n"
    return f"{head}\\begin{{document}}\n\\maketitle\n{fragment(found)}\\end{{document}}\n"


def fragment(found: Derivation) -> str:
    r"""The same without preamble, to ``\input`` in a document that loads amsmath and TikZ."""
    return "\n".join(_set_latex(block, found.forward) for block in blocks(found)) + "\n"


def markdown(found: Derivation) -> str:
    """Markdown with mathematics and a Mermaid graph, as GitHub renders them."""
    parts = [f"# {title(found)}"]
    return "\n\n".join([*parts, *(_set_markdown(b, found.forward) for b in blocks(found))]) + "\n"


def title(found: Derivation) -> str:
    """What the document is called."""
    about = "second order" if found.origin else {"forward": "forward mode"}.get(found.mode)
    return f"{found.layer.title or found.layer.name}: {about or 'forward and backward'}"


def blocks(found: Derivation) -> list[Block]:
    """The derivation from forward pass to Jacobian."""
    write = writer(found.layer)
    if found.origin:
        return second_order(found, write)
    if found.mode == "forward":
        return forward_mode(found, write)
    return [
        Block("text", (notation(found.forward, write),)),
        Block("heading", ("Forward pass",)),
        *step_blocks(found.forward, write),
        Block("heading", ("Computation graph",)),
        Block("graph", ()),
        Block("heading", ("Backward pass by the chain rule",)),
        *chain_blocks(found, write),
        Block("heading", ("Closed form",)),
        *closing_blocks(found, write),
        Block("heading", ("Jacobian",)),
        *jacobian_blocks(found, write),
    ]


def _set_latex(block: Block, forward: Program) -> str:
    if block.kind == "heading":
        return rf"\section*{{{block.lines[0]}}}"
    if block.kind == "graph":
        return f"\\begin{{center}}\n{graph.tikz(forward)}\\end{{center}}"
    if block.kind == "text":
        return "\n" + block.lines[0]
    if block.kind == "result":
        rows = r" \\ ".join(block.lines)
        box = f"\\boxed{{\\begin{{aligned}}\n{rows}\n\\end{{aligned}}}}"
        return f"\\begin{{equation}}\n{box}\n\\end{{equation}}"
    if any(r"\\ &" in row for row in block.lines):
        return "\n".join(
            f"\\begin{{equation}}\n\\begin{{split}}\n{row}\n\\end{{split}}\n\\end{{equation}}"
            for row in block.lines
        )
    rows = " \\\\\n".join(block.lines)
    return f"\\begin{{align}}\n{rows}\n\\end{{align}}"


def _set_markdown(block: Block, forward: Program) -> str:
    if block.kind == "heading":
        return f"## {block.lines[0]}"
    if block.kind == "graph":
        return f"```mermaid\n{graph.mermaid(forward)}```"
    if block.kind == "text":
        return block.lines[0]
    rows = " \\\\\n".join(block.lines)
    return f"$$\n\\begin{{aligned}}\n{rows}\n\\end{{aligned}}\n$$"
