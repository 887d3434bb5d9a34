"""Where a gradient is off: which groups, entries and sizes; for what no change explains."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from bncheck.algebra.notation import indices_of, name_of, size
from bncheck.calculus.derivation import Derivation, normalised
from bncheck.cause.hypothesis import is_off
from bncheck.numbers.agreement import RECOMPUTED, negligible
from bncheck.numbers.observation import Observation
from bncheck.telling.codes import Finding, found


def where(
    derivation: Derivation, gradient: str, off: Sequence[Observation], fine: Sequence[Observation]
) -> tuple[Finding, ...]:
    """``off`` and ``fine``: the easy trials on which it is wrong and right."""
    apart = is_off(off[0], gradient)
    return (
        *sizes(derivation, off, fine),
        *_first(_statistic(derivation, gradient, (*off, *fine))),
        *_first(_axes(derivation, gradient, off)),
        *_first(_values(derivation, gradient, off[0])),
        _at("count", off=int(apart.sum()), entries=apart.size),
    )


def sizes(
    derivation: Derivation, off: Sequence[Observation], fine: Sequence[Observation]
) -> tuple[Finding, ...]:
    """What the sizes of the wrong trials have in common, and those of the right ones not."""
    return _first(_sizes(derivation, off, fine)) if fine else ()


def _at(form: str, **arguments: Any) -> Finding:
    return found("where", form, **arguments)


def _first(findings: Iterator[Finding]) -> tuple[Finding, ...]:
    return tuple(findings)[:1]


def _sizes(
    derivation: Derivation, off: Sequence[Observation], fine: Sequence[Observation]
) -> Iterator[Finding]:
    axes = derivation.forward.axes
    lengths = [[_length(derivation, s, a) for a in axes] for s in (*off, *fine)]
    square = [len({*n}) < len(n) for n in lengths]
    if square == [True] * len(off) + [False] * len(fine):
        yield _at("square", sizes=tuple(str(size(a)) for a in axes))
        return
    for axis in axes:
        wrong, right = ([_length(derivation, s, axis) for s in seen] for seen in (off, fine))
        letter = str(size(axis))
        if len({n % 2 for n in wrong}) == 1 and len({n % 2 for n in right}) == 1:
            if wrong[0] % 2 != right[0] % 2 and len({*wrong, *right}) > 3:
                yield _at("odd" if wrong[0] % 2 else "even", size=letter)
        elif min(wrong) > max(right):
            yield _at("large", size=letter, least=min(wrong), most=max(right))


def _axes(derivation: Derivation, gradient: str, off: Sequence[Observation]) -> Iterator[Finding]:
    """Along which axis the wrong entries are some only, and which."""
    one = max(off, key=lambda s: s.gradients[gradient].size)
    apart = is_off(one, gradient)
    if apart.sum() <= 2 < apart.size:
        yield _at("entries", entries=tuple(str(list(map(int, at))) for at in np.argwhere(apart)))
        return
    operand = derivation.closed.tensors[gradient]
    for number, index in enumerate(indices_of(operand)):
        others = tuple(k for k in range(apart.ndim) if k != number)
        bad = np.flatnonzero(apart.any(axis=others))
        length = apart.shape[number]
        if 0 < bad.size < length:
            start, end = int(bad[0]), int(bad[-1])
            axis = f"index {number} ({size(index)} = {length})"
            if bad.size == length - start and start > 0:
                kind = "row" if index in normalised(derivation.forward) else "group"
                form = "last" if bad.size == 1 else "from"
                yield _at(form, start=start, kind=kind, axis=axis)
            elif bad.size == end + 1:
                yield _at("up-to", end=end, axis=axis)
            elif bad.size == 1:
                yield _at("at", place=start, axis=axis)


def _statistic(
    derivation: Derivation, gradient: str, seen: Sequence[Observation]
) -> Iterator[Finding]:
    """A statistic that is larger, or smaller, in every wrong group than in the right ones."""
    indices = indices_of(derivation.closed.tensors[gradient])
    for step in derivation.forward.steps:
        has, name = indices_of(step.target), name_of(step.target)
        if not has or not set(has) < set(derivation.forward.axes) or not set(has) <= set(indices):
            continue
        others = tuple(k for k, i in enumerate(indices) if i not in has)
        bad = np.concatenate([is_off(s, gradient).any(axis=others).ravel() for s in seen])
        values = np.concatenate([np.ravel(s.reference.known[name]).astype(float) for s in seen])
        if not 0 < bad.sum() < bad.size:
            continue
        if values[bad].max() < values[~bad].min():
            yield _at("below", value=name, limit=float(values[~bad].min()))
        elif values[bad].min() > values[~bad].max():
            yield _at("above", value=name, limit=float(values[~bad].max()))


def _values(derivation: Derivation, gradient: str, one: Observation) -> Iterator[Finding]:
    """What the wrong entries have in common: a sign, a size, a limit, few digits."""
    apart, theirs = is_off(one, gradient), np.asarray(one.gradients[gradient], float)
    if apart.all() or theirs.shape != apart.shape:
        yield from _digits(one, gradient)
        return
    level = abs(theirs[apart])
    one_level = level.size > 2 and negligible(np.ptp(level), level, RECOMPUTED)
    if one_level and level.max() >= abs(theirs).max():
        yield _at("clipped", limit=float(level.max()))
    known, forward = one.reference.known, derivation.forward
    names = dict.fromkeys((name_of(forward.inputs[0]), name_of(forward.outputs[0])))
    for name in (*names, name_of(derivation.upstream[0])):
        values = np.asarray(known.get(name, one.values.get(name)), float)
        if values.shape != apart.shape:
            continue
        low, high = values[apart], values[~apart]
        for bad, right, form in ((low, high, "greater"), (-low, -high, "less")):
            if bad.min() > right.max():
                middle = (bad.min() + right.max()) / 2 * (1 if form == "greater" else -1)
                edge = 0.0 if low.min() * high.max() < 0 and abs(middle) < 0.5 else middle
                yield _at(form, value=name, limit=float(edge))


def _digits(one: Observation, gradient: str) -> Iterator[Finding]:
    """A small error everywhere, without pattern: few digits somewhere inside."""
    right = np.asarray(one.reference.gradients[gradient], float)
    apart = np.asarray(one.gradients[gradient], float) - right
    scale = float(np.sqrt((right**2).mean()))
    error = float(np.sqrt((apart**2).mean()))
    if 0 < error < 0.02 * scale:
        yield _at("digits", error=error / scale)


def _length(derivation: Derivation, one: Observation, axis: object) -> int:
    first = derivation.forward.inputs[0]
    shape = one.reference.known[name_of(first)].shape
    indices = list(indices_of(first))
    return int(shape[indices.index(axis)]) if axis in indices else 0
