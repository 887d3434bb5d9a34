"""Between a program's arrays (one axis per index) and the user's (by role, joined axes as one)."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from bncheck.algebra.notation import Tensor, indices_of, name_of
from bncheck.algebra.program import Program
from bncheck.checking.arithmetic import Array

PASSED = ("x", "dy", "gamma", "beta", "eps", "running_mean", "running_var")


def to_user(program: Program, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values by role: the first input is ``x``, the upstream gradient ``dy``."""
    by_role: dict[str, Any] = {}
    for name, operand in _operands(program).items():
        if name in values:
            by_role[_role(program, name)] = _joined(program, operand, values[name])
    for run in program.joined:
        first = np.shape(values[name_of(program.inputs[0])])
        where = indices_of(program.inputs[0]).index(run[0])
        by_role["groups"] = int(first[where])
    return by_role


def from_user(
    program: Program, gradients: Mapping[str, Array], values: Mapping[str, Any]
) -> dict[str, Array]:
    """The gradients by the program's names, in the program's axes where the shapes allow it."""
    names = {"d" + _role(program, name_of(a)): name_of(a) for a in program.inputs}
    back = {}
    for name, array in gradients.items():
        if name in names:
            shape = np.shape(values[names[name]])
            fits = program.joined and array.size == int(np.prod(shape))
            back["d" + names[name]] = array.reshape(shape) if fits else array
    return back


def output_from_user(program: Program, y: Array, values: Mapping[str, Any]) -> Array:
    """The user's output in the program's axes."""
    shape = np.shape(values["d" + name_of(program.outputs[0])])
    return y.reshape(shape) if program.joined and y.size == int(np.prod(shape)) else y


def own_values(program: Program, given: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs given by the user, by role, as values of the program."""
    names = {_role(program, name): name for name in _operands(program)}
    return {names[key]: value for key, value in given.items() if key in names}


def _operands(program: Program) -> dict[str, Tensor]:
    upstream = {"d" + name_of(out): out for out in program.outputs}
    return {**{name_of(a): a for a in program.inputs}, **upstream}


def _role(program: Program, name: str) -> str:
    if name == name_of(program.inputs[0]):
        return "x"
    return "dy" if name == "d" + name_of(program.outputs[0]) else name


def _joined(program: Program, operand: Tensor, value: Any) -> Any:
    indices = indices_of(operand)
    for run in program.joined:
        if set(run) <= set(indices):
            at = indices.index(run[0])
            shape = np.shape(value)
            whole = int(np.prod(shape[at : at + len(run)]))
            return np.reshape(value, (*shape[:at], whole, *shape[at + len(run) :]))
    return value
