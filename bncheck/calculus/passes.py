"""The passes in order: forward, chain rule, closed form, each checked by the exact witness.

Second order is the same sweep and the same closing, over a forward pass with its closed backward
pass behind it. For directions ``ddx``, ``ddgamma``, ... the number ``S = sum(ddx*dx) +
sum(ddgamma*dgamma) + ...`` is the derivative of the loss along them. Its gradients with respect to
``x``, ``gamma`` and ``dy`` are the double backward: ``d2x``, ``d2gamma`` and ``ddy``; the last is
how ``y`` moves. Where the loss bends too, its own second derivative along ``ddy`` is one more
upstream gradient, ``d2y``, and ``d2x``, ``d2gamma``, ``d2beta`` are the loss's Hessian times the
direction.
"""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from sympy import Add, Expr, Integer, nan, zoo

from bncheck.algebra.notation import Tensor, gradient, indices_of, name_of, size, tangent
from bncheck.algebra.program import Program
from bncheck.calculus.chain import backward, tangent_program
from bncheck.calculus.closed import close
from bncheck.calculus.derivation import Derivation, normalised
from bncheck.calculus.interpret import Numbers, Place, evaluate, places, value_at
from bncheck.calculus.unroll import (
    exactly_equal,
    gradients,
    in_digits,
    sample,
    second_derivative,
    second_gradients,
    spread,
    tangents,
)
from bncheck.telling.errors import CannotAsk, Disagreement


def derived(
    forward: Program,
    wrt: tuple[str, ...] = (),
    batch_size: int | None = None,
    order: int = 1,
    mode: str = "reverse",
    most: int = 3,
) -> Derivation:
    """The derivation asked for, checked against the exact witness.

    ``wrt``: names of the inputs whose gradients are wanted, or that move in ``mode`` ``"forward"``
    (the tangent of ``x`` is ``tx``); by default those of the program. ``batch_size``: the number
    of values along every normalised axis (m for batch norm, D for layer norm); by default all
    sizes stay symbols, and the result holds for each of them. ``most``: at how many places of each
    gradient the witness looks, 0 where a later one will; in ``order`` 2, at all together.
    Raises ``CannotAsk`` for what there is not, ``Disagreement`` where a pass is wrong.
    """
    if order not in (1, 2):
        raise CannotAsk(f"the order is {order}; it can be 1 or 2")
    if order == 2 and mode == "forward":
        raise CannotAsk("forward mode is of order 1; the Hessian-vector product is of order 2")
    if order == 2:  # the witness of the second order sees the first: ddy is the Jacobian's product
        found = double_backward(derived(forward, wrt, most=0), seen=bool(most))
    else:
        found = (_moving if mode == "forward" else _swept)(forward, chosen(forward, wrt))
        if most:
            witness(found, most)
    return found if batch_size is None else specialised(found, batch_size)


@cache
def derived_once(forward: Program, order: int = 1, seen: bool = False) -> Derivation:
    """``derived`` for every size, kept; by default unseen, where numbers will be its witness."""
    if order == 2:
        return double_backward(derived_once(forward), seen)
    return derived(forward, most=3 if seen else 0)


def modes(names: tuple[str, ...]) -> tuple[str, str | None]:
    """What ``mode`` says of the derivative, ``"reverse"`` or ``"forward"``, and of the layer.

    ``("forward", "evaluation")`` is the tangent in evaluation mode; None where nothing is said of
    the layer. Raises ``CannotAsk`` where too much is said.
    """
    given = [part for name in names for part in name.split(",")]
    derivative = [name for name in given if name in ("forward", "reverse")]
    layer = [name for name in given if name not in derivative]
    for several in (layer, derivative):
        if len(several) > 1:
            raise CannotAsk(f"mode is {' and '.join(several)}; it can be only one of them")
    return (derivative or ["reverse"])[0], layer[0] if layer else None


def _swept(forward: Program, wrt: tuple[Tensor, ...]) -> Derivation:
    chain = backward(forward, wrt)
    return Derivation(forward, chain, *close(forward, chain))


def _moving(forward: Program, wrt: tuple[Tensor, ...]) -> Derivation:
    """How the outputs move with the inputs."""
    moving = wrt or forward.wrt
    moving = moving or tuple(a for a in forward.inputs if a in forward.behind(forward.outputs))
    chain = tangent_program(forward, moving)
    closed = close(forward, chain, tuple(map(tangent, moving)))
    return Derivation(replace(forward, wrt=moving), chain, *closed, mode="forward")


def double_backward(
    first: Derivation, seen: bool = True, more: tuple[Tensor, ...] = ()
) -> Derivation:
    """Derive the gradients of a closed backward pass.

    They are with respect to the inputs of ``first`` and the upstream gradient; those on which
    no gradient depends (``beta``) are left out, for their gradient is 0. Checked by the exact
    witness in one group of values, unless ``seen`` is False. ``more``: see ``with_backward``.
    Raises ``CannotAsk`` where no gradient depends on any.
    """
    if first.mode != "reverse" or first.origin:
        raise CannotAsk(f"{first.forward.name}: second order starts from a first-order derivation")
    found = replace(_swept(with_backward(first, more), ()), origin=first)
    if seen:
        witness(found, most=1, sizes=_one_group(found.forward), together=True)
    return found


def hessian(first: Derivation) -> Derivation:
    """Derive the Hessian of the loss times a direction, ``d2y`` given; checked likewise."""
    return double_backward(first, more=first.forward.outputs)


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


def specialised(found: Derivation, batch_size: int) -> Derivation:
    """The same derivation with a number for the size of every normalised axis."""
    if batch_size < 1:
        raise CannotAsk(f"the batch size is {batch_size}; it has to be 1 or more")
    lengths = [size(i) for i in normalised(found.forward)]
    sizes = {n: batch_size for n in lengths if not n.is_number}
    made = found.specialised(sizes)
    programs = (made.forward, made.chain, made.closed)
    if any(s.expr.has(zoo, nan) for p in programs for s in p.steps):
        less = ", ".join(f"{n} - 1" for n in sizes)
        raise CannotAsk(
            f"{found.forward.name} with batch size {batch_size} divides by zero: "
            f"the variance over {less} needs at least two values"
        )
    return made


def chosen(forward: Program, names: tuple[str, ...]) -> tuple[Tensor, ...]:
    """Inputs by their names; raises ``CannotAsk`` for what is none."""
    there = {name_of(a): a for a in forward.inputs}
    for name in names:
        if name not in there:
            raise CannotAsk(
                f"{forward.name} has no input {name!r} to take a gradient of; "
                f"its inputs are {', '.join(there)}"
            )
    return tuple(there[name] for name in names)


def small_sizes(forward: Program) -> dict[Any, int]:
    """A number for every size that has none: 3 for the first axis of a mean, 2 for the others."""
    along = normalised(forward)
    sizes: dict[Any, int] = {}
    for axis in forward.axes:
        if not size(axis).is_number:
            sizes[size(axis)] = 3 if axis in along and 3 not in sizes.values() else 2
    return sizes


def _one_group(program: Program) -> dict[Any, int]:
    """The small sizes, with 1 along what is not normalised: second derivatives take their time."""
    along = {size(i) for i in normalised(program)}
    return {
        n: number if n in along or not along else 1 for n, number in small_sizes(program).items()
    }


@dataclass(frozen=True)
class OnNumbers:
    """A derivation at known sizes, on exact numbers on which no mistake hides.

    ``given``: inputs and upstream gradients; ``forward``: these and the values of the forward
    pass; ``chain``, ``closed``: the values of the two programs.
    """

    found: Derivation
    sizes: dict[Any, Integer]
    given: dict[str, Any]
    forward: Numbers
    chain: Numbers
    closed: Numbers

    @property
    def everything(self) -> Numbers:
        """All values by name; where two programs give one, the chain rule's."""
        return {**self.forward, **self.closed, **self.chain}


def on_numbers(found: Derivation, sizes: dict[Any, int] | None = None) -> OnNumbers:
    """The programs of a derivation worked out at ``sizes``, or the smallest that hide nothing.

    Raises ``CannotAsk`` where the layer is not defined there.
    """
    whole = {s: Integer(n) for s, n in (sizes or small_sizes(found.forward)).items()}
    small = found.specialised(whole)
    values = in_digits(small.forward, sample(small.forward, *small.upstream))
    known = evaluate(small.forward, values)
    if any(number.has(zoo, nan) for numbers in known.values() for number in numbers.values()):
        raise CannotAsk(f"{found.forward.name} is not defined at numbers as plain as {values}")
    known |= {name: values[name] for name in map(name_of, small.upstream)}
    chain, closed = (evaluate(program, known) for program in (small.chain, small.closed))
    return OnNumbers(small, whole, values, known, chain, closed)


def witness(
    found: Derivation,
    most: int | None = None,
    sizes: dict[Any, int] | None = None,
    together: bool = False,
) -> None:
    """Raise ``Disagreement`` unless chain, closed form and plain ``sympy.diff`` agree exactly.

    On exact rationals, at ``sizes`` or the smallest that hide nothing (3 where a mean runs), at
    ``most`` places of each gradient, or at all. The lines of the closing are held against the
    chain. ``together``, in second order: all gradients at once, one place of each, by the sum
    of their products with one direction, so that ``sympy.diff`` is asked only once.
    """
    at = on_numbers(found, sizes)
    small, known = at.found, at.everything
    towards = _towards(small.forward) if together else {}
    for name, numbers in _truth(at, towards, most).items():
        for program, got in ((found.chain, at.chain), (found.closed, at.closed)):
            entries = got.get(name) or _product(small.forward, got, towards)
            by = "sympy.diff of the forward pass"
            _agree(f"{program.name}: {name}", entries, numbers, by)
    for line in small.rewritings:
        name, numbers = name_of(line.target), at.chain[name_of(line.target)]
        for place in spread(list(numbers), most):
            spot = dict(zip(indices_of(line.target), place, strict=True))
            here = {place: value_at(line.expr, known, spot)}
            what = f"{found.closed.name}: {name}, {line.reason},"
            _agree(what, here, {place: numbers[place]}, "the chain rule")


def _truth(at: OnNumbers, towards: Numbers, most: int | None) -> Numbers:
    """What is derived, by plain ``sympy.diff`` of the forward pass alone."""
    small = at.found
    if towards:
        return {"all gradients": {(): second_derivative(small.layer, at.given, towards)}}
    if small.origin:
        return second_gradients(small.layer, at.given, small.wrt, most)
    if small.mode == "forward":
        return tangents(small.layer, at.given, most)
    return gradients(small.layer, at.given, small.wrt, most)


def _towards(small: Program) -> Numbers:
    """A direction: the last place of every input moves, the others rest."""
    return {
        name_of(a): {list(places(indices_of(a)))[-1]: Integer(order)}
        for order, a in enumerate(small.wrt, 2)
    }


def _product(small: Program, got: Numbers, towards: Numbers) -> dict[Place, Expr]:
    """The sum of the gradients' products with a direction."""
    products = (
        number * got[name_of(small.gradient(a))][at]
        for a in small.wrt
        for at, number in towards[name_of(a)].items()
    )
    return {(): Add(*products)}


def _agree(what: str, got: dict[Place, Expr], wanted: dict[Place, Expr], source: str) -> None:
    for at, value in wanted.items():
        if not exactly_equal(got[at], value):
            raise Disagreement(
                f"{what} at {list(at)} is {got[at]}, but {source} gives {value}. This is a defect "
                "of bncheck or of the layer's program; please report it."
            )
