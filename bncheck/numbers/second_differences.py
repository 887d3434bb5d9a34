"""The third witness of second order: derivatives of a backward pass by its values alone.

``S = sum(ddx*dx) + sum(ddgamma*dgamma) + ...`` of a backward pass; every entry of dy, x and gamma
is moved by itself.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bncheck.algebra.notation import name_of
from bncheck.calculus.derivation import Derivation
from bncheck.numbers.arithmetic import Array
from bncheck.numbers.differences import Differences, Move, slopes_of

Backward = Callable[[Sequence[Mapping[str, Any]]], list[dict[str, Array]]]
"""Several inputs at once in, their gradients out, by the program's names and axes."""


def second_differences(
    backward: Backward, found: Derivation, values: Mapping[str, Any]
) -> Differences:
    """The gradients of S at ``values``, by differences of ``backward`` alone.

    Raises ``KeyError`` where it gives no gradient that a direction is for.
    """
    given = {name_of(a): np.asarray(values[name_of(a)]) for a in found.upstream}

    def products(many: Sequence[Mapping[str, Any]]) -> list[Array]:
        """All products that S is the sum of."""
        made = backward(many)
        return [np.concatenate([(g * one[n[1:]]).ravel() for n, g in given.items()])
                for one in made]  # fmt: skip

    plans = {name_of(a): _moves(values[name_of(a)]) for a in found.wrt}
    parts, method = slopes_of(products, values, plans)
    gradients, error = {}, {}
    for a in found.wrt:
        slopes, spreads = parts[name_of(a)]
        name, shape = name_of(found.forward.gradient(a)), np.shape(values[name_of(a)])
        gradients[name] = np.array([s.sum() for s in slopes]).reshape(shape)
        error[name] = np.array([s.sum() for s in spreads]).reshape(shape)
    return Differences(gradients, error, method)


def _moves(values: Any) -> list[Move]:
    return [Move(place, ()) for place in np.ndindex(*np.shape(values))]
