"""The chain rule in both directions: a program in, its backward or its tangent program out.

Reverse: for a step ``v = f`` and an operand ``a`` of ``f``, the contribution to dL/da is
``dL/dv * df/da``, summed over the indices of ``v`` that ``a`` does not have; where ``a`` stands
inside a mean, the mean's indices that ``a`` carries give ``1/size`` and the others stay a mean.

Forward (the Jacobian times a vector): the step gives ``tv = sum of df/da * ta`` over what ``f``
reads, inside its sums too: ``mu = mean(x)`` gives ``tmu = mean(tx)``.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sympy import Add, Dummy, Expr, Function, Pow, S, diff

from bncheck.algebra.notation import (
    Mean,
    Tensor,
    Total,
    carried,
    count,
    indices_of,
    name_of,
    operands,
    tangent,
    total,
)
from bncheck.algebra.program import Program, Step
from bncheck.algebra.spelling import without_content
from bncheck.telling.errors import CannotAsk


@dataclass(frozen=True)
class Use:
    """One step that reads an operand, and what it contributes to the operand's gradient."""

    step: Step
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
    _check_names(forward, map(forward.gradient, alive), "gradient")
    steps = tuple(_gradient_step(forward, a) for a in _order(forward, wanted))
    return Program(
        name=f"{forward.name} backward",
        title=f"{forward.title}, backward",
        axes=forward.axes,
        joined=forward.joined,
        inputs=inputs_of(forward, steps, tuple(map(forward.upstream, forward.outputs))),
        steps=steps,
        outputs=tuple(forward.gradient(a) for a in wanted),
    )


def tangent_program(forward: Program, wrt: tuple[Tensor, ...]) -> Program:
    """The tangents of ``wrt`` in, those of the outputs out; steps in the order of the forward.

    Raises ``CannotAsk`` where the outputs do not depend on ``wrt`` or a name is taken.
    """
    check(forward, wrt)
    moving = forward.moved(wrt) & forward.behind(forward.outputs)
    _check_names(forward, map(tangent, moving), "tangent")
    steps = tuple(_tangent_step(forward, s, moving) for s in forward.steps if s.target in moving)
    return Program(
        name=f"{forward.name} tangent",
        title=f"{forward.title}, forward mode",
        axes=forward.axes,
        joined=forward.joined,
        inputs=inputs_of(forward, steps, tuple(map(tangent, wrt))),
        steps=steps,
        outputs=tuple(map(tangent, forward.outputs)),
    )


def uses(forward: Program, operand: Tensor) -> tuple[Use, ...]:
    """What each step that reads ``operand`` contributes to its gradient.

    Steps on which no output depends contribute nothing and are left out.
    """
    alive = forward.behind(forward.outputs)
    return tuple(_use(forward, s, operand) for s in forward.users(operand) if s.target in alive)


def inputs_of(
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


def _tangent_step(forward: Program, step: Step, moving: set[Tensor]) -> Step:
    through = " and ".join(name_of(a) for a in operands(step.expr) if a in moving)
    expr = _named(forward, along(step.expr, moving))
    return Step(tangent(step.target), expr, f"through {through}")


def _use(forward: Program, step: Step, operand: Tensor) -> Use:
    terms = [_named(forward, term) for term in partials(step.expr, operand)]
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
    return Use(step, Add(*(total(upstream * term, over) for term in terms)))


def _named(forward: Program, expr: Expr) -> Expr:
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


def _check_names(forward: Program, made: Iterable[Tensor], what: str) -> None:
    """Raise ``CannotAsk`` where a gradient or tangent has no name left."""
    for taken in sorted(set(map(name_of, made)) & forward.tensors.keys()):
        raise CannotAsk(f"{forward.name}: the name {taken} is needed for the {what} of {taken[1:]}")


def partials(expr: Expr, operand: Tensor) -> tuple[Expr, ...]:
    """The terms of d expr / d operand: the one outside all sums, then one for each sum."""
    outside, nodes = _without_sums(expr)
    terms = [_diff(outside, operand)]
    for dummy, node in nodes.items():
        for inner in partials(node.body, operand):
            terms.append(diff(outside, dummy) * _picked(node, inner, operand))
    return tuple(term.xreplace(nodes) for term in terms if term != 0)


def along(expr: Expr, moving: set[Tensor]) -> Expr:
    """The derivative of ``expr`` where each of ``moving`` moves along its tangent."""
    outside, nodes = _without_sums(expr)
    terms = [_diff(outside, a) * tangent(a) for a in operands(outside) if a in moving]
    for dummy, node in nodes.items():
        inner = along(node.body, moving)
        if inner != 0:
            number, inner = without_content(inner)
            terms.append(diff(outside, dummy) * number * node.func(inner, *node.over))
    return Add(*terms).xreplace(nodes)


def _diff(expr: Expr, operand: Tensor) -> Expr:
    at = Dummy(positive=True) if operand.is_positive else Dummy(real=True)
    return diff(expr.xreplace({operand: at}), at).xreplace({at: operand})


def _picked(node: Total, inner: Expr, operand: Tensor) -> Expr:
    """What a sum leaves of ``inner``, the derivative of one of its terms."""
    own = set(node.over) & set(indices_of(operand))
    share = 1 / count(own) if isinstance(node, Mean) else S.One
    rest = tuple(i for i in node.over if i not in own)
    if not rest:
        return share * inner
    if not carried(inner) & set(rest):
        return share * inner * (S.One if isinstance(node, Mean) else count(rest))
    number, inner = without_content(inner)
    return number * share * node.func(inner, *rest)


def _without_sums(expr: Expr) -> tuple[Expr, dict[Expr, Total]]:
    """``expr`` with a symbol for each of its sums that stands inside no other, and these."""
    sums = {node: Dummy(real=True) for node in _outermost(expr)}
    return expr.xreplace(sums), {dummy: node for node, dummy in sums.items()}


def _outermost(expr: Expr) -> tuple[Total, ...]:
    if isinstance(expr, Total):
        return (expr,)
    return tuple(node for arg in expr.args for node in _outermost(arg))
