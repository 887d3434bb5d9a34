"""The chain rule and its reverse sweep: a program in, its backward program out.

For a step ``v = f`` and an operand ``a`` of ``f``, the contribution to dL/da is
``dL/dv * df/da``, summed over the indices of ``v`` that ``a`` does not have; where ``a`` stands
inside a mean, the mean's indices that ``a`` carries give ``1/size`` and the others stay a mean.
"""

from dataclasses import dataclass

from sympy import Add, Expr, Function, Pow

from bncheck.algebra.notation import (
    Tensor,
    Total,
    indices_of,
    name_of,
    operands,
    total,
)
from bncheck.algebra.program import Program, Step
from bncheck.calculus.partials import partials
from bncheck.telling.errors import CannotAsk


@dataclass(frozen=True)
class Use:
    """One step that reads an operand: the derivative of the step, and what it contributes."""

    step: Step
    partial: Expr
    contribution: Expr


def backward(forward: Program, wrt: tuple[Tensor, ...] = ()) -> Program:
    """The backward program: upstream gradients in, the gradients of ``wrt`` out.

    Steps come in the order in which the gradient flows back. Its inputs are the upstream
    gradients and whatever values of the forward pass it reads: the cache. Raises ``CannotAsk``
    where the outputs do not depend on ``wrt``, or the forward pass asks for too much at once.
    """
    alive = forward.behind(forward.outputs)
    wanted = wrt or forward.wrt or tuple(a for a in forward.inputs if a in alive)
    check(forward, wanted)
    _check_names(forward)
    steps = tuple(_gradient_step(forward, a) for a in _order(forward, wanted))
    return Program(
        name=f"{forward.name} backward",
        title=f"{forward.title}, backward",
        axes=forward.axes,
        joined=forward.joined,
        inputs=cache(forward, steps, tuple(map(forward.upstream, forward.outputs))),
        steps=steps,
        outputs=tuple(forward.gradient(a) for a in wanted),
    )


def uses(forward: Program, operand: Tensor) -> tuple[Use, ...]:
    """What each step that reads ``operand`` contributes to its gradient.

    Steps on which no output depends contribute nothing and are left out.
    """
    alive = forward.behind(forward.outputs)
    return tuple(_use(forward, s, operand) for s in forward.users(operand) if s.target in alive)


def cache(
    forward: Program, steps: tuple[Step, ...], given: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """What the steps read that none of them defines: ``given`` (``dy``) first, then the rest."""
    defined = {step.target for step in steps}
    read = {a for step in steps for a in operands(step.expr)} - defined
    order = (*forward.inputs, *forward.targets)
    return (*given, *sorted(read - set(given), key=order.index))


def _gradient_step(forward: Program, operand: Tensor) -> Step:
    used = uses(forward, operand)
    through = " and ".join(name_of(u.step.target) for u in used)
    direct = (forward.upstream(operand),) if operand in forward.outputs else ()
    contributions = (*direct, *(u.contribution for u in used))
    return Step(forward.gradient(operand), Add(*contributions), f"through {through}")


def _use(forward: Program, step: Step, operand: Tensor) -> Use:
    terms = [named(forward, term) for term in partials(step.expr, operand)]
    clash = {str(i) for t in terms for node in t.atoms(Total) for i in node.over} & {
        str(i) for i in indices_of(operand)
    }
    if clash:
        raise CannotAsk(
            f"{forward.name}: the step for {name_of(step.target)} computes with a sum of "
            f"{name_of(operand)} over {', '.join(sorted(clash))}; make that sum a step of its own"
        )
    over = set(indices_of(step.target)) - set(indices_of(operand))
    upstream = forward.gradient(step.target)
    contribution = Add(*(total(upstream * term, over) for term in terms))
    return Use(step, Add(*terms), contribution)


def named(forward: Program, expr: Expr) -> Expr:
    """Roots and functions by their names: ``1/(2 sqrt(var + eps))`` is ``1/(2 sd)``."""
    for step in forward.steps:
        if isinstance(step.expr, Pow | Function) and step.target not in forward.outputs:
            expr = expr.subs(step.expr, step.target)
    return expr


def _between(forward: Program, wanted: tuple[Tensor, ...]) -> set[Tensor]:
    """The values on a path from what is wanted to an output, and outputs that are read."""
    last = {out for out in forward.outputs if not forward.users(out)}
    return (forward.moved(wanted) & forward.behind(forward.outputs)) - last


def _order(forward: Program, wanted: tuple[Tensor, ...]) -> list[Tensor]:
    """The order of the gradient's flow: a value is ready once all its users have been passed."""
    needed = _between(forward, wanted)
    ready: list[Tensor] = []
    for step in reversed(forward.steps):
        for a in sorted(operands(step.expr), key=lambda a: a in forward.targets):
            if a in needed and forward.users(a)[0] == step:
                ready.append(a)
    return ready


def check(forward: Program, wanted: tuple[Tensor, ...]) -> None:
    """Raise ``CannotAsk`` where there is nothing to derive."""
    alive = forward.behind(forward.outputs)
    for out in forward.outputs:
        if out not in forward.targets:
            raise CannotAsk(f"{forward.name}: the output {name_of(out)} is no step's target")
        if forward.users(out) and not forward.first:
            raise CannotAsk(
                f"{forward.name}: the output {name_of(out)} is read by a later step; "
                "give the output a step of its own"
            )
    for a in wanted:
        if a not in forward.inputs:
            raise CannotAsk(f"{forward.name}: {name_of(a)} is no input to take a gradient of")
        if a not in alive:
            raise CannotAsk(f"{forward.name}: the output does not depend on {name_of(a)}")


def _check_names(forward: Program) -> None:
    """Raise ``CannotAsk`` where a gradient has no name left."""
    alive = forward.behind(forward.outputs)
    for taken in sorted({name_of(forward.gradient(a)) for a in alive} & forward.tensors.keys()):
        raise CannotAsk(
            f"{forward.name}: the name {taken} is needed for the gradient of {taken[1:]}"
        )
