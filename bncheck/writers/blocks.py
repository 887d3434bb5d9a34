"""A derivation as a list of blocks: headings, paragraphs, equations and pictures."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

from sympy import Add, Expr, Idx

from bncheck.algebra.notation import Tensor, indices_of, like, name_of, size
from bncheck.algebra.program import Line, Program, Step
from bncheck.algebra.spelling import in_reading_order
from bncheck.calculus.chain import Use, uses
from bncheck.calculus.derivation import Derivation
from bncheck.calculus.jacobians import jacobian, jacobian_line
from bncheck.theory.statements import Evidence, Standing
from bncheck.writers.formulas.latex import broken, flat_latex, latex_of
from bncheck.writers.formulas.unicode import line
from bncheck.writers.jacobian_matrix import LARGEST, group_size, has_sizes, matrix
from bncheck.writers.prose import listed, note
from bncheck.writers.reading import action, results, rewritings, written

Write = Callable[..., str]
Marks = Callable[[Tensor, Expr], str]

MARKS: dict[Standing, str] = {
    "proved": "", "deduced": "", "exact": "not proved", "refuted": "refuted",
}  # fmt: skip
"""Behind an equation: words where it is known by less than a proof."""

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


def heading(words: str) -> Block:
    """The title of a section."""
    return Block("heading", (words,))


def paragraph(words: str) -> Block:
    """Words, with their mathematics between dollars."""
    return Block("text", (words,))


def marker(known: Evidence | None) -> Marks:
    """The mark of a line of the derivation; without evidence nothing is marked."""
    return lambda target, expr: MARKS[known.lines[Line(target, expr)]] if known else ""


def writer(forward: Program) -> Write:
    """How formulas of a layer are written, its gradients known by name."""
    gradients = set(forward.tensors)

    def write(expr: Expr, free: tuple[Idx, ...] = ()) -> str:
        return latex_of(expr, free, gradients)

    return write


def forward_blocks(forward: Program, known: str, write: Write) -> list[Block]:
    """What is given, with shapes; how the equations are ``known``; each step with its note."""
    shapes = []
    for a in forward.inputs:
        sizes = [str(size(i)) for i in indices_of(a)]
        bounds = r" \times ".join(sizes)
        shapes.append(f"${write(a)}$ of shape ${bounds}$" if sizes else f"the number ${write(a)}$")
    rows = [
        f"{write(s.target)} &= {write(s.expr, indices_of(s.target))} && "
        rf"\text{{{note(s.note)}}}"
        for s in forward.steps
    ]
    return [
        paragraph(
            rf"Inputs are {listed(shapes)}. The loss is $\ell$; "
            "every index runs from 1 to its size."
        ),
        *([paragraph(known)] if known else []),
        heading("Forward pass"),
        Block("equation", tuple(rows)),
        heading("Computation graph"),
        Block("graph", ()),
    ]


def derived_blocks(
    found: Derivation, write: Write, marks: Marks, known: Evidence | None = None
) -> list[Block]:
    """From the chain rule to the closed form, and on to the Jacobian or to the Hessian."""
    before, after = [], []
    titles = ("Backward pass by the chain rule", "Closed form")
    if found.origin:
        before = [heading("The loss along a direction"), *_direction(found, write)]
        titles = ("Double backward pass by the chain rule", "Double backward pass in closed form")
        after = [heading("Hessian of the loss"), *_hessian(found, write, known)]
    elif found.mode == "forward":
        titles = ("Tangents by the chain rule", "Closed form")
    else:
        after = [heading("Jacobian"), *_jacobian(found, write, marks)]
    by_chain = _tangents if found.mode == "forward" else _uses
    return [
        *before,
        heading(titles[0]),
        *by_chain(found, write, marks),
        heading(titles[1]),
        *_closing(found, write, marks),
        *after,
    ]


def _direction(found: Derivation, write: Write) -> list[Block]:
    """What second order takes the gradients of."""
    total = action(found)
    directions = listed([f"${write(a)}$" for a in found.upstream])
    about = (
        rf"A direction {directions} is given. The derivative of the loss along it is $S$; the "
        "double backward pass is the gradients of $S$. What has a dot is the gradient of $S$ with "
        r"respect to a first gradient, $\dot{a} = \partial S / \partial (\partial \ell / \partial "
        "a)$, and says how $a$ moves along the direction."
    )
    return [paragraph(about), Block("equation", (equation(total.target, total.expr, write),))]


def _tangents(found: Derivation, write: Write, marks: Marks) -> list[Block]:
    """In forward mode: what the dots mean, and each value's."""
    tangents = listed([f"${write(a)}$" for a in found.upstream])
    about = rf"A dot is the derivative along a direction, in which the inputs move by {tangents}."
    steps = {step.target: step.expr for step in found.chain.steps}
    rows = (
        (equation(s.target, s.expr, write), marks(s.target, steps[s.target]))
        for s in written(found, found.chain.steps)
    )
    return [paragraph(about), *(Block("equation", (row,), (mark,)) for row, mark in rows)]


def _uses(found: Derivation, write: Write, marks: Marks) -> list[Block]:
    """Each value in the order of the flow: its uses, their derivatives, the sum of both."""
    made = []
    steps = {step.target: step.expr for step in found.chain.steps}
    known = found.forward
    values = {known.gradient(a): a for a in (*known.inputs, *known.targets)}
    for step in written(found, found.chain.steps):
        operand = values[step.target]
        used = uses(found.forward, operand)
        names = listed([f"${write(u.step.target)}$" for u in used])
        made.append(paragraph(f"${write(operand)}$ is used by {names}."))
        rule = _rule(found, operand, used, write)
        value = equation(step.target, step.expr, write).removeprefix(write(step.target))
        row = rf"{write(step.target)} {rule} \\ {value.strip()}"
        made.append(Block("equation", (row,), (marks(step.target, steps[step.target]),)))
    return made


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
    return f"&= {broken(' + '.join(terms))}"


def _closing(found: Derivation, write: Write, marks: Marks) -> list[Block]:
    """The rewritings with their reasons, the closed form and its cache."""
    made: list[Block] = []
    reason = ""
    for rewriting, own in zip(rewritings(found), found.rewritings, strict=True):
        if rewriting.reason != reason:
            reason = rewriting.reason
            made.append(paragraph(note(f"{reason[0].upper()}{reason[1:]}:")))
        row = equation(rewriting.target, rewriting.expr, write)
        made.append(Block("equation", (row,), (marks(own.target, own.expr),)))
    steps = {step.target: step.expr for step in found.closed.steps}
    closed = [
        (equation(s.target, s.expr, write), marks(s.target, steps.get(s.target, s.expr)))
        for s in results(found)
    ]
    kept = written(found, tuple(Step(a, a) for a in found.cached))
    cached = ", ".join(f"${write(s.target)}$" for s in kept) or "nothing"
    both = "forward and the backward pass" if found.origin else "forward pass"
    return [
        *made,
        paragraph("In closed form, then,"),
        Block("result", *map(tuple, zip(*closed, strict=True))),
        paragraph(f"Of the {both} it needs {cached}."),
    ]


def equation(target: Tensor, expr: Expr, write: Write) -> str:
    """One equation, broken before a term where it would be long."""
    free = indices_of(target)
    text = write(expr, free)
    if isinstance(expr, Add) and len(text) > 330:
        first, *rest = [write(t, free) for t in in_reading_order(expr)]
        signed = (t if t.startswith("-") else f"+ {t}" for t in map(broken, rest))
        tail = "".join(rf" \\ &\quad {t}" for t in signed)
        return f"{write(target)} &= {broken(first)}{tail}"
    return f"{write(target)} &= {broken(text)}"


def _jacobian(found: Derivation, write: Write, marks: Marks) -> list[Block]:
    """The entries of the Jacobian, and the matrix where it is small."""
    rows, known = [], []
    for operand in found.wrt:
        at = jacobian(found, name_of(operand))
        left = rf"\frac{{\partial {write(at.row)}}}{{\partial {write(at.column)}}}"
        rows.append(f"{left} &= {write(at.entry)}")
        claim = jacobian_line(found, name_of(operand))
        known.append(marks(claim.target, claim.expr))
    made = [Block("equation", tuple(rows), tuple(known))]
    if has_sizes(found):
        made += [*_matrix(found, write), Block("heat", ())]
    return made


def _matrix(found: Derivation, write: Write) -> list[Block]:
    count, name = group_size(found), name_of(found.wrt[0])
    left_out = [paragraph(rf"The ${count} \times {count}$ matrix of one group is left out.")]
    if count > LARGEST:
        return left_out
    shared, rows = matrix(found, name)
    if max(sum(len(line(e)) for e in row) for row in rows) > WIDEST:
        return left_out
    cells = r" \\ ".join(" & ".join(write(e) for e in row) for row in rows)
    above, below = (write(a.base.label) for a in (found.forward.outputs[0], found.wrt[0]))
    left = rf"\frac{{\partial {above}}}{{\partial {below}}}"
    front = "" if shared == 1 else write(shared)
    body = rf"{left} &= {front} \begin{{pmatrix}} {cells} \end{{pmatrix}}"
    text = "For one group, with the factor that all entries share in front,"
    return [paragraph(text), Block("equation", (body,))]


def _hessian(found: Derivation, write: Write, known: Evidence | None) -> list[Block]:
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
        "backward pass ($|_H$) of "
        rf"$H = \frac{{\partial^2 \ell}}{{\partial {write(out.base.label)}^2}} "
        rf"\, {moved}$ in place of ${write(found.origin.upstream[0])}$."
    )
    told = [MARKS[known.hessian[a]] if known else "" for a in found.origin.wrt]
    return [paragraph(about), Block("equation", tuple(rows), tuple(told))]
