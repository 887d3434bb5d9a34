"""Call the user's code in its own convention; arrays by role in, a uniform outcome back."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bncheck.numbers.agreement import RECOMPUTED, alike
from bncheck.subject import running
from bncheck.subject.conventions import autograd as tensors
from bncheck.subject.conventions import double as second_calling
from bncheck.subject.conventions import object as objects
from bncheck.subject.conventions import pair as passes
from bncheck.subject.conventions.convention import Found
from bncheck.subject.conventions.pair import Ran
from bncheck.subject.messages import SECOND, Inputs, Outcome
from bncheck.subject.returned import by_field, gradients, output
from bncheck.telling.errors import CannotAsk
from bncheck.telling.report import Remark


def forward(found: Found, inputs: Inputs) -> NDArray[Any]:
    """The output of the user's forward pass."""
    return _tried(found, _FORWARDS[found.candidate.kind], _copied(inputs))


def call(found: Found, inputs: Inputs, memory: str = "plain") -> Outcome:
    """Forward pass, where there is one, and backward pass, on copies of the inputs."""
    given = _copied(inputs, memory)
    if memory == SECOND:
        given["before"] = 2.0 * given["x"][::-1] + 1.0
    ran: Ran = _tried(found, _WAYS[found.candidate.kind], given)
    named, remarks = _read(found, ran, inputs)
    given.pop("before", None)
    remarks = [*ran.remarks, *remarks, *_overwritten(given, inputs), *_aliased(named, given)]
    returned_by_name = isinstance(by_field(ran.result), dict)
    in_order = not (returned_by_name or {"dgamma", "dbeta"} <= ran.by_name)
    return Outcome(ran.y, {n: np.array(g) for n, g in named.items()}, tuple(remarks), in_order)


def repeated(found: Found, first: Inputs, second: Inputs) -> list[Remark]:
    """What the first result has to do with later calls: it should not change, nor differ.

    Both inputs have the same shapes, so that a cache or a work buffer would be used again.
    """

    def once_more(inputs: Inputs) -> dict[str, Any]:
        ran: Ran = _tried(found, _WAYS[found.candidate.kind], _copied(inputs))
        return _read(found, ran, inputs)[0]

    once = once_more(first)
    kept = {name: np.array(value) for name, value in once.items()}
    once_more(second)
    changed = {n for n, v in kept.items() if not np.array_equal(once[n], v, equal_nan=True)}
    again = once_more(first)
    remarks = []
    for name, value in kept.items():
        if not np.array_equal(again[name], value, equal_nan=True):
            text = f"{name} differs when the same call is made again: state, or chance"
            remarks.append(Remark("state", text))
        elif name in changed:
            text = f"{name} is overwritten by the next call: it lives in a buffer used again"
            remarks.append(Remark("reused-buffer", text))
    if not remarks and found.candidate.kind == "class":
        remarks = _in_one_object(found, first, second)
    return remarks


def _in_one_object(found: Found, first: Inputs, second: Inputs) -> list[Remark]:
    """Whether a second batch through an object gives what it gives in a fresh one.

    Parameter gradients may add up from batch to batch: many want it so.
    """

    def once(given: Inputs, way: Callable[..., Ran]) -> dict[str, Any]:
        ran: Ran = _tried(found, way, _copied(given))
        return {"y": ran.y} | gradients(found.candidate.name, ran.result, ran.extra, given)[0]

    def after(found: Found, given: Inputs) -> Ran:
        before = _copied(second)
        wanted = found.memory["tensors"] == (True,)
        return objects.run_again(found, given, tensors.to_tensors(before) if wanted else before)

    try:
        fresh, other = once(first, objects.run), once(second, objects.run)
        again = once(first, after)
    except Exception:
        return []  # one use for each object
    stale = [
        name for name, value in fresh.items()
        if name not in again or not (
            _alike(again[name], value)
            or (name not in ("y", "dx") and _alike(again[name], value + other[name]))
        )
    ]  # fmt: skip
    what = {"y": "the output"}.get(stale[0], stale[0]) if stale else ""
    text = f"{what} of a second batch in the same object is not that of a fresh one: it is stale"
    return [Remark("state", text)] if stale else []


_alike = partial(alike, tolerance=RECOMPUTED, least=1.0)


def first_gradients(found: Found, many: Sequence[Inputs]) -> list[dict[str, NDArray[Any]]]:
    """The gradients of the backward pass below a double one, for several inputs."""
    below = found.first
    if below is None:
        raise CannotAsk(f"{found.candidate.name} has no backward pass below it")
    made = []
    for inputs in many:
        ran: Ran = _tried(below, _WAYS[below.candidate.kind], _copied(inputs))
        named, _ = gradients(below.candidate.name, ran.result, ran.extra, inputs, ran.shapes)
        made.append({n: np.array(g) for n, g in named.items()})
    return made


def running_statistics(found: Found, inputs: Inputs) -> dict[str, Any] | None:
    """What the code keeps from batch to batch, and its evaluation mode: see ``running``."""
    return _tried(found, running.observed, _copied(inputs))


def _read(found: Found, ran: Ran, inputs: Inputs) -> tuple[dict[str, Any], list[Remark]]:
    """Gradients by name; those of a double backward pass by their place."""
    if found.candidate.kind == "double":
        return second_calling.parts(found.candidate.name, ran.result, inputs)
    return gradients(found.candidate.name, ran.result, ran.extra, inputs, ran.shapes)


def _tried(found: Found, way: Callable[..., Any], given: dict[str, Any]) -> Any:
    """With arrays or with tensors, whichever the code turns out to want."""
    learnt = found.memory.get("tensors")
    if learnt is None:
        learnt = (True, False) if tensors.are_used_by(found.backward) else (False,)
    problem: Exception | None = None
    for wanted in learnt:
        try:
            handed = tensors.to_tensors(given) if wanted else given
            result = way(found, handed)
        except Exception as error:
            problem = problem or error
            continue
        found.memory["tensors"] = (wanted,)
        return result
    assert problem is not None
    raise problem


def _function_output(found: Found, given: Inputs) -> NDArray[Any]:
    if found.forward is None:
        raise CannotAsk(f"{found.candidate.name} has no forward pass")
    return output(passes.called(found.forward, given, found.roles))


def _double_output(found: Found, given: Inputs) -> NDArray[Any]:
    way = objects.output_of if found.candidate.has_object else _function_output
    return way(found, given)


_WAYS: dict[str, Callable[..., Ran]] = {
    "class": objects.run, "pair": passes.run_pair, "function": passes.run_function,
    "autograd": tensors.run_autograd, "double": second_calling.run_double,
}  # fmt: skip
_FORWARDS: dict[str, Callable[..., NDArray[Any]]] = {
    "class": objects.output_of, "pair": _function_output, "function": _function_output,
    "autograd": tensors.output_of, "double": _double_output,
}  # fmt: skip


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


def _overwritten(given: Inputs, inputs: Inputs) -> list[Remark]:
    changed = [
        name
        for name, value in given.items()
        if isinstance(value, np.ndarray) and not np.array_equal(value, inputs[name], equal_nan=True)
    ]
    text = f"the call overwrites its argument {', '.join(changed)}"
    return [Remark("input-overwritten", text)] if changed else []


def _aliased(named: Mapping[str, Any], given: Inputs) -> list[Remark]:
    for name, result in named.items():
        for source, value in given.items():
            if isinstance(value, np.ndarray) and value.size and np.shares_memory(result, value):
                return [Remark("aliases-input", f"{name} shares its memory with {source}")]
    return []
