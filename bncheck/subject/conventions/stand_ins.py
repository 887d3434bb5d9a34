"""Stand-ins for somebody's functions: other code under the same identity, other numbers in what
they return, whatever holds them.

A function keeps its identity: only its code object is exchanged, so that it does not matter under
how many names it was imported, or in which list it waits.
"""

import inspect
import operator
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bncheck.subject.conventions.implementations import Change, Gradients
from bncheck.subject.holders import attributes
from bncheck.subject.names import gradient, role

KEPT = ("x", "dy", "gamma", "beta", "eps", "groups")
ORDER = ("dx", "dgamma", "dbeta")

Made = list[tuple[Any, dict[str, Any]]]
"""Handles of runs forward, with the inputs by role of each."""

MOST_SEEN = 200
"""How many of them are remembered: finite differences make thousands."""


def numbers(value: Any) -> NDArray[Any] | None:
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
    found = numbers_by_role(attributes(instance))
    return {name: value for name, value in found.items() if name not in ("x", "dy")}


def changed(
    result: Any,
    values: dict[str, Any],
    change: Change,
    held_by: Any = None,
    order: Sequence[str] = ORDER,
) -> Any:
    """The result with other gradients in its own structure, also in attributes of an object.

    ``order``: which gradient is where in a tuple.
    """
    if not {"x", "dy"} <= values.keys():
        return result
    theirs: Gradients = {}
    _mapped(result, lambda name, value: _collected(theirs, name, value), order)
    _in_attributes(held_by, lambda name, value: _collected(theirs, name, value))
    new = change(values, theirs)
    if new is theirs:
        return result

    def put(name: str, value: Any) -> Any:
        return _like(value, new[name]) if name in new else value

    _in_attributes(held_by, put)
    return _mapped(result, put, order)


def _collected(theirs: Gradients, name: str, value: Any) -> Any:
    array = numbers(value)
    if array is not None:
        theirs.setdefault(name, array)
    return value


def _mapped(result: Any, put: Callable[[str, Any], Any], order: Sequence[str]) -> Any:
    """The result with ``put(gradient, value)`` in place of each gradient that it holds."""
    if result is None:
        return None
    if isinstance(result, dict):
        named = {key: _key(str(key)) for key in result}
        return {k: put(named[k] or "", v) if named[k] else v for k, v in result.items()}
    if not isinstance(result, tuple | list):
        return put("dx", result)
    names = iter(order)
    parts = [
        _mapped(part, put, order) if isinstance(part, dict) else put(next(names, ""), part)
        for part in result
    ]
    return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)


def _in_attributes(instance: Any, put: Callable[[str, Any], Any]) -> None:
    """The same for what an object holds, itself or in a dictionary of gradients."""
    if instance is None:
        return
    own = attributes(instance)
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


def _like(theirs: Any, array: NDArray[Any]) -> Any:
    """The numbers as what they replace: its type, shape and precision."""
    if hasattr(theirs, "new_tensor"):
        return theirs.new_tensor(np.asarray(array, float)).reshape(theirs.shape)
    shape, dtype = np.shape(theirs), np.asarray(theirs).dtype
    if not np.issubdtype(dtype, np.inexact):
        dtype = np.dtype(float)
    with np.errstate(all="ignore"):
        found = np.asarray(array).reshape(shape).astype(dtype)
    return found if isinstance(theirs, np.ndarray) else found[()]


def given_to(function: Callable[..., Any], args: Any, kwargs: Any) -> dict[str, Any]:
    """The arguments by name; none where they do not fit: the function will say so itself."""
    try:
        bound = inspect.signature(function).bind(*args, **kwargs)
    except TypeError:
        return {}
    bound.apply_defaults()
    return dict(bound.arguments)


def forward_values(function: Callable[..., Any], args: Any, kwargs: Any) -> dict[str, Any]:
    """The numbers by role that a forward pass is given."""
    values = numbers_by_role(given_to(function, args, kwargs))
    if "dy" in values:  # no forward pass takes one: G is the number of groups
        values.setdefault("groups", values.pop("dy"))
    return values


def noting(
    original: Callable[..., Any], made: Made, handle: Callable[[Any, Any], Any]
) -> Callable[..., Any]:
    """A forward pass that remembers its inputs in ``made``.

    ``handle``: from its arguments and its result, that by which its backward pass is known, None
    where there is nothing.
    """

    def stand_in(*args: Any, **kwargs: Any) -> Any:
        values = forward_values(original, args, kwargs)
        result = original(*args, **kwargs)
        if (key := handle(args, result)) is not None:
            made.append((key, values))
            del made[MOST_SEEN // 2 : -MOST_SEEN // 2]  # the first and the last are in use
        return result

    return stand_in


def inputs_of(key: Any, made: Made) -> dict[str, Any]:
    """What went into the forward pass with this handle: the same object, or the same parts."""
    for theirs, values in reversed(made):
        if theirs is key:
            return values
    for theirs, values in reversed(made):
        both = isinstance(theirs, tuple) and isinstance(key, tuple | list)
        if both and len(theirs) == len(key) and all(map(operator.is_, theirs, key)):
            return values
    return made[-1][1] if made else {}


def changing(
    original: Callable[..., Any],
    values_of: Callable[[Any, Any], dict[str, Any]],
    change: Change,
    order: Sequence[str] = ORDER,
    holds: bool = False,
) -> Callable[..., Any]:
    """A backward pass with its gradients changed; ``values_of``: the inputs of a call by role.

    ``order``: as for ``changed``; ``holds``: whether its first argument may hold gradients.
    """

    def stand_in(*args: Any, **kwargs: Any) -> Any:
        values = values_of(args, kwargs)
        result = original(*args, **kwargs)
        return changed(result, values, change, args[0] if holds else None, order)

    return stand_in


_STAND_INS: list[Callable[..., Any]] = []


def called(key: int, args: Any, kwargs: Any) -> Any:
    """What the exchanged code objects call."""
    return _STAND_INS[key](*args, **kwargs)


def exchange_code(function: Any, made: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Give a function other code; the old code goes on in a function of its own."""
    signature = inspect.signature(function)
    original = types.FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    original.__kwdefaults__ = function.__kwdefaults__
    original.__dict__.update(function.__dict__)
    _STAND_INS.append(made(original))
    text = (
        "def stand_in(*args, **kwargs):\n"
        "    from bncheck.subject.conventions.stand_ins import called\n"
        f"    return called({len(_STAND_INS) - 1}, args, kwargs)\n"
    )
    namespace: dict[str, Any] = {}
    exec(text, namespace)
    code = namespace["stand_in"].__code__
    function.__code__ = code.replace(co_freevars=function.__code__.co_freevars)
    function.__defaults__, function.__kwdefaults__ = None, None
    function.__signature__ = signature
