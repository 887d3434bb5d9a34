"""Double backward passes in a namespace, each with the forward and backward pass beside it.

``double_backward(ddx, ddgamma, ddbeta, dy, x, gamma, eps)`` in any order of recognised names, or
with a cache that a forward pass makes; it returns the gradients with respect to dy, x and gamma
of ``sum(ddx*dx) + sum(ddgamma*dgamma) + sum(ddbeta*dbeta)``, in any order.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from bncheck.subject.conventions import convention
from bncheck.subject.conventions.convention import Found
from bncheck.subject.conventions.methods import is_own, likely, partner
from bncheck.subject.messages import Backward
from bncheck.subject.names import layer_hint
from bncheck.subject.second_names import is_double, looks_double, takes
from bncheck.subject.signature import Roles, document, line_of, signature
from bncheck.telling.errors import CannotAsk


def find(
    namespace: Mapping[str, Any], name: str | None, place: str = "", said: Roles | None = None
) -> list[Found]:
    """Backward and double backward passes, or the one asked for, in the order of the file.

    Raises ``CannotAsk`` where there is none, or where the one asked for cannot be called.
    """
    said = said or {}
    own = {n: o for n, o in namespace.items() if is_own(o, namespace)}
    doubles = [n for n, o in own.items() if looks_double(n, o, said)]
    rest = {n: o for n, o in namespace.items() if n not in doubles}
    outer, _, inner = (name or "").partition(".")
    if is_double(inner):
        (found,) = convention.find(namespace, outer, place, said)
        if inner in _methods(found):
            return [_of_object(found, inner, said)]
    if name is not None and name not in doubles:
        return convention.find(rest if name in rest else namespace, name, place, said)
    others = {n: o for n, o in own.items() if n not in doubles}
    firsts = []
    if not doubles or likely(others):
        firsts = convention.find(rest, None, place, said)
    if name is not None:
        return [_as_double(name, own[name], others, firsts, said)]
    made = [_guarded(n, own[n], others, firsts, said) for n in doubles]
    made += [_of_object(f, method, said) for f in firsts for method in _methods(f)]
    return sorted([*firsts, *made], key=lambda f: f.candidate.line)


def from_callables(
    backward: Callable[..., Any],
    forward: Callable[..., Any] | None = None,
    first: Callable[..., Any] | None = None,
) -> Found:
    """The same for callables given from Python; ``first``: the backward pass below a double one."""
    name = getattr(backward, "__name__", type(backward).__name__)
    if first is None and not looks_double(name, backward, {}):
        return convention.from_callables(backward, forward)
    below = None if first is None else convention.from_callables(first, forward)
    return _made(name, backward, forward, below, {})


def _methods(found: Found) -> list[str]:
    """The methods of a class that are double backward passes."""
    if found.candidate.kind != "class":
        return []
    return [n for n, o in vars(found.backward).items() if inspect.isfunction(o) and is_double(n)]


def _of_object(found: Found, method: str, said: Roles) -> Found:
    """A method: the object has seen the forward pass and the backward pass."""
    name = f"{found.candidate.name}.{method}"
    function = vars(found.backward)[method]
    unbound = partial(function, None)  # the parameters without self
    try:
        theirs, problem = takes(unbound, name, said, ("ddx",)), ""
    except CannotAsk as error:
        theirs, problem = (), str(error)
    return replace(
        found,
        candidate=replace(
            found.candidate, name=name, kind="double", line=line_of(function),
            takes=(*found.candidate.takes, *theirs), problem=problem,
            description=f"{found.candidate.description}, {method}{inspect.signature(unbound)}",
            first=found.candidate.name,
        ),
        memory={},
        first=replace(found, memory={}),
    )  # fmt: skip


def _guarded(
    name: str, thing: Any, others: Mapping[str, Any], firsts: list[Found], said: Roles
) -> Found:
    """One that cannot be called is still to be named in the report."""
    try:
        return _as_double(name, thing, others, firsts, said)
    except CannotAsk as error:
        there = Backward(name, "double", line_of(thing), False, (), layer_hint(name), "",
                          problem=str(error))  # fmt: skip
        return Found(there, thing)


def _as_double(
    name: str, thing: Any, others: Mapping[str, Any], firsts: list[Found], said: Roles
) -> Found:
    below = _below(name, firsts)
    forward = below.forward if below and below.candidate.kind in ("function", "pair") else None
    if forward is None:
        forward = partner(_first_name(name), others) or partner(name, others)
    return _made(name, thing, forward, below, said)


def _made(
    name: str,
    thing: Callable[..., Any],
    forward: Callable[..., Any] | None,
    below: Found | None,
    said: Roles,
) -> Found:
    found = takes(thing, name, said)
    calls = f"{name}{inspect.signature(thing)}"
    if "cache" in found:
        if forward is None:
            raise CannotAsk(
                f"{name} takes a cache, but no forward pass that would make it was found"
            )
        given = signature(forward, name, said)
        found = tuple(dict.fromkeys((*given, *(r for r in found if r not in ("gamma", "beta")))))
    if forward is not None:
        calls = f"{getattr(forward, '__name__', 'forward')}{inspect.signature(forward)}, {calls}"
    elif "x" not in found and not {"xhat", "centred"} & set(found):
        raise CannotAsk(
            f"{calls} has no parameter that bncheck knows as the input; expected one called x, "
            "or --name PARAMETER=x"
        )
    hint = layer_hint(name, getattr(forward, "__name__", ""), document(thing))
    if hint is None and below is not None:
        hint = below.candidate.layer_hint
    candidate = Backward(name, "double", line_of(thing), forward is not None, found, hint, calls,
                          first=below.candidate.name if below else "")  # fmt: skip
    return Found(candidate, thing, forward, said, first=below and replace(below, memory={}))


def _first_name(name: str) -> str:
    """``batchnorm_backward`` for ``batchnorm_double_backward`` and ``batchnorm_grad_grad``."""
    text = re.sub(r"(?i)(double|second|2nd|higher)_?(order_?)?", "", name)
    text = re.sub(r"(?i)(grad|bwd|vjp|backward|back)_?(of_?)?\1", r"\1", text)
    return re.sub(r"_?2$", "", text)


def _below(name: str, firsts: list[Found]) -> Found | None:
    """The backward pass that belongs to it: by its name, by its layer, or because it is alone."""
    usable = [f for f in firsts if f.candidate.kind in ("function", "pair")]
    wanted = _first_name(name) if is_double(name) else None
    named = [f for f in usable if f.candidate.name == wanted]
    hint = layer_hint(name)
    alike = [f for f in usable if hint and f.candidate.layer_hint == hint]
    for choice in (named, alike, usable):
        if len(choice) == 1 and (not hint or choice[0].candidate.layer_hint in (hint, None)):
            return choice[0]
    return None
