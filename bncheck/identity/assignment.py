"""Which of the arrays that a double backward pass returned is which: by shape, then by value."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import permutations
from typing import Any

import numpy as np

from bncheck.algebra.notation import Tensor, name_of
from bncheck.calculus.derivation import Derivation
from bncheck.numbers import layout
from bncheck.numbers.agreement import gap, within
from bncheck.numbers.arithmetic import Array
from bncheck.numbers.observation import Reference
from bncheck.numbers.trials import Trial
from bncheck.telling.errors import CannotAsk
from bncheck.telling.report import Remark
from bncheck.verdict.bench import Case, remark

BETA = "d2beta"
"""The gradient with respect to beta: 0, and returned by some all the same."""


def in_order(case: Case, trial: Trial, parts: dict[str, Array], truth: Reference) -> dict[str, Any]:
    """The gradients by name, in the program's axes; the order is found once, on the first trial.

    Raises ``CannotAsk`` where the shapes are not those of dy, x and gamma.
    """
    if not case.order:
        orders = [o for o in _orders(case, len(parts)) if _fits(case, trial, o, parts)]
        if not orders:
            raise CannotAsk(_misshapen(case, trial, parts))
        case.order = max(orders, key=lambda o: _score(case, trial, o, parts, truth))
    return read(case, trial, parts)


def read(case: Case, trial: Trial, parts: dict[str, Array]) -> dict[str, Any]:
    """The same in the order that was found before."""
    if len(parts) != len(case.order) or not _fits(case, trial, case.order, parts):
        raise CannotAsk(_misshapen(case, trial, parts))
    made = dict(_read(case, trial, case.order, parts))
    for name, part in zip(case.order, parts.values(), strict=True):
        _, wanted = _shapes(case, trial, name)
        if part.shape != wanted:
            text = f"{name} has shape {part.shape}; expected {wanted}"
            remark(case, Remark("dx-shape" if name != "d2gamma" else "param-shape", text))
    return made


def with_beta(truth: Reference, gradients: dict[str, Array]) -> Reference:
    """The reference with 0 for the gradient with respect to beta, where that is returned."""
    if BETA not in gradients:
        return truth
    zero = np.zeros(gradients[BETA].shape)
    smallest = zero + float(np.finfo(np.float64).smallest_subnormal)
    return replace(
        truth,
        gradients={**truth.gradients, BETA: zero},
        allowed={**truth.allowed, BETA: smallest},
    )


@cache
def _wanted(found: Derivation) -> dict[str, Tensor]:
    """What the gradients are taken by, by their names."""
    program = found.forward
    wanted = {name_of(program.gradient(a)): a for a in found.wrt}
    if "beta" in program.tensors:
        wanted[BETA] = program.tensors["beta"]
    return wanted


def _orders(case: Case, count: int) -> Iterator[tuple[str, ...]]:
    names = [n for n in _wanted(case.found) if n != BETA or count > len(case.found.wrt)]
    yield from permutations(names, min(count, len(names))) if count <= len(names) else ()


def _shapes(case: Case, trial: Trial, name: str) -> tuple[Any, Any]:
    """The shape in the program's axes and in the user's."""
    operand, program = _wanted(case.found)[name], case.found.forward
    value = np.asarray(trial.values[name_of(operand)])
    mine = layout.array_to_user(case.identity.layout, program, operand, value, trial.parts)
    return value.shape, np.shape(mine)


def _fits(case: Case, trial: Trial, order: Sequence[str], parts: dict[str, Array]) -> bool:
    for name, part in zip(order, parts.values(), strict=True):
        _, wanted = _shapes(case, trial, name)
        if part.shape != wanted and _squeezed(part.shape) != _squeezed(wanted):
            return False
    return True


def _read(
    case: Case, trial: Trial, order: Sequence[str], parts: dict[str, Array]
) -> Iterator[tuple[str, Array]]:
    program, at = case.found.forward, case.identity.layout
    for name, part in zip(order, parts.values(), strict=True):
        shape, _ = _shapes(case, trial, name)
        operand = _wanted(case.found)[name]
        yield name, layout.array_from_user(at, program, operand, part, shape, trial.parts)


def _score(
    case: Case, trial: Trial, order: Sequence[str], parts: dict[str, Array], truth: Reference
) -> tuple[int, float]:
    """How many are right in this order, then how near the others are."""
    right, near = 0, 0.0
    with np.errstate(all="ignore"):
        for name, yours in _read(case, trial, order, parts):
            wanted = np.asarray(truth.gradients.get(name, np.zeros(yours.shape)))
            right += within(yours, wanted, truth.allowed.get(name, 0.0))
            apart = gap(yours, wanted)
            size = float(np.asarray(abs(wanted), float).sum())
            near -= min(1.0, float(np.nan_to_num(apart.sum() / size, nan=1.0)) if size else 1.0)
    return right, near


def _misshapen(case: Case, trial: Trial, parts: dict[str, Array]) -> str:
    wanted = {n: _shapes(case, trial, n)[1] for n in _wanted(case.found) if n != BETA}
    found = ", ".join(str(part.shape) for part in parts.values())
    expected = ", ".join(f"{name} {shape}" for name, shape in wanted.items())
    return f"{case.candidate.name} returned arrays of shapes {found}; expected {expected}"


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)
