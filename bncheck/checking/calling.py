"""Call the user's code in its own convention; arrays by role in, a uniform outcome back."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bncheck.checking.convention import Found, roles_of
from bncheck.checking.names import gradient, role
from bncheck.checking.results import Remark
from bncheck.errors import CannotAsk

Inputs = Mapping[str, Any]
"""Arrays and numbers by role: dy, x, gamma, beta, eps, groups."""


@dataclass(frozen=True)
class Outcome:
    """What one call gave: the output where there is a forward pass, the gradients by name."""

    y: NDArray[Any] | None
    gradients: dict[str, NDArray[Any]]
    remarks: tuple[Remark, ...] = ()


def forward(found: Found, inputs: Inputs) -> NDArray[Any]:
    """The output of the user's forward pass."""
    if found.candidate.kind == "class":
        instance = _instance(found.backward, inputs)
        return _output(_called(instance.forward, inputs), instance)
    if found.forward is None:
        raise CannotAsk(f"{found.candidate.name} has no forward pass")
    return _output(_called(found.forward, inputs))


def call(found: Found, inputs: Inputs) -> Outcome:
    """Forward pass, where there is one, and backward pass, on copies of the inputs."""
    given = {name: np.array(v) if isinstance(v, np.ndarray) else v for name, v in inputs.items()}
    ways = {"class": _call_class, "pair": _call_pair, "function": _call_function}
    y, result, extra = ways[found.candidate.kind](found, given)
    gradients, remarks = _gradients(found.candidate.name, result, extra, inputs)
    remarks += _overwritten(given, inputs) + _aliased(gradients, given)
    return Outcome(y, {n: np.array(g) for n, g in gradients.items()}, tuple(remarks))


def repeated(found: Found, first: Inputs, second: Inputs) -> list[Remark]:
    """What the first result has to do with later calls: it should not change, nor differ.

    Both inputs have the same shapes, so that a cache or a work buffer would be used again.
    """
    way = {"class": _call_class, "pair": _call_pair, "function": _call_function}
    run = way[found.candidate.kind]

    def gradients(inputs: Inputs) -> dict[str, Any]:
        given = {n: np.array(v) if isinstance(v, np.ndarray) else v for n, v in inputs.items()}
        _, result, extra = run(found, given)
        return _gradients(found.candidate.name, result, extra, inputs)[0]

    once = gradients(first)
    kept = {name: np.array(value) for name, value in once.items()}
    gradients(second)
    changed = {n for n, v in kept.items() if not np.array_equal(once[n], v, equal_nan=True)}
    again = gradients(first)
    remarks = []
    for name, value in kept.items():
        if not np.array_equal(again[name], value, equal_nan=True):
            text = f"{name} differs when the same call is made again: state, or chance"
            remarks.append(Remark("state", text))
        elif name in changed:
            text = f"{name} is overwritten by the next call: it lives in a buffer used again"
            remarks.append(Remark("reused-buffer", text))
    return remarks


def _call_function(found: Found, given: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    y = None
    if found.forward is not None:
        y = _output(_called(found.forward, {n: np.copy(v) for n, v in given.items()}))
    return y, _called(found.backward, given), {}


def _call_pair(found: Found, given: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    assert found.forward is not None
    result = _called(found.forward, given)
    if not isinstance(result, tuple) or len(result) < 2:
        raise CannotAsk(
            f"{found.forward.__name__} returned {_kind(result)}; expected (output, cache)"
        )
    y, *caches = result
    cache = caches[0] if len(caches) == 1 else tuple(caches)
    y = np.array(y)
    return y, _with_cache(found.backward, given, cache), {}


def _with_cache(backward: Callable[..., Any], given: dict[str, Any], cache: Any) -> Any:
    known = roles_of(backward)
    if len(known) == 2 and set(known.values()) != {"dy", "cache"}:
        names = [n for n, r in known.items() if r == "cache"] or list(known)[1:]
        known = {n: "cache" if n == names[0] else "dy" for n in known}
        return backward(**{n: cache if r == "cache" else given["dy"] for n, r in known.items()})
    return _called(backward, {**given, "cache": cache})


def _call_class(found: Found, given: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    instance = _instance(found.backward, given)
    y = _output(_called(instance.forward, given), instance)
    if _set_parameters(instance, given):
        y = _output(_called(instance.forward, given), instance)
    backward = instance.backward
    named = roles_of(backward)
    if len(named) == 1 and "dy" not in named.values():
        result = backward(given["dy"])
    else:
        result = _called(backward, given)
    return y, result, _attributes(instance)


def _instance(cls: Callable[..., Any], inputs: Inputs) -> Any:
    """A fresh object, its parameters set where they are there already."""
    width = np.size(inputs["gamma"]) if "gamma" in inputs else np.shape(inputs["x"])[-1]
    values = {**inputs}
    arguments: dict[str, Any] = {}
    for parameter in inspect.signature(cls).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        found = role(parameter.name)
        if found in values:
            arguments[parameter.name] = values[found]
        elif parameter.default is parameter.empty:
            arguments[parameter.name] = width
    instance = cls(**arguments)
    _set_parameters(instance, inputs)
    return instance


def _set_parameters(instance: Any, inputs: Inputs) -> bool:
    """Give the object the trial's gamma, beta and eps; whether a parameter was changed by it."""
    changed = False
    holders = [vars(instance), *(v for v in vars(instance).values() if isinstance(v, dict))]
    for holder in holders:
        for name, value in list(holder.items()):
            found = role(name)
            if found not in ("gamma", "beta", "eps") or found not in inputs:
                continue
            if found == "eps" and isinstance(value, float | int):
                holder[name] = inputs["eps"]
            elif isinstance(value, np.ndarray) and value.size == np.size(inputs[found]):
                new = np.reshape(np.array(inputs[found]), value.shape)
                changed |= not np.array_equal(new, value)
                holder[name] = new
    return changed


def _attributes(instance: Any) -> dict[str, Any]:
    """Gradients that the object holds after backward, also in dictionaries."""
    found: dict[str, Any] = {}
    for holder in (vars(instance), *(v for v in vars(instance).values() if isinstance(v, dict))):
        grads = holder is not vars(instance)
        for name, value in holder.items():
            key = gradient(str(name)) or (_plain_key(str(name)) if grads else None)
            if key in ("dgamma", "dbeta") and isinstance(value, np.ndarray):
                found.setdefault(key, value)
    return found


def _plain_key(name: str) -> str | None:
    return {"gamma": "dgamma", "beta": "dbeta"}.get(role(name) or "")


def _called(function: Callable[..., Any], values: Inputs) -> Any:
    """Call by role: every parameter that has one and a value gets it; defaults stay."""
    positional, keywords = [], {}
    supplied = {**_defaults(values), **values}
    for parameter in inspect.signature(function).parameters.values():
        found = role(parameter.name)
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if found in supplied and (found in values or parameter.default is parameter.empty
                                  or found in ("training", "params")):  # fmt: skip
            value = _switch(parameter, supplied[found]) if found == "training" else supplied[found]
            if parameter.kind is parameter.POSITIONAL_ONLY:
                positional.append(value)
            else:
                keywords[parameter.name] = value
        elif parameter.default is parameter.empty and len(roles_of(function)) == 1:
            positional.append(values["x"])
    return function(*positional, **keywords)


def _defaults(values: Inputs) -> dict[str, Any]:
    settings = {"mode": "train", "eps": values.get("eps", 1e-5), "momentum": 0.9}
    return {"params": settings, "training": True, "momentum": 0.9, "eps": settings["eps"]}


def _switch(parameter: inspect.Parameter, value: bool) -> Any:
    return "train" if parameter.name == "mode" or isinstance(parameter.default, str) else value


def _output(result: Any, instance: Any = None) -> NDArray[Any]:
    if isinstance(result, tuple) and result:
        result = result[0]
    if result is None and instance is not None:
        result = getattr(instance, "output", None)
    if result is None:
        raise CannotAsk("the forward pass returned None; expected its output")
    return np.array(result)


def _gradients(
    name: str, result: Any, extra: dict[str, Any], inputs: Inputs
) -> tuple[dict[str, Any], list[Remark]]:
    """The gradients by name out of whatever was returned, in whatever order."""
    if isinstance(result, dict):
        pairs = {gradient(str(k)): v for k, v in result.items()}
        named = {k: v for k, v in pairs.items() if k}
    elif isinstance(result, tuple | list) and not _is_numbers(result):
        named = _by_position(name, list(result), inputs)
    elif result is None:
        named = {}
    else:
        named = {"dx": result}
    named = {**extra, **named}
    if not named:
        raise CannotAsk(f"{name} returned {_kind(result)}; expected (dx, dgamma, dbeta)")
    return _as_arrays(name, named, inputs)


def _by_position(name: str, parts: list[Any], inputs: Inputs) -> dict[str, Any]:
    while parts and parts[-1] is None:
        parts.pop()
    nested = [p for p in parts if isinstance(p, dict)]
    if nested:
        named = {gradient(str(k)): v for k, v in nested[0].items()}
        parts = [p for p in parts if not isinstance(p, dict)]
        return {**{k: v for k, v in named.items() if k}, **dict(zip(("dx",), parts, strict=False))}
    wanted = ["dx", *("d" + p for p in ("gamma", "beta") if p in inputs)]
    if len(parts) > len(wanted):
        raise CannotAsk(
            f"{name} returned {len(parts)} values; expected {len(wanted)}: {', '.join(wanted)}"
        )
    return dict(zip(wanted, parts, strict=False))


def _as_arrays(
    name: str, named: dict[str, Any], inputs: Inputs
) -> tuple[dict[str, Any], list[Remark]]:
    remarks, arrays = [], {}
    for key, value in named.items():
        array = np.asarray(value)
        if array.dtype == object or not np.issubdtype(array.dtype, np.number):
            raise CannotAsk(f"{name}: {key} is {_kind(value)}; expected an array of numbers")
        if np.iscomplexobj(array) and not np.iscomplexobj(inputs["x"]):
            raise CannotAsk(f"{name}: {key} is complex; expected real numbers from real inputs")
        shape = np.shape(inputs[key[1:]]) if key[1:] in inputs else array.shape
        if array.shape != shape and array.size == int(np.prod(shape)) and key != "dx":
            text = f"{key} has shape {array.shape}; its parameter has {shape}"
            remarks.append(Remark("param-shape", text))
            array = array.reshape(shape)
        arrays[key] = array
    return arrays, remarks


def _overwritten(given: dict[str, Any], inputs: Inputs) -> list[Remark]:
    changed = [
        name
        for name, value in given.items()
        if isinstance(value, np.ndarray) and not np.array_equal(value, inputs[name], equal_nan=True)
    ]
    text = f"the call overwrites its argument {', '.join(changed)}"
    return [Remark("input-overwritten", text)] if changed else []


def _aliased(gradients: dict[str, Any], given: dict[str, Any]) -> list[Remark]:
    for name, result in gradients.items():
        for source, value in given.items():
            if isinstance(value, np.ndarray) and value.size and np.shares_memory(result, value):
                return [Remark("aliases-input", f"{name} shares its memory with {source}")]
    return []


def _is_numbers(result: Any) -> bool:
    """A list that is one array written out, not several gradients."""
    return isinstance(result, list) and bool(result) and np.ndim(result[0]) == 1 and all(
        np.shape(r) == np.shape(result[0]) for r in result
    ) and len(result) > 3  # fmt: skip


def _kind(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
