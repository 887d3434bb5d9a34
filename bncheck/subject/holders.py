"""What an object holds: its parameters, and the gradients that backward left in it."""

import inspect
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

import numpy as np

from bncheck.subject.names import gradient, role
from bncheck.subject.signature import required

Holder = MutableMapping[Any, Any]


class _Slots(MutableMapping[Any, Any]):
    """The attributes of an object that has slots in the place of a dictionary."""

    def __init__(self, instance: Any) -> None:
        self._instance = instance
        places = (getattr(cls, "__slots__", ()) for cls in type(instance).__mro__)
        self._names = [n for own in places for n in ((own,) if isinstance(own, str) else own)]

    def __getitem__(self, name: Any) -> Any:
        try:
            return getattr(self._instance, name)
        except AttributeError:
            raise KeyError(name) from None

    def __setitem__(self, name: Any, value: Any) -> None:
        setattr(self._instance, name, value)

    def __delitem__(self, name: Any) -> None:
        delattr(self._instance, name)

    def __iter__(self) -> Iterator[Any]:
        return (name for name in self._names if hasattr(self._instance, name))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def attributes(instance: Any) -> Holder:
    """An object's own attributes by name; what is put there, the object has."""
    return vars(instance) if hasattr(instance, "__dict__") else _Slots(instance)


def holders(instance: Any) -> Iterator[tuple[str, Holder]]:
    """The object's attributes, its dictionaries, and parameter objects inside them."""
    own = attributes(instance)
    yield "", own
    for name, value in list(own.items()):
        if isinstance(value, dict):
            yield str(name), value


def content(value: Any) -> tuple[str | None, Any] | None:
    """The array of a parameter: the value itself, or an attribute of a parameter object."""
    if isinstance(value, np.ndarray):
        return None, value
    for attribute in ("data", "value", "w", "val", "array", "param", "weight"):
        there = getattr(value, attribute, None)
        if isinstance(there, np.ndarray) or hasattr(there, "detach"):
            return attribute, there
    return None


def gradients_kept(instance: Any) -> Iterator[tuple[str, Any]]:
    """Gradients that the object holds, the plainest first."""
    found = gradients_named(instance)
    for name, value in list(attributes(instance).items()):
        if "grad" in name.lower() and isinstance(value, list | tuple):
            _dealt(found, value)
    for name in ("get_gradients", "get_grads", "gradients", "grads", "get_gradient"):
        method = getattr(instance, name, None)
        if inspect.ismethod(method) and not required(method) and not {"dgamma"} & set(found):
            _from_method(found, method)
    yield from found.items()


def gradients_named(instance: Any) -> dict[str, Any]:
    """Those of them that have a name of their own, and not a place in a list."""
    found: dict[str, Any] = {}
    for place, holder in holders(instance):
        in_grads = "grad" in place.lower() or place.lower().startswith("d")
        for name, value in list(holder.items()):
            key = gradient(str(name)) or (_of(str(name)) if in_grads else None)
            if key and is_array(value):
                found.setdefault(key, value)
            elif _of(str(name)) and not in_grads:
                _from_object(found, _of(str(name)), value)
    return found


def _from_object(found: dict[str, Any], key: str | None, value: Any) -> None:
    names = ("grad", "gradient", "g", "delta", "dvalue", "d", "dw", "diff", "grads", "dW")
    for name in names if not is_array(value) or hasattr(value, "requires_grad") else ():
        there = getattr(value, name, None)
        if key and is_array(there):
            found.setdefault(key, there)


def _from_method(found: dict[str, Any], method: Callable[[], Any]) -> None:
    try:
        result = method()
    except Exception:
        return  # not what its name promises
    _from_result(found, result)


def _from_result(found: dict[str, Any], result: Any) -> None:
    if isinstance(result, dict):
        for name, value in result.items():
            key = gradient(str(name)) or _of(str(name))
            if key and is_array(value):
                found.setdefault(key, value)
    elif isinstance(result, list | tuple):
        _dealt(found, result)


def _dealt(found: dict[str, Any], parts: Any) -> None:
    """A list of gradients: gamma's first, unless dictionaries say otherwise."""
    arrays = [p for p in parts if is_array(p)]
    for key, value in zip(("dgamma", "dbeta"), arrays, strict=False):
        found.setdefault(key, value)
    for part in parts:
        if isinstance(part, dict):
            _from_result(found, part)


def _of(name: str) -> str | None:
    return {"gamma": "dgamma", "beta": "dbeta"}.get(role(name) or "")


def is_array(value: Any) -> bool:
    """A NumPy array or number, or a tensor."""
    return isinstance(value, np.ndarray | np.generic) or hasattr(value, "detach")
