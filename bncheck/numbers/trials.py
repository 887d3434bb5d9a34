"""Inputs on which no mistake can hide, and hard ones on which right code keeps its digits.

A mistake in a count shows only where the sizes differ, one in gamma only where gamma differs
between features, one in eps only where eps is not small beside the variance, one in the mean
only away from zero, and nearly all of them only if the upstream gradient is not constant.

Whoever gives inputs, activations of a real run say, gives them by role, under any usual name; they
make a trial of their own. Some backward passes ask for what a forward pass kept, where there is
none to keep it: mean, variance, xhat, ...
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sympy import Idx

from bncheck.algebra.notation import Tensor, indices_of, name_of
from bncheck.algebra.program import Program
from bncheck.calculus.derivation import Derivation, normalised
from bncheck.numbers import layout as layouts
from bncheck.numbers.agreement import FINE
from bncheck.numbers.arithmetic import evaluate
from bncheck.numbers.layout import Layout, Piece
from bncheck.numbers.observation import Trial
from bncheck.subject.messages import MEMORY, SECOND, holds_numbers
from bncheck.telling.errors import CannotAsk

USUAL_EPS = (
    1e-5, 1e-8, 1e-3, 1e-6, 1e-7, 1e-4, 1e-12, 1e-9, 1e-10, 1e-2, 2.0**-52, 1e-16, 0.0, 1e-11,
    1e-15, 1e-20, 1e-18, 1e-14, 2.0**-23,
)  # fmt: skip
"""What people write into their code, the likeliest first."""

_STEPS = {"mean": ("mu",), "var": ("var", "ms"), "sd": ("sd", "rms", "norm"), "xhat": ("xhat",)}
"""Role: the steps of the forward programs that are it."""


@lru_cache(64)
def drawn(
    found: Derivation,
    eps: float | None = None,
    seed: int = 0,
    layout: Layout | None = None,
    more: int = 0,
    takes: tuple[str, ...] = (),
) -> tuple[Trial, ...]:
    """The trials of a derivation's layer, in second order with their directions: see ``directed``.

    Drawn once: all functions of one layer in a file or test suite share them.
    """
    made = draw(found.layer, eps, seed, layout, more)
    if found.order == 2:
        at, rng = layout or layouts.usual(found.layer), np.random.default_rng([seed, 2])
        made = (directed(found, at, takes, trial, rng) for trial in made)
    kept = tuple(made)
    for value in (v for trial in kept for v in trial.values.values()):
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
    return kept


def directed(
    found: Derivation,
    layout: Layout,
    takes: tuple[str, ...],
    trial: Trial,
    rng: np.random.Generator,
    given: Mapping[str, Any] | None = None,
) -> Trial:
    """A trial with the directions of second order, ddx, ddgamma, ...: those that are ``given`` by
    role, else drawn as upstream gradients are; 0 for a role that the user's code does not take.
    """
    program, first = found.forward, found.layer.inputs[0]
    x = np.asarray(trial.values[name_of(first)])
    lengths = dict(zip(indices_of(first), x.shape, strict=True))
    values, theirs = dict(trial.values), given or {}
    for operand in found.upstream:
        name, shape = name_of(operand), tuple(lengths[i] for i in indices_of(operand))
        role = layouts.role_of(program, name)
        direction = 0.25 + rng.standard_normal(shape)
        if role in theirs:
            value = np.asarray(theirs[role])
            if value.size != direction.size:
                text = f"{role} of the inputs has shape {value.shape}: not that of its gradient"
                raise CannotAsk(text)
            direction = layouts.array_from_user(
                layout, program, layouts.operands_of(program)[name], value, shape, trial.parts
            )
        elif role not in takes:
            direction = np.zeros(shape)
        values[name] = direction.astype(x.dtype)
    return replace(trial, values=values)


def draw(
    program: Program,
    eps: float | None = None,
    seed: int = 0,
    layout: Layout | None = None,
    more: int = 0,
) -> Iterator[Trial]:
    """The trials for a program; ``eps`` is the user's own where it cannot be set.

    ``more``: how many of random sizes follow. With a layout that splits axes, the lengths of
    these are products.
    """
    one = _Draw(program, np.random.default_rng(seed), layout or layouts.usual(program))
    big = 0.125 if eps is None else eps
    small = 1e-5 if eps is None else eps
    yield one("7 by 3", (7, 3), big, differences=True)
    yield one("8 by 5", (8, 5), small, mean=-2.0, spread=0.5)
    yield one("3 by 11", (3, 11), big, mean=0.5)
    yield one("5 by 5", (5, 5), big)
    yield one("23 by 19", (23, 19), small, spread=3.0)
    yield one("large upstream gradient", (12, 4), big, spread=4.0, upstream=20.0)
    yield one("variance near eps", (9, 4), small, mean=0.01, spread=0.005, shows_eps=True)
    yield one("6 by 1", (6, 1), big)
    yield one("70 by 67", (70, 67), big)
    yield from _hard(one, eps)
    for number in range(more):
        per_group, groups = map(int, one.rng.integers(2, 40, 2))
        yield one(f"random {number + 1}", (per_group, groups), (big, small)[number % 2])


def _hard(easy: "_Draw", eps: float | None) -> Iterator[Trial]:
    one = partial(easy, easy=False)
    small = 1e-5 if eps is None else eps
    rough = 1e-2 if eps is None else eps
    program = easy.program
    if eps is None and _has_eps(program):
        yield one("eps = 0", (8, 3), 0.0, may_fail=True)
        yield one("eps = 1e-3", (6, 4), 1e-3, spread=0.03)
    yield one("mean 1e4", (16, 3), small, mean=1e4, cancels=True)
    yield one("variance 1e-6", (12, 3), small, mean=0.0, spread=1e-3)
    yield one("variance 1e8", (11, 3), small, mean=0.0, spread=1e4)
    yield _one_hot(program, one("one-hot upstream gradient", (7, 4), small))
    yield one("zero upstream gradient", (6, 3), small, upstream=0.0)
    without = one("one gamma of 0", (6, 3), small)
    if "gamma" in without.values:
        without.values["gamma"].flat[0] = 0.0
        yield without
    if _has_eps(program) and small > FINE:  # a smaller eps is known from no output
        constant = one("one group constant", (10, 3), small)
        first = constant.values[name_of(program.inputs[0])]
        first[_first_group(program)] = 0.75
        yield constant
        yield one("two values", (2, 4), small)
        yield one("one value", (1, 3), small)
    for memory in MEMORY[1:]:
        yield one(memory, (6, 4), small, memory=memory)
    for dtype, grace in (("float32", 10.0), ("float16", np.inf)):
        # at a size where even half precision has digits left to judge
        short = one(dtype, (9, 4), rough, mean=0.5, spread=1.0, grace=grace, may_fail=True)
        yield replace(short, values=_cast(short.values, np.dtype(dtype)))
    yield one(SECOND, (7, 4), small, memory=SECOND)


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


def with_eps(trial: Trial, eps: float) -> Trial:
    """The same trial with another eps."""
    return replace(trial, values={**trial.values, "eps": eps})


@dataclass(frozen=True)
class _Draw:
    """Draws the inputs of a program in a layout."""

    program: Program
    rng: np.random.Generator
    layout: Layout

    def __call__(
        self,
        name: str,
        sizes: tuple[int, int],
        eps: float,
        mean: float = 1.5,
        spread: float = 2.0,
        upstream: float = 1.0,
        **marks: Any,
    ) -> Trial:
        """A trial of the sizes (values per group, groups), see ``_lengths``; ``marks``: what else
        is to be said of it.
        """
        lengths = _lengths(self.program, *sizes)
        parts = layouts.parts_of(self.layout, {i.label.name: n for i, n in lengths.items()})
        lengths = {i: int(np.prod(parts.get(i.label.name, n))) for i, n in lengths.items()}
        values: dict[str, Any] = {}
        for operand in self.program.inputs:
            known, shape = name_of(operand), tuple(lengths[i] for i in indices_of(operand))
            if not shape:
                values[known] = eps
            elif operand != self.program.inputs[0] and operand.is_positive:
                values[known] = spread**2 * (0.5 + self.rng.random(shape))
            elif known == "gamma":
                values[known] = _scales(self.rng, shape)
            else:
                values[known] = mean + spread * self.rng.standard_normal(shape)
        for out in self.program.outputs:
            shape = tuple(lengths[i] for i in indices_of(out))
            direction = 0.25 + self.rng.standard_normal(shape)
            values["d" + name_of(out)] = upstream * direction
        return Trial(name, values, sizes=sizes, parts=parts, **marks)


def _one_hot(program: Program, trial: Trial) -> Trial:
    for out in program.outputs:
        value = trial.values["d" + name_of(out)]
        value[...] = 0.0
        value.flat[value.size // 2] = 1.0
    return trial


def _cast(values: dict[str, Any], dtype: np.dtype[Any]) -> dict[str, Any]:
    return {k: v.astype(dtype) if isinstance(v, np.ndarray) else v for k, v in values.items()}


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


def _has_eps(program: Program) -> bool:
    return "eps" in program.tensors


def _first_group(program: Program) -> tuple[Any, ...]:
    along = normalised(program)
    return tuple(slice(None) if i in along else 0 for i in indices_of(program.inputs[0]))


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
