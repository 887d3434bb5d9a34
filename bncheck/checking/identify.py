"""Which layer does the user's forward pass compute? Asked of its numbers, not of its name."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bncheck.algebra.notation import name_of
from bncheck.algebra.program import Program
from bncheck.checking import layout
from bncheck.checking.arithmetic import Array, evaluate
from bncheck.checking.convention import Candidate
from bncheck.checking.subject import Subject
from bncheck.checking.trials import Trial, trials, with_eps
from bncheck.errors import CannotAsk
from bncheck.layers import LAYERS, layer, options

USUAL_EPS = (1e-5, 1e-8, 1e-3, 1e-6, 1e-7, 1e-4, 1e-12, 1e-9, 1e-10, 1e-2, 1e-16, 0.0)


@dataclass(frozen=True)
class Identity:
    """The layer that a forward pass computes; ``known`` is False where none fits.

    Then ``program`` is the nearest one, and ``distance`` the largest difference of the outputs.
    ``eps`` is the user's own where it cannot be set, else None.
    """

    program: Program
    ddof: int | None
    eps: float | None
    known: bool
    distance: float = 0.0


def identify(subject: Subject, candidate: Candidate, hint: str | None) -> Identity:
    """The layer, from the outputs on one trial each; ``hint``: which layer to try first.

    Raises ``CannotAsk`` where the forward pass fails on everything.
    """
    nearest: Identity | None = None
    problem: CannotAsk | None = None
    for variant, program in _programs(candidate, hint):
        try:
            met = _compared(subject, candidate, program, variant.get("ddof"))
        except CannotAsk as error:
            problem = problem or error
            continue
        if met.known:
            return met
        if nearest is None or met.distance < nearest.distance:
            nearest = met
    if nearest is None:
        raise problem or CannotAsk(f"{candidate.name}: no layer fits its arguments")
    return nearest


def _programs(candidate: Candidate, hint: str | None) -> Iterator[tuple[dict[str, Any], Program]]:
    names = sorted(LAYERS, key=lambda name: name != hint)
    for name in names:
        choices = options(name)
        for affine in _affine(candidate, choices):
            for ddof in choices.get("ddof", (None,)):
                variant = {k: v for k, v in (("affine", affine), ("ddof", ddof)) if v is not None}
                yield variant, layer(name, **variant)


def _affine(candidate: Candidate, choices: Mapping[str, Any]) -> tuple[bool | None, ...]:
    if "affine" not in choices:
        return (None,)
    if candidate.kind == "class":
        return (True, False)
    return (True,) if "gamma" in candidate.takes else (False,)


def _compared(
    subject: Subject, candidate: Candidate, program: Program, ddof: int | None
) -> Identity:
    trial = next(t for t in trials(program) if t.name == "variance near eps")
    (y,) = subject.forward(candidate.name, [layout.to_user(program, trial.values)])
    y = layout.output_from_user(program, y, trial.values)
    settable = candidate.eps_settable or candidate.kind == "class"
    tried: list[float | None] = [None] if settable or "eps" not in program.tensors else []
    if "eps" in program.tensors:
        tried += [*USUAL_EPS, _solved(program, trial, y)]
    best = np.inf
    for eps in tried:
        right = _output(program, trial if eps is None else with_eps(trial, eps))
        if y.shape != right.shape:
            return Identity(program, ddof, None, known=False, distance=np.inf)
        apart = float(np.nan_to_num(abs(y - right), nan=np.inf).max())
        if apart <= 1e-9 * (1.0 + float(abs(right).max())):
            return Identity(program, ddof, eps, known=True)
        best = min(best, apart)
    return Identity(program, ddof, None, known=False, distance=best)


def _output(program: Program, trial: Trial) -> Array:
    return np.asarray(evaluate(program, trial.values)[name_of(program.outputs[0])].value, float)


def _solved(program: Program, trial: Trial, y: Array) -> float:
    """The eps that gives the user's output its size; outputs shrink as eps grows."""
    shift = _output(program, with_eps(trial, 1e300))
    size = float(((y - shift) ** 2).sum()) if y.shape == shift.shape else np.nan
    low, high = -320.0, 10.0
    for _ in range(200):
        middle = (low + high) / 2
        own = _output(program, with_eps(trial, 10.0**middle))
        low, high = (middle, high) if float(((own - shift) ** 2).sum()) > size else (low, middle)
    return float(10.0 ** ((low + high) / 2))
