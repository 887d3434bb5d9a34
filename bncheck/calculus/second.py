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
from bncheck.calculus.derivation import Derivation, normalised
from bncheck.calculus.passes import derivation, small_sizes, specialised, witness
from bncheck.calculus.tangent import forward_mode
from bncheck.telling.errors import CannotAsk


def derived(
    forward: Program,
    wrt: tuple[str, ...] = (),
    batch_size: int | None = None,
    order: int = 1,
    mode: str = "reverse",
) -> Derivation:
    """The derivation asked for: of ``order`` 1 or 2, in ``mode`` ``"reverse"`` or ``"forward"``.

    ``wrt`` and ``batch_size`` as for ``derivation``. Raises ``CannotAsk`` for what there is not.
    """
    if order not in (1, 2):
        raise CannotAsk(f"the order is {order}; it can be 1 or 2")
    if order == 2 and mode == "forward":
        raise CannotAsk("forward mode is of order 1; the Hessian-vector product is of order 2")
    if mode == "forward":
        return forward_mode(forward, wrt, batch_size)
    if order == 2:  # the witness of the second order sees the first: ddy is the Jacobian's product
        return double_backward(derivation(forward, wrt, most=0), batch_size)
    return derivation(forward, wrt, batch_size)


def modes(names: tuple[str, ...]) -> tuple[str, str | None]:
    """What ``mode`` says of the derivative, ``"reverse"`` or ``"forward"``, and of the layer.

    ``("forward", "evaluation")`` is the tangent in evaluation mode; None where nothing is said of
    the layer. Raises ``CannotAsk`` where too much is said.
    """
    given = tuple(part for name in names for part in name.split(","))
    layer = [name for name in given if name not in ("forward", "reverse")]
    derivative = [name for name in given if name not in layer]
    for several in (layer, derivative):
        if len(several) > 1:
            raise CannotAsk(f"mode is {' and '.join(several)}; it can be only one of them")
    return (derivative or ["reverse"])[0], layer[0] if layer else None


def double_backward(
    first: Derivation, batch_size: int | None = None, seen: bool = True
) -> Derivation:
    """Derive the gradients of a closed backward pass, for every batch size or for one.

    They are with respect to the inputs of ``first`` and the upstream gradient; those on which
    no gradient depends (``beta``) are left out, for their gradient is 0. Checked by the exact
    witness in one group of values, unless ``seen`` is False. Raises ``CannotAsk`` where no
    gradient depends on any.
    """
    return _derived(first, with_backward(first, ()), batch_size, seen)


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
    return replace(program, wrt=tuple(a for a in (*given, *first.wrt) if a in reached))


def _derived(
    first: Derivation, program: Program, batch_size: int | None, seen: bool = True
) -> Derivation:
    if first.mode != "reverse" or first.origin:
        raise CannotAsk(f"{first.forward.name}: second order starts from a first-order derivation")
    chain = backward(program)
    found = Derivation(program, chain, close(program, chain), origin=first)
    if seen:
        witness(found, most=1, sizes=_one_group(program), together=True)
    return found if batch_size is None else specialised(found, batch_size)


def _one_group(program: Program) -> dict[Any, int]:
    """The small sizes, with 1 along what is not normalised: second derivatives take their time."""
    along = {size(i) for i in normalised(program)}
    return {
        n: number if n in along or not along else 1 for n, number in small_sizes(program).items()
    }
