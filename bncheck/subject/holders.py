"""What an object holds: its parameters, and the gradients that backward left in it."""

import inspect
import types
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bncheck.subject.messages import Inputs, plain
from bncheck.subject.names import gradient, role
from bncheck.subject.signature import required

Holder = MutableMapping[Any, Any]

RATE = 2.0**20
"""The learning rate that is set where backward updates parameters: the update is the gradient
times this, exactly, and the parameter's own digits do not drown it."""


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


def held_by(instance: Any) -> Iterator[tuple[str, Holder]]:
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


@dataclass(frozen=True)
class Place:
    """Where an object holds an array of floats.

    ``name``: as code would write it; ``role``: gamma or beta, if one of the names in it says so;
    ``put``: to hold another array there.
    """

    name: str
    role: str | None
    value: Any
    put: Callable[[Any], None]


DEEPEST = 3
"""How many holders inside one another are looked into."""


def places(instance: Any) -> Iterator[Place]:
    """The arrays of floats in attributes, dictionaries, lists and objects inside an object."""
    yield from _places("self", None, instance, {id(instance)}, DEEPEST)


def _places(name: str, known: str | None, held: Any, seen: set[int], more: int) -> Iterator[Place]:
    is_object = not isinstance(held, dict | list | tuple)
    holder: Any = attributes(held) if is_object else held
    pairs = enumerate(holder) if isinstance(held, list | tuple) else holder.items()
    for key, value in list(pairs):
        inner = f"{name}.{key}" if is_object else f"{name}[{key!r}]"
        own = role(key) if isinstance(key, str) else None
        means = own if own in ("gamma", "beta") else known
        if isinstance(value, types.ModuleType | types.FunctionType | type | Watch):
            continue
        if _is_float(value):
            yield Place(inner, means, value, partial(_put, holder, key, value))
        elif more and id(value) not in seen and _holds(value):
            seen.add(id(value))
            yield from _places(inner, means, value, seen, more - 1)


def _is_float(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind == "f" and value.size > 0
    return is_array(value) and not isinstance(value, np.generic) and value.is_floating_point()


def _holds(value: Any) -> bool:
    plainly = isinstance(value, dict | list | tuple)
    return plainly or hasattr(value, "__dict__") or hasattr(type(value), "__slots__")


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
    for place, holder in held_by(instance):
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


def parameters(
    instance: Any, known: Mapping[str, str] | None = None
) -> Iterator[tuple[str, Place]]:
    """The object's gamma and beta, wherever they are; ``known``: by place, else by their names."""
    for place in places(instance):
        means = place.role if known is None else known.get(place.name)
        if means is not None:
            yield means, place


def set_parameters(instance: Any, inputs: Inputs, known: Mapping[str, str] | None = None) -> bool:
    """Give the object the trial's gamma, beta and eps; whether a parameter was changed by it."""
    changed = False
    for _, holder in held_by(instance):
        for name, value in list(holder.items()):
            if role(str(name)) == "eps" and type(value) in (float, int) and "eps" in inputs:
                holder[name] = inputs["eps"]
    for means, place in parameters(instance, known):
        if means not in inputs or np.prod(place.value.shape) != np.prod(inputs[means].shape):
            continue
        new = inputs[means].reshape(place.value.shape)
        changed |= not np.array_equal(plain(new), plain(place.value))
        place.put(new)
    return changed


def _put(holder: Any, key: Any, old: Any, new: Any) -> None:
    """In place where the type allows it, since lists of parameters may hold the same array."""
    if isinstance(old, np.ndarray) and isinstance(new, np.ndarray):
        if old.dtype == new.dtype and old.flags.writeable:
            old[...] = new
        else:
            holder[key] = new.copy()
    elif hasattr(old, "detach") and hasattr(new, "detach"):
        old.data = new.detach().clone()
    else:
        holder[key] = new


def updates(
    instance: Any, before: Mapping[str, NDArray[Any]], known: Mapping[str, str] | None
) -> dict[str, Any]:
    """Gradients read off a plain step of descent of ``RATE``: (before - after)/rate."""
    after = {n: np.asarray(plain(p.value)) for n, p in parameters(instance, known)}
    return {
        "d" + name: (before[name] - value) / RATE
        for name, value in after.items()
        if name in before and before[name].shape == value.shape
        and not np.array_equal(before[name], value)
    }  # fmt: skip


class Watch:
    """Stands in for an optimizer: notes each gradient that it is given.

    What it gives back is a parameter that has moved, so that its use after the update shows.
    """

    def __init__(self, parameters: Callable[[], Iterator[tuple[str, Place]]]) -> None:
        self.parameters, self.seen = parameters, dict[str, Any]()
        self.lr = self.learning_rate = 1.0

    def __copy__(self) -> "Watch":
        return self

    def __deepcopy__(self, memo: Any) -> "Watch":
        return self

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """An update: a step against the gradient."""
        arrays = [a for a in (*args, *kwargs.values()) if isinstance(a, np.ndarray)]
        if len(arrays) < 2:
            return self if not arrays else arrays[0]
        for name, place in self.parameters():
            for one, other in (arrays[:2], arrays[1::-1]):
                if place.value is one:
                    self.seen["d" + name] = np.array(other)
                    return one - other.reshape(one.shape) if one.size == other.size else one
        return arrays[0]
