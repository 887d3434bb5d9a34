"""Where a gradient is off: which groups, entries and sizes; for what no change explains."""

from collections.abc import Sequence

import numpy as np

from bncheck.algebra.notation import indices_of, name_of, size
from bncheck.calculus.derivation import Derivation, normalised
from bncheck.numbers.agreement import RECOMPUTED, gap, negligible
from bncheck.numbers.arithmetic import Array
from bncheck.numbers.observation import Observation


def where(
    found: Derivation, gradient: str, off: Sequence[Observation], right: Sequence[Observation]
) -> str:
    """A sentence; ``off`` and ``right``: the easy trials on which it is wrong and right."""
    said = [
        *sizes(found, off, right),
        *_statistic(found, gradient, (*off, *right)),
        *_axes(found, gradient, off),
        *_values(found, gradient, off),
    ]
    one = off[0]
    apart = is_off(one, gradient)
    count = f"{int(apart.sum())} of {apart.size} entries are off"
    return "; ".join([*said, count])


def is_off(one: Observation, gradient: str) -> Array:
    """Which entries are outside the bound."""
    right = one.reference.gradients[gradient]
    return ~(gap(one.gradients[gradient], right) <= one.reference.allowed[gradient])


def sizes(found: Derivation, off: Sequence[Observation], right: Sequence[Observation]) -> list[str]:
    """What the sizes of the wrong trials have in common, and those of the right ones not."""
    if not right:
        return []
    said = []
    lengths = [[_length(found, s, a) for a in found.forward.axes] for s in (*off, *right)]
    square = [len({*n}) < len(n) for n in lengths]
    if square == [True] * len(off) + [False] * len(right):
        return [f"only when {' = '.join(str(size(a)) for a in found.forward.axes)}"]
    for axis in found.forward.axes:
        wrong, fine = ([_length(found, s, axis) for s in seen] for seen in (off, right))
        letter = size(axis)
        if len({n % 2 for n in wrong}) == 1 and len({n % 2 for n in fine}) == 1:
            if wrong[0] % 2 != fine[0] % 2 and len({*wrong, *fine}) > 3:
                said.append(f"only when {letter} is {'odd' if wrong[0] % 2 else 'even'}")
        elif min(wrong) > max(fine):
            said.append(f"only when {letter} is large: {letter} >= {min(wrong)}, not {max(fine)}")
    return said[:1]


def _axes(found: Derivation, gradient: str, off: Sequence[Observation]) -> list[str]:
    """Along which axis the wrong entries are some only, and which."""
    one = max(off, key=lambda s: s.gradients[gradient].size)
    apart = is_off(one, gradient)
    if apart.sum() <= 2 < apart.size:
        places = " and ".join(str(list(map(int, at))) for at in np.argwhere(apart))
        return [f"only at {places}"]
    operand = found.closed.tensors[gradient]
    for number, index in enumerate(indices_of(operand)):
        others = tuple(k for k in range(apart.ndim) if k != number)
        bad = np.flatnonzero(apart.any(axis=others))
        length = apart.shape[number]
        if 0 < bad.size < length:
            what = "row" if index in normalised(found.forward) else "group"
            name = f"index {number} ({size(index)} = {length})"
            if bad.size == length - bad[0] and bad[0] > 0:
                if bad.size == 1:
                    return [f"only in the last {what}, {name}"]
                return [f"only from {bad[0]} on, in {name}"]
            if bad.size == bad[-1] + 1:
                return [f"only up to {bad[-1]}, in {name}"]
            if bad.size == 1:
                return [f"only at {bad[0]}, in {name}"]
    return []


def _statistic(found: Derivation, gradient: str, seen: Sequence[Observation]) -> list[str]:
    """A statistic that is larger, or smaller, in every wrong group than in the right ones."""
    indices = indices_of(found.closed.tensors[gradient])
    for step in found.forward.steps:
        has, name = indices_of(step.target), name_of(step.target)
        if not has or not set(has) < set(found.forward.axes) or not set(has) <= set(indices):
            continue
        others = tuple(k for k, i in enumerate(indices) if i not in has)
        bad = np.concatenate([is_off(s, gradient).any(axis=others).ravel() for s in seen])
        values = np.concatenate([np.ravel(s.reference.known[name]).astype(float) for s in seen])
        if not 0 < bad.sum() < bad.size:
            continue
        if values[bad].max() < values[~bad].min():
            return [f"only where {name} is below about {values[~bad].min():.2g}"]
        if values[bad].min() > values[~bad].max():
            return [f"only where {name} is above about {values[~bad].max():.2g}"]
    return []


def _values(found: Derivation, gradient: str, off: Sequence[Observation]) -> list[str]:
    """What the wrong entries have in common: a sign, a size, a limit."""
    one = off[0]
    apart = is_off(one, gradient)
    theirs = np.asarray(one.gradients[gradient], float)
    if apart.all() or theirs.shape != apart.shape:
        return _digits(one, gradient)
    level = abs(theirs[apart])
    one_level = level.size > 2 and negligible(np.ptp(level), level, RECOMPUTED)
    if one_level and level.max() >= abs(theirs).max():
        return [f"cut off at {level.max():.4g}"]
    known = one.reference.known
    names = dict.fromkeys((name_of(found.forward.inputs[0]), name_of(found.forward.outputs[0])))
    for name in (*names, name_of(found.upstream[0])):
        values = np.asarray(known.get(name, one.values.get(name)), float)
        if values.shape != apart.shape:
            continue
        low, high = values[apart], values[~apart]
        for bad, fine, sign in ((low, high, ">"), (-low, -high, "<")):
            if bad.min() > fine.max():
                middle = (bad.min() + fine.max()) / 2 * (1 if sign == ">" else -1)
                edge = 0.0 if low.min() * high.max() < 0 and abs(middle) < 0.5 else middle
                return [f"only where {name} {sign} {edge:.3g}"]
    return []


def _digits(one: Observation, gradient: str) -> list[str]:
    """A small error everywhere, without pattern: few digits somewhere inside."""
    right = np.asarray(one.reference.gradients[gradient], float)
    apart = np.asarray(one.gradients[gradient], float) - right
    scale = float(np.sqrt((right**2).mean()))
    error = float(np.sqrt((apart**2).mean()))
    if not 0 < error < 0.02 * scale:
        return []
    return [f"off by {error / scale:.1e} of its size: arithmetic of few digits inside?"]


def _length(found: Derivation, one: Observation, axis: object) -> int:
    first = found.forward.inputs[0]
    shape = one.reference.known[name_of(first)].shape
    indices = list(indices_of(first))
    return int(shape[indices.index(axis)]) if axis in indices else 0
