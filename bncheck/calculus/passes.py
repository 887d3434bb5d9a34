"""The passes in order: forward, chain rule, closed form, each checked by the exact witness."""

from dataclasses import replace
from typing import Any

from sympy import Add, Expr, Integer, nan, zoo

from bncheck.algebra.notation import Tensor, indices_of, name_of, size
from bncheck.algebra.program import Program
from bncheck.calculus.chain import backward
from bncheck.calculus.closed import close
from bncheck.calculus.derivation import Closing, Derivation, Rewriting, normalised
from bncheck.calculus.unroll import (
    evaluate,
    exactly_equal,
    gradients,
    in_digits,
    places,
    sample,
    second_derivative,
    second_gradients,
    spread,
    tangents,
    value_at,
)
from bncheck.telling.errors import CannotAsk, Disagreement

Entries = dict[tuple[int, ...], Expr]


def derivation(
    forward: Program, wrt: tuple[str, ...] = (), batch_size: int | None = None, most: int = 3
) -> Derivation:
    """Derive the backward pass of a program and check it against the exact witness.

    ``wrt``: names of the inputs whose gradients are wanted, by default those of the program.
    ``batch_size``: the number of values along every normalised axis (m for batch norm, D for
    layer norm); by default all sizes stay symbols, and the result holds for each of them.
    ``most``: at how many places of each gradient the witness looks; 0 where a later one will.
    Raises ``CannotAsk`` for unknown names and sizes, ``Disagreement`` where a pass is wrong.
    """
    chain = backward(forward, chosen(forward, wrt))
    found = Derivation(forward, chain, close(forward, chain))
    if most:
        witness(found, most)
    return found if batch_size is None else specialised(found, batch_size)


def specialised(found: Derivation, batch_size: int) -> Derivation:
    """The same derivation with a number for the size of every normalised axis."""
    if batch_size < 1:
        raise CannotAsk(f"the batch size is {batch_size}; it has to be 1 or more")
    lengths = [size(i) for i in normalised(found.forward)]
    sizes = {n: Integer(batch_size) for n in lengths if not n.is_number}
    programs = [p.specialised(sizes) for p in (found.forward, found.chain, found.closed)]
    if any(s.expr.has(zoo, nan) for p in programs for s in p.steps):
        less = ", ".join(f"{n} - 1" for n in sizes)
        raise CannotAsk(
            f"{found.forward.name} with batch size {batch_size} divides by zero: "
            f"the variance over {less} needs at least two values"
        )
    lines = tuple(_with_sizes(line, sizes) for line in found.rewritings)
    return replace(
        found,
        forward=programs[0],
        chain=programs[1],
        closing=Closing(programs[2], lines),
        origin=found.origin and specialised(found.origin, batch_size),
    )


def chosen(forward: Program, names: tuple[str, ...]) -> tuple[Tensor, ...]:
    """Inputs by their names; raises ``CannotAsk`` for what is none."""
    return tuple(_input(forward, name) for name in names)


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
    sizes = {s: Integer(n) for s, n in (sizes or small_sizes(found.forward)).items()}
    small = found.forward.specialised(sizes)
    values = in_digits(small, sample(small, *(u.xreplace(sizes) for u in found.upstream)))
    known = evaluate(small, values) | {name: values[name] for name in map(name_of, found.upstream)}
    if any(number.has(zoo, nan) for name in small.tensors for number in known[name].values()):
        raise CannotAsk(f"{small.name} is not defined at numbers as plain as {values}")
    chain = evaluate(found.chain.specialised(sizes), known)
    closed = evaluate(found.closed.specialised(sizes), known)
    towards = _towards(small) if together else {}
    truth = _truth(found, sizes, values, towards, most)
    for name, numbers in truth.items():
        by = "sympy.diff of the forward pass"
        for program, got in ((found.chain, chain), (found.closed, closed)):
            entries = got.get(name) or _product(small, got, towards)
            _agree(f"{program.name}: {name}", entries, numbers, by)
    everything, by = {**known, **closed, **chain}, "the chain rule"
    for line in (_with_sizes(line, sizes) for line in found.rewritings):
        name, numbers = name_of(line.target), chain[name_of(line.target)]
        for at in spread(list(numbers), most):
            place = dict(zip(indices_of(line.target), at, strict=True))
            here = {at: value_at(line.expr, everything, place)}
            _agree(f"{found.closed.name}: {name}, {line.reason},", here, {at: numbers[at]}, by)


def _truth(
    found: Derivation,
    sizes: dict[Any, Any],
    values: dict[str, Any],
    towards: dict[str, Any],
    most: int | None,
) -> dict[str, Entries]:
    """What is derived, by plain ``sympy.diff`` of the forward pass alone."""
    wrt = tuple(a.xreplace(sizes) for a in found.wrt)
    if found.origin and towards:
        small = found.origin.forward.specialised(sizes)
        return {"all gradients": {(): second_derivative(small, values, towards)}}
    if found.origin:
        return second_gradients(found.origin.forward.specialised(sizes), values, wrt, most)
    small = found.forward.specialised(sizes)
    if found.mode == "forward":
        return tangents(small, values, most)
    return gradients(small, values, wrt, most)


def _towards(small: Program) -> dict[str, Entries]:
    """A direction: the last place of every input moves, the others rest."""
    return {
        name_of(a): {list(places(indices_of(a)))[-1]: Integer(order)}
        for order, a in enumerate(small.wrt, 2)
    }


def _product(small: Program, got: dict[str, Entries], towards: dict[str, Entries]) -> Entries:
    """The sum of the gradients' products with a direction."""
    products = (
        number * got[name_of(small.gradient(a))][at]
        for a in small.wrt
        for at, number in towards[name_of(a)].items()
    )
    return {(): Add(*products)}


def small_sizes(forward: Program) -> dict[Any, int]:
    """A number for every size that has none: 3 for the first axis of a mean, 2 for the others."""
    along = normalised(forward)
    sizes: dict[Any, int] = {}
    for axis in forward.axes:
        if not size(axis).is_number:
            sizes[size(axis)] = 3 if axis in along and 3 not in sizes.values() else 2
    return sizes


def _with_sizes(line: Rewriting, sizes: dict[Any, Any]) -> Rewriting:
    return Rewriting(line.target.xreplace(sizes), line.expr.xreplace(sizes), line.reason)


def _agree(what: str, got: Entries, wanted: Entries, source: str) -> None:
    for at, value in wanted.items():
        if not exactly_equal(got[at], value):
            raise Disagreement(
                f"{what} at {list(at)} is {got[at]}, but {source} gives {value}. This is a defect "
                "of bncheck or of the layer's program; please report it."
            )


def _input(forward: Program, name: str) -> Tensor:
    there = {name_of(a): a for a in forward.inputs}
    if name not in there:
        raise CannotAsk(
            f"{forward.name} has no input {name!r} to take a gradient of; "
            f"its inputs are {', '.join(there)}"
        )
    return there[name]
