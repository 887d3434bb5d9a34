"""Inputs on which no mistake can hide, and hard ones on which right code keeps its digits.

A mistake in a count shows only where the sizes differ, one in gamma only where gamma differs
between features, one in eps only where eps is not small beside the variance, one in the mean
only away from zero, and nearly all of them only if the upstream gradient is not constant.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sympy import Idx

from bncheck.algebra.notation import indices_of, name_of
from bncheck.algebra.program import Program
from bncheck.calculus.derivation import normalised


@dataclass(frozen=True)
class Trial:
    """Named inputs, the upstream gradient among them, by their names in the program.

    ``easy`` trials decide whether the mathematics is right; the others grade accuracy and look
    into corners. ``differences``: whether finite differences are taken here too. ``own``: these
    are inputs of the user's.
    """

    name: str
    values: dict[str, Any]
    easy: bool = True
    differences: bool = False
    own: bool = False


def trials(program: Program, eps: float | None = None, seed: int = 0) -> Iterator[Trial]:
    """The trials for a program; ``eps`` is the user's own where it cannot be set."""
    rng = np.random.default_rng(seed)
    big = 0.125 if eps is None else eps
    small = 1e-5 if eps is None else eps
    yield Trial("7 by 3", _draw(program, (7, 3), rng, big), differences=True)
    yield Trial("8 by 5", _draw(program, (8, 5), rng, small, mean=-2.0, spread=0.5))
    yield Trial("3 by 11", _draw(program, (3, 11), rng, big, mean=0.5))
    yield Trial("5 by 5", _draw(program, (5, 5), rng, big))
    yield Trial("23 by 19", _draw(program, (23, 19), rng, small, spread=3.0))
    large = _draw(program, (12, 4), rng, big, spread=4.0)
    for upstream in _upstream(program):
        large[upstream] *= 20
    yield Trial("large upstream gradient", large)
    yield Trial("variance near eps", _draw(program, (9, 4), rng, small, mean=0.01, spread=0.005))
    yield from _hard(program, eps, rng)


def _hard(program: Program, eps: float | None, rng: np.random.Generator) -> Iterator[Trial]:
    usual = 1e-5 if eps is None else eps
    first = name_of(program.inputs[0])
    if eps is None and _has_eps(program):
        yield Trial("eps = 0", _draw(program, (8, 3), rng, 0.0), easy=False)
        yield Trial("eps = 1e-3", _draw(program, (6, 4), rng, 1e-3, spread=0.03), easy=False)
    yield Trial("mean 1e4", _draw(program, (16, 3), rng, usual, mean=1e4), easy=False)
    tiny = _draw(program, (12, 3), rng, usual, mean=0.0, spread=1e-3)
    yield Trial("variance 1e-6", tiny, easy=False)
    one_hot = _draw(program, (7, 4), rng, usual)
    for upstream in _upstream(program):
        hot = np.zeros_like(one_hot[upstream])
        hot.flat[hot.size // 2] = 1.0
        one_hot[upstream] = hot
    yield Trial("one-hot upstream gradient", one_hot, easy=False)
    if _has_eps(program):
        constant = _draw(program, (10, 3), rng, max(usual, 1e-5))
        constant[first][_first_group(program, constant[first])] = 0.75
        yield Trial("one group constant", constant, easy=False)
        yield Trial("two values", _draw(program, (2, 4), rng, max(usual, 1e-5)), easy=False)
        yield Trial("one value", _draw(program, (1, 3), rng, max(usual, 1e-5)), easy=False)
    yield Trial("read-only", _frozen(_draw(program, (6, 4), rng, usual)), easy=False)
    strided = _draw(program, (6, 5), rng, usual)
    yield Trial("not contiguous", {k: _strided(v) for k, v in strided.items()}, easy=False)


def with_eps(trial: Trial, eps: float) -> Trial:
    """The same trial with another eps."""
    return replace(trial, values={**trial.values, "eps": eps})


def _draw(
    program: Program,
    sizes: tuple[int, int],
    rng: np.random.Generator,
    eps: float,
    mean: float = 1.5,
    spread: float = 2.0,
) -> dict[str, Any]:
    """Inputs of the sizes (values per group, groups); see ``_lengths``."""
    lengths = _lengths(program, *sizes)
    first = program.inputs[0]
    values: dict[str, Any] = {}
    for operand in program.inputs:
        name, shape = name_of(operand), tuple(lengths[i] for i in indices_of(operand))
        if not shape:
            values[name] = eps
        elif operand == first:
            values[name] = mean + spread * rng.standard_normal(shape)
        elif operand.is_positive:
            values[name] = spread**2 * (0.5 + rng.random(shape))
        elif name == "gamma":
            values[name] = _scales(rng, shape)
        else:
            values[name] = mean + spread * rng.standard_normal(shape)
    for name, out in zip(_upstream(program), program.outputs, strict=True):
        shape = tuple(lengths[i] for i in indices_of(out))
        values[name] = 0.25 + rng.standard_normal(shape)
    return values


def _scales(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
    """Scales that differ, are never 1, and are not all of one sign."""
    scales = rng.uniform(0.4, 0.9, shape) * rng.choice([1.0, 3.0], shape)
    scales.flat[0] = -scales.flat[0]
    return scales


def _lengths(program: Program, per_group: int, groups: int) -> dict[Idx, int]:
    """A length for each axis: the normalised ones hold a group, the others count groups."""
    along = normalised(program)
    lengths: dict[Idx, int] = {}
    for order, axis in enumerate(program.axes):
        if axis in along:
            lengths[axis] = per_group if axis == along[-1] else 2 + per_group % 2
        else:
            lengths[axis] = groups if order == 0 or len(program.axes) == 2 else 2 + groups % 2
    return lengths


def _upstream(program: Program) -> tuple[str, ...]:
    return tuple("d" + name_of(out) for out in program.outputs)


def _has_eps(program: Program) -> bool:
    return "eps" in program.tensors


def _first_group(program: Program, values: NDArray[Any]) -> tuple[Any, ...]:
    along = normalised(program)
    return tuple(slice(None) if i in along else 0 for i in indices_of(program.inputs[0]))


def _frozen(values: dict[str, Any]) -> dict[str, Any]:
    for value in values.values():
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
    return values


def _strided(value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    wide = np.zeros((*value.shape[:-1], 2 * value.shape[-1]))
    wide[..., ::2] = value
    return wide[..., ::2]
