"""The numbers in what goes into somebody's function and in what comes out, whatever holds them."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bncheck.mutants.recipe import Array
from bncheck.subject.names import gradient, role

KEPT = ("x", "dy", "gamma", "beta", "eps", "groups")
ORDER = ("dx", "dgamma", "dbeta")

Gradients = dict[str, Array]
Change = Callable[[Mapping[str, Any], Gradients], Gradients]
"""From the inputs of a call, by role, and the gradients it returned, to those to put instead."""


def numbers(value: Any) -> Array | None:
    """A copy as an array of real numbers, also of a tensor of another library; else None."""
    if value is None or isinstance(value, str | bool):
        return None
    try:
        array = np.array(value.detach() if hasattr(value, "detach") else value)
    except (TypeError, ValueError, RuntimeError):
        return None
    real = np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating)
    return array if real else None


def numbers_by_role(given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that are numbers, as copies: a test may change its arrays later.

    Those of a dictionary among them count where there is no argument of that role.
    """
    nested = [v for n, v in given.items() if isinstance(v, dict) and not _holds_gradients(n)]
    values: dict[str, Any] = {}
    for holder in (given, *nested):
        for name, value in holder.items():
            found = role(str(name))
            if found in KEPT and (array := numbers(value)) is not None:
                values.setdefault(found, array)
    return values


def settings(instance: Any) -> dict[str, Any]:
    """gamma, beta, eps and the number of groups that an object holds."""
    found = numbers_by_role(vars(instance))
    return {name: value for name, value in found.items() if name not in ("x", "dy")}


def changed(result: Any, values: dict[str, Any], change: Change, held_by: Any = None) -> Any:
    """The result with other gradients in its own structure, also in attributes of an object."""
    if not {"x", "dy"} <= values.keys():
        return result
    theirs: Gradients = {}
    _mapped(result, lambda name, value: _collected(theirs, name, value))
    _in_attributes(held_by, lambda name, value: _collected(theirs, name, value))
    new = change(values, theirs)
    if new is theirs:
        return result

    def put(name: str, value: Any) -> Any:
        return _like(value, new[name]) if name in new else value

    _in_attributes(held_by, put)
    return _mapped(result, put)


def _collected(theirs: Gradients, name: str, value: Any) -> Any:
    array = numbers(value)
    if array is not None:
        theirs.setdefault(name, array)
    return value


def _mapped(result: Any, put: Callable[[str, Any], Any]) -> Any:
    """The result with ``put(gradient, value)`` in place of each gradient that it holds."""
    if result is None:
        return None
    if isinstance(result, dict):
        named = {key: _key(str(key)) for key in result}
        return {k: put(named[k] or "", v) if named[k] else v for k, v in result.items()}
    if not isinstance(result, tuple | list):
        return put("dx", result)
    names = iter(ORDER)
    parts = [
        _mapped(part, put) if isinstance(part, dict) else put(next(names, ""), part)
        for part in result
    ]
    return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)


def _in_attributes(instance: Any, put: Callable[[str, Any], Any]) -> None:
    """The same for what an object holds, itself or in a dictionary of gradients."""
    if instance is None:
        return
    own = vars(instance)
    inner = [(v, _holds_gradients(n)) for n, v in own.items() if isinstance(v, dict)]
    for holder, plainly in ((own, False), *inner):
        for key, value in list(holder.items()):
            name = _key(str(key)) if plainly else gradient(str(key))
            if name in ("dgamma", "dbeta") and isinstance(value, np.ndarray):
                holder[key] = put(name, value)


def _holds_gradients(name: str) -> bool:
    """Whether ``gamma`` in a dictionary of this name is a gradient: ``grads``, not ``params``."""
    return "grad" in name.lower() or name.startswith("d")


def _key(name: str) -> str | None:
    return gradient(name) or {"gamma": "dgamma", "beta": "dbeta"}.get(role(name) or "")


def _like(theirs: Any, array: Array) -> Any:
    """The numbers as what they replace: its type, shape and precision."""
    if hasattr(theirs, "new_tensor"):
        return theirs.new_tensor(np.asarray(array, float)).reshape(theirs.shape)
    shape, dtype = np.shape(theirs), np.asarray(theirs).dtype
    if not np.issubdtype(dtype, np.inexact):
        dtype = np.dtype(float)
    with np.errstate(all="ignore"):
        found = np.asarray(array).reshape(shape).astype(dtype)
    return found if isinstance(theirs, np.ndarray) else found[()]
