"""What is derived, as data: a forward program with its backward passes, by chain and closed.

Who makes it is ``passes``; whoever only reads it needs nothing but this.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Literal

from sympy import Expr, Idx, Integer

from bncheck.algebra.notation import Tensor, indices_of, operands, tangent
from bncheck.algebra.program import Program


@dataclass(frozen=True)
class Rewriting:
    """One line of the closing: the gradient after it, and what was done."""

    target: Tensor
    expr: Expr
    reason: str


@dataclass(frozen=True)
class Derivation:
    """A forward program with its backward pass by the chain rule and in closed form.

    ``closed``: from the upstream gradient and the cache to the gradients; ``rewritings``: the lines
    that lead from the chain rule to it, in order. In ``mode`` ``"forward"`` chain and closed form
    carry tangents from the inputs to the outputs. In second order ``forward`` is a forward pass
    with its backward pass behind it, and ``origin`` the derivation that it comes from.
    """

    forward: Program
    chain: Program
    closed: Program
    rewritings: tuple[Rewriting, ...] = ()
    mode: Literal["reverse", "forward"] = "reverse"
    origin: "Derivation | None" = None

    def specialised(self, sizes: Mapping[Any, int]) -> "Derivation":
        """The same derivation with numbers for some sizes (``{m: 3}``); nothing is derived again.

        In programs, lines and ``origin`` alike.
        """
        put = {symbol: Integer(number) for symbol, number in sizes.items()}
        lines = tuple(
            Rewriting(line.target.xreplace(put), line.expr.xreplace(put), line.reason)
            for line in self.rewritings
        )
        return Derivation(
            self.forward.specialised(sizes),
            self.chain.specialised(sizes),
            self.closed.specialised(sizes),
            lines,
            self.mode,
            self.origin and self.origin.specialised(sizes),
        )

    @property
    def layer(self) -> Program:
        """The layer's forward pass, in second order without the backward pass behind it."""
        return self.origin.forward if self.origin else self.forward

    @property
    def order(self) -> int:
        """1, or 2 for the gradients of gradients."""
        return 2 if self.origin else 1

    @property
    def upstream(self) -> tuple[Tensor, ...]:
        """What is given: the upstream gradients, ``dy``; in forward mode the tangents, ``tx``."""
        if self.mode == "forward":
            return tuple(map(tangent, self.wrt))
        return tuple(map(self.forward.upstream, self.forward.outputs))

    @property
    def cached(self) -> tuple[Tensor, ...]:
        """What the closed backward pass needs of the forward pass."""
        return self.closed.inputs[len(self.upstream) :]

    @cached_property
    def wrt(self) -> tuple[Tensor, ...]:
        """The inputs whose gradients the derivation gives, or that move, in order."""
        if self.mode == "forward":
            return self.forward.wrt
        inputs = {self.forward.gradient(a): a for a in self.forward.inputs}
        return tuple(inputs[out] for out in self.chain.outputs)


@cache
def normalised(forward: Program) -> tuple[Idx, ...]:
    """The axes over which the values of one group lie: those that a statistic sums away."""
    first = next((a for a in forward.wrt if a not in forward.first), forward.inputs[0])
    kept, gradients = set(indices_of(first)), forward.moved(forward.first)
    for step in forward.steps:
        if step.target in gradients:
            continue
        if operands(step.expr) and set(indices_of(step.target)) < set(indices_of(first)):
            kept &= set(indices_of(step.target))
    return tuple(i for i in indices_of(first) if i not in kept)
