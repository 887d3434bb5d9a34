"""An object's gamma and beta: read, set, and what a step of descent did to them."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bncheck.subject.holders import Holder, attributes, content, holders
from bncheck.subject.names import role
from bncheck.subject.returned import plain

Inputs = Mapping[str, Any]

RATE = 2.0**20
"""The learning rate that is set where backward updates parameters: the update is the gradient
times this, exactly, and the parameter's own digits do not drown it."""


def parameters(instance: Any) -> Iterator[tuple[str, Any]]:
    """The object's gamma and beta, wherever they are."""
    for _, holder in holders(instance):
        for name, value in list(holder.items()):
            known = role(str(name))
            inner = content(value)
            if known in ("gamma", "beta") and inner is not None:
                yield known, inner[1]


def set_parameters(instance: Any, inputs: Inputs) -> bool:
    """Give the object the trial's gamma, beta and eps; whether a parameter was changed by it."""
    changed = False
    for _, holder in holders(instance):
        for name, value in list(holder.items()):
            known = role(str(name))
            if known not in ("gamma", "beta", "eps") or known not in inputs:
                continue
            if known == "eps" and isinstance(value, float | int) and not isinstance(value, bool):
                holder[name] = inputs["eps"]
                continue
            inner = content(value)
            if inner is None or np.prod(inner[1].shape) != np.prod(inputs[known].shape):
                continue
            new = inputs[known].reshape(inner[1].shape)
            new = new.copy() if isinstance(new, np.ndarray) else new.clone()
            changed |= not np.array_equal(plain(new), plain(inner[1]))
            _put(holder, name, inner, new)
    return changed


def _put(holder: Holder, name: Any, inner: tuple[str | None, Any], new: Any) -> None:
    """In place where the type allows it, since lists of parameters may hold the same array."""
    attribute, old = inner
    if isinstance(old, np.ndarray) and old.dtype == new.dtype and old.flags.writeable:
        old[...] = new
    elif attribute is None:
        holder[name] = new
    else:
        setattr(holder[name], attribute, new)


def updates(instance: Any, before: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Gradients read off a plain step of descent: (before - after)/rate."""
    if not any(role(n) == "rate" for n in attributes(instance)):
        return {}
    after = {n: np.asarray(plain(v)) for n, v in parameters(instance)}
    return {
        "d" + name: (before[name] - value) / RATE
        for name, value in after.items()
        if name in before and before[name].shape == value.shape
        and not np.array_equal(before[name], value)
    }  # fmt: skip
