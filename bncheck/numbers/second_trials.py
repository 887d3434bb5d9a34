"""The trials of second order: those of first order, and directions for the gradients to move."""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from bncheck.algebra.notation import indices_of, name_of
from bncheck.calculus.derivation import Derivation
from bncheck.identity.by_outputs import Identity
from bncheck.numbers import layout as layouts
from bncheck.numbers.layout import Layout
from bncheck.numbers.trials import Trial, trials
from bncheck.subject.names import DIRECTIONS, double_role
from bncheck.telling.errors import CannotAsk


def second_trials(
    found: Derivation, identity: Identity, takes: tuple[str, ...], seed: int = 0, more: int = 0
) -> tuple[Trial, ...]:
    """Trials of the layer with ddx, ddgamma, ...; 0 for those that the user's code lacks."""
    there = tuple(role for role in DIRECTIONS if role in takes)
    return _drawn(found, identity.eps, identity.layout, there, seed, more)


@lru_cache(64)
def _drawn(
    found: Derivation,
    eps: float | None,
    layout: Layout,
    takes: tuple[str, ...],
    seed: int,
    more: int,
) -> tuple[Trial, ...]:
    rng = np.random.default_rng([seed, 2])
    identity = Identity(found.layer, layout, None, eps, known=True)
    return tuple(
        directed(found, identity, takes, trial, rng, {})
        for trial in trials(found.layer, eps, seed, layout, more)
    )


def directed(
    found: Derivation,
    identity: Identity,
    takes: tuple[str, ...],
    trial: Trial,
    rng: np.random.Generator,
    given: Mapping[str, Any],
) -> Trial:
    """A trial with its directions: those of the user's, else drawn like an upstream gradient."""
    first = found.layer.inputs[0]
    x = np.asarray(trial.values[name_of(first)])
    lengths = dict(zip(indices_of(first), x.shape, strict=True))
    theirs = {double_role(n): np.asarray(v) for n, v in given.items()}
    values = dict(trial.values)
    for operand in found.upstream:
        name, shape = name_of(operand), tuple(lengths[i] for i in indices_of(operand))
        role = layouts.role_of(found.forward, name)
        drawn = 0.25 + rng.standard_normal(shape)
        if role in DIRECTIONS and role in theirs:
            drawn = _theirs(found, identity, trial, role, name, theirs[role], shape)
        elif role not in takes:
            drawn = np.zeros(shape)
        values[name] = drawn.astype(x.dtype)
    return replace(trial, values=values)


def _theirs(
    found: Derivation,
    identity: Identity,
    trial: Trial,
    role: str,
    name: str,
    value: Any,
    shape: tuple[int, ...],
) -> Any:
    if value.size != int(np.prod(shape)):
        raise CannotAsk(f"{role} of the inputs has shape {value.shape}: not that of its gradient")
    operand = layouts.operands_of(found.forward)[name]
    return layouts.array_from_user(
        identity.layout, found.forward, operand, value, shape, trial.parts
    )
