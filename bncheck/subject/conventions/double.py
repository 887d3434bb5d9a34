"""Double backward passes, each with the forward and backward pass beside it.

``double_backward(ddx, ddgamma, ddbeta, dy, x, gamma, eps)`` in any order of recognised names, or
with a cache that a forward pass makes, or a method of an object that has seen both passes; it
returns the gradients with respect to dy, x and gamma of
``sum(ddx*dx) + sum(ddgamma*dgamma) + sum(ddbeta*dbeta)``, in any order.
"""

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bncheck.subject.conventions import functions, instances
from bncheck.subject.conventions import object as objects
from bncheck.subject.conventions.implementations import Change, Implementation, Ran, Surroundings
from bncheck.subject.conventions.methods import partner
from bncheck.subject.conventions.returned import kind_of
from bncheck.subject.messages import Backward, Inputs, plain
from bncheck.subject.names import is_double, layer_hint
from bncheck.subject.signature import (
    Roles,
    called,
    document,
    double_roles,
    line_of,
    looks_double,
    roles_taken,
    taken_by_double,
    with_cache,
)
from bncheck.telling.codes import Finding
from bncheck.telling.errors import CannotAsk

FEWEST = 2
"""ddy and d2x at least: of one array alone it cannot be told which it is."""

BELOW = ("function", "pair", "closure")
"""The conventions whose backward pass a double one stands beside."""


def find(name: str, thing: Any, beside: Surroundings) -> Implementation | None:
    """A function whose name or parameters say so; its forward pass is that of the one below."""
    if not looks_double(name, thing, beside.said):
        return None
    below = _below(name, beside.firsts)
    forward = below.forward if below else None
    if forward is None:
        forward = partner(_first_name(name), beside.own) or partner(name, beside.own)
    return made(name, thing, forward, below, beside.said)


def unusable(name: str, thing: Any, problem: str) -> Implementation:
    """One that cannot be called is still to be named in the report."""
    return Implementation(
        Backward(name, "double", line_of(thing), False, (), layer_hint(name), "", problem=problem),
        thing,
    )


def made(
    name: str,
    thing: Callable[..., Any],
    forward: Callable[..., Any] | None,
    below: Implementation | None,
    said: Roles,
) -> Implementation:
    """Of callables; ``below``: the backward pass of which it is the double one."""
    takes = taken_by_double(thing, name, said)
    calls = f"{name}{inspect.signature(thing)}"
    if "cache" in takes:
        if forward is None:
            raise CannotAsk(
                f"{name} takes a cache, but no forward pass that would make it was found"
            )
        given = roles_taken(forward, name, said)
        takes = tuple(dict.fromkeys((*given, *(r for r in takes if r not in ("gamma", "beta")))))
    if forward is not None:
        calls = f"{getattr(forward, '__name__', 'forward')}{inspect.signature(forward)}, {calls}"
    elif "x" not in takes and not {"xhat", "centred"} & set(takes):
        raise CannotAsk(
            f"{calls} has no parameter that bncheck knows as the input; expected one called x, "
            "or --name PARAMETER=x"
        )
    hint = layer_hint(name, getattr(forward, "__name__", ""), document(thing))
    if hint is None and below is not None:
        hint = below.summary.layer_hint
    summary = Backward(name, "double", line_of(thing), forward is not None, takes, hint, calls,
                       first=below.summary.name if below else "")  # fmt: skip
    return Implementation(summary, thing, forward, said, first=below and replace(below, memory={}))


def methods(first: Implementation) -> list[str]:
    """The methods of a class that are double backward passes."""
    if not first.summary.has_object:
        return []
    return [n for n, o in vars(first.backward).items() if inspect.isfunction(o) and is_double(n)]


def of_object(first: Implementation, method: str, said: Roles) -> Implementation:
    """A method: the object has seen the forward pass and the backward pass."""
    name = f"{first.summary.name}.{method}"
    unbound = partial(vars(first.backward)[method], None)  # the parameters without self
    try:
        theirs, problem = taken_by_double(unbound, name, said, ("ddx",)), ""
    except CannotAsk as error:
        theirs, problem = (), str(error)
    return replace(
        first,
        summary=replace(
            first.summary, name=name, kind="double", line=line_of(vars(first.backward)[method]),
            takes=(*first.summary.takes, *theirs), problem=problem,
            description=f"{first.summary.description}, {method}{inspect.signature(unbound)}",
            first=first.summary.name,
        ),
        memory={},
        first=replace(first, memory={}),
    )  # fmt: skip


def _first_name(name: str) -> str:
    """``batchnorm_backward`` for ``batchnorm_double_backward`` and ``batchnorm_grad_grad``."""
    text = re.sub(r"(?i)(double|second|2nd|higher)_?(order_?)?", "", name)
    text = re.sub(r"(?i)(grad|bwd|vjp|backward|back)_?(of_?)?\1", r"\1", text)
    return re.sub(r"_?2$", "", text)


def _below(name: str, firsts: Sequence[Implementation]) -> Implementation | None:
    """The backward pass that belongs to it: by its name, by its layer, or because it is alone."""
    usable = [f for f in firsts if f.summary.kind in BELOW]
    wanted = _first_name(name) if is_double(name) else None
    named = [f for f in usable if f.summary.name == wanted]
    hint = layer_hint(name)
    alike = [f for f in usable if hint and f.summary.layer_hint == hint]
    for choice in (named, alike, usable):
        if len(choice) == 1 and (not hint or choice[0].summary.layer_hint in (hint, None)):
            return choice[0]
    return None


def output_of(own: Implementation, given: Inputs) -> NDArray[Any]:
    """The output of the forward pass, of a function or of an object."""
    return (objects if own.summary.has_object else functions).output_of(own, given)


def run(own: Implementation, given: Inputs) -> Ran:
    """Forward pass, where a cache is asked for, and double backward pass; an object's all three."""
    given = {**given, "mask": (True, True, True)}
    if own.summary.has_object:
        return _run_object(own, given)
    roles = {n: r for n, r in double_roles(own.backward, own.roles).items() if r}
    if "cache" not in roles.values():
        return Ran(None, called(own.backward, given, roles, first="dy"), {})
    y, rest = functions.handed_on(own, given)
    return Ran(y, with_cache(own.backward, given, rest, roles), {})


def _run_object(own: Implementation, given: Inputs) -> Ran:
    instance, y, rest, _ = instances.ready(own, given)
    instances.passed_back(instance, given, rest, own)
    double = getattr(instance, own.summary.name.rpartition(".")[2])
    roles = {n: r for n, r in double_roles(double, own.roles).items() if r}
    return Ran(y, called(double, given, roles, first="ddx"), {})


def exchange(own: Implementation, change: Change) -> None:
    """Raises ``CannotAsk``: mistakes are made in backward passes only."""
    raise CannotAsk(f"{own.summary.name} is a double backward pass; expected a backward pass")


def read(own: Implementation, ran: Ran, inputs: Inputs) -> tuple[dict[str, Any], list[Finding]]:
    """What was returned, by its place: ``{"0": ..., "1": ...}``; which is which is seen later."""
    name, result = own.summary.name, plain(ran.result)
    several = list(result.values()) if isinstance(result, dict) else result
    if not isinstance(several, tuple | list):
        raise CannotAsk(f"{name} returned {kind_of(result)}; {_expected(inputs)}")
    arrays = [np.asarray(plain(part)) for part in several if part is not None]
    for array in arrays:
        if array.dtype == object or not np.issubdtype(array.dtype, np.number):
            raise CannotAsk(f"{name} returned {array.dtype}; {_expected(inputs)}")
        if np.iscomplexobj(array) and not np.iscomplexobj(inputs["x"]):
            raise CannotAsk(f"{name} returned complex numbers from real inputs")
    most = 4 if "gamma" in inputs else FEWEST
    if not FEWEST <= len(arrays) <= most:
        values = "1 value" if len(arrays) == 1 else f"{len(arrays)} values"
        raise CannotAsk(f"{name} returned {values}; {_expected(inputs)}")
    return {str(k): array for k, array in enumerate(arrays)}, []


def _expected(inputs: Inputs) -> str:
    gradients_of = "dy, x and gamma" if "gamma" in inputs else "dy and x"
    return f"expected the gradients with respect to {gradients_of}"
