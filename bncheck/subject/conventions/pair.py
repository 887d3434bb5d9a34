"""``forward(x, gamma, beta, params) -> (y, cache)`` and ``backward(dout, cache)``: functions,
static methods of a class, or a forward pass that returns (y, backward), its own backward pass.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from bncheck.subject.conventions.arguments import called, with_cache
from bncheck.subject.conventions.implementations import (
    Change,
    Implementation,
    Ran,
    Surroundings,
    summarised,
)
from bncheck.subject.conventions.methods import (
    backward_method,
    forward_method,
    gives_its_backward,
    is_static,
    partner,
)
from bncheck.subject.conventions.returned import kind_of, output
from bncheck.subject.conventions.stand_ins import (
    bound_arguments,
    changed,
    exchange_code,
    numbers,
    numbers_by_role,
)
from bncheck.subject.messages import Inputs
from bncheck.subject.names import STATISTICS, role
from bncheck.subject.signature import Roles, check_known, line_of, roles_of, roles_taken
from bncheck.telling.errors import CannotAsk

Made = list[tuple[Any, dict[str, Any]]]
"""What a forward pass handed on, with the inputs by role from which it was made."""

MOST_CACHES = 200
"""How many of them are remembered: finite differences make thousands."""


def find(name: str, thing: Any, beside: Surroundings) -> Implementation | None:
    """A function with a forward pass beside it that makes what it takes, or two static methods.

    Raises ``CannotAsk`` where there is no forward pass that would make the cache.
    """
    if isinstance(thing, type):
        there, back = forward_method(thing), backward_method(thing)
        if not (there and back and is_static(thing, there) and is_static(thing, back)):
            return None
        return made(name, getattr(thing, back), getattr(thing, there), beside.said)
    takes = roles_taken(thing, name, beside.said)
    forward = partner(name, beside.own)
    if forward is not None:
        roles = roles_of(thing, beside.said)
        unknown = len(roles) == 2 and not {"x", "gamma", "xhat"} & set(roles.values())
        is_pair = "cache" in takes or unknown or set(takes) & set(STATISTICS)
        return made(name, thing, forward, beside.said) if is_pair else None
    if "cache" in takes:
        raise CannotAsk(
            f"{beside.place}: {name} takes a cache, but no forward pass that would make it was "
            f"found; expected {name.replace('backward', 'forward')} beside it"
        )
    return None


def made(
    name: str, backward: Callable[..., Any], forward: Callable[..., Any], said: Roles
) -> Implementation:
    """Of two callables."""
    check_known(forward, getattr(forward, "__name__", "forward"), said)
    takes = roles_taken(forward, name, said)
    return Implementation(
        summarised(name, "pair", backward, takes, forward), backward, forward, said
    )


def find_closure(name: str, thing: Any, beside: Surroundings) -> Implementation | None:
    """A forward pass that returns (y, backward): what it returns beside y is called with dy."""
    if not gives_its_backward(name, thing):
        return None

    def backward(dout: Any, cache: Callable[..., Any]) -> Any:
        return cache(dout)

    backward.__module__ = thing.__module__  # whose arrays or tensors it takes
    own = made(name, backward, thing, beside.said)
    calls = f"{name}{inspect.signature(thing)} -> (y, backward)"
    summary = replace(own.summary, kind="closure", line=line_of(thing), description=calls)
    return replace(own, summary=summary)


def run(own: Implementation, given: Inputs) -> Ran:
    """Forward pass and backward pass; what the first returns beside y goes into the second."""
    y, rest = handed_on(own, given)
    return Ran(y, with_cache(own.backward, given, rest, own.roles), {})


def handed_on(own: Implementation, given: Inputs) -> tuple[NDArray[Any], list[Any]]:
    """The output of the forward pass, and what it returns besides; raises ``CannotAsk``."""
    assert own.forward is not None
    result = called(own.forward, given, own.roles)
    if not isinstance(result, tuple | list) or len(result) < 2:
        name = getattr(own.forward, "__name__", "forward")
        raise CannotAsk(f"{name} returned {kind_of(result)}; expected (output, cache)")
    y, *rest = result
    return output(y), rest


def exchange(own: Implementation, change: Change) -> None:
    """Other numbers in what the backward pass returns, where the forward pass made its cache."""
    made: Made = []

    def stand_in_of(original: Callable[..., Any]) -> Callable[..., Any]:
        def stand_in(*args: Any, **kwargs: Any) -> Any:
            given = bound_arguments(original, args, kwargs)
            cached = _cache_name(original, given)
            upstream = [n for n in given if n != cached and role(n) in ("dy", None)]
            inputs = _inputs_of(given.get(cached), made)
            values = {} if inputs is None or not upstream else dict(inputs)
            if values:
                values["dy"] = numbers(given[upstream[0]])
            return changed(original(*args, **kwargs), values, change)

        return stand_in

    assert own.forward is not None
    exchange_code(own.forward, lambda original: _noting(original, made))
    exchange_code(own.backward, stand_in_of)


def exchange_closure(own: Implementation, change: Change) -> None:
    """Other numbers in what the backward passes return that the forward pass returns."""

    def stand_in_of(original: Callable[..., Any]) -> Callable[..., Any]:
        def stand_in(*args: Any, **kwargs: Any) -> Any:
            values = _forward_values(original, args, kwargs)
            result = original(*args, **kwargs)
            if not isinstance(result, tuple | list):
                return result
            parts = [_changing(p, values, change) if callable(p) else p for p in result]
            return type(result)(parts)

        return stand_in

    assert own.forward is not None
    exchange_code(own.forward, stand_in_of)


def _changing(backward: Callable[..., Any], values: dict[str, Any], change: Change) -> Any:
    def stand_in(*args: Any, **kwargs: Any) -> Any:
        dy = next(iter((*args, *kwargs.values())), None)
        return changed(backward(*args, **kwargs), {**values, "dy": numbers(dy)}, change)

    return stand_in


def _noting(original: Callable[..., Any], made: Made) -> Callable[..., Any]:
    """A forward pass that remembers which inputs made which cache."""

    def stand_in(*args: Any, **kwargs: Any) -> Any:
        values = _forward_values(original, args, kwargs)
        result = original(*args, **kwargs)
        if isinstance(result, tuple) and len(result) >= 2:
            made.append((result[1] if len(result) == 2 else result[1:], values))
            del made[MOST_CACHES // 2 : -MOST_CACHES // 2]  # the first and the last are in use
        return result

    return stand_in


def _forward_values(function: Callable[..., Any], args: Any, kwargs: Any) -> dict[str, Any]:
    values = numbers_by_role(bound_arguments(function, args, kwargs))
    if "dy" in values:  # no forward pass takes one: G is the number of groups
        values.setdefault("groups", values.pop("dy"))
    return values


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
