"""The chain rule and its reverse sweep: a program in, its backward program out.

For a step ``v = f`` and an operand ``a`` of ``f``, the contribution to dL/da is
``dL/dv * df/da``, summed over the indices of ``v`` that ``a`` does not have; where ``a`` stands
inside a mean, the mean's indices that ``a`` carries give ``1/size`` and the others stay a mean.
"""

from dataclasses import dataclass

from sympy import Dummy, Expr, Pow, S, diff

from bncheck.algebra.notation import (
    Mean,
    Tensor,
    Total,
    carried,
    count,
    gradient,
    indices_of,
    name_of,
    operands,
    total,
)
from bncheck.algebra.program import Program, Step
from bncheck.algebra.spelling import without_content
from bncheck.errors import CannotAsk


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
    where ``wrt`` names something that the output does not depend on.
    """
    wanted = wrt or forward.wrt or forward.inputs
    needed = _ancestors_between(forward, wanted)
    steps = tuple(
        Step(
            gradient(a),
            sum((u.contribution for u in uses(forward, a)), S.Zero),
            note(forward, a),
        )
        for a in _order(forward, needed)
    )
    return Program(
        name=f"{forward.name} backward",
        title=f"{forward.title}, backward",
        axes=forward.axes,
        joined=forward.joined,
        inputs=cache(forward, steps),
        steps=steps,
        outputs=tuple(gradient(a) for a in wanted),
    )


def uses(forward: Program, operand: Tensor) -> tuple[Use, ...]:
    """What each step that reads ``operand`` contributes to its gradient."""
    found = []
    for step in forward.users(operand):
        partial = _named(forward, sum(_derivatives(step.expr, operand), S.Zero))
        upstream = gradient(step.target)
        over = set(indices_of(step.target)) - set(indices_of(operand))
        terms = _derivatives(step.expr, operand)
        contribution = sum((total(upstream * _named(forward, t), over) for t in terms), S.Zero)
        found.append(Use(step, partial, contribution))
    return tuple(found)


def note(forward: Program, operand: Tensor) -> str:
    """Where the gradient of ``operand`` comes from, in words."""
    through = [name_of(step.target) for step in forward.users(operand)]
    return "through " + " and ".join(through)


def cache(forward: Program, steps: tuple[Step, ...]) -> tuple[Tensor, ...]:
    """What the steps read that none of them defines: upstream gradients first, then the rest."""
    defined = {step.target for step in steps}
    read = dict.fromkeys(a for step in steps for a in operands(step.expr) if a not in defined)
    upstream = tuple(gradient(out) for out in forward.outputs)
    order = (*forward.inputs, *forward.targets)
    return (*upstream, *sorted((a for a in read if a not in upstream), key=order.index))


def _derivatives(expr: Expr, operand: Tensor) -> list[Expr]:
    """The terms of d expr / d operand, one for each place where the operand stands."""
    reductions = {node: Dummy(positive=True) for node in _outermost(expr) if node.has(operand)}
    outside = expr.xreplace(reductions)
    terms = [d for d in [_diff(outside, operand)] if d != 0]
    back = {dummy: node for node, dummy in reductions.items()}
    terms = [t.xreplace(back) for t in terms]
    for node, dummy in reductions.items():
        outer = diff(outside, dummy).xreplace(back)
        for inner in _derivatives(node.body, operand):
            terms.append(outer * _along(node, inner, operand))
    return terms


def _along(node: Total, inner: Expr, operand: Tensor) -> Expr:
    """The derivative of a sum or mean: the operand's own indices pick one term out of it."""
    own = set(node.over) & set(indices_of(operand))
    rest = tuple(i for i in node.over if i not in own)
    share = 1 / count(own) if isinstance(node, Mean) else S.One
    if not rest:
        return share * inner
    if not carried(inner) & set(rest):
        return share * inner * (1 if isinstance(node, Mean) else count(rest))
    number, inner = without_content(inner)
    return number * share * node.func(inner, *rest)


def _diff(expr: Expr, operand: Tensor) -> Expr:
    at = Dummy(real=True) if not operand.is_positive else Dummy(positive=True)
    return diff(expr.xreplace({operand: at}), at).xreplace({at: operand})


def _outermost(expr: Expr) -> tuple[Total, ...]:
    if isinstance(expr, Total):
        return (expr,)
    return tuple(node for arg in expr.args if arg.has(Total) for node in _outermost(arg))


def _named(forward: Program, expr: Expr) -> Expr:
    """Roots by their names: ``1/(2 sqrt(var + eps))`` is ``1/(2 sd)``."""
    for step in forward.steps:
        if isinstance(step.expr, Pow):
            expr = expr.subs(step.expr, step.target)
    return expr


def _ancestors_between(forward: Program, wanted: tuple[Tensor, ...]) -> set[Tensor]:
    """The values that lie on a path from what is wanted to an output."""
    depends: set[Tensor] = set(wanted)
    for step in forward.steps:
        if depends & set(operands(step.expr)):
            depends.add(step.target)
    reached: set[Tensor] = set(forward.outputs)
    for step in reversed(forward.steps):
        if step.target in reached:
            reached |= set(operands(step.expr))
    for a in wanted:
        if a not in reached or a not in (*forward.inputs, *forward.targets):
            raise CannotAsk(f"{forward.name}: the output does not depend on {name_of(a)}")
    for out in forward.outputs:
        if forward.users(out):
            raise CannotAsk(
                f"{forward.name}: the output {name_of(out)} is read by a later step; "
                "give the output a step of its own"
            )
    return (depends & reached) - set(forward.outputs)


def _order(forward: Program, needed: set[Tensor]) -> list[Tensor]:
    """The order of the gradient's flow: a value is ready once all its users have been passed."""
    ready: list[Tensor] = []
    for step in reversed(forward.steps):
        for a in sorted(operands(step.expr), key=lambda a: a in forward.targets):
            first_user = forward.users(a)[0]
            if a in needed and first_user == step:
                ready.append(a)
    return ready
