"""How the user's code wants to be called: find the backward passes in a namespace.

Three conventions: a plain ``backward(dy, x, gamma, eps)`` in any order of recognised names, a
pair ``forward(x, gamma, beta, params) -> (y, cache)`` and ``backward(dout, cache)``, and a
class with ``forward`` and ``backward``. A further convention is one more ``_as_...`` below and
one more way of calling in ``calling``.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bncheck.checking.names import layer_hint, role
from bncheck.errors import CannotAsk

Kind = Literal["function", "pair", "class"]

SUPPLIED = ("dy", "x", "gamma", "beta", "eps", "params", "groups", "training", "momentum")
"""Roles that bncheck can fill; ``cache`` comes from the forward pass."""


@dataclass(frozen=True)
class Candidate:
    """A backward pass that was found; plain data, so that it can leave the child process.

    ``takes``: the roles that reach the code; ``eps_settable``: whether eps is one of them.
    """

    name: str
    kind: Kind
    line: int
    has_forward: bool
    takes: tuple[str, ...]
    layer_hint: str | None
    description: str

    @property
    def eps_settable(self) -> bool:
        """Whether eps can be given; where it cannot, it has to be found out."""
        return "eps" in self.takes or "params" in self.takes


@dataclass(frozen=True)
class Found:
    """A candidate with the objects behind it."""

    candidate: Candidate
    backward: Callable[..., Any]
    forward: Callable[..., Any] | None = None


def find(namespace: Mapping[str, Any], name: str | None, place: str = "") -> list[Found]:
    """Every backward pass in the namespace, or the one asked for, in the order of the file.

    Raises ``CannotAsk`` where there is none, or where the one asked for cannot be called.
    """
    own = {n: o for n, o in namespace.items() if _is_own(o, namespace)}
    if name is not None:
        if name not in own:
            raise CannotAsk(f"{place} has no function or class {name!r}; it has {_list(own)}")
        return [_as_candidate(name, own[name], own, place)]
    likely = [n for n, o in own.items() if _looks_like_backward(n, o)]
    if not likely:
        raise CannotAsk(
            f"{place}: no backward pass found; expected a function with 'backward' in its name, "
            f"or a class with forward and backward; it has {_list(own)}"
        )
    found, problems = [], []
    for candidate in likely:
        try:
            found.append(_as_candidate(candidate, own[candidate], own, place))
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
        return _as_class(name, backward)
    takes = _roles(backward, name)
    if "cache" in takes:
        if forward is None:
            raise CannotAsk(f"{name} takes a cache; give the forward pass that makes it as well")
        return _as_pair(name, backward, forward)
    return _as_function(name, backward, forward)


def roles_of(function: Callable[..., Any]) -> dict[str, str | None]:
    """Each parameter of a function with its role (None: unknown), but for *args and **kwargs."""
    parameters = inspect.signature(function).parameters.values()
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return {p.name: role(p.name) for p in named}


def _as_candidate(name: str, thing: Any, own: Mapping[str, Any], place: str) -> Found:
    if isinstance(thing, type):
        return _as_class(name, thing)
    partner = _partner(name, own)
    if partner is not None and ("cache" in _roles(thing, name) or _is_pair(thing)):
        return _as_pair(name, thing, partner)
    if "cache" in _roles(thing, name):
        raise CannotAsk(
            f"{place}: {name} takes a cache, but no forward pass that would make it was found; "
            f"expected {name.replace('backward', 'forward')} beside it"
        )
    return _as_function(name, thing, partner)


def _as_function(
    name: str, backward: Callable[..., Any], forward: Callable[..., Any] | None
) -> Found:
    takes = _roles(backward, name)
    for needed in ("dy", "x"):
        if needed not in takes:
            what = {"dy": "the upstream gradient", "x": "the input"}[needed]
            raise CannotAsk(
                f"{name}{inspect.signature(backward)} has no parameter that bncheck knows as "
                f"{what}; expected one called {needed}, say backward(dy, x, gamma, beta, eps)"
            )
    _check_required(name, backward)
    return Found(_candidate(name, "function", backward, takes, forward), backward, forward)


def _as_pair(name: str, backward: Callable[..., Any], forward: Callable[..., Any]) -> Found:
    _check_required(getattr(forward, "__name__", "forward"), forward)
    takes = _roles(forward, name)
    return Found(_candidate(name, "pair", backward, takes, forward), backward, forward)


def _as_class(name: str, cls: type) -> Found:
    for method in ("forward", "backward"):
        if not callable(getattr(cls, method, None)):
            raise CannotAsk(f"class {name} has no method {method}; expected forward and backward")
    takes = tuple(
        dict.fromkeys(
            found
            for method in (cls.__init__, cls.forward, cls.backward)  # type: ignore[misc, attr-defined]
            for found in roles_of(method).values()
            if found
        )
    )
    candidate = Candidate(
        name=name,
        kind="class",
        line=_line(cls),
        has_forward=True,
        takes=(*takes, "gamma", "beta"),
        layer_hint=layer_hint(name),
        description=f"{name}(...), forward(x), backward(dy)",
    )
    return Found(candidate, cls, None)


def _candidate(
    name: str,
    kind: Kind,
    backward: Callable[..., Any],
    takes: tuple[str, ...],
    forward: Callable[..., Any] | None,
) -> Candidate:
    calls = f"{name}{inspect.signature(backward)}"
    if forward is not None:
        forward_name = getattr(forward, "__name__", "forward")
        calls = f"{forward_name}{inspect.signature(forward)}, {calls}"
    return Candidate(
        name=name,
        kind=kind,
        line=_line(backward),
        has_forward=forward is not None,
        takes=takes,
        layer_hint=layer_hint(name, getattr(forward, "__name__", ""), _document(backward)),
        description=calls,
    )


def _roles(function: Callable[..., Any], name: str) -> tuple[str, ...]:
    try:
        return tuple(r for r in roles_of(function).values() if r)
    except (TypeError, ValueError):
        raise CannotAsk(f"{name} has no signature that Python can show; wrap it in a def") from None


def _check_required(name: str, function: Callable[..., Any]) -> None:
    for parameter in inspect.signature(function).parameters.values():
        required = parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        )
        if required and role(parameter.name) not in SUPPLIED:
            raise CannotAsk(
                f"{name} has a parameter {parameter.name!r} that bncheck does not know; "
                "known are dy, x, gamma, beta, eps, groups and their usual other names"
            )


def _partner(name: str, own: Mapping[str, Any]) -> Callable[..., Any] | None:
    """The forward pass that belongs to a backward pass, by its name."""
    forward = name.replace("backward", "forward").replace("Backward", "Forward")
    tries = [forward, forward.removesuffix("_alt"), forward.rpartition("_")[0]]
    for other in tries:
        if other != name and inspect.isfunction(own.get(other)):
            return own[other]
    forwards = [o for n, o in own.items() if "forward" in n.lower() and inspect.isfunction(o)]
    return forwards[0] if len(forwards) == 1 else None


def _is_pair(backward: Callable[..., Any]) -> bool:
    """``backward(a, b)`` of two unknown names: the upstream gradient and the cache."""
    found = roles_of(backward)
    return len(found) == 2 and "x" not in found.values() and "gamma" not in found.values()


def _looks_like_backward(name: str, thing: Any) -> bool:
    if isinstance(thing, type):
        return all(callable(getattr(thing, m, None)) for m in ("forward", "backward"))
    return "backward" in name.lower() or "backprop" in name.lower()


def _is_own(thing: Any, namespace: Mapping[str, Any]) -> bool:
    """Defined here, and not imported from elsewhere."""
    if not (inspect.isfunction(thing) or isinstance(thing, type)):
        return False
    return bool(thing.__module__ == namespace.get("__name__"))


def _line(thing: Any) -> int:
    try:
        return inspect.getsourcelines(thing)[1]
    except (OSError, TypeError):
        code = getattr(thing, "__code__", None)
        return code.co_firstlineno if code else 0


def _document(function: Callable[..., Any]) -> str:
    return (inspect.getdoc(function) or "")[:200]


def _list(own: Iterable[str]) -> str:
    return ", ".join(own) or "no functions or classes"
