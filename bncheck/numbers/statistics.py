"""What some backward passes ask of a forward pass that is not there: mean, variance, xhat, ..."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bncheck.algebra.notation import Tensor, indices_of, name_of
from bncheck.algebra.program import Program
from bncheck.calculus.derivation import normalised
from bncheck.numbers.arithmetic import evaluate
from bncheck.numbers.layout import Layout, array_to_user
from bncheck.numbers.trials import Trial
from bncheck.telling.errors import CannotAsk

_STEPS = {"mean": ("mu",), "var": ("var", "ms"), "sd": ("sd", "rms", "norm"), "xhat": ("xhat",)}
"""Role: the steps of the forward programs that are it."""


def statistics(
    program: Program, at: Layout, trial: Trial, values: Mapping[str, Any], roles: Sequence[str]
) -> dict[str, Any]:
    """The forward pass's values by role, in the user's layout and precision."""
    known = {n: np.asarray(b.value) for n, b in evaluate(program, values).items()}
    dtype = next(v.dtype for v in values.values() if isinstance(v, np.ndarray))
    made: dict[str, Any] = {}
    for role in roles:
        found = _value(program, known, role)
        if isinstance(found, int):
            made[role] = found
        else:
            operand, value = found
            made[role] = array_to_user(at, program, operand, value, trial.parts).astype(dtype)
    return made


def _value(program: Program, known: Mapping[str, Any], role: str) -> int | tuple[Tensor, Any]:
    first = program.inputs[0]
    x = known[name_of(first)]
    if role == "count":
        return int(np.prod([x.shape[indices_of(first).index(i)] for i in normalised(program)]))
    if role == "width":
        return int(known["gamma"].size) if "gamma" in known else int(x.shape[-1])
    if role == "centred":
        return first, x - known["mu"][_slots(program, "mu")]
    if role == "rstd":
        operand, value = _step(program, known, "sd")
        return operand, 1 / value
    return _step(program, known, role)


def _step(program: Program, known: Mapping[str, Any], role: str) -> tuple[Tensor, Any]:
    for name in _STEPS[role]:
        if name in program.tensors:
            return program.tensors[name], known[name]
    raise CannotAsk(f"{program.name} has no {role}, which the backward pass asks for")


def _slots(program: Program, name: str) -> tuple[Any, ...]:
    if name not in program.tensors:
        raise CannotAsk(f"{program.name} has no mean, which the backward pass asks for")
    has = indices_of(program.tensors[name])
    return tuple(slice(None) if i in has else None for i in indices_of(program.inputs[0]))
