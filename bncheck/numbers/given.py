"""Inputs that the user gives: activations of a real run, by role, as a trial of their own."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bncheck.algebra.notation import indices_of, name_of
from bncheck.algebra.program import Program
from bncheck.identity.by_outputs import Identity
from bncheck.numbers import layout
from bncheck.numbers.layout import Layout, Piece
from bncheck.numbers.trials import Trial
from bncheck.subject.messages import is_number
from bncheck.subject.names import role
from bncheck.telling.errors import CannotAsk


def own_trials(identity: Identity, given: Mapping[str, Any]) -> Iterable[Trial]:
    """The user's own inputs as a trial; what they lack is drawn."""
    if not given:
        return
    program = identity.program
    values, parts = own_values(identity.layout, program, _by_role(given))
    if identity.eps is not None:
        values["eps"] = identity.eps
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
    yield Trial("your inputs", values, easy=False, own=True, parts=parts)


def _by_role(given: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays by role, under whatever usual name they were given."""
    known: dict[str, Any] = {}
    for name, value in given.items():
        found = role(name)
        if found is not None:
            known[found] = _numbers(name, np.asarray(value))
    if given and not set(known) & {"x", "dy", "gamma", "beta", "eps"}:
        raise CannotAsk(f"the inputs hold {', '.join(given)}; expected x, dy, gamma, beta, eps")
    if np.ndim(known.get("eps", 0.0)) or known.get("eps", 0.0) < 0:
        raise CannotAsk(f"eps of the inputs is {known['eps']}; expected a number from 0 on")
    return known


def _numbers(name: str, value: NDArray[Any]) -> Any:
    """Finite real numbers, whole ones as float64; a single one as a number."""
    if not is_number(value.dtype) or value.dtype.kind == "c":
        raise CannotAsk(f"{name} of the inputs is an array of {value.dtype}; expected real numbers")
    if not value.size:
        raise CannotAsk(f"{name} of the inputs has shape {value.shape}: it is empty")
    if not np.all(np.isfinite(value)):
        at = [int(k) for k in np.argwhere(~np.isfinite(value))[0]]
        found = value[tuple(at)]
        raise CannotAsk(f"{name} of the inputs is {found} at {at}; expected finite numbers")
    value = value.astype(np.float64) if value.dtype.kind in "iu" else value
    return value if value.ndim else float(value)


def own_values(
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
    for name, operand in layout.operands_of(program).items():
        role = layout.role_of(program, name)
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
            layout.array_from_user(at, program, operand, array, wanted, parts) if names else value
        )
    return values, parts


def _unjoined(axis: tuple[Piece, ...], size: int, given: Mapping[str, Any]) -> dict[Piece, int]:
    if len(axis) == 1:
        return {axis[0]: size}
    groups = int(given.get("groups", 1))
    if groups < 1 or size % groups:
        raise CannotAsk(f"{size} channels of the inputs do not make {groups} groups")
    return {axis[0]: groups, axis[1]: size // groups}
