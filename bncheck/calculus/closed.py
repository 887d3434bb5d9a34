"""The closed form: the chain-rule backward program, written in what the forward pass names.

The closing rule is the forward pass read from right to left. Each rewriting is exact for every
batch size and is kept for the reader: ``x`` is written by its normalised value
(``x = mu + sd*xhat``); sums are taken term by term, and what does not carry the index goes
outside; ``mean(xhat) = 0`` follows from ``mean(x) = mu``; the gradients of the statistics are
substituted; what all terms share is pulled out; the sums that are left get a name.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from sympy import Add, Expr, Mul

from bncheck.algebra.notation import (
    Tensor,
    Total,
    carried,
    distribute,
    expanded,
    gradient,
    name_of,
    operands,
)
from bncheck.algebra.program import Program, Step
from bncheck.calculus.chain import cache
from bncheck.calculus.factoring import factored, with_named_sums
from bncheck.calculus.inverse import inverse


@dataclass(frozen=True)
class Rewriting:
    """One line of the closing: the gradient after it, and what was done."""

    target: Tensor
    expr: Expr
    reason: str


@dataclass(frozen=True)
class Closing:
    """The closed program and the rewritings that led to it, in order."""

    program: Program
    rewritings: tuple[Rewriting, ...]


def close(forward: Program, chain: Program) -> Closing:
    """The closed form of ``chain``, the backward program of ``forward``."""
    products = _products(forward, chain)
    gradients, log = _substituted(forward, chain, products)
    gradients, kept, put_back = _without_products(forward, gradients, products)
    gradients, sums = with_named_sums(forward, gradients)
    closed = [
        Step(target, e if isinstance(e, Total) else factored(e)) for target, e in gradients.items()
    ]
    shared = "pull out what all terms share, name the sums"
    log = [*log, *put_back, *(Rewriting(s.target, s.expr, shared) for s in closed)]
    steps = _in_order([*kept, *sums, *closed])
    program = replace(
        chain,
        name=f"{forward.name} closed",
        title=f"{forward.title}, backward in closed form",
        inputs=cache(forward, steps),
        steps=steps,
    )
    return Closing(program, _changes(chain, log))


def terms(step: Step) -> tuple[Expr, ...]:
    """The terms of a closed gradient: the direct, the mean and the variance path of dx, say."""
    return tuple(Add.make_args(expanded(step.expr)))


def _substituted(
    forward: Program, chain: Program, products: list[Step]
) -> tuple[dict[Tensor, Expr], list[Rewriting]]:
    """Every gradient asked for, by the upstream gradient, the products and the forward's names."""
    read, kept = inverse(forward), [step.target for step in products]
    known: dict[Tensor, Expr] = {}
    rules: tuple[tuple[dict[Tensor, Expr], Callable[[Expr], Expr], str], ...] = (
        (read.values, distribute, "write {} by its normalised value"),
        (read.zeros, expanded, "the normalised values sum to zero"),
        (known, distribute, "substitute the gradients of the statistics"),
    )
    log: list[Rewriting] = []
    for step in chain.steps:
        expr = step.expr
        for values, tidy, reason in rules:
            put = {a: value for a, value in values.items() if expr.has(a)}
            if put:
                expr = tidy(expr.xreplace(put))
                names = ", ".join(name_of(a) for a in put if not isinstance(a, Total))
                log.append(Rewriting(step.target, expr, reason.format(names)))
        if step.target not in kept:
            known[step.target] = distribute(expr)
    return {out: known[out] for out in chain.targets if out in chain.outputs}, log


def _products(forward: Program, chain: Program) -> list[Step]:
    """``dxhat = gamma*dy``: a product of upstream, without sums, that may be worth its name."""
    upstream = set(map(gradient, forward.outputs))
    return [
        step
        for step in chain.steps
        if isinstance(step.expr, Mul)
        and not step.expr.has(Total)
        and step.target not in chain.outputs
        and upstream & set(operands(step.expr))
    ]


def _without_products(
    forward: Program, gradients: dict[Tensor, Expr], products: list[Step]
) -> tuple[dict[Tensor, Expr], list[Step], list[Rewriting]]:
    """Products put back where they stand, but for those that a sum holds together.

    Over the batch, gamma leaves the sum and ``sum(gamma*dy)`` is ``gamma*dbeta``; over the
    features it cannot, and ``dxhat`` keeps its name.
    """
    upstream = set(map(gradient, forward.outputs))
    kept: list[Step] = []
    log: list[Rewriting] = []
    for product in products:
        readers = [target for target, e in gradients.items() if e.has(product.target)]
        if any(_holds(gradients[target], product, upstream) for target in readers):
            kept.append(product)
            continue
        for target in readers:
            gradients[target] = distribute(
                gradients[target].xreplace({product.target: product.expr})
            )
            reason = f"put {name_of(product.target)} back"
            log.append(Rewriting(target, gradients[target], reason))
    return gradients, kept, log


def _holds(expr: Expr, product: Step, upstream: set[Tensor]) -> bool:
    """Whether a factor beside the upstream gradient could not leave a sum of the product."""
    beside = [f for f in Mul.make_args(product.expr) if not upstream & set(operands(f))]
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
