"""The forward pass read from right to left: normalising steps solved for what they normalise.

Such a step is known by its form, not by its name or place: linear in an operand of the same
indices, with a slope and a rest of fewer indices. ``xhat = (x - mu)/sd`` gives
``x = mu + sd*xhat``; and where ``mu`` is the mean of ``x``, ``sum(xhat) = 0``.
"""

from dataclasses import dataclass, field

from sympy import Dummy, Expr, Integer, diff, fraction

from bncheck.algebra.notation import (
    Mean,
    Tensor,
    Total,
    carried,
    distribute,
    expanded,
    indices_of,
    operands,
)
from bncheck.algebra.program import Program, Step


@dataclass(frozen=True)
class Inverse:
    """``values``: what is normalised, by the normalised; ``zeros``: the sums that vanish."""

    values: dict[Tensor, Expr] = field(default_factory=dict)
    zeros: dict[Expr, Expr] = field(default_factory=dict)


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
            vanishing = {Total(target, *over): Integer(0)}
            if distribute(Mean(value, *over)).xreplace(vanishing) == step.target:
                zeros |= vanishing
    return zeros
