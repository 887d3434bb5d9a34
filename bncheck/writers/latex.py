"""The derivation as a document: LaTeX to compile, LaTeX to ``\\input``, Markdown for GitHub.

All three are the same list of blocks; only how a block is set differs.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from sympy import Add, Expr, Idx

from bncheck.algebra.notation import Tensor, indices_of, like, name_of, size
from bncheck.algebra.program import Program, Step
from bncheck.algebra.spelling import SPELLINGS, in_reading_order
from bncheck.calculus.chain import Use, uses
from bncheck.calculus.derivation import Derivation
from bncheck.calculus.jacobian import jacobian
from bncheck.writers import graph
from bncheck.writers.latex_printer import flat_latex, latex_of
from bncheck.writers.reading import (
    LARGEST,
    action,
    group_size,
    has_sizes,
    lines,
    matrix,
    results,
    written,
)
from bncheck.writers.unicode import line

PREAMBLE = r"""\documentclass[11pt,a4paper]{article}
\usepackage[T1]{fontenc}
\usepackage[margin=25mm]{geometry}
\usepackage{amsmath}
\usepackage{tikz}
\allowdisplaybreaks
\setlength{\parindent}{0pt}
\setlength{\parskip}{4pt plus 1pt}
"""


Write = Callable[..., str]


WIDEST = 70
"""Characters in a row of the widest matrix that fits the page."""


@dataclass(frozen=True)
class Block:
    """A heading, a paragraph, an equation of one or more lines, or the graph."""

    kind: Literal["heading", "text", "equation", "result", "graph"]
    lines: tuple[str, ...]


def document(found: Derivation) -> str:
    """A complete LaTeX document; it needs amsmath, geometry and TikZ."""
    head = PREAMBLE + rf"\title{{{_prose(_title(found))}}}" + "\n" + r"\date{}" + "\n"
    return f"{head}\\begin{{document}}\n\\maketitle\n{fragment(found)}\\end{{document}}\n"


def fragment(found: Derivation) -> str:
    r"""The same without preamble, to ``\input`` in a document that loads amsmath and TikZ."""
    return "\n".join(_set_latex(block, found.forward) for block in blocks(found)) + "\n"


def markdown(found: Derivation) -> str:
    """Markdown with mathematics and a Mermaid graph, as GitHub renders them."""
    parts = [f"# {_title(found)}"]
    return "\n\n".join([*parts, *(_set_markdown(b, found.forward) for b in blocks(found))]) + "\n"


def _title(found: Derivation) -> str:
    about = "second order" if found.origin else {"forward": "forward mode"}.get(found.mode)
    return f"{found.layer.title or found.layer.name}: {about or 'forward and backward'}"


def blocks(found: Derivation) -> list[Block]:
    """The derivation from forward pass to Jacobian."""
    write = _writer(found.layer)
    if found.origin:
        return _second_order(found, write)
    if found.mode == "forward":
        return _forward_mode(found, write)
    return [
        Block("text", (_notation(found.forward, write),)),
        Block("heading", ("Forward pass",)),
        *_steps(found.forward, write),
        Block("heading", ("Computation graph",)),
        Block("graph", ()),
        Block("heading", ("Backward pass by the chain rule",)),
        *_chain(found, write),
        Block("heading", ("Closed form",)),
        *_closing(found, write),
        Block("heading", ("Jacobian",)),
        *_jacobian(found, write),
    ]


def _forward_mode(found: Derivation, write: Write) -> list[Block]:
    tangents = _listed([f"${write(a)}$" for a in found.upstream])
    about = rf"A dot is the derivative along a direction, in which the inputs move by {tangents}."
    return [
        Block("text", (_notation(found.forward, write),)),
        Block("heading", ("Forward pass",)),
        *_steps(found.forward, write),
        Block("heading", ("Tangents by the chain rule",)),
        Block("text", (about,)),
        *(
            Block("equation", (_equation(s.target, s.expr, write),))
            for s in written(found, found.chain.steps)
        ),
        Block("heading", ("Closed form",)),
        *_closing(found, write),
    ]


def _second_order(found: Derivation, write: Write) -> list[Block]:
    assert found.origin
    first = tuple(_equation(s.target, s.expr, write) for s in results(found.origin))
    total = action(found)
    directions = _listed([f"${write(a)}$" for a in found.upstream])
    about = (
        rf"A direction {directions} is given. The derivative of the loss along it is $S$; the "
        "double backward pass is the gradients of $S$. What has a dot is the gradient of $S$ with "
        r"respect to a first gradient, $\dot{a} = \partial S / \partial (\partial \ell / \partial "
        "a)$, and says how $a$ moves along the direction."
    )
    return [
        Block("text", (_notation(found.layer, write),)),
        Block("heading", ("Forward pass",)),
        *_steps(found.layer, write),
        Block("heading", ("Backward pass in closed form",)),
        Block("equation", first),
        Block("heading", ("The loss along a direction",)),
        Block("text", (about,)),
        Block("equation", (_equation(total.target, total.expr, write),)),
        Block("heading", ("Double backward pass by the chain rule",)),
        *_chain(found, write),
        Block("heading", ("Closed form",)),
        *_closing(found, write),
        Block("heading", ("Hessian of the loss",)),
        *_hessian(found, write),
    ]


def _hessian(found: Derivation, write: Write) -> list[Block]:
    """The double backward pass and the backward pass of what the loss bends."""
    assert found.origin
    (out, *_), rows = found.layer.outputs, []
    made, moved = {*found.closed.outputs}, write(like("dd" + name_of(out), out))
    for a in found.origin.wrt:
        second = found.forward.gradient(a)
        own = f"{write(second)} + " if second in made else ""
        back = write(found.origin.forward.gradient(a))
        rows.append(rf"\left(\nabla^2 \ell \; v\right)_{{{write(a)}}} &= {own}{back}\Bigr|_H")
    about = (
        "Where the loss bends, the Hessian times the direction $v$ has a second part: the "
        rf"backward pass ($|_H$) of $H = \frac{{\partial^2 \ell}}{{\partial {write(out.base.label)}^2}} "
        rf"\, {moved}$ in place of ${write(found.origin.upstream[0])}$."
    )
    return [Block("text", (about,)), Block("equation", tuple(rows))]


def _writer(forward: Program) -> Write:
    gradients = set(forward.tensors)

    def write(expr: Expr, free: tuple[Idx, ...] = ()) -> str:
        return latex_of(expr, free, gradients)

    return write


def _notation(forward: Program, write: Write) -> str:
    shapes = []
    for a in forward.inputs:
        sizes = [str(size(i)) for i in indices_of(a)]
        name = write(a)
        bounds = r" \times ".join(sizes)
        shapes.append(f"${name}$ of shape ${bounds}$" if sizes else f"the number ${name}$")
    return (
        rf"Inputs are {_listed(shapes)}. The loss is $\ell$; every index runs from 1 to its size."
    )


def _steps(forward: Program, write: Write) -> list[Block]:
    rows = [
        f"{write(s.target)} &= {write(s.expr, indices_of(s.target))} && "
        rf"\text{{{_prose(s.note)}}}"
        for s in forward.steps
    ]
    return [Block("equation", tuple(rows))]


def _chain(found: Derivation, write: Write) -> list[Block]:
    """Each value in the order of the flow: its uses, their derivatives, the sum of both."""
    made = []
    known = found.forward
    values = {known.gradient(a): a for a in (*known.inputs, *known.targets)}
    for step in written(found, found.chain.steps):
        operand = values[step.target]
        used = uses(found.forward, operand)
        names = _listed([f"${write(u.step.target)}$" for u in used])
        made.append(Block("text", (f"${write(operand)}$ is used by {names}.",)))
        rule = _rule(known, operand, used, write)
        value = _equation(step.target, step.expr, write).removeprefix(write(step.target))
        made.append(Block("equation", (rf"{write(step.target)} {rule} \\ {value.strip()}",)))
    return made


def _listed(words: list[str]) -> str:
    """``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _rule(known: Program, operand: Tensor, used: tuple[Use, ...], write: Write) -> str:
    """The chain rule for one value, with the derivative of each use."""
    terms = [write(known.upstream(operand))] if operand in known.outputs else []
    for use in used:
        over = sorted(set(indices_of(use.step.target)) - set(indices_of(operand)), key=str)
        sums = "".join(rf"\sum_{{{i.label}=1}}^{{{size(i)}}} " for i in over)
        upstream = write(known.gradient(use.step.target))
        target, below = (flat_latex(a, known.tensors) for a in (use.step.target, operand))
        partial = rf"\frac{{\partial {target}}}{{\partial {below}}}"
        terms.append(f"{sums}{upstream} {partial}")
    return "&= " + " + ".join(terms)


def _closing(found: Derivation, write: Write) -> list[Block]:
    made: list[Block] = []
    reason = ""
    for rewriting in lines(found):
        if rewriting.reason != reason:
            reason = rewriting.reason
            made.append(Block("text", (_prose(f"{reason[0].upper()}{reason[1:]}:"),)))
        made.append(Block("equation", (_equation(rewriting.target, rewriting.expr, write),)))
    made.append(Block("text", ("In closed form, then,",)))
    rows = [_equation(s.target, s.expr, write) for s in results(found)]
    made.append(Block("result", tuple(rows)))
    kept = written(found, tuple(Step(a, a) for a in found.cached))
    cached = ", ".join(f"${write(s.target)}$" for s in kept) or "nothing"
    both = "forward and the backward pass" if found.origin else "forward pass"
    made.append(Block("text", (f"Of the {both} it needs {cached}.",)))
    return made


def _equation(target: Tensor, expr: Expr, write: Write) -> str:
    """One equation, broken before a term where it would be long."""
    free = indices_of(target)
    text = write(expr, free)
    if isinstance(expr, Add) and len(text) > 330:
        first, *rest = [write(t, free) for t in in_reading_order(expr)]
        tail = "".join(rf" \\ &\quad {t if t.startswith('-') else '+ ' + t}" for t in rest)
        return f"{write(target)} &= {first}{tail}"
    return f"{write(target)} &= {text}"


def _jacobian(found: Derivation, write: Write) -> list[Block]:
    rows = []
    for operand in found.wrt:
        at = jacobian(found, name_of(operand))
        left = rf"\frac{{\partial {write(at.row)}}}{{\partial {write(at.column)}}}"
        rows.append(f"{left} &= {write(at.entry)}")
    made = [Block("equation", tuple(rows))]
    if has_sizes(found):
        made += _matrix(found, write)
    return made


def _matrix(found: Derivation, write: Write) -> list[Block]:
    count, name = group_size(found), name_of(found.wrt[0])
    left_out = [Block("text", (rf"The ${count} \times {count}$ matrix of one group is left out.",))]
    if count > LARGEST:
        return left_out
    shared, rows = matrix(found, name)
    if max(sum(len(line(e)) for e in row) for row in rows) > WIDEST:
        return left_out
    cells = r" \\ ".join(" & ".join(write(e) for e in row) for row in rows)
    names = found.forward.outputs[0], found.wrt[0]
    above, below = (write(a.base.label) for a in names)
    left = rf"\frac{{\partial {above}}}{{\partial {below}}}"
    front = "" if shared == 1 else write(shared)
    body = rf"{left} &= {front} \begin{{pmatrix}} {cells} \end{{pmatrix}}"
    text = "For one group, with the factor that all entries share in front,"
    return [Block("text", (text,)), Block("equation", (body,))]


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
        rows = block.lines[0]
        return f"\\begin{{equation}}\n\\begin{{split}}\n{rows}\n\\end{{split}}\n\\end{{equation}}"
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


def _prose(text: str) -> str:
    """Words, with the names of values set as mathematics and the rest escaped."""
    words = []
    for word in re.split(r"(\W+)", text):
        name = word.removeprefix("d")
        if (word in SPELLINGS and word not in ("x", "v", "w", "y", "norm")) or word in ("x", "v"):
            words.append(f"${latex_of_name(word)}$")
        elif len(name) > 1 and word.startswith("d") and name in SPELLINGS:
            words.append(rf"$\partial \ell / \partial {latex_of_name(name)}$")
        else:
            words.append(re.sub(r"([#$%&_{}])", r"\\\1", word))
    return re.sub(r"\b([mD]|K L|L)( not | - 1)", r"$\1$\2", "".join(words))


def latex_of_name(name: str) -> str:
    """A value's letter, without indices."""
    return SPELLINGS[name][0]
