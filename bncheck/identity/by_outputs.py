"""Which layer does the user's forward pass compute, and in which layouts? Asked of its numbers."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from sympy import S

from bncheck.algebra.notation import indices_of, name_of
from bncheck.algebra.program import Program, Step
from bncheck.calculus.derivation import normalised
from bncheck.identity.crossing import Bench
from bncheck.identity.readings import Reading
from bncheck.identity.settings import Settings
from bncheck.numbers import layout as layouts
from bncheck.numbers.agreement import FINE, RECOMPUTED, SINGLE, alike, distance, negligible
from bncheck.numbers.arithmetic import Array, evaluate
from bncheck.numbers.observation import Observation, Trial
from bncheck.numbers.trials import USUAL_EPS, draw, with_eps
from bncheck.subject.messages import Backward, Subject
from bncheck.telling.codes import Finding, found
from bncheck.telling.errors import CannotAsk

ACCEPTANCE = 2
"""So many inputs tell whether a layout is accepted."""


@dataclass(frozen=True)
class _Output:
    """An output of the user's, and what it was computed from."""

    bench: Bench
    trial: Trial
    y: Array

    @property
    def program(self) -> Program:
        return self.bench.reading.program


@dataclass(frozen=True)
class _Asked:
    """``said``: the eps that the user named; ``settable``: whether the code may be given one."""

    subject: Subject
    backward: Backward
    said: float | None
    settable: bool


def recognise(
    subject: Subject, backward: Backward, space: Iterable[Reading], settings: Settings
) -> Reading:
    """The reading whose outputs the forward pass gives on one trial each; else the nearest.

    Raises ``CannotAsk`` where the forward pass fails on everything.
    """
    settable = (backward.eps_settable or backward.has_object) and settings.eps is None
    asked = _Asked(subject, backward, settings.eps, settable)
    made: dict[tuple[object, ...], _Output | CannotAsk] = {}
    near: list[tuple[float, _Output]] = []
    fallback: Reading | None = None
    for reading in space:
        # variants with another ddof get the same inputs: one output decides between them
        key = (reading.program.name, reading.program.inputs, reading.layout)
        if key not in made:
            made[key] = _given(asked, reading)
        output = made[key]
        if isinstance(output, CannotAsk):
            continue
        output = replace(output, bench=replace(output.bench, reading=reading))
        eps, apart = _fitted(asked, output)
        if apart <= SINGLE and _is_confirmed(output.bench, eps):
            ignored = backward.eps_settable and eps is not None and settings.eps is None
            fitting = replace(reading, eps=eps, distance=apart, ignored=ignored,
                              findings=tuple(_said(apart, eps, ignored)))  # fmt: skip
            # many a forward pass runs in several layouts, and its backward pass does not
            if backward.statistics or _goes_back(output.bench):
                return fitting
            fallback = fallback or fitting
        if np.isfinite(apart):
            near.append((apart, output))
    if fallback is not None:
        return fallback
    if not near:
        problems = (one for one in made.values() if isinstance(one, CannotAsk))
        raise next(problems, CannotAsk(f"{backward.name}: no layer fits its arguments"))
    return _nearest(asked, near)


def is_short(bench: Bench) -> bool:
    """Whether the forward pass computes in less than float64: it answers in steps, and does not
    move where x does by less than one of them.
    """
    trial = next(draw(bench.reading.program, bench.reading.eps, layout=bench.reading.layout))
    name = name_of(bench.reading.program.inputs[0])
    moved = {**trial.values, name: trial.values[name] * (1 + 2.0**-45)}
    one, other = bench.outputs(trial, [trial.values, moved])
    return bool(np.mean(one == other) > 0.5)


def _given(asked: _Asked, reading: Reading) -> _Output | CannotAsk:
    """The output on inputs that show which eps it has; the refusal where it fails."""
    there = draw(reading.program, asked.said, layout=reading.layout)
    trial = next(trial for trial in there if trial.shows_eps)
    try:
        return _output(Bench(asked.subject, asked.backward, reading), trial)
    except CannotAsk as refusal:
        return refusal


def _output(bench: Bench, trial: Trial) -> _Output:
    (y,) = bench.outputs(trial, [trial.values])
    return _Output(bench, trial, np.real(y))


def _is_confirmed(bench: Bench, eps: float | None) -> bool:
    """Whether the next output fits as well, where eps is small beside the variance.

    An eps that the forward pass is thought to ignore is another one here.
    """
    reading = bench.reading
    trial = next(draw(reading.program, reading.eps, layout=reading.layout))
    return _apart(_output(bench, trial), eps) <= SINGLE


def _goes_back(bench: Bench) -> bool:
    reading = bench.reading
    return bench.runs(next(draw(reading.program, layout=reading.layout)))


def _fitted(asked: _Asked, output: _Output) -> tuple[float | None, float]:
    """The eps at which the outputs are nearest (None: the one that was set), and how near."""
    if "eps" not in output.program.tensors:
        return None, _apart(output, None)
    tried: list[float | None] = [*([None] if asked.settable else []), *USUAL_EPS]
    if asked.said is not None:
        tried = [asked.said]
    best: tuple[float | None, float] = (None, np.inf)
    for eps in tried:
        apart = _apart(output, eps)
        if apart < best[1]:
            best = eps, apart
        if eps is None and apart <= RECOMPUTED:
            return best
    if asked.said is None and FINE < best[1] < 0.5:
        solved = _solved(output)
        for eps in (solved, float(f"{solved:.0e}")):
            apart = _apart(output, eps)
            if apart < best[1] / 4 or (best[0] == solved and apart <= best[1] + FINE / 8):
                best = eps, apart
    return best


def _apart(output: _Output, eps: float | None) -> float:
    """How far the outputs are from the layer's with that eps."""
    trial = output.trial if eps is None else with_eps(output.trial, eps)
    return distance(output.y, _right(output.program, trial))


def _right(program: Program, trial: Trial) -> Array:
    return np.asarray(evaluate(program, trial.values)[name_of(program.outputs[0])].value, float)


def _solved(output: _Output) -> float:
    """The eps that gives the user's output its size; outputs shrink as eps grows."""
    program, trial = output.program, output.trial
    shift = _right(program, with_eps(trial, 1e300))
    size = float(((output.y - shift) ** 2).sum())
    low, high = -30.0, 6.0
    for _ in range(60):
        middle = (low + high) / 2
        own = _right(program, with_eps(trial, 10.0**middle))
        low, high = (middle, high) if float(((own - shift) ** 2).sum()) > size else (low, middle)
    return float(10.0 ** ((low + high) / 2))


def _nearest(asked: _Asked, near: Sequence[tuple[float, _Output]]) -> Reading:
    """What the forward pass is instead: a layer with one change, or how it depends on x.

    Of several layers that are far away it is the one it is called, in its usual layout.
    """
    name = near[0][1].program.name
    for _, output in [n for n in near if n[1].program.name == name or n[0] < 0.3]:
        for finding, program in _changed(output.program):
            reading = replace(output.bench.reading, program=program)
            other = replace(output, bench=replace(output.bench, reading=reading))
            eps, apart = _fitted(asked, other)
            if apart <= SINGLE and _is_confirmed(other.bench, eps):
                return replace(reading, ddof=None, eps=eps, distance=apart, findings=(finding,))
    apart, output = near[0]
    said = _line(output) if output.y.size else None
    return replace(
        output.bench.reading, ddof=None, eps=None, known=False, distance=apart,
        findings=(said or found("forward-unknown"),),
    )  # fmt: skip


def _said(apart: float, eps: float | None, ignored: bool) -> Iterator[Finding]:
    if apart > RECOMPUTED:
        yield found("forward-inaccurate", digits=float(-np.log10(apart)))
    if ignored:
        yield found("eps-ignored", eps=eps)


def _changed(program: Program) -> Iterator[tuple[Finding, Program]]:
    """Forward passes that are nearly the layer: its program with one change."""
    roots = [s for s in program.steps if s.expr.is_Pow and s.expr.exp == S.Half]
    eps, gamma = program.tensors.get("eps"), program.tensors.get("gamma")
    title = program.title.lower()
    for root in roots if eps is not None else ():
        outside = root.expr.xreplace({eps: S.Zero}) + eps
        said = found("forward-eps-outside", layer=title, root=name_of(root.target))
        yield said, _with(program, root, outside)
        yield found("forward-eps-twice", layer=title), _with(program, root, root.expr + eps)
        squared = root.expr.xreplace({eps: S(eps) ** 2})
        yield found("forward-eps-squared", layer=title), _with(program, root, squared)
    if gamma is not None:
        last = program.steps[-1]
        shifted = last.expr.xreplace({gamma: 1 + gamma})
        yield found("forward-gamma-plus-1", layer=title), _with(program, last, shifted)


def _line(output: _Output) -> Finding | None:
    """How the output depends on x in each group, where that is a straight line.

    A layer's output is a line in x with the slope gamma/sd; a forward pass with another slope is
    recognised by it.
    """
    program, y = output.program, output.y
    made = evaluate(program, output.trial.values)
    known = {n: np.asarray(b.value, float) for n, b in made.items()}
    x = known[name_of(program.inputs[0])]
    if y.shape != x.shape:
        return None
    axes = tuple(indices_of(program.inputs[0]).index(i) for i in normalised(program))
    gamma = _broadcast(program, known, "gamma")
    beta = _broadcast(program, known, "beta")
    scaled = (y - (0.0 if beta is None else beta)) / (1.0 if gamma is None else gamma)
    xc, sc = (a - a.mean(axis=axes, keepdims=True) for a in (x, scaled))
    slope = (xc * sc).sum(axis=axes) / (xc * xc).sum(axis=axes)
    if not negligible(sc - np.expand_dims(slope, axes) * xc, sc, SINGLE):
        return None
    title = program.title.lower()
    if alike(slope, np.ones(slope.shape), SINGLE):
        return found("forward-unknown", "undivided", layer=title)
    if slope.size > 1 and negligible(np.ptp(slope), slope, SINGLE):
        return found("forward-unknown", "one-scale", layer=title, scale=float(1 / slope.flat[0]))
    return found("forward-unknown", "another-scale", layer=title)


def _broadcast(program: Program, known: dict[str, Array], name: str) -> Array | None:
    operand = program.tensors.get(name)
    if operand is None or not indices_of(operand):
        return None
    frame = indices_of(program.inputs[0])
    slots = tuple(slice(None) if i in indices_of(operand) else None for i in frame)
    return known[name][slots]


def _with(program: Program, step: Step, expr: object) -> Program:
    steps = tuple(Step(s.target, expr, s.note) if s is step else s for s in program.steps)
    return replace(program, steps=steps)


def accepted(bench: Bench) -> Iterator[tuple[Bench, Sequence[Observation]]]:
    """Each other layout in which the forward pass is the same layer and the backward pass gives
    the same gradients, with what they are on a few trials.

    Gradients of other shapes than their operands are no layout that is accepted, but for one of so
    many axes as the docstring says.
    """
    reading = bench.reading
    along = {i.label.name for i in normalised(reading.program)}
    own = {i.label.name for operand in reading.program.inputs[1:] for i in indices_of(operand)}
    for at in layouts.layouts(reading.program):
        if at.order == reading.layout.order or at.split().keys() & (own - along):
            continue  # a feature is one number more, however many axes count the features
        there = replace(
            bench, reading=replace(reading, layout=replace(at, kept=reading.layout.kept))
        )
        trials = islice(draw(reading.program, reading.eps, layout=at), ACCEPTANCE)
        try:
            seen = [there.run(trial) for trial in trials]
        except CannotAsk:
            continue
        if all(_is_the_layer(one) for one in seen) and (
            len(at.order) in bench.backward.ranks or all(_fits(one) for one in seen)
        ):
            yield there, seen


def _is_the_layer(one: Observation) -> bool:
    return one.y is not None and distance(one.y, one.reference.output) <= SINGLE


def _fits(one: Observation) -> bool:
    return all(
        one.gradients[name].shape == right.shape
        for name, right in one.reference.gradients.items()
        if name in one.gradients
    )


def is_off(seen: Sequence[Observation]) -> bool:
    """Whether some gradient is not right on one of the trials."""
    return any(one.off(name).any() for one in seen for name in one.gradients)
