"""The third witness: derivatives of a forward pass by its values alone.

Complex step (Squire and Trapp 1998) where the code allows it: no cancellation, so the step can
be tiny and the result good to a few ULPs. Otherwise central differences of sixth order, with an
estimate of their own error. Entries that cannot meet in one output are moved together: the
features of batch norm share no statistic, so m forward passes serve for the whole of dx.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from sympy import KroneckerDelta, Mul

from bncheck.algebra.notation import indices_of, name_of
from bncheck.calculus.derivation import Derivation
from bncheck.calculus.jacobian import Jacobian, jacobian
from bncheck.numbers.agreement import within
from bncheck.numbers.arithmetic import Array

Forward = Callable[[Sequence[Mapping[str, Any]]], list[Array]]
"""Several inputs at once in, their outputs out, all by the program's axes."""

STEP = 1e-150
WEIGHTS = {1: 3 / 4, 2: -3 / 20, 3: 1 / 60}
"""Central differences of sixth order (Fornberg 1988, table 1)."""


@dataclass(frozen=True)
class Differences:
    """Gradients by differences, how far they may be off, and the method.

    ``of_reference``: the reference was moved, because somebody's own pass cannot be.
    """

    gradients: dict[str, Array]
    error: dict[str, Array]
    method: str
    of_reference: bool = False

    @property
    def witness(self) -> str:
        """What the report calls this witness."""
        return f"{self.method} of the reference" if self.of_reference else self.method


def differences(
    forward: Forward, found: Derivation, values: Mapping[str, Any], together: bool = True
) -> Differences:
    """The gradients of ``sum(dy*y)`` at ``values``, by differences of ``forward`` alone.

    ``together``: move entries that share no output at once, which is right where the forward
    pass is known to be the layer's; else every entry by itself.
    """
    upstream = np.asarray(values[name_of(found.upstream[0])])
    plans = {name_of(a): _moves(found, name_of(a), values, together) for a in found.wrt}
    parts, method = slopes_of(forward, values, plans)
    gradients, error = {}, {}
    for name, (slopes, spreads) in parts.items():
        shape = np.shape(values[name])
        gradients["d" + name] = _gathered(plans[name], slopes, upstream, shape)
        error["d" + name] = _gathered(plans[name], spreads, abs(upstream), shape)
    return Differences(gradients, error, method)


def slopes_of(
    forward: Forward, values: Mapping[str, Any], plans: Mapping[str, list["Move"]]
) -> tuple[dict[str, tuple[list[Array], list[Array]]], str]:
    """For each name the derivatives of the output along its moves and how far they may be off;
    and the method.
    """
    if _takes_complex_step(forward, values, plans):
        way, method = _complex, "complex step"
    else:
        way, method = _central, "central differences"
    return {name: way(forward, values, name, moves) for name, moves in plans.items()}, method


@dataclass(frozen=True)
class Move:
    """Which entries move together, and the axes of the output over which each is summed."""

    where: tuple[Any, ...]
    summed: tuple[int, ...]


def _moves(found: Derivation, name: str, values: Mapping[str, Any], together: bool) -> list[Move]:
    at = _entries(found, name)
    indices = indices_of(at.column)
    alone = {str(d.args[0]) for d in Mul.make_args(at.entry) if isinstance(d, KroneckerDelta)}
    homes = [str(i).removesuffix("1") for i in indices]
    free = [order for order, home in enumerate(homes) if home in alone and together]
    rows = [str(i) for i in indices_of(at.row)]
    kept = {homes[order] for order in free}
    summed = tuple(order for order, i in enumerate(rows) if i not in kept)
    lengths = [1 if o in free else n for o, n in enumerate(np.shape(values[name]))]
    return [
        Move(tuple(slice(None) if o in free else k for o, k in enumerate(place)), summed)
        for place in np.ndindex(*lengths)
    ]


@cache
def _entries(found: Derivation, name: str) -> Jacobian:
    return jacobian(found, name)


def _gathered(
    moves: list[Move], slopes: list[Array], upstream: Array, shape: tuple[int, ...]
) -> Array:
    gradient = np.empty(shape)
    for move, slope in zip(moves, slopes, strict=True):
        gradient[move.where] = (upstream * slope).sum(axis=move.summed)
    return gradient


def _takes_complex_step(
    forward: Forward, values: Mapping[str, Any], plans: Mapping[str, list[Move]]
) -> bool:
    """Whether the code carries an imaginary part through, checked against central differences.

    ``np.var`` and ``abs`` take complex numbers and drop their phase: the answer has to be right,
    not just complex.
    """
    for name, moves in plans.items():
        try:
            (slope,), _ = _complex(forward, values, name, moves[:1])
        except Exception:
            return False
        (central,), (spread,) = _central(forward, values, name, moves[:1])
        if not within(slope, central, 100 * spread):
            return False
    return True


def _complex(
    forward: Forward, values: Mapping[str, Any], name: str, moves: list[Move]
) -> tuple[list[Array], list[Array]]:
    outputs = forward([_moved(values, name, move, 1j * STEP) for move in moves])
    if not all(np.iscomplexobj(y) for y in outputs):
        raise TypeError("the output is not complex")
    slopes = [np.imag(y) / STEP for y in outputs]
    roundoff = float(np.finfo(np.float64).eps)
    return slopes, [16 * roundoff * abs(s).max(initial=0) + 0 * s for s in slopes]


def _central(
    forward: Forward, values: Mapping[str, Any], name: str, moves: list[Move]
) -> tuple[list[Array], list[Array]]:
    step = _step(np.asarray(values[name]))
    steps = [sign * k * step for k in WEIGHTS for sign in (1, -1)]
    outputs = forward([_moved(values, name, move, h) for move in moves for h in steps])
    slopes: list[Array] = []
    spreads: list[Array] = []
    for order in range(len(moves)):
        y = outputs[order * len(steps) : (order + 1) * len(steps)]
        pairs = {k: y[2 * (k - 1)] - y[2 * (k - 1) + 1] for k in WEIGHTS}
        slope = sum((WEIGHTS[k] * pairs[k] for k in WEIGHTS), np.zeros(())) / step
        fourth = (2 / 3 * pairs[1] - 1 / 12 * pairs[2]) / step
        noise = 8 * float(np.finfo(np.float64).eps) * abs(y[0]).max(initial=0) / step
        slopes.append(slope)
        spreads.append(abs(slope - fourth) + noise)
    return slopes, spreads


def _step(values: Array) -> float:
    """Where truncation and rounding of a sixth-order difference meet: u^(1/7) of the scale."""
    roundoff = float(np.finfo(np.float64).eps)
    spread = float(values.std()) if values.size > 1 else 0.0
    return roundoff ** (1 / 7) * 0.25 * (spread or float(abs(values).max(initial=0)) or 1.0)


def _moved(values: Mapping[str, Any], name: str, move: Move, by: complex) -> dict[str, Any]:
    given = np.asarray(values[name])
    shifted = given.astype(complex if isinstance(by, complex) else given.dtype)
    shifted[move.where] += by
    return {**values, name: shifted}
