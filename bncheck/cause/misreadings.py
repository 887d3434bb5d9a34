"""What no changed program gives: means over a part of an axis, the diagonal, another gamma.

Each is asked of the numbers, on every trial, and said only where it leaves nothing over.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, product
from typing import Any

import numpy as np

from bncheck.algebra.notation import indices_of, name_of
from bncheck.calculus.derivation import Derivation, normalised
from bncheck.numbers.agreement import FITTED, RECOMPUTED, alike, near
from bncheck.numbers.arithmetic import Array, evaluate
from bncheck.numbers.observation import Observation

LARGEST = 300
"""Entries of a gradient for which every one is asked by itself."""

Program = Callable[[Derivation, str, Observation], Array | None]


def misread(
    found: Derivation, gradient: str, seen: Sequence[Observation]
) -> tuple[str, str] | None:
    """Code and text of what all trials agree with; None where there is nothing."""
    usable = [s for s in seen if np.isfinite(np.asarray(s.gradients[gradient], float)).all()]
    if not usable:
        return None
    if all(_first_rows(found, gradient, s) for s in usable):
        return "rows-lost", "only the first rows of the upstream gradient are seen"
    if gradient != name_of(found.chain.outputs[0]):
        return None
    for code, text, made in _ways(found, usable[0]):
        if all(_is(made(found, gradient, s), s.gradients[gradient]) for s in usable):
            return code, text
    for code, text, made in (("", "", _closed), *_partial(found, usable[0])):
        several = [_variance(found, s, made(found, gradient, s), gradient) for s in usable]
        if all(several):
            start = f"{text}; and " if code else ""
            return "running-variance", start + str(several[0])
    return _other_gamma(found, gradient, usable)


def _ways(found: Derivation, one: Observation) -> Iterator[tuple[str, str, Program]]:
    yield (
        "diagonal",
        "only the diagonal of the Jacobian: sums over the group are left out",
        _diagonal,
    )
    yield from _partial(found, one)


def _first_rows(found: Derivation, gradient: str, one: Observation) -> bool:
    """Whether the gradient is right for an upstream gradient whose last rows are zero."""
    known, up = _known(found, one), name_of(found.upstream[0])
    whole = np.array(known[up], float)
    for row in range(1, len(whole)):
        some = whole.copy()
        some[row:] = 0
        if _is(_evaluated(found, gradient, {**known, up: some}), one.gradients[gradient]):
            return True
    return False


def _closed(found: Derivation, gradient: str, one: Observation) -> Array | None:
    return _evaluated(found, gradient, _known(found, one))


def _known(found: Derivation, one: Observation) -> dict[str, Any]:
    everything = {**one.values, **one.reference.known}
    return {name_of(a): np.asarray(everything[name_of(a)]) for a in found.closed.inputs}


def _evaluated(found: Derivation, gradient: str, known: Mapping[str, Any]) -> Array:
    with np.errstate(all="ignore"):
        return np.asarray(evaluate(found.closed, known)[gradient].value, float)


def _is(made: Array | None, theirs: Array) -> bool:
    return made is not None and alike(made, theirs, RECOMPUTED)


def _diagonal(found: Derivation, gradient: str, one: Observation) -> Array | None:
    """Each entry from the same entry of the upstream gradient alone."""
    known, up = _known(found, one), name_of(found.upstream[0])
    whole = np.asarray(known[up], float)
    if whole.size > LARGEST:
        return None
    made = np.zeros_like(whole)
    for at in np.ndindex(*whole.shape):
        single = np.zeros_like(whole)
        single[at] = whole[at]
        made[at] = _evaluated(found, gradient, {**known, up: single})[at]
    return made


def _partial(found: Derivation, one: Observation) -> Iterator[tuple[str, str, Program]]:
    """Means over some of the axes that the layout has where the layer has one."""
    for index in normalised(found.forward):
        lengths = one.parts.get(index.label.name, ())
        names = ("N", "H", "W")[: len(lengths)] if len(lengths) == 3 else ("N", "L")
        for count in range(1, len(lengths)):
            for kept in combinations(range(len(lengths)), count):
                few, all_ = ", ".join(names[k] for k in kept), ", ".join(names[: len(lengths)])
                text = f"the sums and counts are over {few} where {all_} belong"
                yield "partial-mean", text, _over(index.label.name, kept)


def _over(label: str, kept: tuple[int, ...]) -> Program:
    def made(found: Derivation, gradient: str, one: Observation) -> Array | None:
        lengths = one.parts.get(label, ())
        if len(lengths) <= max(kept):
            return None
        known, tensors = _known(found, one), {name_of(a): a for a in found.closed.inputs}
        index = next(i for i in normalised(found.forward) if i.label.name == label)
        axes = {n: indices_of(a).index(index) for n, a in tensors.items() if index in indices_of(a)}
        place = indices_of(found.closed.tensors[gradient]).index(index)
        numbers = np.arange(int(np.prod(lengths))).reshape(lengths)
        result = np.zeros(np.shape(one.gradients[gradient]))
        rest: list[Any] = [
            range(n) if k not in kept else (slice(None),) for k, n in enumerate(lengths)
        ]
        for at in product(*rest):
            chosen = numbers[at].ravel()
            some = {n: np.take(v, chosen, axes[n]) if n in axes else v for n, v in known.items()}
            slot: list[Any] = [slice(None)] * result.ndim
            slot[place] = chosen
            result[tuple(slot)] = _evaluated(found, gradient, some)
        return result

    return made


def _variance(found: Derivation, one: Observation, made: Array | None, gradient: str) -> str:
    """Says that the standard deviation is a running one, where a factor per group shows it."""
    name, eps = "var", float(one.values.get("eps", 0.0))
    operand = found.forward.tensors.get(name)
    theirs = np.asarray(one.gradients[gradient], float)
    indices = indices_of(found.closed.tensors[gradient])
    if operand is None or made is None or made.shape != theirs.shape:
        return ""
    along = tuple(k for k, i in enumerate(indices) if i not in indices_of(operand))
    factor = (theirs * made).sum(axis=along, keepdims=True)
    factor = factor / (made * made).sum(axis=along, keepdims=True)
    var = np.asarray(one.reference.known[name], float).ravel()
    if not _is(factor * made, theirs) or var.size < 3 or not np.all(factor > 0):
        return ""
    other = (var + eps) / factor.ravel() ** 2 - eps
    (slope, start), *_ = np.polyfit(var, other, 1, full=True)
    fitted = alike(start + slope * var, other, FITTED)
    if not fitted or near(slope, 1, FITTED) or not 0 <= slope < 2:
        return ""
    return (
        f"a running variance, here {start:.3g} + {slope:.3g}*var, stands where the batch's belongs"
    )


def _other_gamma(
    found: Derivation, gradient: str, seen: Sequence[Observation]
) -> tuple[str, str] | None:
    """Whether dx is right for other scales than those of the forward pass."""
    gamma = found.forward.tensors.get("gamma")
    if gamma is None or all("gamma" not in _known(found, s) for s in seen):
        return None
    own = set(indices_of(gamma)) & set(normalised(found.forward))
    for one in seen:
        known, theirs = _known(found, one), np.asarray(one.gradients[gradient], float)
        shape = known["gamma"].shape
        units = np.eye(int(np.prod(shape))).reshape(-1, *shape)
        columns = [_evaluated(found, gradient, {**known, "gamma": u}).ravel() for u in units]
        matrix = np.stack(columns, axis=1)
        solved, *_ = np.linalg.lstsq(matrix, theirs.ravel(), rcond=None)
        if not _is((matrix @ solved).reshape(theirs.shape), theirs):
            return None
        step = solved - known["gamma"].ravel()
        right = np.asarray(one.reference.gradients["dgamma"], float).ravel()
        rate = float(step @ right / (right @ right))
        if not own and not alike(rate * right, step, FITTED):
            return None  # each group has a gamma of its own: any factor would do
    return "gamma-updated", "right for another gamma: it is changed before dx is computed from it"
