"""The closed form: the chain-rule backward program, written in what the forward pass names.

The closing rule is the forward pass read from right to left. Each rewriting is exact for every
batch size and is kept for the reader: ``x`` is written by its normalised value
(``x = mu + sd*xhat``); sums are taken term by term, and what does not carry the index goes
outside; ``mean(xhat) = 0`` follows from ``mean(x) = mu``; the gradients of the statistics are
substituted; what all terms share is pulled out; the sums that are left get a name.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import reduce

from sympy import Add, Dummy, Expr, Mul, Pow, Symbol, diff

from bncheck.algebra.notation import (
    Mean,
    Tensor,
    Total,
    carried,
    count,
    distribute,
    expanded,
    indices_of,
    name_of,
    operands,
    tensor,
)
from bncheck.algebra.program import Program, Step
from bncheck.calculus.chain import cache


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
    log: list[Rewriting] = []
    opaque = _opaque_counts(forward)
    closed = {t: e for t, e in _substituted(forward, chain, opaque, log) if t in chain.outputs}
    closed, kept = _without_products(chain, closed, log)
    sums = _named_sums(forward, closed)
    names = sums | {e: out for out, e in closed.items() if isinstance(e, Total)}
    closed = {
        out: e if isinstance(e, Total) else factored(e.xreplace(names)) for out, e in closed.items()
    }
    back = {dummy: number for number, dummy in opaque.items()}
    steps = _in_order(
        [
            *kept,
            *(Step(t, e, "a sum that is used more than once") for e, t in sums.items()),
            *(Step(out, e.xreplace(back)) for out, e in closed.items()),
        ]
    )
    for step in steps:
        _record(log, step.target, step.expr, "pull out what all terms share, name the sums")
    program = replace(
        chain,
        name=f"{forward.name} closed",
        title=f"{forward.title}, backward in closed form",
        inputs=cache(forward, steps),
        steps=steps,
    )
    return Closing(program, tuple(replace(r, expr=r.expr.xreplace(back)) for r in log))


def terms(step: Step) -> tuple[Expr, ...]:
    """The terms of a closed gradient: the direct, the mean and the variance path of dx, say."""
    return tuple(Add.make_args(expanded(step.expr)))


def factored(expr: Expr) -> Expr:
    """``gamma/sd * (dy - ...)``: the product that all terms share, outside; exact, no search."""
    parts = Add.make_args(expr)
    if len(parts) < 2:
        return expr
    powers = [
        {base: e for base, e in part.as_powers_dict().items() if carried(base) or operands(base)}
        for part in parts
    ]
    shared = Mul(*(Pow(base, e) for base, e in reduce(_least, powers).items()))
    rest = Add(*(part / shared for part in parts))
    return Mul(shared, rest, evaluate=False) if shared != 1 else rest


def _substituted(
    forward: Program, chain: Program, opaque: dict[Expr, Expr], log: list[Rewriting]
) -> Iterable[tuple[Tensor, Expr]]:
    """Every gradient by the upstream gradient, the kept products and the forward's names."""
    backwards, facts = _read_backwards(forward)
    known: dict[Expr, Expr] = {}
    for step in chain.steps:
        expr = step.expr.xreplace(opaque)
        if backwards.keys() & set(operands(expr)):
            expr = distribute(expr.xreplace(backwards))
            solved = ", ".join(f"{name_of(a)} by its normalised value" for a in backwards)
            _record(log, step.target, expr, f"write {solved}")
        if any(expr.has(zero) for zero in facts):
            expr = expanded(expr.xreplace(facts))
            _record(log, step.target, expr, "the normalised values sum to zero")
        if known.keys() & set(operands(expr)):
            expr = distribute(expr.xreplace(known))
            _record(log, step.target, expr, "substitute the gradients of the statistics")
        if not _is_product(chain, step):
            known[step.target] = expr
        yield step.target, distribute(expr)


def _record(log: list[Rewriting], target: Tensor, expr: Expr, reason: str) -> None:
    last = next((r.expr for r in reversed(log) if r.target == target), None)
    if expr != last and not (last is None and "pull" in reason):
        log.append(Rewriting(target, expr, reason))


def _opaque_counts(forward: Program) -> dict[Expr, Expr]:
    """``m - 1`` as one symbol while sums are multiplied out, so that it stays whole."""
    found = {node for s in forward.steps for node in s.expr.atoms(Add) if not operands(node)}
    return {node: Dummy(str(node), positive=True, integer=True) for node in found}


def _read_backwards(forward: Program) -> tuple[dict[Tensor, Expr], dict[Expr, Expr]]:
    """Normalising steps solved for what they normalise, and the sums that vanish by them.

    Such a step is known by its form: linear in an operand of the same indices, with a slope and
    a rest of fewer indices that the forward pass computes. Where the operand's mean is the
    rest's name, ``mean(x) = mu`` and ``x = mu + sd*xhat`` give ``sum(xhat) = 0``.
    """
    backwards: dict[Tensor, Expr] = {}
    facts: dict[Expr, Expr] = {}
    for step in forward.steps:
        for operand in operands(step.expr):
            solved = _solved_for(forward, step, operand)
            if solved is None or operand in backwards:
                continue
            backwards[operand] = solved
            for mean in _means_of(forward, operand):
                rest = distribute(Total(solved, *mean.expr.over) / count(mean.expr.over))
                if (rest - mean.target).subs(Total(step.target, *mean.expr.over), 0) == 0:
                    facts[Total(step.target, *mean.expr.over)] = Add()
    return backwards, facts


def _solved_for(forward: Program, step: Step, operand: Tensor) -> Expr | None:
    full = set(indices_of(step.target))
    if set(indices_of(operand)) != full or not full or step.target in forward.outputs:
        return None
    at = Dummy(real=True)
    linear = expanded(step.expr.xreplace({operand: at}))
    slope = diff(linear, at)
    rest = expanded(linear - slope * at)
    if slope.has(at) or rest.has(at) or carried(slope) >= full or carried(rest) >= full:
        return None
    if not operands(slope) or not set(operands(slope)) <= set(forward.targets):
        return None
    return expanded((step.target - rest) / slope)


def _means_of(forward: Program, operand: Tensor) -> list[Step]:
    return [s for s in forward.steps if isinstance(s.expr, Mean) and s.expr.body == operand]


def _is_product(chain: Program, step: Step) -> bool:
    """``dxhat = gamma*dy``: a product without sums, which may be worth keeping by name."""
    return (
        isinstance(step.expr, Mul)
        and not step.expr.has(Total)
        and step.target not in chain.outputs
        and _upstream(chain, step.expr) is not None
    )


def _upstream(chain: Program, expr: Expr) -> Tensor | None:
    """The upstream gradient in a product."""
    return next((a for a in operands(expr) if a == chain.inputs[0]), None)


def _without_products(
    chain: Program, closed: dict[Tensor, Expr], log: list[Rewriting]
) -> tuple[dict[Tensor, Expr], list[Step]]:
    """Products such as ``gamma*dy`` put back, but for those that a sum holds together.

    Over the batch, gamma leaves the sum and ``sum(gamma*dy)`` is ``gamma*dbeta``; over the
    features it cannot, and ``dxhat`` keeps its name.
    """
    kept = []
    for step in (s for s in chain.steps if _is_product(chain, s)):
        put = {step.target: step.expr}
        bound = {i for e in closed.values() for t in e.atoms(Total) if t.has(step.target)
                 for i in t.over}  # fmt: skip
        held = [f for f in Mul.make_args(step.expr) if not f.has(_upstream(chain, step.expr))]
        if any(carried(f) & bound for f in held):
            kept.append(Step(step.target, step.expr, step.note))
            continue
        for out, expr in closed.items():
            if expr.has(step.target):
                closed[out] = distribute(expr.xreplace(put))
                _record(log, out, closed[out], f"put {name_of(step.target)} back")
    return closed, kept


def _named_sums(forward: Program, closed: dict[Tensor, Expr]) -> dict[Expr, Tensor]:
    """A name for each sum inside a gradient that is not a gradient itself."""
    gradients = {e for e in closed.values() if isinstance(e, Total)}
    found = {t for e in closed.values() if e not in gradients for t in e.atoms(Total)}
    return {t: _sum_name(forward, t) for t in sorted(found - gradients, key=str)}


def _sum_name(forward: Program, node: Total) -> Tensor:
    name = "sum_" + "_".join(name_of(a) for a in operands(node.body))
    indices = tuple(i for i in forward.axes if i in carried(node))
    return tensor(name)[indices] if indices else Symbol(name, real=True)


def _least(a: dict[Expr, Expr], b: dict[Expr, Expr]) -> dict[Expr, Expr]:
    both = {x for x in a.keys() & b.keys() if a[x] * b[x] > 0}
    return {x: min(a[x], b[x], key=abs) for x in both}


def _in_order(steps: list[Step]) -> tuple[Step, ...]:
    """Each step after those that it reads."""
    targets = {s.target for s in steps}
    done: list[Step] = []
    while len(done) < len(steps):
        missing = targets - {s.target for s in done}
        done += [s for s in steps if s.target in missing and not missing & set(operands(s.expr))]
    return tuple(done)
