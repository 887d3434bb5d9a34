"""The Jacobian of one group in numbers, on a batch of small fractions, for a picture of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sympy import Expr, Float, Rational, S

from bncheck.algebra.notation import Tensor, indices_of, name_of, size
from bncheck.calculus.derivation import Derivation, normalised
from bncheck.calculus.interpret import evaluate, places
from bncheck.calculus.unroll import sample
from bncheck.writers.reading import group_size, has_sizes

LARGEST = 16
"""Rows of the largest Jacobian whose cells can still be told apart."""

EPS = Rational(1, 100)
"""Small beside the variance of the batch, as it is in use."""

Place = tuple[int, ...]


@dataclass(frozen=True)
class Sampled:
    """``rows[p][q]`` is d output / d operand at the places p and q of one group.

    ``places``: where p and q run, along the normalised axes only. ``given``: every input with
    its numbers.
    """

    output: Tensor
    operand: Tensor
    places: tuple[Place, ...]
    given: tuple[tuple[Tensor, tuple[Expr, ...]], ...]
    rows: tuple[tuple[float, ...], ...]


def sampled(found: Derivation) -> Sampled | None:
    """The numbers, one run of the closed backward pass for each row.

    None where there is no such picture: sizes are symbols or too large, the derivation is of
    second order or in forward mode, or the output has not the shape of the first input.
    """
    if found.origin or found.mode == "forward" or not has_sizes(found):
        return None
    output, operand = found.forward.outputs[0], found.wrt[0]
    if indices_of(output) != indices_of(operand) or not 1 < group_size(found) <= LARGEST:
        return None
    one = {size(i): S.One for i in found.forward.axes if not size(i).is_number}
    forward, along = found.forward.specialised(one), normalised(found.forward)
    values = sample(forward)
    values |= {"eps": EPS} if "eps" in values else {}
    upstream = {name_of(a): values[name_of(a)] for a in found.upstream}
    known = evaluate(forward, _rounded(values)) | upstream
    indices = tuple(i.xreplace(one) for i in indices_of(output))
    group = list(places(indices))
    rows = tuple(_row(found, one, known, group, at) for at in group)
    kept = [k for k, i in enumerate(indices_of(output)) if i in along]
    shown = tuple(tuple(at[k] for k in kept) for at in group)
    given = tuple((a, _numbers(values[name_of(a)])) for a in forward.inputs)
    return Sampled(output, operand, shown, given, rows)


def _numbers(given: Any) -> tuple[Expr, ...]:
    """The numbers of one input in order."""
    return tuple(given.values()) if isinstance(given, Mapping) else (given,)


def _row(
    found: Derivation, one: dict[Any, Any], known: dict[str, Any], group: list[Place], hot: Place
) -> tuple[float, ...]:
    """How the output at one place depends on the operand: its gradient, dy being 1 there."""
    first, *others = map(name_of, found.upstream)
    asked = {name: dict.fromkeys(known[name], S.Zero) for name in others}
    asked[first] = {at: S.One if at == hot else S.Zero for at in group}
    got = evaluate(found.closed.specialised(one), known | asked)
    gradient = got[name_of(found.forward.gradient(found.wrt[0]))]
    return tuple(float(gradient[at]) for at in group)


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    """The same with 17 digits, which is quicker than roots of fractions."""
    return {
        name: {at: Float(number, 17) for at, number in given.items()}
        if isinstance(given, Mapping)
        else Float(given, 17)
        for name, given in values.items()
    }
