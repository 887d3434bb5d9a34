"""Where a gradient is off, as a picture of a few lines: one sign for each entry.

Only where some entries are off and others are not; what is off everywhere has its reason in the
terms, and a picture of it would say nothing.
"""

from collections.abc import Sequence

import numpy as np

from bncheck.algebra.notation import indices_of, size
from bncheck.calculus.derivation import Derivation
from bncheck.numbers.arithmetic import Array
from bncheck.numbers.observation import Observation
from bncheck.telling.report import Heat

ROWS, COLUMNS = 5, 24
"""The largest picture; of a larger array several entries share a sign, that of the worst."""


def heat(found: Derivation, seen: Sequence[Observation], gradient: str) -> Heat | None:
    """The first trial on which the gradient is right here and wrong there; None without one.

    Rather one with two values or more along each axis, where there is such a one.
    """
    partly = [s for s in seen if gradient in s.gradients and _is_partial(s, gradient)]
    if not partly:
        return None
    one = next((s for s in partly if min(s.gradients[gradient].shape) > 1), partly[0])
    apart, off = _relative(one, gradient), one.off(gradient)
    letters = [str(size(i)) for i in indices_of(found.closed.tensors[gradient])]
    names = [f"{n} = {k}" for n, k in zip(letters, apart.shape, strict=True)]
    down, across = _axes(off)
    others = tuple(k for k in range(apart.ndim) if k not in (down, across))
    cells = np.where(off, apart, 0.0).max(axis=others) if others else np.where(off, apart, 0.0)
    if down is None:
        rows, name = cells[np.newaxis, :], ""
    else:
        rows, name = (cells if down < across else cells.T), names[down]
    pooled = _pooled(_pooled(rows, ROWS).T, COLUMNS).T
    return Heat(gradient, name, names[across], tuple(tuple(map(float, row)) for row in pooled))


def _is_partial(one: Observation, gradient: str) -> bool:
    if one.gradients[gradient].shape != one.reference.gradients[gradient].shape:
        return False
    off = one.off(gradient)
    return bool(off.any() and not off.all())


def _relative(one: Observation, gradient: str) -> Array:
    """The error of each entry by the largest value of the right gradient."""
    right = np.asarray(one.reference.gradients[gradient], float)
    apart = abs(np.asarray(one.gradients[gradient], float) - right)
    largest = float(abs(right).max()) or 1.0
    return np.asarray(np.nan_to_num(apart / largest, nan=np.inf, posinf=np.inf))


def _axes(off: Array) -> tuple[int | None, int]:
    """The axes down and across: those along which most changes, the longer one across."""
    if off.ndim == 1:
        return None, 0

    def uneven(axis: int) -> float:
        others = tuple(k for k in range(off.ndim) if k != axis)
        return float(np.ptp(off.mean(axis=others)))

    first, second = sorted(range(off.ndim), key=uneven, reverse=True)[:2]
    down, across = sorted((first, second), key=lambda k: (off.shape[k], -k))
    return (first, second) if off.shape[down] == off.shape[across] else (down, across)


def _pooled(rows: Array, most: int) -> Array:
    """At most so many rows; each is the largest of those that it stands for."""
    if len(rows) <= most:
        return rows
    return np.stack([part.max(axis=0) for part in np.array_split(rows, most)])
