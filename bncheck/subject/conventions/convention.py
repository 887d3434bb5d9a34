"""How the user's code wants to be called: find the backward passes in a namespace.

Four kinds: a plain ``backward(dy, x, gamma, eps)`` in any order of recognised names, a pair
``forward(x, gamma, beta, params) -> (y, cache)`` and ``backward(dout, cache)`` (functions, static
methods of a class, or a forward pass that returns its own backward pass), a class whose objects
have a forward and a backward pass, and a ``torch.autograd.Function``. A further one is one more
``_as_...`` below and one more way in ``calling``.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bncheck.subject.conventions.methods import (
    backward_method,
    forward_method,
    gives_its_backward,
    is_own,
    is_static,
    likely,
    partner,
)
from bncheck.subject.messages import Backward, Kind
from bncheck.subject.names import STATISTICS, layer_hint
from bncheck.subject.signature import Roles, document, line_of, roles_of, signature
from bncheck.telling.errors import CannotAsk

LISTED = 20
"""How many names a message lists."""


@dataclass(frozen=True)
class Found:
    """A candidate with the objects behind it.

    ``roles``: what the user said that parameters are; ``memory``: what calling it has taught;
    ``first``: the backward pass below a double one.
    """

    candidate: Backward
    backward: Callable[..., Any]
    forward: Callable[..., Any] | None = None
    roles: Roles = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    first: "Found | None" = None


def find(
    namespace: Mapping[str, Any], name: str | None, place: str = "", said: Roles | None = None
) -> list[Found]:
    """Every backward pass in the namespace, or the one asked for, in the order of the file.

    ``said``: roles of parameters by name, from the user. Raises ``CannotAsk`` where there is
    none, or where the one asked for cannot be called.
    """
    own = {n: o for n, o in namespace.items() if is_own(o, namespace)}
    if name is not None:
        return [_as_candidate(name, _named(own, name, place), own, place, said or {})]
    there = likely(own) or [n for n, o in own.items() if gives_its_backward(n, o)]
    if not there:
        raise CannotAsk(
            f"{place}: no backward pass found; expected a function with 'backward' in its name, "
            f"or a class with forward and backward; it has {_list(own)}"
        )
    found, problems = [], []
    for candidate in there:
        try:
            found.append(_as_candidate(candidate, own[candidate], own, place, said or {}))
        except CannotAsk as error:
            problems.append(str(error))
    if not found:
        raise CannotAsk("; ".join(problems))
    return sorted(found, key=lambda f: f.candidate.line)


def from_callables(
    backward: Callable[..., Any], forward: Callable[..., Any] | None = None
) -> Found:
    """The same for callables given from Python."""
    name = getattr(backward, "__name__", type(backward).__name__)
    if isinstance(backward, type):
        return _as_class(name, backward, {})
    takes = signature(backward, name, {})
    if "cache" in takes:
        if forward is None:
            raise CannotAsk(f"{name} takes a cache; give the forward pass that makes it as well")
        return _as_pair(name, backward, forward, {})
    return _as_function(name, backward, forward, {})


def _named(own: Mapping[str, Any], name: str, place: str) -> Any:
    outer, _, inner = name.partition(".")
    if outer not in own:
        raise CannotAsk(f"{place} has no function or class {name!r}; it has {_list(own)}")
    thing = own[outer]
    if inner and not callable(getattr(thing, inner, None)):
        raise CannotAsk(f"{place}: {outer} has no method {inner!r}")
    return thing


def _as_candidate(name: str, thing: Any, own: Mapping[str, Any], place: str, said: Roles) -> Found:
    if isinstance(thing, type):
        return _as_class(name.partition(".")[0], thing, said)
    takes = signature(thing, name, said)
    if gives_its_backward(name, thing):
        return _as_closure(name, thing, said)
    forward = partner(name, own)
    if forward is not None and ("cache" in takes or _is_pair(thing, said)):
        return _as_pair(name, thing, forward, said)
    if "cache" in takes:
        raise CannotAsk(
            f"{place}: {name} takes a cache, but no forward pass that would make it was found; "
            f"expected {name.replace('backward', 'forward')} beside it"
        )
    if forward is not None and set(takes) & set(STATISTICS):
        return _as_pair(name, thing, forward, said)
    return _as_function(name, thing, forward, said)


def _as_function(
    name: str, backward: Callable[..., Any], forward: Callable[..., Any] | None, said: Roles
) -> Found:
    takes = signature(backward, name, said)
    for needed in ("dy", "x"):
        if needed not in takes and not (needed == "x" and {"xhat", "centred"} & set(takes)):
            what = {"dy": "the upstream gradient", "x": "the input"}[needed]
            raise CannotAsk(
                f"{name}{inspect.signature(backward)} has no parameter that bncheck knows as "
                f"{what}; expected one called {needed}, say backward(dy, x, gamma, beta, eps), "
                f"or --name PARAMETER={needed}"
            )
    _check_required(name, backward, said)
    return Found(_candidate(name, "function", backward, takes, forward), backward, forward, said)


def _as_pair(
    name: str, backward: Callable[..., Any], forward: Callable[..., Any], said: Roles
) -> Found:
    _check_required(getattr(forward, "__name__", "forward"), forward, said)
    takes = signature(forward, name, said)
    return Found(_candidate(name, "pair", backward, takes, forward), backward, forward, said)


def _as_closure(name: str, forward: Callable[..., Any], said: Roles) -> Found:
    """A forward pass that returns (y, backward): what it returns beside y is called with dy."""

    def backward(dout: Any, cache: Callable[..., Any]) -> Any:
        return cache(dout)

    backward.__module__ = forward.__module__  # whose arrays or tensors it takes
    found = _as_pair(name, backward, forward, said)
    calls = f"{name}{inspect.signature(forward)} -> (y, backward)"
    there = replace(found.candidate, line=line_of(forward), description=calls)
    return replace(found, candidate=there)


def _as_class(name: str, cls: type, said: Roles) -> Found:
    there, back = forward_method(cls), backward_method(cls)
    if there is None or back is None:
        missing = "forward" if there is None else "backward"
        raise CannotAsk(f"class {name} has no method {missing}; expected forward and backward")
    if any(base.__module__ == "torch.autograd.function" for base in cls.__mro__):
        return _as_autograd(name, cls, said)
    if is_static(cls, there) and is_static(cls, back):
        return _as_pair(name, getattr(cls, back), getattr(cls, there), said)
    takes = tuple(
        dict.fromkeys(
            found
            for method in (cls.__init__, getattr(cls, there), getattr(cls, back))  # type: ignore[misc]
            for found in roles_of(method, said).values()
            if found
        )
    )
    candidate = Backward(
        name=name,
        kind="class",
        line=line_of(cls),
        has_forward=True,
        takes=(*takes, "gamma", "beta"),
        layer_hint=layer_hint(name),
        description=f"{name}(...), {there}(x), {back}(dy)",
    )
    return Found(candidate, cls, None, said)


def _as_autograd(name: str, cls: type, said: Roles) -> Found:
    forward = cls.forward  # type: ignore[attr-defined]
    takes = tuple(r for r in list(roles_of(forward, said).values())[1:] if r)
    candidate = Backward(
        name=name,
        kind="autograd",
        line=line_of(cls),
        has_forward=True,
        takes=takes,
        layer_hint=layer_hint(name, document(cls)),
        description=f"{name}.apply(...), a torch.autograd.Function",
    )
    return Found(candidate, cls, forward, said)


def _candidate(
    name: str,
    kind: Kind,
    backward: Callable[..., Any],
    takes: tuple[str, ...],
    forward: Callable[..., Any] | None,
) -> Backward:
    calls = f"{name}{inspect.signature(backward)}"
    if forward is not None:
        forward_name = getattr(forward, "__name__", "forward")
        calls = f"{forward_name}{inspect.signature(forward)}, {calls}"
    return Backward(
        name=name,
        kind=kind,
        line=line_of(backward),
        has_forward=forward is not None,
        takes=takes,
        layer_hint=layer_hint(name, getattr(forward, "__name__", ""), document(backward)),
        description=calls,
    )


def _check_required(name: str, function: Callable[..., Any], said: Roles) -> None:
    roles = roles_of(function, said)
    for parameter in inspect.signature(function).parameters.values():
        required = parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        )
        if (
            required
            and roles[parameter.name] in (None, "cache")
            and list(roles) != [parameter.name]
        ):
            raise CannotAsk(
                f"{name} has a parameter {parameter.name!r} that bncheck does not know; say what "
                f"it is with --name {parameter.name}=ROLE (dy, x, gamma, beta, eps, groups, mean, "
                "var, sd, rstd, xhat, ...)"
            )


def _is_pair(backward: Callable[..., Any], said: Roles) -> bool:
    """``backward(a, b)`` of two unknown names: the upstream gradient and the cache."""
    found = roles_of(backward, said)
    return len(found) == 2 and not {"x", "gamma", "xhat"} & set(found.values())


def _list(own: Iterable[str]) -> str:
    names = list(own)
    rest = [f"{len(names) - LISTED} more"] if len(names) > LISTED else []
    return ", ".join([*names[:LISTED], *rest]) or "no functions or classes"
