"""Call the user's code in its own convention; arrays by role in, a uniform outcome back."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bncheck.numbers.agreement import RECOMPUTED, alike
from bncheck.subject.conventions import autograd, convention_of, running
from bncheck.subject.conventions.implementations import Implementation, Ran
from bncheck.subject.conventions.returned import by_field
from bncheck.subject.messages import SECOND, Inputs, Outcome
from bncheck.telling.codes import Finding, found
from bncheck.telling.errors import CannotAsk


def outputs(own: Implementation, many: Sequence[Inputs]) -> list[NDArray[Any]]:
    """The outputs of the user's forward pass."""
    return [_tried(own, convention_of(own).output, _copied(inputs)) for inputs in many]


def call(own: Implementation, inputs: Inputs, memory: str = "plain") -> Outcome:
    """Forward pass, where there is one, and backward pass, on copies of the inputs."""
    given = _copied(inputs, memory)
    earlier = {**given, "x": 2.0 * given["x"][::-1] + 1.0} if memory == SECOND else {}
    ran: Ran = _tried(own, convention_of(own).run, {**given, "earlier": earlier})
    named, remarks = convention_of(own).read(own, ran, inputs)
    remarks = [*ran.remarks, *remarks, *_overwritten(given, inputs), *_aliased(named, given)]
    returned_by_name = isinstance(by_field(ran.result), dict)
    in_order = not (returned_by_name or {"dgamma", "dbeta"} <= ran.by_name)
    return Outcome(ran.y, {n: np.array(g) for n, g in named.items()}, tuple(remarks), in_order)


def repeated(own: Implementation, first: Inputs, second: Inputs) -> tuple[Finding, ...]:
    """What the first result has to do with later calls: it should not change, nor differ.

    Both inputs have the same shapes, so that a cache or a work buffer would be used again.
    """
    once = _read(own, first)
    kept = {name: np.array(value) for name, value in once.items() if name != "y"}
    _read(own, second)
    changed = {n for n, v in kept.items() if not np.array_equal(once[n], v, equal_nan=True)}
    again = _read(own, first)
    remarks = []
    for name, value in kept.items():
        if not np.array_equal(again[name], value, equal_nan=True):
            remarks.append(found("state", "again", name=name))
        elif name in changed:
            remarks.append(found("reused-buffer", name=name))
    if not remarks and own.summary.has_object:
        remarks = _in_one_object(own, first, second)
    return tuple(remarks)


def _in_one_object(own: Implementation, first: Inputs, second: Inputs) -> list[Finding]:
    """Whether a second batch through an object, there and back, gives what it gives in a fresh one.

    Parameter gradients may add up from batch to batch: many want it so.
    """
    same = partial(alike, tolerance=RECOMPUTED, least=1.0)
    try:
        fresh, other = _read(own, first), _read(own, second)
        again = _read(own, first, earlier=_copied(second), there_and_back=True)
    except Exception:
        return []  # one use for each object
    for name, value in fresh.items():
        added_up = (
            name not in ("y", "dx") and name in again and same(again[name], value + other[name])
        )
        if name not in again or not (same(again[name], value) or added_up):
            return [found("state", "stale", name="the output" if name == "y" else name)]
    return []


def _read(own: Implementation, inputs: Inputs, **earlier: Any) -> dict[str, Any]:
    """The output and the gradients by name; of a backward pass that is none of an object's, or
    with what goes through the object before.
    """
    ran: Ran = _tried(own, convention_of(own).run, {**_copied(inputs), **earlier})
    named, _ = convention_of(own).read(own, ran, inputs)
    return {"y": ran.y, **named}


def first_gradients(own: Implementation, many: Sequence[Inputs]) -> list[dict[str, NDArray[Any]]]:
    """The gradients of the backward pass below a double one, for several inputs."""
    below = own.first
    if below is None:
        raise CannotAsk(f"{own.summary.name} has no backward pass below it")
    made = (_read(below, inputs) for inputs in many)
    return [{n: np.array(g) for n, g in one.items() if n != "y"} for one in made]


def running_statistics(own: Implementation, inputs: Inputs) -> dict[str, Any] | None:
    """What the code keeps from batch to batch, and its evaluation mode: see ``running``."""

    def observed(own: Implementation, given: Inputs) -> dict[str, Any] | None:
        return running.observed(convention_of(own).kept(own, given), given)

    return _tried(own, observed, _copied(inputs))


def _tried(own: Implementation, way: Callable[..., Any], given: dict[str, Any]) -> Any:
    """With arrays or with tensors, whichever the code turns out to want."""
    learnt = own.memory.get("tensors")
    if learnt is None:
        learnt = (True, False) if autograd.are_used_by(own.backward) else (False,)
    problem: Exception | None = None
    for wanted in learnt:
        try:
            result = way(own, autograd.to_tensors(given) if wanted else given)
        except Exception as error:
            problem = problem or error
            continue
        own.memory["tensors"] = (wanted,)
        return result
    assert problem is not None
    raise problem


def _copied(inputs: Inputs, memory: str = "plain") -> dict[str, Any]:
    return {n: _laid_out(v, memory) if isinstance(v, np.ndarray) else v for n, v in inputs.items()}


def _laid_out(value: NDArray[Any], memory: str) -> NDArray[Any]:
    if memory == "not contiguous":
        wide = np.zeros((*value.shape[:-1], 2 * value.shape[-1]), value.dtype)
        wide[..., ::2] = value
        return wide[..., ::2]
    copied = np.array(value, order="F" if memory == "Fortran order" else "C")
    if memory == "read-only":
        copied.flags.writeable = False
    return copied


def _overwritten(given: Inputs, inputs: Inputs) -> list[Finding]:
    changed = [
        name
        for name, value in given.items()
        if isinstance(value, np.ndarray) and not np.array_equal(value, inputs[name], equal_nan=True)
    ]
    return [found("input-overwritten", names=tuple(changed))] if changed else []


def _aliased(named: Mapping[str, Any], given: Inputs) -> list[Finding]:
    for name, result in named.items():
        for source, value in given.items():
            if isinstance(value, np.ndarray) and value.size and np.shares_memory(result, value):
                return [found("aliases-input", name=name, source=source)]
    return []
