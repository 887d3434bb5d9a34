"""The third witness: derivatives of a pass by its values alone, of the forward pass or, in second
order, of a backward pass.

Complex step (Squire and Trapp 1998) where the code allows it: no cancellation, so the step can
be tiny and the result good to a few ULPs. Otherwise central differences of sixth order, with an
estimate of their own error. Entries that cannot meet in one output are moved together: the
features of batch norm share no statistic, so m forward passes serve for the whole of dx.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bncheck.algebra.notation import Tensor, indices_of, name_of
from bncheck.calculus.derivation import Derivation
from bncheck.numbers.agreement import largest, within

Array = NDArray[Any]

Pass = Callable[[Sequence[Mapping[str, Any]]], Sequence[Mapping[str, Array]]]
"""Several inputs at once in, their outputs out, all by the program's names and axes."""

STEP = 1e-150
WEIGHTS = {1: 3 / 4, 2: -3 / 20, 3: 1 / 60}
"""Central differences of sixth order (Fornberg 1988, table 1)."""

ROUNDOFF = float(np.finfo(np.float64).eps)


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


def measure(
    moved: Pass,
    found: Derivation,
    values: Mapping[str, Any],
    together: bool = True,
    roundoff: float = ROUNDOFF,
) -> Differences:
    """The gradients of ``sum(dy*y)`` at ``values``, in second order of ``sum(ddx*dx) +
    sum(ddgamma*dgamma) + ...``, by differences of ``moved`` alone: forward or backward pass.

    ``together``: move entries that share no output at once, which is right where the forward
    pass is known to be the layer's and has one output; else every entry by itself.
    ``roundoff``: of the arithmetic of the pass, twice its unit. Raises ``KeyError`` where an
    output is not among the results.
    """
    program = found.forward
    given = {name_of(out): np.asarray(values[name_of(program.upstream(out))])
             for out in program.outputs}  # fmt: skip
    single = len(given) == 1
    upstream = next(iter(given.values())) if single else _joined(given, given)

    def outputs(many: Sequence[Mapping[str, Any]]) -> list[Array]:
        made = moved(many)
        return [one[next(iter(given))] if single else _joined(one, given) for one in made]

    apart = together and single and found.order == 1
    plans = {name_of(a): _moves(found, a, values, upstream.ndim, apart) for a in found.wrt}
    takes_complex = roundoff == ROUNDOFF and _takes_complex_step(outputs, values, plans)
    central = partial(_central, roundoff=roundoff)
    way, method = (_complex, "complex step") if takes_complex else (central, "central differences")
    gradients, error = {}, {}
    for a in found.wrt:
        of, shape = name_of(program.gradient(a)), np.shape(values[name_of(a)])
        moves = plans[name_of(a)]
        slopes, spreads = way(outputs, values, name_of(a), moves)
        gradients[of] = _gathered(moves, slopes, upstream, shape)
        error[of] = _gathered(moves, spreads, abs(upstream), shape)
    return Differences(gradients, error, method)


Outputs = Callable[[Sequence[Mapping[str, Any]]], list[Array]]
"""The same with one array for each input: the only output, or all entries of all of them."""


def _joined(arrays: Mapping[str, Array], names: Mapping[str, Array]) -> Array:
    return np.concatenate([np.ravel(arrays[name]) for name in names])


@dataclass(frozen=True)
class Move:
    """Which entries move together, and the axes of the output over which each is summed."""

    where: tuple[Any, ...]
    summed: tuple[int, ...]


def _moves(
    found: Derivation, a: Tensor, values: Mapping[str, Any], axes: int, together: bool
) -> list[Move]:
    """Together move the entries along an axis that everything computed from ``a`` keeps."""
    kept = set(indices_of(a)) if together else set()
    for target in found.forward.moved((a,)):
        kept &= set(indices_of(target))
    rows = indices_of(found.forward.outputs[0]) if together else ()
    summed = tuple(k for k in range(axes) if not (together and rows[k] in kept))
    free = [k for k, index in enumerate(indices_of(a)) if index in kept]
    lengths = [1 if k in free else n for k, n in enumerate(np.shape(values[name_of(a)]))]
    return [
        Move(tuple(slice(None) if k in free else at for k, at in enumerate(place)), summed)
        for place in np.ndindex(*lengths)
    ]


def _gathered(
    moves: list[Move], slopes: list[Array], upstream: Array, shape: tuple[int, ...]
) -> Array:
    gradient = np.empty(shape)
    for move, slope in zip(moves, slopes, strict=True):
        gradient[move.where] = (upstream * slope).sum(axis=move.summed)
    return gradient


def _takes_complex_step(
    outputs: Outputs, values: Mapping[str, Any], plans: Mapping[str, list[Move]]
) -> bool:
    """Whether the code carries an imaginary part through, checked against central differences.

    ``np.var`` and ``abs`` take complex numbers and drop their phase: the answer has to be right,
    not just complex.
    """
    for name, moves in plans.items():
        try:
            (slope,), _ = _complex(outputs, values, name, moves[:1])
        except Exception:
            return False
        (central,), (spread,) = _central(outputs, values, name, moves[:1])
        if not within(slope, central, 100 * spread):
            return False
    return True


def _complex(
    outputs: Outputs, values: Mapping[str, Any], name: str, moves: list[Move]
) -> tuple[list[Array], list[Array]]:
    made = outputs([_moved(values, name, move, 1j * STEP) for move in moves])
    if not all(np.iscomplexobj(y) for y in made):
        raise TypeError("the output is not complex")
    slopes = [np.imag(y) / STEP for y in made]
    return slopes, [16 * ROUNDOFF * abs(s).max(initial=0) + 0 * s for s in slopes]


def _central(
    outputs: Outputs,
    values: Mapping[str, Any],
    name: str,
    moves: list[Move],
    roundoff: float = ROUNDOFF,
) -> tuple[list[Array], list[Array]]:
    step = _step(np.asarray(values[name]), roundoff)
    steps = [sign * k * step for k in WEIGHTS for sign in (1, -1)]
    made = outputs([_moved(values, name, move, h) for move in moves for h in steps])
    slopes: list[Array] = []
    spreads: list[Array] = []
    for order in range(len(moves)):
        y = made[order * len(steps) : (order + 1) * len(steps)]
        pairs = {k: y[2 * (k - 1)] - y[2 * (k - 1) + 1] for k in WEIGHTS}
        slope = sum((WEIGHTS[k] * pairs[k] for k in WEIGHTS), np.zeros(())) / step
        fourth = (2 / 3 * pairs[1] - 1 / 12 * pairs[2]) / step
        noise = 8 * roundoff * abs(y[0]).max(initial=0) / step
        slopes.append(slope)
        spreads.append(abs(slope - fourth) + noise)
    return slopes, spreads


def _step(values: Array, roundoff: float) -> float:
    """Where truncation and rounding of a sixth-order difference meet: u^(1/7) of the scale."""
    spread = float(values.std()) if values.size > 1 else 0.0
    return roundoff ** (1 / 7) * 0.25 * (spread or largest(values) or 1.0)


def _moved(values: Mapping[str, Any], name: str, move: Move, by: complex) -> dict[str, Any]:
    given = np.asarray(values[name])
    shifted = given.astype(complex if isinstance(by, complex) else given.dtype)
    shifted[move.where] += by
    return {**values, name: shifted}
