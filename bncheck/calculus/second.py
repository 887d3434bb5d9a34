"""Second order: the same sweep and the same closing, over a forward pass and its backward pass.

For directions ``ddx``, ``ddgamma``, ... the number ``S = sum(ddx*dx) + sum(ddgamma*dgamma) + ...``
is the derivative of the loss along them. Its gradients with respect to ``x``, ``gamma`` and
``dy`` are the double backward: ``d2x``, ``d2gamma`` and ``ddy``; the last is how ``y`` moves.
Where the loss bends too, its own second derivative along ``ddy`` is one more upstream gradient,
``d2y``, and ``d2x``, ``d2gamma``, ``d2beta`` are the loss's Hessian times the direction.
"""

from dataclasses import replace
from typing import Any

from bncheck.algebra.notation import Tensor, gradient, size
from bncheck.algebra.program import Program
from bncheck.calculus.chain import backward
from bncheck.calculus.closed import close
from bncheck.calculus.derivation import (
    Derivation,
    normalised,
    small_sizes,
    specialised,
    witness,
)
from bncheck.errors import CannotAsk


def double_backward(first: Derivation, batch_size: int | None = None) -> Derivation:
    """Derive the gradients of a closed backward pass, for every batch size or for one.

    They are with respect to the inputs of ``first`` and the upstream gradient; those on which
    no gradient depends (``beta``) are left out, for their gradient is 0. Checked by the exact
    witness in one group of values. Raises ``CannotAsk`` where no gradient depends on any.
    """
    return _derived(first, with_backward(first, ()), batch_size)


def hessian(first: Derivation, batch_size: int | None = None) -> Derivation:
    """Derive the Hessian of the loss times a direction, ``d2y`` given; checked likewise."""
    return _derived(first, with_backward(first, first.forward.outputs), batch_size)


def with_backward(first: Derivation, more: tuple[Tensor, ...]) -> Program:
    """The forward pass and the closed backward pass behind it, as one program.

    ``more``: outputs besides the gradients: those of the forward pass, for a loss that bends.
    """
    forward, closed = first.forward, first.closed
    needed = forward.behind({*closed.inputs, *more})
    steps = (*(s for s in forward.steps if s.target in needed), *closed.steps)
    gradients = set(map(gradient, (*forward.inputs, *forward.targets)))
    given = () if more else first.upstream
    program = Program(
        name=f"{forward.name} second order",
        title=f"{forward.title}, second order" if forward.title else "",
        axes=forward.axes,
        joined=forward.joined,
        inputs=(*forward.inputs, *first.upstream),
        steps=steps,
        outputs=(*closed.outputs, *more),
        first=tuple(a for a in (*first.upstream, *closed.targets) if a in gradients),
    )
    reached = program.behind(program.outputs)
    return replace(program, wrt=tuple(a for a in (*first.wrt, *given) if a in reached))


def _derived(first: Derivation, program: Program, batch_size: int | None) -> Derivation:
    if first.mode != "reverse" or first.origin:
        raise CannotAsk(f"{first.forward.name}: second order starts from a first-order derivation")
    chain = backward(program)
    found = Derivation(program, chain, close(program, chain), origin=first)
    witness(found, most=1, sizes=_one_group(program))
    return found if batch_size is None else specialised(found, batch_size)


def _one_group(program: Program) -> dict[Any, int]:
    """The small sizes, with 1 along what is not normalised: second derivatives take their time."""
    along = {size(i) for i in normalised(program)}
    return {
        n: number if n in along or not along else 1 for n, number in small_sizes(program).items()
    }
