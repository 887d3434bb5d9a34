"""The blocks of second order and of forward mode."""

from bncheck.algebra.notation import like, name_of
from bncheck.calculus.derivation import Derivation
from bncheck.theory.statements import Evidence
from bncheck.writers.latex_blocks import (
    Block,
    Marks,
    Write,
    chain_blocks,
    closing_blocks,
    equation,
    listed,
    marked,
)
from bncheck.writers.reading import action, written


def forward_mode(found: Derivation, write: Write, marks: Marks) -> list[Block]:
    """From the forward pass to the tangent in closed form."""
    tangents = listed([f"${write(a)}$" for a in found.upstream])
    about = rf"A dot is the derivative along a direction, in which the inputs move by {tangents}."
    steps = {step.target: step.expr for step in found.chain.steps}
    return [
        Block("heading", ("Tangents by the chain rule",)),
        Block("text", (about,)),
        *(
            Block(
                "equation",
                (equation(s.target, s.expr, write),),
                (marks(s.target, steps[s.target]),),
            )
            for s in written(found, found.chain.steps)
        ),
        Block("heading", ("Closed form",)),
        *closing_blocks(found, write, marks),
    ]


def second_order(
    found: Derivation, write: Write, marks: Marks, known: Evidence | None
) -> list[Block]:
    """From the closed backward pass to the double backward and the Hessian."""
    assert found.origin
    total = action(found)
    directions = listed([f"${write(a)}$" for a in found.upstream])
    about = (
        rf"A direction {directions} is given. The derivative of the loss along it is $S$; the "
        "double backward pass is the gradients of $S$. What has a dot is the gradient of $S$ with "
        r"respect to a first gradient, $\dot{a} = \partial S / \partial (\partial \ell / \partial "
        "a)$, and says how $a$ moves along the direction."
    )
    return [
        Block("heading", ("The loss along a direction",)),
        Block("text", (about,)),
        Block("equation", (equation(total.target, total.expr, write),)),
        Block("heading", ("Double backward pass by the chain rule",)),
        *chain_blocks(found, write, marks),
        Block("heading", ("Double backward pass in closed form",)),
        *closing_blocks(found, write, marks),
        Block("heading", ("Hessian of the loss",)),
        *_hessian(found, write, known),
    ]


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
    told = [marked(known.hessian[a]) if known else "" for a in found.origin.wrt]
    return [Block("text", (about,)), Block("equation", tuple(rows), tuple(told))]
