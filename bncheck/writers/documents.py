"""The derivation as a document: LaTeX to compile or to ``\\input``, Markdown for GitHub, HTML.

All are the same list of blocks; only how a block is set differs. The HTML is one file that needs
no network: MathML, pictures in SVG, its own CSS.
"""

import re
from collections.abc import Iterable, Iterator
from html import escape
from itertools import count, zip_longest
from pathlib import Path

from sympy import Expr, Symbol

from bncheck.algebra.notation import name_of
from bncheck.algebra.program import Program
from bncheck.calculus.derivation import Derivation
from bncheck.theory.statements import Evidence
from bncheck.writers import graph
from bncheck.writers.blocks import Block, derived_blocks, forward_blocks, marker, writer
from bncheck.writers.formulas.latex import WIDEST, latex_of, width
from bncheck.writers.formulas.mathml import mathml_of
from bncheck.writers.identities import identity_blocks
from bncheck.writers.jacobian_matrix import has_sizes, heat_map, sampled
from bncheck.writers.prose import listed, note

PREAMBLE = r"""\documentclass[11pt,a4paper]{article}
\usepackage[T1]{fontenc}
\usepackage[margin=25mm]{geometry}
\usepackage{amsmath}
\usepackage{tikz}
\allowdisplaybreaks
\setlength{\parindent}{0pt}
\setlength{\parskip}{4pt plus 1pt}
"""

STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")


def title(found: Derivation) -> str:
    """What the document is called."""
    about = "second order" if found.origin else {"forward": "forward mode"}.get(found.mode)
    return f"{found.layer.title or found.layer.name}: {about or 'forward and backward'}"


def contents(found: Derivation, known: Evidence | None = None) -> list[Block]:
    """The derivation from the forward pass to the Jacobian, second order, and the identities."""
    write, marks = writer(found.layer), marker(known)
    made = forward_blocks(found.layer, _checking(found, known) if known else "", write)
    if found.origin:
        made += derived_blocks(found.origin, write, marks)
    made += derived_blocks(found, write, marks, known)
    return made + identity_blocks(known, write)


def _checking(found: Derivation, known: Evidence) -> str:
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


def document(found: Derivation, known: Evidence | None = None) -> str:
    """A complete LaTeX document; it needs amsmath, geometry and TikZ.

    ``known``: how each equation is known, and what holds besides; without it nothing is said of
    either.
    """
    head = PREAMBLE + rf"\title{{{note(title(found))}}}" + "\n" + r"\date{}" + "\n"
    return f"{head}\\begin{{document}}\n\\maketitle\n{fragment(found, known)}\\end{{document}}\n"


def fragment(found: Derivation, known: Evidence | None = None) -> str:
    r"""The same without preamble, to ``\input`` in a document that loads amsmath and TikZ."""
    return written(contents(found, known), found.layer)


def written(made: Iterable[Block], forward: Program) -> str:
    """Blocks as LaTeX; ``forward``: what the graph is of."""
    return "\n".join(_set_latex(block, forward) for block in made if block.kind != "heat") + "\n"


def _set_latex(block: Block, forward: Program) -> str:
    if block.kind == "heading":
        return rf"\section*{{{block.lines[0]}}}"
    if block.kind == "graph":
        return f"\\begin{{center}}\n{graph.tikz(forward)}\\end{{center}}"
    if block.kind == "text":
        return "\n" + block.lines[0]
    lines = [_with_mark(row, mark) for row, mark in block.rows]
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


def _with_mark(row: str, mark: str) -> str:
    """An equation with its mark behind it, or in a line of its own where the row is long."""
    if not mark:
        return row
    wide = r"\\ &" in row or width(row) > WIDEST - len(mark) - 4
    return rf"{row} \\ &\quad \text{{({mark})}}" if wide else rf"{row} \qquad \text{{({mark})}}"


def markdown(found: Derivation, known: Evidence | None = None) -> str:
    """Markdown with mathematics and a Mermaid graph, as GitHub renders them."""
    parts = [f"# {title(found)}"]
    made = contents(found, known)
    parts += [_set_markdown(block, found.layer) for block in made if block.kind != "heat"]
    return "\n\n".join(parts) + "\n"


def _set_markdown(block: Block, forward: Program) -> str:
    if block.kind == "heading":
        return f"## {block.lines[0]}"
    if block.kind == "graph":
        return f"```mermaid\n{graph.mermaid(forward)}```"
    if block.kind == "text":
        return block.lines[0]
    lines = [_with_mark(row, mark) for row, mark in block.rows]
    rows = " \\\\\n".join(lines)
    return f"$$\n\\begin{{aligned}}\n{rows}\n\\end{{aligned}}\n$$"


def html(found: Derivation, known: Evidence | None = None) -> str:
    """A complete HTML page, well-formed as XML, too; ``known`` as in the LaTeX document."""
    name, numbers = title(found), count(1)
    body = "\n".join(_set_html(block, found, numbers) for block in contents(found, known))
    return (
        '<!DOCTYPE html>\n<html lang="en" xmlns="http://www.w3.org/1999/xhtml">\n<head>\n'
        '<meta charset="utf-8"/>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
        f"<title>{escape(name)}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(name)}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _set_html(block: Block, found: Derivation, numbers: Iterator[int]) -> str:
    if block.kind == "heading":
        return f"<h2>{words_html(block.lines[0])}</h2>"
    if block.kind == "graph":
        return f'<figure class="wide">{graph.svg(found.layer)}</figure>'
    if block.kind == "heat":
        return _heat(found.origin or found)
    if block.kind == "text":
        return f"<p>{words_html(block.lines[0])}</p>"
    if block.kind == "result":
        return _table("result", [_cells(*row) for row in block.rows], [next(numbers)])
    rows = [_cells(*row) for row in block.rows]
    kind = "noted" if any("note" in row for row in rows) else "plain"
    return _table(kind, rows, [next(numbers) for _ in rows])


def _table(kind: str, rows: list[str], numbers: list[int]) -> str:
    """Equations below one another with their numbers; one number stands beside them all."""
    span = f' rowspan="{len(rows)}"' if len(numbers) < len(rows) else ""
    made = []
    for row, number in zip_longest(rows, numbers):
        place = f' id="equation-{number}"' if number else ""
        cell = f'<td class="number"{span}>({number})</td>' if number else ""
        made.append(f"<tr{place}>{row}{cell}</tr>")
    inside = "\n".join(made)
    return f'<div class="wide {kind}" tabindex="0"><table>\n{inside}\n</table></div>'


def _cells(line: str, mark: str) -> str:
    r"""One equation of a block, ``left &= right \\ &= further && \text{note}``, as cells.

    One whose left side is long starts with ``&`` and has all of it on the right.
    """
    line, _, note = line.partition(" && ")
    left, *right = re.split(r"^& | \\\\ &| &(?==|\\le|\\ne)", line)
    rows = "".join(f"<div>{mathml_of(part, display=True)}</div>" for part in right)
    rows += f'<div class="mark">({mark})</div>' if mark else ""
    cells = f'<td class="left">{mathml_of(left, display=True)}</td><td class="right">{rows}</td>'
    if not note:
        return cells
    words = words_html(note.removeprefix(r"\text{").removesuffix("}"))
    return f'{cells}<td class="note">{words}</td>'


def words_html(text: str) -> str:
    """Words of the LaTeX document, with their mathematics between dollars, in HTML."""
    words, *rest = re.split(r"(?<!\\)\$", text)
    made = _plain(words)
    for formula, after in zip(rest[::2], rest[1::2], strict=True):
        made += mathml_of(formula) + _plain(after)
    return made


def _plain(words: str) -> str:
    return escape(re.sub(r"\\([#$%&_{}])", r"\1", words), quote=False)


def _heat(found: Derivation) -> str:
    """The Jacobian as a picture, where it is a matrix of numbers small enough to look at."""
    at = sampled(found)
    if at is None:
        return ""
    output, operand = (latex_of(Symbol(name_of(a))) for a in (at.output, at.operand))
    given = listed([f"${latex_of(Symbol(name_of(a)))} = {_tuple(n)}$" for a, n in at.given])
    about = (
        rf"$\partial {output} / \partial {operand}$ in numbers, for one group with "
        f"{given}. Red is above 0, blue below."
    )
    return (
        f'<figure><div class="wide" tabindex="0">{heat_map(at)}</div>\n'
        f"<figcaption>{words_html(about)}</figcaption></figure>"
    )


def _tuple(numbers: tuple[Expr, ...]) -> str:
    """Fractions in one line."""
    words = ", ".join(map(str, numbers))
    return f"({words})" if len(numbers) > 1 else words
