"""The right programs on other values: reordered, a statistic held, a mask, rows lost, ...

No program is changed here. Some hypotheses say what was put in; others say what the numbers would
be of (the first rows, a part of an axis, other scales), and give the nearest to the user's.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations, permutations, product
from typing import Any

import numpy as np

from bncheck.algebra.notation import indices_of, name_of
from bncheck.algebra.program import Program
from bncheck.calculus.derivation import Derivation, normalised
from bncheck.cause.hypothesis import (
    Hypothesis,
    Made,
    Question,
    by_program,
    gradient_of,
    is_statistic,
    known,
)
from bncheck.numbers import layout as layouts
from bncheck.numbers.agreement import FITTED, alike, distance, near
from bncheck.numbers.arithmetic import Array, evaluate
from bncheck.numbers.observation import Observation
from bncheck.numbers.trials import USUAL_EPS
from bncheck.telling.codes import Finding, found
from bncheck.writers.formulas.unicode import line

LARGEST = 300
"""Entries of a gradient for which every one is asked by itself."""

SHOWN = 3
"""Scales that are said where they are another's."""

Values = Mapping[str, Array]
Put = Callable[[Values], Values]
"""Other values for those of the forward pass and what is given."""


def reordered(question: Question) -> Iterator[Hypothesis]:
    """Right values in the wrong order: reshaped where an axis should have been moved."""
    derivation, at = question.derivation, question.layout
    if at is None or derivation.order == 2:
        return
    forward, upstream = derivation.forward, name_of(derivation.upstream[0])

    def moved(order: tuple[int, ...], reshape: bool, value: Array, one: Observation) -> Array:
        """An array with all axes of the program, in another order in the user's axes."""
        operand, parts = forward.inputs[0], one.parts
        theirs = np.asarray(layouts.array_to_user(at, forward, operand, value, parts))
        if reshape:
            turned = theirs.reshape([theirs.shape[k] for k in order]).transpose(np.argsort(order))
        else:
            turned = theirs.transpose(order).reshape(theirs.shape)
        return layouts.array_from_user(at, forward, operand, turned, value.shape, parts)

    def result(order: tuple[int, ...], reshape: bool, one: Observation, name: str) -> Array:
        return moved(order, reshape, np.asarray(one.reference.gradients[name], float), one)

    def of_upstream(order: tuple[int, ...], reshape: bool, one: Observation, name: str) -> Array:
        before = known(one)
        changed = {**before, upstream: moved(order, reshape, before[upstream], one)}
        return gradient_of(derivation.closed, changed, name)

    ways = [*product([*permutations(range(len(at.order)))][1:], (False, True))]
    if question.of_input:
        said = found("reordered", "values", gradient=question.gradient)
        yield from (Hypothesis(said, partial(result, *way)) for way in ways)
    said = found("reordered", "upstream", upstream=upstream)
    yield from (Hypothesis(said, partial(of_upstream, *way)) for way in ways)


def directions(question: Question) -> Iterator[Hypothesis]:
    """In second order: the same double backward pass with other inputs."""
    derivation = question.derivation
    if derivation.order == 1:
        return
    names = {name_of(a): a for a in (*derivation.forward.inputs, *derivation.upstream)}
    given = [name_of(a) for a in derivation.upstream]
    shown = {name: line(names[name]) for name in given}

    def again(finding: Finding, **put: Callable[[Array], Array]) -> Hypothesis:
        """Forward and backward pass with other inputs."""

        def values(before: Values) -> Values:
            changed = {**before, **{name: change(before[name]) for name, change in put.items()}}
            return {**changed, **_values(derivation.forward, changed)}

        return _with(derivation.closed, finding, values)

    for name in given:
        said = found("direction-ignored", directions=(shown[name],))
        yield again(said, **{name: np.zeros_like})
    if len(given) > 2:
        said = found("direction-ignored", "several", directions=(*map(shown.get, given[1:]),))
        yield again(said, **dict.fromkeys(given[1:], np.zeros_like))
    for name in given:
        yield again(found("direction-sign", direction=shown[name]), **{name: np.negative})
    if "gamma" in names:
        yield again(found("gamma-missing"), gamma=np.ones_like)
    if "eps" in names:
        yield again(found("eps-missing"), eps=np.zeros_like)
        for eps in USUAL_EPS:
            yield again(found("eps-other", eps=eps), eps=partial(np.full_like, fill_value=eps))


def held(question: Question) -> Iterator[Hypothesis]:
    """Other statistics first, then other upstream gradients; by the closed form and the chain."""
    derivation, forward = question.derivation, question.derivation.forward
    if derivation.order == 1:
        for finding, put in (*_held(forward, derivation), *_masked(derivation), *_rows(derivation)):
            for program in (derivation.closed, derivation.chain):
                yield _with(program, finding, put)


_STATISTICS: tuple[tuple[str, str, Callable[[Array], Array]], ...] = (
    ("one-for-all", "", lambda a: np.full_like(a, a.mean())),
    ("first-for-all", "", lambda a: np.full_like(a, a.flat[0])),
    ("last-for-all", "", lambda a: np.full_like(a, a.flat[-1])),
    ("statistic-left-out", "zero", np.zeros_like),
    ("statistic-left-out", "one", np.ones_like),
)


def _held(forward: Program, derivation: Derivation) -> Iterator[tuple[Finding, Put]]:
    """The forward pass run again with one statistic held at other values."""

    def values(name: str, change: Callable[[Array], Array], before: Values) -> Values:
        at = forward.targets.index(forward.tensors[name])
        inputs = (*forward.inputs, *forward.targets[: at + 1])
        rest = replace(forward, inputs=inputs, steps=forward.steps[at + 1 :], wrt=())
        return {**before, **_values(rest, {**before, name: change(before[name])})}

    for step in forward.steps:
        if is_statistic(step, derivation):
            name = name_of(step.target)
            for code, form, change in _STATISTICS:
                said = found(code, form, statistic=step.note.split(",")[0] or name)
                yield said, partial(values, name, change)


def _masked(derivation: Derivation) -> Iterator[tuple[Finding, Put]]:
    """The upstream gradient where the output, or the input, is of one sign."""
    upstream = name_of(derivation.upstream[0])
    forward = derivation.forward
    for other in (name_of(forward.outputs[0]), name_of(forward.inputs[0])):
        for sign, form in ((1, "negative"), (-1, "positive")):

            def values(before: Values, other: str = other, sign: int = sign) -> Values:
                return {**before, upstream: before[upstream] * (sign * before[other] > 0)}

            yield found("masked", form, value=other), values


def _rows(derivation: Derivation) -> Iterator[tuple[Finding, Put]]:
    """A row of the upstream gradient that is not seen."""
    upstream = name_of(derivation.upstream[0])
    indices = indices_of(derivation.upstream[0])
    for index in normalised(derivation.forward):
        axis = indices.index(index)
        for place, form in ((-1, "last"), (0, "first")):

            def values(before: Values, axis: int = axis, place: int = place) -> Values:
                changed = np.array(before[upstream])
                np.moveaxis(changed, axis, 0)[place] = 0
                return {**before, upstream: changed}

            yield found("row-lost", form), values


def misread(question: Question) -> Iterator[Hypothesis]:
    """What is asked of the numbers: rows, the diagonal, parts of an axis, running, other scales."""
    derivation = question.derivation
    if derivation.order == 2:
        return
    yield Hypothesis(found("rows-lost"), partial(_first_rows, derivation))
    if not question.of_input:
        return
    yield Hypothesis(found("diagonal"), partial(_diagonal, derivation))
    partly = list(_partial(derivation, question.observations))
    yield from partly
    right = by_program(found("diagonal"), derivation.closed)
    for base in (right, *partly):
        made = _on_running(derivation, base.made, question.observations[0], question.gradient)
        if made is not None:
            which = None if base is right else base.finding
            said = found("running-variance", partial=which, start=made[1], slope=made[2])
            yield Hypothesis(said, partial(_running, derivation, base.made))
    yield from _gammas(question)


def _first_rows(derivation: Derivation, one: Observation, gradient: str) -> Array | None:
    """For an upstream gradient whose last rows are zero, from the row on that fits best."""
    before, up = known(one), name_of(derivation.upstream[0])
    whole = np.array(before[up], float)
    tried = []
    for row in range(1, len(whole)):
        some = whole.copy()
        some[row:] = 0
        tried.append(gradient_of(derivation.closed, {**before, up: some}, gradient))
    theirs = one.gradients[gradient]
    return min(tried, key=lambda made: distance(made, theirs), default=None)


def _diagonal(derivation: Derivation, one: Observation, gradient: str) -> Array | None:
    """Each entry from the same entry of the upstream gradient alone."""
    before, up = known(one), name_of(derivation.upstream[0])
    whole = np.asarray(before[up], float)
    if whole.size > LARGEST:
        return None
    made = np.zeros_like(whole)
    for at in np.ndindex(*whole.shape):
        single = np.zeros_like(whole)
        single[at] = whole[at]
        made[at] = gradient_of(derivation.closed, {**before, up: single}, gradient)[at]
    return made


def _partial(derivation: Derivation, observations: Sequence[Observation]) -> Iterator[Hypothesis]:
    """Means over some of the axes that the layout has where the layer has one."""
    for index in normalised(derivation.forward):
        label = index.label.name
        count = len(observations[0].parts.get(label, ()))
        names = ("N", "H", "W")[:count] if count == 3 else ("N", "L")
        for few in range(1, count):
            for kept in combinations(range(count), few):
                over, whole = tuple(names[k] for k in kept), tuple(names[:count])
                said = found("partial-mean", over=over, right=whole)
                yield Hypothesis(said, partial(_over, derivation, label, kept))


def _over(
    derivation: Derivation, label: str, kept: tuple[int, ...], one: Observation, gradient: str
) -> Array | None:
    lengths = one.parts.get(label, ())
    if len(lengths) <= max(kept):
        return None
    closed, everything = derivation.closed, known(one)
    before = {name_of(a): everything[name_of(a)] for a in closed.inputs}
    tensors = {name_of(a): a for a in closed.inputs}
    index = next(i for i in normalised(derivation.forward) if i.label.name == label)
    axes = {n: indices_of(a).index(index) for n, a in tensors.items() if index in indices_of(a)}
    place = indices_of(closed.tensors[gradient]).index(index)
    numbers = np.arange(int(np.prod(lengths))).reshape(lengths)
    result = np.zeros(np.shape(one.gradients[gradient]))
    rest: list[Any] = [range(n) if k not in kept else (slice(None),) for k, n in enumerate(lengths)]
    for at in product(*rest):
        chosen = numbers[at].ravel()
        some = {n: np.take(v, chosen, axes[n]) if n in axes else v for n, v in before.items()}
        slot: list[Any] = [slice(None)] * result.ndim
        slot[place] = chosen
        result[tuple(slot)] = gradient_of(closed, some, gradient)
    return result


def _running(derivation: Derivation, made: Made, one: Observation, gradient: str) -> Array | None:
    scaled = _on_running(derivation, made, one, gradient)
    return None if scaled is None else scaled[0]


def _on_running(
    derivation: Derivation, made: Made, one: Observation, gradient: str
) -> tuple[Array, float, float] | None:
    """The gradient with the factor in each group that comes nearest, where it is that of another
    variance; and start and slope of that variance, which has to lie on a line over the batch's.
    """
    operand, got = derivation.forward.tensors.get("var"), made(one, gradient)
    theirs = np.asarray(one.gradients[gradient], float)
    if operand is None or got is None or got.shape != theirs.shape:
        return None
    indices = indices_of(derivation.closed.tensors[gradient])
    along = tuple(k for k, i in enumerate(indices) if i not in indices_of(operand))
    factor = (theirs * got).sum(axis=along, keepdims=True)
    factor = factor / (got * got).sum(axis=along, keepdims=True)
    var, eps = np.asarray(known(one)["var"], float).ravel(), float(one.values.get("eps", 0.0))
    if var.size < 3 or not np.all(factor > 0):
        return None
    other = (var + eps) / np.asarray(factor, float).ravel() ** 2 - eps
    (slope, start), *_ = np.polyfit(var, other, 1, full=True)
    fitted = alike(start + slope * var, other, FITTED)
    if not fitted or near(slope, 1, FITTED) or not 0 <= slope < 2:
        return None
    return factor * got, float(start), float(slope)


_GAMMAS: tuple[tuple[str, Callable[[Array], Array]], ...] = (
    ("1 + gamma", lambda gamma: 1 + gamma),
    ("1/gamma", lambda gamma: 1 / gamma),
    ("-gamma", np.negative),
    ("abs(gamma)", np.abs),
    ("the next feature's gamma", lambda gamma: np.roll(gamma, -1)),
    ("the last feature's gamma", lambda gamma: np.roll(gamma, 1)),
    ("gamma from behind", np.flip),
)


def _gammas(question: Question) -> Iterator[Hypothesis]:
    """Another gamma: one that is made of gamma, one that was changed, or any."""
    derivation, gradient = question.derivation, question.gradient
    gamma = derivation.forward.tensors.get("gamma")
    if gamma is None or gamma not in derivation.cached:
        return
    for other, change in _GAMMAS:

        def values(before: Values, change: Callable[[Array], Array] = change) -> Values:
            return {**before, "gamma": change(np.asarray(before["gamma"], float))}

        yield _with(derivation.closed, found("gamma-other", other=other), values)
    made = partial(_other_gamma, derivation, changed=True)
    yield Hypothesis(found("gamma-updated"), made)
    fitted = _solved(derivation, question.observations[0], gradient)
    if set(indices_of(gamma)) & set(normalised(derivation.forward)):
        shown = tuple(f"{value:.3g}" for value in fitted[0].ravel()[:SHOWN])
        mine = np.ravel(known(question.observations[0])["gamma"])[:SHOWN]
        given = tuple(f"{value:.3g}" for value in mine)
        said = found("gamma-other", "any", other=shown, given=given)
        yield Hypothesis(said, partial(_other_gamma, derivation, changed=False))


def _solved(derivation: Derivation, one: Observation, gradient: str) -> tuple[Array, Array]:
    """The scales that come nearest to the user's numbers, and what they give."""
    before, theirs = known(one), np.asarray(one.gradients[gradient], float)
    shape = before["gamma"].shape
    units = np.eye(int(np.prod(shape))).reshape(-1, *shape)
    columns = [gradient_of(derivation.closed, {**before, "gamma": u}, gradient) for u in units]
    matrix = np.stack([np.asarray(c, float).ravel() for c in columns], axis=1)
    solved, *_ = np.linalg.lstsq(matrix, theirs.ravel(), rcond=None)
    return solved, (matrix @ solved).reshape(theirs.shape)


def _other_gamma(
    derivation: Derivation, one: Observation, gradient: str, changed: bool
) -> Array | None:
    """The nearest for other scales than those of the forward pass.

    ``changed``: scales that are moved, all by as much or by a multiple of dgamma, as a step of
    gradient descent does.
    """
    solved, made = _solved(derivation, one, gradient)
    step = solved - np.ravel(np.asarray(known(one)["gamma"], float))
    right = np.ravel(np.asarray(one.reference.gradients["dgamma"], float))
    moves = (np.ones_like(step), right)
    if changed and not any(alike(float(step @ m / (m @ m)) * m, step, FITTED) for m in moves):
        return None
    return made


def _with(program: Program, finding: Finding, put: Put) -> Hypothesis:
    """A program of the derivation on other values."""

    def made(one: Observation, gradient: str) -> Array | None:
        if gradient not in program.tensors:
            return None
        with np.errstate(all="ignore"):
            return gradient_of(program, dict(put(known(one))), gradient)

    return Hypothesis(finding, made)


def _values(program: Program, known_: Values) -> dict[str, Array]:
    given = {name: known_[name] for name in map(name_of, program.inputs)}
    return {name: bounded.value for name, bounded in evaluate(program, given).items()}
