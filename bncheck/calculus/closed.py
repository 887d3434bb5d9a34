"""The closed form: the chain-rule backward program, written in what the forward pass names.

The closing rule is the forward pass read from right to left. Each rewriting is exact for every
batch size and is kept for the reader: ``x`` is written by its normalised value
(``x = mu + sd*xhat``); sums are taken term by term, and what does not carry the index goes
outside; ``mean(xhat) = 0`` follows from ``mean(x) = mu``; the gradients of the statistics are
substituted; what all terms share is pulled out; the sums that are left get a name.

A normalising step is known by its form, not by its name or place: linear in an operand of the same
indices, with a slope and a rest of fewer indices. ``xhat = (x - mu)/sd`` gives
``x = mu + sd*xhat``; and where ``mu`` is the mean of ``x``, ``sum(xhat) = 0``.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from sympy import Add, Dummy, Expr, Mul, S, diff, fraction

from bncheck.algebra.notation import (
    Mean,
    Tensor,
    Total,
    carried,
    distribute,
    expanded,
    indices_of,
    name_of,
    operands,
)
from bncheck.algebra.program import Program, Step
from bncheck.calculus.chain import inputs_of
from bncheck.calculus.derivation import Rewriting
from bncheck.calculus.factoring import laid_out, with_named_sums


@dataclass(frozen=True)
class Inverse:
    """``values``: what is normalised, by the normalised; ``zeros``: the sums that vanish."""

    values: dict[Tensor, Expr] = field(default_factory=dict)
    zeros: dict[Expr, Expr] = field(default_factory=dict)


def close(
    forward: Program, chain: Program, given: tuple[Tensor, ...] = ()
) -> tuple[Program, tuple[Rewriting, ...]]:
    """The closed form of ``chain``, the backward program of ``forward``, or its tangent; and the
    lines that lead to it.

    ``given``: what the chain starts from, by default the upstream gradients.
    """
    given = given or tuple(map(forward.upstream, forward.outputs))
    wanted = _wanted(forward, chain)
    products = _products(chain, given, wanted)
    gradients, log = _substituted(forward, chain, products, wanted)
    gradients, kept, put_back = _without_products(gradients, products, given)
    gradients, sums = with_named_sums(forward, gradients)
    closed = [
        Step(target, e if isinstance(e, Total) else laid_out(forward, target, e))
        for target, e in gradients.items()
    ]
    shared = "pull out what all terms share, name the sums"
    log = [*log, *put_back, *(Rewriting(s.target, s.expr, shared) for s in closed)]
    steps = _in_order([*kept, *sums, *closed])
    program = replace(
        chain,
        name=f"{chain.name.removesuffix(' backward')} closed",
        title=f"{chain.title} in closed form",
        inputs=inputs_of(forward, steps, given),
        steps=steps,
    )
    return program, _changes(chain, log)


def terms(step: Step) -> tuple[Expr, ...]:
    """The terms of a closed gradient: the direct, the mean and the variance path of dx, say."""
    return tuple(Add.make_args(expanded(step.expr)))


def inverse(forward: Program) -> Inverse:
    """Every normalising step of a forward pass, solved."""
    found = Inverse()
    for step in forward.steps:
        for operand in operands(step.expr):
            value = _solved(forward, step, operand)
            if value is not None and operand not in found.values:
                found.values[operand] = value
                found.zeros.update(_zeros(forward, step.target, operand, value))
    return found


def _substituted(
    forward: Program, chain: Program, products: list[Step], wanted: tuple[Tensor, ...]
) -> tuple[dict[Tensor, Expr], list[Rewriting]]:
    """Every gradient asked for, by the upstream gradient, the products and the forward's names."""
    read = inverse(forward)
    kept = {*wanted, *(step.target for step in products)} - set(chain.outputs)
    values: dict[Tensor, Expr] = {}
    known: dict[Tensor, Expr] = {}
    rules: tuple[tuple[dict[Tensor, Expr], Callable[[Expr], Expr], str], ...] = (
        (read.values, distribute, "write {} by its normalised value"),
        (read.zeros, expanded, "the normalised values sum to zero"),
        (known, distribute, "substitute the gradients of the statistics"),
    )
    log: list[Rewriting] = []
    for step in chain.steps:
        expr = step.expr
        for rule, tidy, reason in rules:
            put = {a: value for a, value in rule.items() if expr.has(a)}
            if put:
                expr = tidy(expr.xreplace(put))
                names = ", ".join(name_of(a) for a in put if not isinstance(a, Total))
                log.append(Rewriting(step.target, expr, reason.format(names)))
        values[step.target] = distribute(expr)
        if step.target not in kept:
            known[step.target] = values[step.target]
    return {target: values[target] for target in wanted}, log


def _wanted(forward: Program, chain: Program) -> tuple[Tensor, ...]:
    """What stays in the closed form by its name: the outputs, in order of the flow.

    In second order also the gradients with respect to first gradients, ``d2dgamma``: they say
    how those move, and stand in several places.
    """
    names = {*chain.outputs, *map(forward.gradient, forward.first)}
    return tuple(target for target in chain.targets if target in names)


def _products(chain: Program, given: tuple[Tensor, ...], wanted: tuple[Tensor, ...]) -> list[Step]:
    """``dxhat = gamma*dy``: a product of upstream, without sums, that may be worth its name."""
    return [
        step
        for step in chain.steps
        if isinstance(step.expr, Mul)
        and not step.expr.has(Total)
        and step.target not in wanted
        and set(given) & set(operands(step.expr))
    ]


def _without_products(
    gradients: dict[Tensor, Expr], products: list[Step], given: tuple[Tensor, ...]
) -> tuple[dict[Tensor, Expr], list[Step], list[Rewriting]]:
    """Products put back where they stand, but for those that a sum holds together.

    Over the batch, gamma leaves the sum and ``sum(gamma*dy)`` is ``gamma*dbeta``; over the
    features it cannot, and ``dxhat`` keeps its name.
    """
    kept: list[Step] = []
    log: list[Rewriting] = []
    for product in products:
        readers = [target for target, e in gradients.items() if e.has(product.target)]
        if any(_holds(gradients[target], product, given) for target in readers):
            kept.append(product)
            continue
        for target in readers:
            gradients[target] = distribute(
                gradients[target].xreplace({product.target: product.expr})
            )
            reason = f"put {name_of(product.target)} back"
            log.append(Rewriting(target, gradients[target], reason))
    return gradients, kept, log


def _holds(expr: Expr, product: Step, given: tuple[Tensor, ...]) -> bool:
    """Whether a factor beside the upstream gradient could not leave a sum of the product."""
    beside = [f for f in Mul.make_args(product.expr) if not set(given) & set(operands(f))]
    sums = [node for node in expr.atoms(Total) if node.has(product.target)]
    return any(carried(f) & set(node.over) for f in beside for node in sums)


def _changes(chain: Program, log: list[Rewriting]) -> tuple[Rewriting, ...]:
    """The lines that change something, each against the line before it of the same gradient."""
    last = {step.target: step.expr for step in chain.steps}
    changes = []
    for line in log:
        if line.expr != last[line.target]:
            changes.append(line)
        last[line.target] = line.expr
    return tuple(changes)


def _in_order(steps: list[Step]) -> tuple[Step, ...]:
    """Each step after those that it reads."""
    done: list[Step] = []
    while waiting := [step for step in steps if step not in done]:
        missing = {step.target for step in waiting}
        done += [step for step in waiting if not missing & set(operands(step.expr))]
    return tuple(done)


def _solved(forward: Program, step: Step, operand: Tensor) -> Expr | None:
    """``operand`` by the target of the step, or None where the step does not normalise it."""
    full = set(indices_of(step.target))
    if set(indices_of(operand)) != full or step.target in forward.outputs:
        return None
    at = Dummy(real=True)
    linear = expanded(step.expr.xreplace({operand: at}))
    slope = diff(linear, at)
    rest = expanded(linear - slope * at)
    if slope.has(at) or rest.has(at) or not (carried(slope) < full and carried(rest) < full):
        return None
    return expanded((step.target - rest) / slope) if _divides(forward, slope) else None


def _divides(forward: Program, slope: Expr) -> bool:
    """Whether a slope is one over something computed: then it cannot vanish."""
    divisor, below = fraction(1 / slope)
    return not operands(below) and not set(operands(divisor)).isdisjoint(forward.targets)


def _zeros(forward: Program, target: Tensor, operand: Tensor, value: Expr) -> dict[Expr, Expr]:
    """``sum(xhat) = 0`` where ``mean(mu + sd*xhat)`` has to be ``mu``, the mean of ``x``."""
    zeros: dict[Expr, Expr] = {}
    for step in forward.steps:
        if isinstance(step.expr, Mean) and step.expr.body == operand:
            over = step.expr.over
            vanishing = {Total(target, *over): S.Zero}
            if distribute(Mean(value, *over)).xreplace(vanishing) == step.target:
                zeros |= vanishing
    return zeros
