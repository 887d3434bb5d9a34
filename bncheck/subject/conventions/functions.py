"""Functions: a backward pass on its own, beside its forward pass, or returned by it.

``backward(dy, x, gamma, eps)`` in any order of recognised names; ``forward(x, gamma, beta, params)
-> (y, cache)`` and ``backward(dout, cache)``, which may be static methods of a class; and a forward
pass that returns (y, backward), its own backward pass. As in C, ``forward(out, mean, rstd, inp,
weight, bias)`` may fill arrays that it is given, ``backward(dinp, dweight, dbias, dout, inp, ...)``
add to them.
"""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial, wraps
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bncheck.subject.conventions.implementations import (
    Change,
    Implementation,
    Kept,
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
from bncheck.subject.conventions.running import MODES, with_argument
from bncheck.subject.conventions.stand_ins import (
    Made,
    changing,
    exchange_code,
    forward_values,
    given_to,
    inputs_of,
    noting,
    numbers,
    numbers_by_role,
)
from bncheck.subject.messages import Inputs
from bncheck.subject.names import STATISTICS, gradient, role
from bncheck.subject.signature import (
    Roles,
    called,
    defaults,
    line_of,
    parameters_of,
    required,
    roles_of,
    roles_taken,
    with_cache,
)
from bncheck.telling.errors import CannotAsk


def find_alone(name: str, thing: Any, beside: Surroundings) -> Implementation | None:
    """Whatever no other convention has claimed."""
    return made_alone(name, thing, partner(name, beside.own), beside.said)


def made_alone(
    name: str, backward: Callable[..., Any], forward: Callable[..., Any] | None, said: Roles
) -> Implementation:
    """With the forward pass beside it, if any; raises ``CannotAsk`` where dy or x is not taken."""
    takes = roles_taken(backward, name, said)
    for needed in ("dy", "x"):
        if needed not in takes and not (needed == "x" and {"xhat", "centred"} & set(takes)):
            what = {"dy": "the upstream gradient", "x": "the input"}[needed]
            raise CannotAsk(
                f"{name}{inspect.signature(backward)} has no parameter that bncheck knows as "
                f"{what}; expected one called {needed}, say backward(dy, x, gamma, beta, eps), "
                f"or --name PARAMETER={needed}"
            )
    summary = summarised(name, "function", backward, takes, forward)
    return Implementation(summary, backward, forward, said)


def output_of(own: Implementation, given: Inputs) -> NDArray[Any]:
    """The output of the forward pass; raises ``CannotAsk`` where there is none."""
    if own.forward is None:
        raise CannotAsk(f"{own.summary.name} has no forward pass")
    return output(called(own.forward, given, own.roles))


def run_alone(own: Implementation, given: Inputs) -> Ran:
    """A backward pass on its own; the forward pass, if any, sees copies of its own."""
    y = None
    if own.forward is not None:
        copies = {n: v.copy() if isinstance(v, np.ndarray) else v for n, v in given.items()}
        y = output(called(own.forward, copies, own.roles))
    return Ran(y, called(own.backward, given, own.roles, first="dy"), {})


def find_pair(name: str, thing: Any, beside: Surroundings) -> Implementation | None:
    """A function with a forward pass beside it that makes what it takes, or two static methods.

    Raises ``CannotAsk`` where there is no forward pass that would make the cache.
    """
    if isinstance(thing, type):
        there, back = forward_method(thing), beside.method or backward_method(thing)
        if not (there and back and is_static(thing, there) and is_static(thing, back)):
            return None
        name = f"{name}.{back}" if beside.method else name
        return made_pair(name, getattr(thing, back), getattr(thing, there), beside.said)
    takes = roles_taken(thing, name, beside.said)
    forward = partner(name, beside.own)
    if forward is not None:
        roles = roles_of(thing, beside.said)
        unknown = len(roles) == 2 and not {"x", "gamma", "xhat"} & set(roles.values())
        unknown |= any(roles[n] in (None, "output") for n in required(thing))
        is_pair = "cache" in takes or unknown or set(takes) & set(STATISTICS)
        return made_pair(name, thing, forward, beside.said) if is_pair else None
    if "cache" in takes:
        raise CannotAsk(
            f"{beside.place}: {name} takes a cache, but no forward pass that would make it was "
            f"found; expected {name.replace('backward', 'forward')} beside it"
        )
    return None


def made_pair(
    name: str, backward: Callable[..., Any], forward: Callable[..., Any], said: Roles
) -> Implementation:
    """Of two callables."""
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
    own = made_pair(name, backward, thing, beside.said)
    calls = f"{name}{inspect.signature(thing)} -> (y, backward)"
    summary = replace(own.summary, kind="closure", line=line_of(thing), description=calls)
    return replace(own, summary=summary)


def run_pair(own: Implementation, given: Inputs) -> Ran:
    """Forward pass and backward pass; what the first returns beside y goes into the second."""
    y, rest = handed_on(own, given)
    values = {**given, "output": y}
    return Ran(y, with_cache(own.backward, values, rest, own.roles), {})


def handed_on(own: Implementation, given: Inputs) -> tuple[NDArray[Any], list[Any]]:
    """The output of the forward pass, and what it returns besides; raises ``CannotAsk``."""
    assert own.forward is not None
    result = called(own.forward, given, own.roles)
    if not isinstance(result, tuple | list) or len(result) < 2:
        name = getattr(own.forward, "__name__", "forward")
        raise CannotAsk(f"{name} returned {kind_of(result)}; expected (output, cache)")
    y, *rest = result
    return output((y,)), rest


def exchange_alone(own: Implementation, change: Change) -> None:
    """Other numbers in what the function returns, wherever it is called."""

    def stand_in_of(original: Callable[..., Any]) -> Callable[..., Any]:
        return changing(original, lambda *call: numbers_by_role(given_to(original, *call)), change)

    exchange_code(own.backward, stand_in_of)


def exchange_pair(own: Implementation, change: Change) -> None:
    """Other numbers in what the backward pass returns, where the forward pass made its cache."""
    made: Made = []

    def cache_of(args: Any, result: Any) -> Any:
        if not isinstance(result, tuple) or len(result) < 2:
            return None
        return result[1] if len(result) == 2 else result[1:]

    def values_of(original: Callable[..., Any], args: Any, kwargs: Any) -> dict[str, Any]:
        given = given_to(original, args, kwargs)
        named = [n for n, r in roles_of(original).items() if r == "cache"]
        cached = (named or list(given)[1:] or [""])[0]
        upstream = [n for n in given if n != cached and role(n) in ("dy", None)]
        values = inputs_of(given.get(cached), made) if upstream else {}
        return {**values, "dy": numbers(given[upstream[0]])} if values else {}

    assert own.forward is not None
    exchange_code(own.forward, lambda original: noting(original, made, cache_of))
    exchange_code(
        own.backward, lambda original: changing(original, partial(values_of, original), change)
    )


def exchange_closure(own: Implementation, change: Change) -> None:
    """Other numbers in what the backward passes return that the forward pass returns."""

    def stand_in_of(original: Callable[..., Any]) -> Callable[..., Any]:
        def stand_in(*args: Any, **kwargs: Any) -> Any:
            values = forward_values(original, args, kwargs)

            def with_dy(args: Any, kwargs: Any) -> dict[str, Any]:
                return {**values, "dy": numbers(next(iter((*args, *kwargs.values())), None))}

            result = original(*args, **kwargs)
            if not isinstance(result, tuple | list):
                return result
            parts = [changing(p, with_dy, change) if callable(p) else p for p in result]
            return type(result)(parts)

        return stand_in

    assert own.forward is not None
    exchange_code(own.forward, stand_in_of)


def find_filled(name: str, thing: Any, beside: Surroundings) -> Implementation | None:
    """A function that is given arrays named after gradients, beside a forward pass."""
    if not inspect.isfunction(thing):
        return None
    wanted = [n for n in required(thing) if gradient(n)]
    forward = partner(name, beside.own)
    roles = roles_of(thing, beside.said)
    upstream = [n for n, r in roles.items() if r == "dy" and n not in wanted]
    if forward is None or not upstream or "dx" not in map(gradient, wanted):
        return None
    inner = _returning(forward, beside.said)
    own = made_pair(
        name, _returning_back(thing, upstream[0], wanted, beside.said), inner, beside.said
    )
    calls = f"{forward.__name__}{_shown(forward)}, {name}{_shown(thing)}"
    return replace(own, summary=replace(own.summary, kind="filled", description=calls))


def exchange_filled(own: Implementation, change: Change) -> None:
    """Raises ``CannotAsk``: what is filled may be held by anybody."""
    raise CannotAsk(f"{own.summary.name} fills arrays; expected one that returns its gradients")


def _shown(function: Callable[..., Any]) -> str:
    return str(inspect.signature(function))


def _returning(forward: Callable[..., Any], said: Roles) -> Callable[..., Any]:
    """The forward pass with its results returned: the output, and all arguments by name."""
    roles = roles_of(forward, said)
    made = (None, "output", *STATISTICS)
    given = [p for p in parameters_of(forward) if roles[p.name] not in made]
    filled = [n for n in roles if n not in {p.name for p in given}]

    @wraps(forward)
    def inner(**arguments: Any) -> Any:
        x = next(v for n, v in arguments.items() if roles[n] == "x")
        results = {
            n: np.zeros(x.shape[:-1] if roles[n] in STATISTICS else x.shape, x.dtype)
            for n in filled
        }
        forward(**arguments, **results)
        y = next(v for n, v in results.items() if roles[n] not in STATISTICS)
        there = {**arguments, **results}
        by_role = {str(roles[n]): v for n, v in there.items()}
        return y, {**by_role, **there}

    inner.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in given]
    )
    return inner


def _returning_back(
    backward: Callable[..., Any], upstream: str, wanted: list[str], said: Roles
) -> Callable[..., Any]:
    """The backward pass as ``backward(dy, cache)``, with what it adds to zeros returned."""
    roles = roles_of(backward, said)

    @wraps(backward)
    def inner(dy: Any, cache: dict[str, Any]) -> Any:
        of = {n: str(gradient(n)) for n in wanted}
        made = {n: np.zeros_like(cache[of[n].removeprefix("d")]) for n in wanted}
        others = [n for n in required(backward) if n not in (*wanted, upstream)]
        rest = {n: cache[n] if n in cache else cache[str(roles[n])] for n in others}
        backward(**made, **{upstream: dy}, **rest)
        return {of[n]: array for n, array in made.items()}

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    inner.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(n, kind) for n in ("dy", "cache")]
    )
    return inner


def kept_by_functions(own: Implementation, given: Inputs) -> Kept | None:
    """Functions that share a dictionary of settings, or are handed arrays that they change."""
    forward = own.forward
    if forward is None:
        return None
    usual = defaults(given)
    handed = {n: usual[n] * 1 for n in ("running_mean", "running_var")}
    known = roles_of(forward, own.roles).values()
    shared = {**given, "params": usual["params"], **handed}
    shown = {n: v for n, v in handed.items() if n in known}

    def train(x: Any) -> Any:
        return called(forward, {**shared, "x": x}, own.roles)

    train(given["x"])
    first = {n: v * 1 for n, v in shown.items()}
    train(given["x"])
    if first and all(np.array_equal(first[n], v) for n, v in shown.items()):
        shown = {}  # it may well return new ones
    ways = _ways(forward, own, shared)
    return Kept(train, lambda: (usual["params"], shown), ways)


def _ways(
    forward: Callable[..., Any], own: Implementation, shared: dict[str, Any]
) -> Iterator[Callable[[Any], Any]]:
    for function in with_argument(forward, own):
        yield lambda x, f=function: called(f, {**shared, "x": x}, own.roles)  # type: ignore[misc]
    for mode in MODES:
        shared["params"]["mode"] = mode
        yield lambda x: called(forward, {**shared, "x": x}, own.roles)
