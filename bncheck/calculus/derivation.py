"""The passes in order: forward, chain rule, closed form, each checked by the exact witness."""

from dataclasses import dataclass
from functools import cached_property

from sympy import Idx, nan, zoo

from bncheck.algebra.notation import Tensor, indices_of, name_of, operands, size
from bncheck.algebra.program import Program
from bncheck.calculus.chain import backward
from bncheck.calculus.closed import Closing, Rewriting, close
from bncheck.calculus.unroll import evaluate, exactly_equal, gradients, sample
from bncheck.errors import CannotAsk, Disagreement


@dataclass(frozen=True)
class Derivation:
    """A forward program with its backward pass by the chain rule and in closed form."""

    forward: Program
    chain: Program
    closing: Closing

    @property
    def closed(self) -> Program:
        """The closed form, a program from the upstream gradient and the cache to the gradients."""
        return self.closing.program

    @property
    def rewritings(self) -> tuple[Rewriting, ...]:
        """The lines that lead from the chain rule to the closed form."""
        return self.closing.rewritings

    @property
    def upstream(self) -> tuple[Tensor, ...]:
        """The upstream gradients, ``dy``."""
        return self.chain.inputs[: len(self.forward.outputs)]

    @property
    def cached(self) -> tuple[Tensor, ...]:
        """What the closed backward pass needs of the forward pass."""
        return self.closed.inputs[len(self.forward.outputs) :]

    @cached_property
    def wrt(self) -> tuple[Tensor, ...]:
        """The inputs whose gradients the derivation gives, in order."""
        return tuple(self.forward.tensors[name_of(out)[1:]] for out in self.chain.outputs)


def derivation(
    forward: Program, wrt: tuple[str, ...] = (), batch_size: int | None = None
) -> Derivation:
    """Derive the backward pass of a program and check it against the exact witness.

    ``wrt``: names of the inputs whose gradients are wanted, by default those of the program.
    ``batch_size``: the number of values along every normalised axis (m for batch norm, D for
    layer norm); by default all sizes stay symbols, and the result holds for each of them.
    Raises ``CannotAsk`` for unknown names and sizes, ``Disagreement`` where a pass is wrong.
    """
    chain = backward(forward, tuple(_input(forward, name) for name in wrt))
    found = Derivation(forward, chain, close(forward, chain))
    witness(found, most=3)
    return found if batch_size is None else specialised(found, batch_size)


def specialised(found: Derivation, batch_size: int) -> Derivation:
    """The same derivation with a number for the size of every normalised axis."""
    if batch_size < 1:
        raise CannotAsk(f"the batch size is {batch_size}; it has to be 1 or more")
    sizes = {size(i): batch_size for i in normalised(found.forward)}
    programs = [p.specialised(sizes) for p in (found.forward, found.chain, found.closed)]
    if any(s.expr.has(zoo, nan) for p in programs for s in p.steps):
        raise CannotAsk(
            f"{found.forward.name} with batch size {batch_size} divides by zero: "
            "the variance over m - 1 needs at least two values"
        )
    lines = tuple(
        Rewriting(r.target.xreplace(sizes), r.expr.xreplace(sizes), r.reason)
        for r in found.rewritings
    )
    return Derivation(programs[0], programs[1], Closing(programs[2], lines))


def normalised(forward: Program) -> tuple[Idx, ...]:
    """The axes over which the values of one group lie: those that a statistic sums away."""
    first = forward.wrt[0] if forward.wrt else forward.inputs[0]
    kept = set(indices_of(first))
    for step in forward.steps:
        if operands(step.expr) and set(indices_of(step.target)) < set(indices_of(first)):
            kept &= set(indices_of(step.target))
    return tuple(i for i in indices_of(first) if i not in kept)


def witness(found: Derivation, most: int | None = None) -> None:
    """Raise ``Disagreement`` unless chain, closed form and plain ``sympy.diff`` agree exactly.

    On exact rationals, at the smallest sizes that hide nothing (unequal, 3 where a mean runs),
    at ``most`` places of each gradient, or at all.
    """
    forward = found.forward
    sizes = _small_sizes(forward)
    small = forward.specialised(sizes)
    values = sample(small)
    wrt = tuple(a.xreplace(sizes) for a in found.wrt)
    truth = gradients(small, values, wrt, most)
    known = evaluate(small, values)
    for program in (found.chain, found.closed):
        inputs = {**known, **{name_of(u): values[name_of(u)] for u in found.upstream}}
        got = evaluate(program.specialised(sizes), inputs)
        for name, entries in truth.items():
            for at, value in entries.items():
                if not exactly_equal(got[name][at], value):
                    raise Disagreement(
                        f"{program.name}: {name} at {list(at)} is {got[name][at]}, but "
                        f"sympy.diff of the forward pass gives {value}. This is a defect of "
                        "bncheck or of the layer's program; please report it."
                    )


def _small_sizes(forward: Program) -> dict[object, int]:
    along = set(normalised(forward))
    sizes: dict[object, int] = {}
    for axis in forward.axes:
        if not size(axis).is_number:
            sizes[size(axis)] = 3 if axis in along and 3 not in sizes.values() else 2
    return sizes


def _input(forward: Program, name: str) -> Tensor:
    there = {name_of(a): a for a in forward.inputs}
    if name not in there:
        raise CannotAsk(
            f"{forward.name} has no input {name!r} to take a gradient of; "
            f"its inputs are {', '.join(there)}"
        )
    return there[name]
