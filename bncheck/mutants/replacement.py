"""A stand-in for somebody's backward pass while their tests run; it lives in the child process.

A function keeps its identity: only its code object is exchanged, so that it does not matter
under how many names it was imported, or in which list it waits. Their own function is still
called, for the structure of what it returns; the gradients in it are exchanged where the right
recipe reproduces them, that is, where the call is one that bncheck understands.
"""

import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bncheck.mutants.recipe import Recipe, reproduced, run, size
from bncheck.mutants.structure import (
    Change,
    Gradients,
    changed,
    numbers,
    numbers_by_role,
    settings,
)
from bncheck.subject.conventions.convention import Found
from bncheck.subject.names import role
from bncheck.subject.signature import roles_of

MOST_CALLS, MOST_NUMBERS = 24, 2_000_000
MOST_CACHES = 200


class Recorder:
    """Changes nothing, and keeps the first calls: what the tests ask of the function."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def __call__(self, values: Mapping[str, Any], theirs: Gradients) -> Gradients:
        """Keep the call if there is room."""
        held = sum(np.size(v) for call in self.calls for v in call["values"].values())
        if len(self.calls) < MOST_CALLS and held < MOST_NUMBERS:
            self.calls.append({"values": dict(values), "gradients": dict(theirs)})
        return theirs


def mutant(right: Recipe, wrong: Recipe) -> Change:
    """The gradients of another recipe, where ``right`` gives theirs."""

    def change(values: Mapping[str, Any], theirs: Gradients) -> Gradients:
        if not reproduced(right, values, theirs):
            return theirs
        _, found = run(wrong, values)
        return {**theirs, **{name: found[name] for name in found.keys() & theirs.keys()}}

    return change


def noise(right: Recipe, name: str, relative: float) -> Change:
    """One gradient with an error of a size relative to its largest entry, of either sign."""

    def change(values: Mapping[str, Any], theirs: Gradients) -> Gradients:
        if name not in theirs or not reproduced(right, values, theirs):
            return theirs
        signs = np.random.default_rng(0).choice([-1.0, 1.0], np.shape(theirs[name]))
        _, exact = run(right, values)  # theirs may be rounding where the gradient is 0
        error = relative * size(exact[name], values["dy"]) * signs
        return {**theirs, name: np.asarray(theirs[name], np.longdouble) + error}

    return change


def install(found: Found, change: Change) -> None:
    """Put the stand-in where the backward pass is, for the rest of this process."""
    if found.candidate.kind == "class":
        _install_in_class(found.backward, change)
    elif found.candidate.kind == "function":
        _exchange(found.backward, lambda original: _of_function(original, change))
    else:
        assert found.forward is not None
        made: list[tuple[Any, dict[str, Any]]] = []
        _exchange(found.forward, lambda original: _noting(original, made))
        _exchange(found.backward, lambda original: _of_pair(original, made, change))


_STAND_INS: list[Callable[..., Any]] = []


def called(key: int, args: Any, kwargs: Any) -> Any:
    """What the exchanged code objects call."""
    return _STAND_INS[key](*args, **kwargs)


def _exchange(function: Any, made: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
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
        "    from bncheck.mutants.replacement import called\n"
        f"    return called({len(_STAND_INS) - 1}, args, kwargs)\n"
    )
    namespace: dict[str, Any] = {}
    exec(text, namespace)
    code = namespace["stand_in"].__code__
    function.__code__ = code.replace(co_freevars=function.__code__.co_freevars)
    function.__defaults__, function.__kwdefaults__ = None, None
    function.__signature__ = signature


def _of_function(original: Callable[..., Any], change: Change) -> Callable[..., Any]:
    def stand_in(*args: Any, **kwargs: Any) -> Any:
        values = numbers_by_role(_bound(original, args, kwargs))
        return changed(original(*args, **kwargs), values, change)

    return stand_in


def _noting(
    original: Callable[..., Any], made: list[tuple[Any, dict[str, Any]]]
) -> Callable[..., Any]:
    """A forward pass that remembers which inputs made which cache."""

    def stand_in(*args: Any, **kwargs: Any) -> Any:
        values = numbers_by_role(_bound(original, args, kwargs))
        if "dy" in values:  # no forward pass takes one: G is the number of groups
            values.setdefault("groups", values.pop("dy"))
        result = original(*args, **kwargs)
        if isinstance(result, tuple) and len(result) >= 2:
            made.append((result[1] if len(result) == 2 else result[1:], values))
            # finite differences make thousands: the first ones and the last ones are in use
            del made[MOST_CACHES // 2 : -MOST_CACHES // 2]
        return result

    return stand_in


def _of_pair(
    original: Callable[..., Any], made: list[tuple[Any, dict[str, Any]]], change: Change
) -> Callable[..., Any]:
    def stand_in(*args: Any, **kwargs: Any) -> Any:
        given = _bound(original, args, kwargs)
        cached = _cache_name(original, given)
        upstream = [n for n in given if n != cached and role(n) in ("dy", None)]
        found = _inputs_of(given.get(cached), made)
        values = {} if found is None or not upstream else dict(found)
        if values:
            values["dy"] = numbers(given[upstream[0]])
        return changed(original(*args, **kwargs), values, change)

    return stand_in


def _install_in_class(cls: Any, change: Change) -> None:
    """The methods of a class: forward remembers x, backward has its gradients exchanged."""
    forward, backward = cls.forward, cls.backward
    inputs: dict[int, tuple[Any, dict[str, Any]]] = {}

    def forward_stand_in(self: Any, *args: Any, **kwargs: Any) -> Any:
        values = {**settings(self), **numbers_by_role(_bound(forward, (self, *args), kwargs))}
        inputs[id(self)] = (self, values)
        return forward(self, *args, **kwargs)

    def backward_stand_in(self: Any, *args: Any, **kwargs: Any) -> Any:
        _, known = inputs.get(id(self), (self, {}))
        given = _bound(backward, (self, *args), kwargs)
        values = {**known, **numbers_by_role(given)} if known else {}
        if values and "dy" not in values:
            values["dy"] = numbers(list(given.values())[1])
        result = backward(self, *args, **kwargs)
        return changed(result, values, change, held_by=self)

    cls.forward, cls.backward = forward_stand_in, backward_stand_in
    for made, old in ((forward_stand_in, forward), (backward_stand_in, backward)):
        made.__signature__ = inspect.signature(old)  # type: ignore[attr-defined]


def _bound(function: Callable[..., Any], args: Any, kwargs: Any) -> dict[str, Any]:
    """The arguments by name; none where they do not fit: the function will say so itself."""
    try:
        bound = inspect.signature(function).bind(*args, **kwargs)
    except TypeError:
        return {}
    bound.apply_defaults()
    return dict(bound.arguments)


def _cache_name(function: Callable[..., Any], given: Mapping[str, Any]) -> str:
    named = [n for n, r in roles_of(function).items() if r == "cache"]
    return (named or list(given)[1:] or [""])[0]


def _inputs_of(cache: Any, made: Sequence[tuple[Any, dict[str, Any]]]) -> dict[str, Any] | None:
    """The inputs from which a cache was made: the same object, or one with the same parts."""
    for theirs, values in reversed(made):
        if theirs is cache:
            return values
    for theirs, values in reversed(made):
        both = isinstance(theirs, tuple) and isinstance(cache, tuple | list)
        if both and len(theirs) == len(cache) and all(map(_is, theirs, cache)):
            return values
    return made[-1][1] if made else None


def _is(one: Any, other: Any) -> bool:
    return one is other
