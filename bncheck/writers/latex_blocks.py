"""A derivation as a list of blocks: headings, paragraphs, equations and the graph."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

from sympy import Add, Expr, Idx

from bncheck.algebra.notation import Tensor, indices_of, name_of, size
from bncheck.algebra.program import Line, Program, Step
from bncheck.algebra.spelling import SPELLINGS, in_reading_order
from bncheck.calculus.chain import Use, uses
from bncheck.calculus.derivation import Derivation
from bncheck.calculus.jacobians import jacobian, jacobian_line
from bncheck.theory.statements import Evidence, Standing
from bncheck.writers.latex_lines import folded
from bncheck.writers.latex_printer import flat_latex, latex_of
from bncheck.writers.reading import (
    LARGEST,
    group_size,
    has_sizes,
    lines,
    matrix,
    results,
    written,
)
from bncheck.writers.unicode import line

Write = Callable[..., str]
Marks = Callable[[Tensor, Expr], str]

MARKS: dict[Standing, str] = {
    "proved": "", "deduced": "", "exact": "not proved", "refuted": "refuted",
}  # fmt: skip

WIDEST = 70
"""Characters in a row of the widest matrix that fits the page."""


@dataclass(frozen=True)
class Block:
    """A heading, a paragraph, an equation of one or more lines, or a picture.

    ``heat``: the Jacobian's, which only HTML has.

    ``marks``: of an equation, by line: words where it is known by less than a proof, else nothing.
    """

    kind: Literal["heading", "text", "equation", "result", "graph", "heat"]
    lines: tuple[str, ...]
    marks: tuple[str, ...] = ()

    @property
    def rows(self) -> tuple[tuple[str, str], ...]:
        """Each line with its mark."""
        return tuple(zip_longest(self.lines, self.marks, fillvalue=""))


def marked(verdict: Standing) -> str:
    """The mark of an equation: words where it is known by less than a proof."""
    return MARKS[verdict]


def marker(known: Evidence | None) -> Marks:
    """The mark of a line of the derivation; without evidence nothing is marked."""
    return lambda target, expr: marked(known.lines[Line(target, expr)]) if known else ""


def writer(forward: Program) -> Write:
    """How formulas of a layer are written, its gradients known by name."""
    gradients = set(forward.tensors)

    def write(expr: Expr, free: tuple[Idx, ...] = ()) -> str:
        return latex_of(expr, free, gradients)

    return write


def notation(forward: Program, write: Write) -> str:
    """What is given, with shapes."""
    shapes = []
    for a in forward.inputs:
        sizes = [str(size(i)) for i in indices_of(a)]
        name = write(a)
        bounds = r" \times ".join(sizes)
        shapes.append(f"${name}$ of shape ${bounds}$" if sizes else f"the number ${name}$")
    return rf"Inputs are {listed(shapes)}. The loss is $\ell$; every index runs from 1 to its size."


def step_blocks(forward: Program, write: Write) -> list[Block]:
    """The forward pass, each step with its note."""
    rows = [
        f"{write(s.target)} &= {write(s.expr, indices_of(s.target))} && "
        rf"\text{{{prose(s.note)}}}"
        for s in forward.steps
    ]
    return [Block("equation", tuple(rows))]


def chain_blocks(found: Derivation, write: Write, marks: Marks) -> list[Block]:
    """Each value in the order of the flow: its uses, their derivatives, the sum of both."""
    made = []
    steps = {step.target: step.expr for step in found.chain.steps}
    known = found.forward
    values = {known.gradient(a): a for a in (*known.inputs, *known.targets)}
    for step in written(found, found.chain.steps):
        operand = values[step.target]
        used = uses(found.forward, operand)
        names = listed([f"${write(u.step.target)}$" for u in used])
        made.append(Block("text", (f"${write(operand)}$ is used by {names}.",)))
        rule = _rule(found, operand, used, write)
        value = equation(step.target, step.expr, write).removeprefix(write(step.target))
        row = rf"{write(step.target)} {rule} \\ {value.strip()}"
        made.append(Block("equation", (row,), (marks(step.target, steps[step.target]),)))
    return made


def listed(words: list[str]) -> str:
    """``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _rule(found: Derivation, operand: Tensor, used: tuple[Use, ...], write: Write) -> str:
    """The chain rule for one value, with the derivative of each use."""
    known, names = found.forward, found.layer.tensors
    terms = [write(known.upstream(operand))] if operand in known.outputs else []
    for use in used:
        over = sorted(set(indices_of(use.step.target)) - set(indices_of(operand)), key=str)
        sums = "".join(rf"\sum_{{{i.label}=1}}^{{{size(i)}}} " for i in over)
        upstream = write(known.gradient(use.step.target))
        target, below = (flat_latex(a, names) for a in (use.step.target, operand))
        partial = rf"\frac{{\partial {target}}}{{\partial {below}}}"
        terms.append(f"{sums}{upstream} {partial}")
    return f"&= {folded(' + '.join(terms))}"


def closing_blocks(found: Derivation, write: Write, marks: Marks) -> list[Block]:
    """The rewritings with their reasons, the closed form and its cache."""
    made: list[Block] = []
    reason = ""
    for rewriting, own in zip(lines(found), found.rewritings, strict=True):
        if rewriting.reason != reason:
            reason = rewriting.reason
            made.append(Block("text", (prose(f"{reason[0].upper()}{reason[1:]}:"),)))
        row = equation(rewriting.target, rewriting.expr, write)
        made.append(Block("equation", (row,), (marks(own.target, own.expr),)))
    made.append(Block("text", ("In closed form, then,",)))
    made.append(result_block("result", found, write, marks))
    kept = written(found, tuple(Step(a, a) for a in found.cached))
    cached = ", ".join(f"${write(s.target)}$" for s in kept) or "nothing"
    both = "forward and the backward pass" if found.origin else "forward pass"
    made.append(Block("text", (f"Of the {both} it needs {cached}.",)))
    return made


def result_block(
    kind: Literal["equation", "result"], found: Derivation, write: Write, marks: Marks
) -> Block:
    """The closed form."""
    own = {step.target: step.expr for step in found.closed.steps}
    shown = results(found)
    rows = tuple(equation(s.target, s.expr, write) for s in shown)
    return Block(kind, rows, tuple(marks(s.target, own.get(s.target, s.expr)) for s in shown))


def equation(target: Tensor, expr: Expr, write: Write) -> str:
    """One equation, broken before a term where it would be long."""
    free = indices_of(target)
    text = write(expr, free)
    if isinstance(expr, Add) and len(text) > 330:
        first, *rest = [write(t, free) for t in in_reading_order(expr)]
        signed = (t if t.startswith("-") else f"+ {t}" for t in map(folded, rest))
        tail = "".join(rf" \\ &\quad {t}" for t in signed)
        return f"{write(target)} &= {folded(first)}{tail}"
    return f"{write(target)} &= {folded(text)}"


def jacobian_blocks(found: Derivation, write: Write, marks: Marks) -> list[Block]:
    """The entries of the Jacobian, and the matrix where it is small."""
    rows, known = [], []
    for operand in found.wrt:
        at = jacobian(found, name_of(operand))
        left = rf"\frac{{\partial {write(at.row)}}}{{\partial {write(at.column)}}}"
        rows.append(f"{left} &= {write(at.entry)}")
        line = jacobian_line(found, name_of(operand))
        known.append(marks(line.target, line.expr))
    made = [Block("equation", tuple(rows), tuple(known))]
    if has_sizes(found):
        made += [*_matrix(found, write), Block("heat", ())]
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


def prose(text: str) -> str:
    """Words, with the names of values set as mathematics and the rest escaped."""
    words = []
    for word in re.split(r"(\W+)", text):
        name = word.removeprefix("d")
        if (word in SPELLINGS and word not in ("x", "v", "w", "y", "norm")) or word in ("x", "v"):
            words.append(f"${latex_of_name(word)}$")
        elif len(name) > 1 and word.startswith("d") and name in SPELLINGS:
            words.append(rf"$\partial \ell / \partial {latex_of_name(name)}$")
        elif word.startswith("t") and word[1:] in SPELLINGS and word not in SPELLINGS:
            words.append(rf"$\dot{{{latex_of_name(word[1:])}}}$")
        elif word.startswith("d2") and word[2:] in SPELLINGS:
            words.append(rf"$\partial S / \partial {latex_of_name(word[2:])}$")
        else:
            words.append(re.sub(r"([#$%&_{}])", r"\\\1", word))
    text = re.sub(r"\b([mD]|K L|L) - 1", r"$\1 - 1$", "".join(words))
    return re.sub(r"\b([mD]|K L|L) not ", r"$\1$ not ", text)


def latex_of_name(name: str) -> str:
    """A value's letter, without indices."""
    return SPELLINGS[name][0]
