"""What a forward or backward pass gave back, read as arrays by name."""

from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bncheck.subject.conventions.implementations import Implementation, Ran
from bncheck.subject.messages import Inputs, holds_numbers, plain
from bncheck.subject.names import gradient, role
from bncheck.telling.codes import Finding, found
from bncheck.telling.errors import CannotAsk

LARGEST = 1_000_000
"""Entries of an array of the wrong shape that are worth a look."""


def output(result: Any) -> NDArray[Any]:
    """The output of a forward pass; the first of several values."""
    if isinstance(result, tuple | list) and len(result) and not isinstance(result[0], float | int):
        result = result[0]
    if result is None:
        raise CannotAsk("the forward pass returned None; expected its output")
    array = np.array(plain(result))
    if not np.issubdtype(array.dtype, np.number):
        raise CannotAsk(
            f"the forward pass returned {kind_of(result)}; expected an array of numbers"
        )
    return array


def read(own: Implementation, ran: Ran, inputs: Inputs) -> tuple[dict[str, Any], list[Finding]]:
    """The gradients of a run by name, by key or by place, out of whatever was returned."""
    name, result, remarks = own.summary.name, plain(by_field(ran.result)), list[Finding]()
    if isinstance(result, dict):
        named = by_key(result)
    elif isinstance(result, tuple | list) and not _is_numbers(result, np.shape(inputs["x"])):
        parts = _of_both(list(result), inputs) if "residual" in own.summary.takes else list(result)
        named, remarks = _by_position(name, parts, inputs)
    elif result is None:
        named = {}
    else:
        named = {gradient(name.rpartition(".")[2]) or "dx": result}
    named = {**{n: plain(v) for n, v in ran.extra.items()}, **named}
    if not named:
        raise CannotAsk(f"{name} returned {kind_of(result)}; expected (dx, dgamma, dbeta)")
    arrays, more = _as_arrays(name, named, inputs, ran.shapes)
    return arrays, remarks + more


def kind_of(value: Any) -> str:
    """For messages: what was found instead."""
    if isinstance(value, tuple | list) and len(value) and all(part is None for part in value):
        return "nothing but None: it is not finished"
    return "None" if value is None else f"a {type(value).__name__}"


def by_field(result: Any) -> Any:
    """A named tuple or a dataclass whose fields are named after gradients, as a dictionary."""
    if isinstance(result, tuple) and hasattr(result, "_asdict"):
        fields = result._asdict()
    elif is_dataclass(result) and not isinstance(result, type):
        fields = dict(vars(result))
    else:
        return result
    return fields if by_key(fields) else result


def by_key(result: Mapping[Any, Any]) -> dict[str, Any]:
    """Gradients out of a dictionary, by gradient (``dW``) or by parameter (``gamma``)."""
    named: dict[str, Any] = {}
    for key, value in result.items():
        name = gradient(str(key)) or {"gamma": "dgamma", "beta": "dbeta", "x": "dx"}.get(
            role(str(key)) or ""
        )
        if name and value is not None:
            named.setdefault(name, plain(value))
    return named


def _of_both(parts: list[Any], inputs: Inputs) -> list[Any]:
    """The gradients of two inputs that are added, as that of what was halved between them."""
    wanted = 2 + sum(n in inputs for n in ("gamma", "beta"))
    shape = np.shape(inputs["x"])
    two = [k for k, part in enumerate(parts) if part is None or _shape(part) == shape][:2]
    if len(parts) != wanted or len(two) < 2:
        return parts
    both = sum(np.asarray(parts[k]) / 2 for k in two if parts[k] is not None)
    return [both if k == two[0] else part for k, part in enumerate(parts) if k != two[1]]


def _by_position(
    name: str, parts: list[Any], inputs: Inputs
) -> tuple[dict[str, Any], list[Finding]]:
    parts = [
        inner
        for part in parts
        for inner in (part if isinstance(part, tuple | list) and _are_arrays(part) else (part,))
    ]
    nested = [p for p in parts if isinstance(p, dict)]
    parts = [p for p in parts if p is not None and not isinstance(p, dict)]
    if nested:
        return {**dict(zip(("dx",), parts, strict=False)), **by_key(nested[0])}, []
    wanted = ["dx", *("d" + p for p in ("gamma", "beta") if p in inputs)]
    like_x = [k for k, part in enumerate(parts) if _shape(part) == np.shape(inputs["x"])]
    if not like_x and len(parts) == len(wanted) - 1 and _are_alike(parts, inputs):
        return dict(zip(wanted[1:], parts, strict=True)), []
    remarks = []
    if len(parts) > len(wanted) == len(like_x) == 1:
        return {"dx": parts[like_x[0]]}, [found("not-checked", count=len(parts))]
    if len(like_x) == 1 and like_x[0] > 0 and len(parts) == len(wanted):
        order = [*wanted[1:]]
        order.insert(like_x[0], "dx")
        parts.insert(0, parts.pop(like_x[0]))
        remarks = [found("return-order", order=tuple(order))]
    more = len(parts) - len(wanted)
    if more <= 0:
        return dict(zip(wanted, parts, strict=False)), remarks
    arrays = {f"result[{k}]": part for k, part in enumerate(parts) if _shape(part)}
    if len(arrays) < len(wanted):
        raise CannotAsk(
            f"{name} returned {len(parts)} values; expected {len(wanted)}: {', '.join(wanted)}"
        )
    # which is which is seen by their values
    return arrays, [found("more-results", count=len(parts), more=more)]


def _shape(part: Any) -> tuple[int, ...] | None:
    """None for lists of lists of several lengths, which have none."""
    try:
        return np.shape(part)
    except ValueError:
        return None


def _are_arrays(parts: Sequence[Any]) -> bool:
    """Whether it is several gradients: ``dx, (dgamma, dbeta)``."""
    return bool(parts) and all(isinstance(part, np.ndarray) for part in parts)


def _are_alike(parts: list[Any], inputs: Inputs) -> bool:
    return all(np.size(part) == np.size(inputs.get("gamma", 0)) for part in parts)


def _as_arrays(
    name: str, named: dict[str, Any], inputs: Inputs, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[dict[str, Any], list[Finding]]:
    remarks, arrays = [], {}
    for key, value in named.items():
        try:
            array = np.asarray(value)
        except Exception:
            raise CannotAsk(
                f"{name}: {key} is {kind_of(value)} that is no array; expected an array of numbers"
            ) from None
        if not holds_numbers(array.dtype):
            kind = f"an array of {array.dtype}" if array.ndim else kind_of(value)
            raise CannotAsk(f"{name}: {key} is {kind}; expected an array of numbers")
        if np.iscomplexobj(array) and not np.iscomplexobj(inputs["x"]):
            raise CannotAsk(f"{name}: {key} is complex; expected real numbers from real inputs")
        shape = np.shape(inputs[key[1:]]) if key[1:] in inputs else array.shape
        if array.shape != shape and array.size > LARGEST:
            raise CannotAsk(f"{name}: {key} has shape {array.shape}; expected {shape}")
        fits = array.size == int(np.prod(shape))
        if fits and (key != "dx" or _squeezed(array.shape) == _squeezed(shape)):
            own = shapes.get(key[1:], shape)
            if array.shape != own:
                code = "dx-shape" if key == "dx" else "param-shape"
                remarks.append(found(code, name=key, shape=array.shape, expected=own))
            array = array.reshape(shape)
        arrays[key] = array
    return arrays, remarks


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


def _is_numbers(result: Any, shape: tuple[int, ...]) -> bool:
    """A list that is one array written out, not several gradients."""
    if isinstance(result, list) and _shape(result) == shape:
        return True
    return isinstance(result, list) and bool(result) and np.ndim(result[0]) == 1 and all(
        np.shape(r) == np.shape(result[0]) for r in result
    ) and len(result) > 3  # fmt: skip
