"""Which layer does the user's forward pass compute? Asked of its numbers, not of its name."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bncheck.algebra.layers import LAYERS, layer, options
from bncheck.algebra.notation import name_of
from bncheck.algebra.program import Program
from bncheck.identity.nearly import slopes, variants_of
from bncheck.numbers import layout as layouts
from bncheck.numbers.agreement import FINE, RECOMPUTED, SINGLE, distance
from bncheck.numbers.arithmetic import Array, evaluate
from bncheck.numbers.layout import Layout
from bncheck.numbers.trials import Trial, draw, with_eps
from bncheck.subject.messages import Backward, Subject
from bncheck.telling.errors import CannotAsk
from bncheck.telling.report import Remark

MACHINE_EPS = float(np.finfo(np.float64).eps)
USUAL_EPS = (
    1e-5, 1e-8, 1e-3, 1e-6, 1e-7, 1e-4, 1e-12, 1e-9, 1e-10, 1e-2, MACHINE_EPS, 1e-16, 0.0, 1e-11,
    1e-15, 1e-20, 1e-18, 1e-14, 2.0**-23,
)  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """What the user said, so that bncheck need not find out: layer, layout, ddof, eps."""

    program: Program | None = None
    layout: str | None = None
    ddof: int | None = None
    eps: float | None = None


@dataclass(frozen=True)
class Identity:
    """The layer that a forward pass computes; ``known`` is False where none fits.

    Then ``program`` is the nearest one, and ``distance`` the largest difference of the outputs.
    ``eps`` is the user's own where it cannot be set, else None; ``ignored``: the code takes an
    eps, and its forward pass makes no use of it.
    """

    program: Program
    layout: Layout
    ddof: int | None
    eps: float | None
    known: bool
    distance: float = 0.0
    remarks: tuple[Remark, ...] = ()
    ignored: bool = False


@dataclass(frozen=True)
class _Seen:
    """An output of the user's, and what it was computed from."""

    program: Program
    layout: Layout
    trial: Trial
    y: Array


def identify(
    subject: Subject, candidate: Backward, hint: str | None, asked: Asked | None = None
) -> Identity:
    """The layer, from the outputs on one trial each; ``hint``: which layer to try first.

    Raises ``CannotAsk`` where the forward pass fails on everything.
    """
    said = asked or Asked()
    settable = (candidate.eps_settable or candidate.has_object) and said.eps is None
    near: list[tuple[float, _Seen]] = []
    problem: CannotAsk | None = None
    fallback: Identity | None = None
    for programs, at in _choices(candidate, hint, said):
        try:
            seen = _seen(subject, candidate, programs[0][1], at, said.eps)
        except CannotAsk as error:
            problem = problem or error
            continue
        for ddof, program in programs:
            eps, distance = _fitted(program, seen, settable, said.eps)
            if distance <= SINGLE and _confirmed(subject, candidate, program, at, eps, said.eps):
                ignored = candidate.eps_settable and eps is not None and said.eps is None
                remarks = _rough(distance) + (_ignored(eps) if ignored else ())
                found = Identity(program, at, ddof, eps, True, distance, remarks, ignored)
                if candidate.statistics or _goes_back(subject, candidate, program, at):
                    return found
                fallback = fallback or found
            if np.isfinite(distance):
                near.append((distance, replace(seen, program=program)))
    if fallback is not None:
        return fallback
    if not near:
        raise problem or CannotAsk(f"{candidate.name}: no layer fits its arguments")
    return _nearest(subject, candidate, near, settable, said)


def _confirmed(
    subject: Subject,
    candidate: Backward,
    program: Program,
    at: Layout,
    eps: float | None,
    said: float | None,
) -> bool:
    """Whether the next output fits as well, where eps is small beside the variance.

    An eps that the forward pass is thought to ignore is another one here.
    """
    trial = next(draw(program, said, layout=at))
    asked = layouts.to_user(at, program, trial.values, trial.parts)
    (y,) = subject.forward(candidate.name, [asked])
    y = np.real(layouts.output_from_user(at, program, y, trial.values, trial.parts))
    return _apart(program, _Seen(program, at, trial, y), eps) <= SINGLE


def _goes_back(subject: Subject, candidate: Backward, program: Program, at: Layout) -> bool:
    """Whether the backward pass runs in this layout; many a forward pass runs in several."""
    trial = next(draw(program, layout=at))
    try:
        subject.call(candidate.name, layouts.to_user(at, program, trial.values, trial.parts))
    except CannotAsk:
        return False
    return True


def program_of(name: str, affine: bool, ddof: int) -> Program:
    """A layer in the variant that a backward pass speaks of; raises ``CannotAsk``."""
    wanted = {"affine": affine, "ddof": ddof}
    variant = {k: v for k, v in wanted.items() if k in options(name)}
    if ddof and "ddof" not in variant:
        raise CannotAsk(f"{name} has no ddof")
    return layer(name, **variant)


def _choices(
    candidate: Backward, hint: str | None, said: Asked
) -> Iterator[tuple[list[tuple[int | None, Program]], Layout]]:
    """Programs that one output can decide between, and the layout of its input."""
    names = list(LAYERS) if said.program is None else [said.program.name]
    found = list(_all_choices(candidate, names, said))
    # what it is called first, then the usual layouts before the unusual ones
    found.sort(key=lambda c: (hint is not None and c[0][0][1].name != hint, _rarity(c[1])))
    yield from found


def _rarity(at: Layout) -> int:
    return int(at.kept) + 2 * at.rare


def _all_choices(
    candidate: Backward, names: list[str], said: Asked
) -> Iterator[tuple[list[tuple[int | None, Program]], Layout]]:
    for name in names:
        if name not in LAYERS:
            assert said.program is not None
            yield [(None, said.program)], layouts.usual(said.program)
            continue
        choices = options(name)
        for affine in _affine(candidate, choices):
            chosen = {} if affine is None else {"affine": affine}
            ddofs = choices.get("ddof", (None,)) if said.ddof is None else (said.ddof,)
            programs = [
                (d, layer(name, **chosen, **({} if d is None else {"ddof": d}))) for d in ddofs
            ]
            for at in _layouts(candidate, programs[0][1], said.layout):
                yield programs, at


def _layouts(candidate: Backward, program: Program, said: str | None) -> Iterator[Layout]:
    there = [layouts.named(program, said)] if said else list(layouts.layouts(program))
    images = re.search(r"spatial|2d|conv|image|channel|cnn", candidate.name, re.IGNORECASE)
    if images or program.joined:  # channels come in groups where there are many: in images
        there.sort(key=lambda at: len(at.order) != 4)
    for kept in (False, True):
        for at in there:
            yield layouts.with_kept(at) if kept else at


def _affine(candidate: Backward, choices: Mapping[str, Any]) -> tuple[bool | None, ...]:
    if "affine" not in choices:
        return (None,)
    if candidate.has_object:
        return (True, False)
    return (True,) if "gamma" in candidate.takes else (False,)


def _seen(
    subject: Subject, candidate: Backward, program: Program, at: Layout, said: float | None
) -> _Seen:
    there = draw(program, said, layout=at)
    trial = next(t for t in there if t.shows_eps)
    (y,) = subject.forward(
        candidate.name, [layouts.to_user(at, program, trial.values, trial.parts)]
    )
    y = np.real(layouts.output_from_user(at, program, y, trial.values, trial.parts))
    return _Seen(program, at, trial, y)


def _fitted(
    program: Program, seen: _Seen, settable: bool, said: float | None
) -> tuple[float | None, float]:
    """The eps at which the outputs are nearest (None: the one that was set), and how near."""
    if "eps" not in program.tensors:
        return None, _apart(program, seen, None)
    tried: list[float | None] = [*([None] if settable else []), *USUAL_EPS]
    if said is not None:
        tried = [said]
    best: tuple[float | None, float] = (None, np.inf)
    for eps in tried:
        distance = _apart(program, seen, eps)
        if distance < best[1]:
            best = eps, distance
        if eps is None and distance <= RECOMPUTED:
            return best
    if said is None and FINE < best[1] < 0.5:
        solved = _solved(program, seen)
        for eps in (solved, float(f"{solved:.0e}")):
            distance = _apart(program, seen, eps)
            if distance < best[1] / 4 or (best[0] == solved and distance <= best[1] + FINE / 8):
                best = eps, distance
    return best


def _apart(program: Program, seen: _Seen, eps: float | None) -> float:
    """The largest difference of the outputs, relative to the largest output."""
    right = _output(program, seen.trial if eps is None else with_eps(seen.trial, eps))
    return distance(seen.y, right)


def _output(program: Program, trial: Trial) -> Array:
    return np.asarray(evaluate(program, trial.values)[name_of(program.outputs[0])].value, float)


def _solved(program: Program, seen: _Seen) -> float:
    """The eps that gives the user's output its size; outputs shrink as eps grows."""
    shift = _output(program, with_eps(seen.trial, 1e300))
    size = float(((seen.y - shift) ** 2).sum())
    low, high = -30.0, 6.0
    for _ in range(60):
        middle = (low + high) / 2
        own = _output(program, with_eps(seen.trial, 10.0**middle))
        low, high = (middle, high) if float(((own - shift) ** 2).sum()) > size else (low, middle)
    return float(10.0 ** ((low + high) / 2))


def _nearest(
    subject: Subject,
    candidate: Backward,
    near: list[tuple[float, _Seen]],
    settable: bool,
    said: Asked,
) -> Identity:
    """What the forward pass is instead: a layer with one change, or how it depends on x.

    Of several layers that are far away it is the one it is called, in its usual layout.
    """
    first = near[0][1].program.name
    for _, seen in [n for n in near if n[1].program.name == first or n[0] < 0.3]:
        for code, text, program in variants_of(seen.program):
            eps, apart = _fitted(program, seen, settable, said.eps)
            at = seen.layout
            if apart <= SINGLE and _confirmed(subject, candidate, program, at, eps, said.eps):
                remark = Remark(code, f"the forward pass is {text}")
                return Identity(program, seen.layout, None, eps, True, apart, (remark,))
    distance, seen = near[0]
    text = slopes(seen.program, seen.trial, seen.y) if seen.y.size else ""
    remark = Remark("forward-unknown", text or "the forward pass is none that bncheck knows")
    return Identity(seen.program, seen.layout, None, None, False, distance, (remark,))


def _ignored(eps: float | None) -> tuple[Remark, ...]:
    text = f"the forward pass makes no use of the eps that it is given; it has eps = {eps:.3g}"
    return (Remark("eps-ignored", text),)


def _rough(distance: float) -> tuple[Remark, ...]:
    if distance <= RECOMPUTED:
        return ()
    text = f"the forward pass is right to {-np.log10(distance):.0f} digits only (single precision?)"
    return (Remark("forward-inaccurate", text),)
