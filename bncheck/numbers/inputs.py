"""Inputs by role: what somebody's code is handed on a trial, and the trial that somebody gives.

Besides arguments and the upstream gradient some backward passes ask for what a forward pass kept,
where there is none to keep it: mean, variance, xhat, ... Whoever gives inputs, activations of a
real run say, gives them by role, under any usual name; they make a trial of their own.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bncheck.algebra.notation import Tensor, indices_of, name_of
from bncheck.algebra.program import Program
from bncheck.calculus.derivation import Derivation, normalised
from bncheck.numbers import layout as layouts
from bncheck.numbers.arithmetic import evaluate
from bncheck.numbers.layout import Layout, Piece
from bncheck.numbers.observation import Trial
from bncheck.numbers.trials import directed
from bncheck.subject.messages import holds_numbers
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
            theirs = layouts.array_to_user(at, program, *found, trial.parts)
            made[role] = theirs.astype(dtype)
    return made


def _value(program: Program, known: Mapping[str, Any], role: str) -> int | tuple[Tensor, Any]:
    first = program.inputs[0]
    x = known[name_of(first)]
    if role == "count":
        return int(np.prod([x.shape[indices_of(first).index(i)] for i in normalised(program)]))
    if role == "width":
        return int(known["gamma"].size) if "gamma" in known else int(x.shape[-1])
    if role == "centred":
        operand, mean = _step(program, known, "mean")
        has = indices_of(operand)
        return first, x - mean[tuple(slice(None) if i in has else None for i in indices_of(first))]
    if role == "rstd":
        operand, value = _step(program, known, "sd")
        return operand, 1 / value
    return _step(program, known, role)


def _step(program: Program, known: Mapping[str, Any], role: str) -> tuple[Tensor, Any]:
    for name in _STEPS[role]:
        if name in program.tensors:
            return program.tensors[name], known[name]
    raise CannotAsk(f"{program.name} has no {role}, which the backward pass asks for")


def own_trial(
    found: Derivation,
    at: Layout,
    eps: float | None,
    given: Mapping[str, Any],
    role_of: Callable[[str], str | None],
    takes: tuple[str, ...] = (),
    seed: int = 0,
) -> Trial:
    """The user's own inputs as a trial; what they lack is drawn.

    ``eps``: that of the user's code where it cannot be set; ``role_of``: of a name that people
    use; ``takes`` and ``seed``: for the directions of second order, see ``directed``. Raises
    ``CannotAsk`` for what is no input of this layer.
    """
    known, program = _by_role(given, role_of), found.layer
    values, parts = _own_values(at, program, known)
    if eps is not None:
        values["eps"] = eps
    values.setdefault("eps", 1e-5)
    first, upstream = program.inputs[0], program.outputs[0]
    x = np.asarray(values[name_of(first)])
    rng = np.random.default_rng(0)
    if "d" + name_of(upstream) not in values:
        drawn = rng.standard_normal(x.shape)
        values["d" + name_of(upstream)] = drawn.astype(x.dtype, copy=False)
    lengths = dict(zip(indices_of(first), x.shape, strict=True))
    for operand in program.inputs[1:]:
        name, shape = name_of(operand), tuple(lengths[i] for i in indices_of(operand))
        if name not in values:
            values[name] = rng.uniform(0.4, 0.9, shape).astype(x.dtype, copy=False)
    trial = Trial("your inputs", values, easy=False, own=True, parts=parts)
    if found.order == 1:
        return trial
    return directed(found, at, takes, trial, np.random.default_rng(seed), known)


def _by_role(given: Mapping[str, Any], role_of: Callable[[str], str | None]) -> dict[str, Any]:
    """Arrays by role, under whatever usual name they were given."""
    known: dict[str, Any] = {}
    for name, value in given.items():
        found = role_of(name)
        if found is not None:
            known[found] = _numbers(name, np.asarray(value))
    if not set(known) & {"x", "dy", "gamma", "beta", "eps"}:
        raise CannotAsk(f"the inputs hold {', '.join(given)}; expected x, dy, gamma, beta, eps")
    if np.ndim(known.get("eps", 0.0)) or known.get("eps", 0.0) < 0:
        raise CannotAsk(f"eps of the inputs is {known['eps']}; expected a number from 0 on")
    return known


def _numbers(name: str, value: NDArray[Any]) -> Any:
    """Finite real numbers, whole ones as float64; a single one as a number."""
    if not holds_numbers(value.dtype) or value.dtype.kind == "c":
        raise CannotAsk(f"{name} of the inputs is an array of {value.dtype}; expected real numbers")
    if not value.size:
        raise CannotAsk(f"{name} of the inputs has shape {value.shape}: it is empty")
    if not np.all(np.isfinite(value)):
        at = [int(k) for k in np.argwhere(~np.isfinite(value))[0]]
        found = value[tuple(at)]
        raise CannotAsk(f"{name} of the inputs is {found} at {at}; expected finite numbers")
    value = value.astype(np.float64) if value.dtype.kind in "iu" else value
    return value if value.ndim else float(value)


def _own_values(
    at: Layout, program: Program, given: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    """Inputs given by the user, by role, as values of the program, and the parts they have."""
    if "x" not in given:
        raise CannotAsk(f"the inputs hold {', '.join(given) or 'nothing'}, but no x")
    shape = np.shape(given["x"])
    if len(shape) != len(at.order):
        raise CannotAsk(f"x of the inputs has shape {shape}; expected {at.name}")
    length: dict[Piece, int] = {}
    for axis, size in zip(at.order, shape, strict=True):
        length.update(_unjoined(axis, size, given))
    parts = {
        name: tuple(length[name, k] for k in range(count))
        for name, count in at.split().items()
    }  # fmt: skip
    values: dict[str, Any] = {}
    for name, operand in layouts.operands_of(program).items():
        role = layouts.role_of(program, name)
        if role not in given:
            continue
        value = given[role]
        names = [i.label.name for i in indices_of(operand)]
        wanted = tuple(int(np.prod(parts.get(n) or (length[n, 0],))) for n in names)
        if names and np.size(value) != int(np.prod(wanted)):
            raise CannotAsk(
                f"{role} of the inputs has shape {np.shape(value)}, x has {shape}: expected "
                f"{int(np.prod(wanted))} values for {role}"
            )
        array = np.asarray(value)
        values[name] = (
            layouts.array_from_user(at, program, operand, array, wanted, parts) if names else value
        )
    return values, parts


def _unjoined(axis: tuple[Piece, ...], size: int, given: Mapping[str, Any]) -> dict[Piece, int]:
    if len(axis) == 1:
        return {axis[0]: size}
    groups = int(given.get("groups", 1))
    if groups < 1 or size % groups:
        raise CannotAsk(f"{size} channels of the inputs do not make {groups} groups")
    return {axis[0]: groups, axis[1]: size // groups}
