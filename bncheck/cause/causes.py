"""From a verdict to its reason: the kind of failure, then a hypothesis, the terms, the place."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np

from bncheck.algebra.notation import Total, indices_of, like, name_of, size
from bncheck.algebra.program import Step
from bncheck.calculus.derivation import Derivation, normalised
from bncheck.cause import forwards, inputs, programs
from bncheck.cause.hypothesis import (
    Question,
    Source,
    asked,
    first,
    gradient_of,
    holds,
    known,
    lengths,
    pairs,
)
from bncheck.cause.terms import Fit, by_reading, fit, said_of
from bncheck.numbers.agreement import (
    RECOMPUTED,
    ROUNDING,
    SINGLE,
    alike,
    distance,
    largest,
    negligible,
    within,
)
from bncheck.numbers.arithmetic import Array
from bncheck.numbers.layout import Layout
from bncheck.numbers.observation import Observation, Trial
from bncheck.subject.messages import SECOND
from bncheck.telling.codes import Finding, found
from bncheck.telling.report import Cause, GradientResult
from bncheck.writers.formulas.unicode import equation

CHANGES: tuple[Source, ...] = (
    programs.changes,
    forwards.other_forwards,
    forwards.eps_beside,
    programs.edits,
    programs.elsewhere,
    programs.joint_counts,
)
LIKELY: tuple[Source, ...] = (inputs.reordered, inputs.directions, *CHANGES)
OTHERS: tuple[Source, ...] = (
    forwards.other_doubles,
    inputs.held,
    inputs.misread,
    partial(pairs, CHANGES),
)
"""What is asked, in this order, in first and second order: between the two the terms are fitted.
Pairs, which come last, are left out where one edit mends the gradient.
"""

ZERO = "d2beta"
"""The gradient of gradients with respect to beta, on which none depends."""


def explain(
    derivation: Derivation,
    result: GradientResult,
    observations: Sequence[Observation],
    worst: Trial,
    layout: Layout,
    *,
    own: bool = True,
    ignored: bool = False,
    shape: Finding | None = None,
    mended: bool = False,
    hard: Sequence[Observation] = (),
) -> Cause:
    """Why one gradient is wrong or inaccurate.

    ``observations``: all easy trials; ``worst``: the one on which it is worst. ``own``: the
    forward pass is that of the derivation; ``ignored``: it makes no use of the eps that it is
    given. ``shape``: what is wrong with the gradient's shape; ``mended``: there is an edit of the
    code that mends it, which says more than what few would write. ``hard``: what the other trials
    gave, which no condition that is said may contradict.
    """
    name = result.name
    there = [s for s in observations if name in s.gradients]
    if shape is not None:
        return Cause(name, _summed(derivation, name, there, shape))
    if result.verdict == "inaccurate":
        return Cause(name, _lost_digits(there, result, worst))
    lost = [s for s in there if not np.isfinite(np.asarray(s.gradients[name], float)).all()]
    off = [s for s in there if s.off(name).any() and s not in lost] or lost
    fine = [s for s in there if not s.off(name).any()]
    plain = _plain(derivation, name, off, worst, own)
    if plain is not None:
        return Cause(name, plain)
    also = (s for s in hard if name in s.gradients)
    far = (s for s in also if distance(s.gradients[name], s.reference.gradients[name]) > SINGLE)
    where = _limits(derivation, [*off, *far], fine)
    question = Question(derivation, name, asked(off, name), layout)
    finding, limits, fitted = _found(question, off, fine, mended, where)
    if ignored and finding.code == "eps-other":
        finding, limits = found("eps-in-backward-only"), ()
    if lost:
        limits = (*limits, found("not-finite", trial=lost[0].trial.name))
    return Cause(name, finding, limits, fitted.terms, _formula(derivation, name))


def _plain(
    derivation: Derivation, name: str, off: Sequence[Observation], worst: Trial, own: bool
) -> Finding | None:
    """A kind of failure that is seen without looking into the gradient."""
    if not off and not own:
        return found("not-own-gradient", "other", layer=derivation.forward.title.lower())
    if not off:
        return found("state") if worst.memory == SECOND else found("corner", trial=worst.name)
    arrays = [s.gradients[name] for s in off]
    if any(not np.isfinite(np.asarray(a, float)).all() for a in arrays):
        return found("not-finite", trial=worst.name)
    whole = next((a.dtype for a in arrays if a.dtype.kind in "iu"), None)
    if whole is not None:
        return found("integers", dtype=str(whole))
    if all(map(_is_exchanged, off)):
        return found("exchanged")
    if not own:
        return found("not-own-gradient")
    return found("not-zero") if name == ZERO else None


def _found(
    question: Question,
    off: Sequence[Observation],
    fine: Sequence[Observation],
    mended: bool,
    limits: tuple[Finding, ...],
) -> tuple[Finding, tuple[Finding, ...], Fit]:
    """The cause, where it does not hold, and the terms."""
    derivation, gradient = question.derivation, question.gradient
    hypothesis = first(LIKELY, question)
    second = derivation.order == 2
    fitted = Fit() if second and hypothesis else fit(derivation, gradient, off)
    said = None if hypothesis else said_of(fitted, gradient)
    if said is not None:
        return said, (), fitted
    hypothesis = hypothesis or first(OTHERS[:-1] if mended else OTHERS, question)
    if hypothesis is not None:
        limits = () if holds(hypothesis, gradient, fine) else limits
        if hypothesis.finding.code == "divided-by-count" and not question.of_input:
            limits = (*limits, found("average-convention"))
        return hypothesis.finding, limits, fitted
    places = (*limits, *_where(derivation, gradient, off, fine))
    if fitted.wrong:
        return by_reading(fitted), places, fitted
    return found("unexplained", "second" if second else "", places=places), (), fitted


def _formula(derivation: Derivation, gradient: str) -> str:
    """The right one; in second order after those of what it is made of, but for plain sums."""
    closed = derivation.closed
    target = closed.tensors[gradient]
    needed = closed.behind((target,)) if derivation.order == 2 else ()
    inner = [s for s in closed.steps if s.target in needed and s.target not in closed.outputs]
    steps = (*(s for s in inner if not isinstance(s.expr, Total)), closed.step(target))
    return "; ".join(map(equation, steps))


def _is_exchanged(one: Observation) -> bool:
    """Whether dgamma holds what dbeta should be, and dbeta what dgamma should be."""
    pairs_ = (("dgamma", "dbeta"), ("dbeta", "dgamma"))
    truth, allowed = one.reference.gradients, one.reference.allowed
    return all(
        a in one.gradients and b in truth and one.gradients[a].shape == truth[b].shape
        and within(one.gradients[a], truth[b], allowed[b])
        for a, b in pairs_
    )  # fmt: skip


def _summed(
    derivation: Derivation, name: str, seen: Sequence[Observation], shape: Finding
) -> Finding:
    """Over which axes a parameter's gradient is summed, where that gives the user's numbers."""
    step = derivation.closed.step(derivation.closed.tensors[name])
    if not isinstance(step.expr, Total) or not seen:
        return shape
    one, indices = seen[0], indices_of(derivation.upstream[0])
    whole = like(name, derivation.upstream[0])
    forward = derivation.forward
    program = replace(
        derivation.closed, inputs=(*derivation.upstream, *forward.inputs, *forward.targets),
        steps=(Step(whole, step.expr.body),), outputs=(whole,), wrt=(),
    )  # fmt: skip
    single = np.asarray(gradient_of(program, known(one), name), float)
    right = tuple(str(size(i)) for i in step.expr.over)
    theirs = _distinct(one.gradients[name])
    for count in range(len(indices) + 1):
        for over in combinations(range(len(indices)), count):
            if alike(_distinct(single.sum(axis=over)), theirs, ROUNDING):
                places = tuple(str(size(indices[k])) for k in over)
                form = "summed" if places else "unsummed"
                return found("shape", form, problem=shape, over=places, right=right)
    return shape


def _distinct(values: Array) -> Array:
    """The distinct values in order."""
    flat = np.sort(np.asarray(values, float).ravel())
    return flat[np.diff(flat, prepend=-np.inf) > RECOMPUTED * largest(flat)]


def _lost_digits(seen: Sequence[Observation], result: GradientResult, worst: Trial) -> Finding:
    """Right mathematics, lost digits: in which input, how many, and what loses them."""
    name, ulps = result.name, max(result.comparisons[0].ulps, 1.0)
    said = {"trial": worst.name, "digits": max(0.0, 15.95 - float(np.log10(ulps)))}
    types = {str(s.gradients[name].dtype) for s in seen}
    if types & {"float32", "float16"}:
        return found("inaccurate", "dtype", **said, types=tuple(sorted(types)))
    if all(s.off(name).any() for s in seen):
        return found("inaccurate", "everywhere", **said)
    return found("inaccurate", "mean" if worst.cancels else "cancel", **said)


# -- where it is off, for what no change explains --------------------------------------------------


def _where(
    derivation: Derivation, gradient: str, off: Sequence[Observation], fine: Sequence[Observation]
) -> tuple[Finding, ...]:
    """``off`` and ``fine``: the easy trials on which it is wrong and right."""
    apart = off[0].off(gradient)
    return (
        *_first(_statistic(derivation, gradient, (*off, *fine))),
        *_first(_axes(derivation, gradient, off)),
        *_first(_values(derivation, gradient, off[0])),
        _at("count", off=int(apart.sum()), entries=apart.size),
    )


def _limits(
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
    wrong_ones, right_ones = ([lengths(derivation, s) for s in seen] for seen in (off, fine))
    square = [len({*n.values()}) < len(n) for n in (*wrong_ones, *right_ones)]
    if square == [True] * len(off) + [False] * len(fine):
        yield _at("square", sizes=tuple(str(size(a)) for a in axes))
        return
    for axis in axes:
        wrong, right = ([n[axis] for n in seen] for seen in (wrong_ones, right_ones))
        letter = str(size(axis))
        if len({n % 2 for n in wrong}) == 1 and len({n % 2 for n in right}) == 1:
            if wrong[0] % 2 != right[0] % 2 and len({*wrong, *right}) > 3:
                yield _at("odd" if wrong[0] % 2 else "even", size=letter)
        elif min(wrong) > max(right):
            yield _at("large", size=letter, least=min(wrong), most=max(right))


def _axes(derivation: Derivation, gradient: str, off: Sequence[Observation]) -> Iterator[Finding]:
    """Along which axis the wrong entries are some only, and which."""
    one = max(off, key=lambda s: s.gradients[gradient].size)
    apart = one.off(gradient)
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
        bad = np.concatenate([s.off(gradient).any(axis=others).ravel() for s in seen])
        values = np.concatenate([np.ravel(s.reference.known[name]).astype(float) for s in seen])
        if not 0 < bad.sum() < bad.size:
            continue
        if values[bad].max() < values[~bad].min():
            yield _at("below", value=name, limit=float(values[~bad].min()))
        elif values[bad].min() > values[~bad].max():
            yield _at("above", value=name, limit=float(values[~bad].max()))


def _values(derivation: Derivation, gradient: str, one: Observation) -> Iterator[Finding]:
    """What the wrong entries have in common: a sign, a size, a limit, few digits."""
    apart, theirs = one.off(gradient), np.asarray(one.gradients[gradient], float)
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
