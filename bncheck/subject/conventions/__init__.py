"""The ways in which people write a backward pass, and which one a thing in a file is.

A further convention is one more file and one more row of ``CONVENTIONS``.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from bncheck.subject.conventions import autograd, double, functions
from bncheck.subject.conventions import object as objects
from bncheck.subject.conventions.implementations import (
    Convention,
    Implementation,
    Surroundings,
)
from bncheck.subject.conventions.methods import (
    further,
    gives_its_backward,
    is_own,
    likely,
)
from bncheck.subject.conventions.returned import read
from bncheck.subject.signature import Roles, looks_double, roles_taken
from bncheck.telling.errors import CannotAsk

CONVENTIONS = (
    Convention("double", double.find, double.output_of, double.run, double.read, double.exchange),
    Convention("closure", functions.find_closure, functions.output_of, functions.run_pair, read,
               functions.exchange_closure, functions.kept_by_functions),
    Convention("autograd", autograd.find, autograd.output_of, autograd.run, read,
               autograd.exchange),
    Convention("filled", functions.find_filled, functions.output_of, functions.run_pair, read,
               functions.exchange_filled),
    Convention("pair", functions.find_pair, functions.output_of, functions.run_pair, read,
               functions.exchange_pair, functions.kept_by_functions),
    Convention("class", objects.find, objects.output_of, objects.run, read,
               objects.exchange, objects.kept_by_object),
    Convention("function", functions.find_alone, functions.output_of, functions.run_alone, read,
               functions.exchange_alone, functions.kept_by_functions),
)  # fmt: skip
"""In the order in which they are tried; the last one takes whatever is left."""

LISTED = 20
"""How many names a message lists."""

_BY_KIND = {row.kind: row for row in CONVENTIONS}


def convention_of(own: Implementation) -> Convention:
    """Its row."""
    return _BY_KIND[own.summary.kind]


def find(
    namespace: Mapping[str, Any], name: str | None, place: str = "", said: Roles | None = None
) -> list[Implementation]:
    """The backward and double backward passes, or the one asked for, in the order of the file.

    ``said``: roles of parameters by name, from the user. Raises ``CannotAsk`` where there is
    none, or where the one asked for cannot be called.
    """
    said = said or {}
    own = {n: o for n, o in namespace.items() if is_own(o, namespace)}
    doubles = [n for n, o in own.items() if looks_double(n, o, said)]
    others = {n: o for n, o in own.items() if n not in doubles}
    beside = Surroundings(others, place, said)
    if name is not None and name not in doubles:
        outer, _, inner = name.partition(".")
        thing = _named(own, name, place)
        if isinstance(thing, type) and inner in further(thing):
            beside = replace(beside, method=inner)
        first = _tried(outer, thing, beside)
        return [double.of_object(first, inner, said) if inner in double.methods(first) else first]
    firsts = _firsts(beside) if not doubles or likely(others) else []
    beside = replace(beside, firsts=tuple(firsts))
    if name is not None:
        return [_tried(name, own[name], beside)]
    found = [*firsts, *(_double(n, own[n], beside) for n in doubles)]
    found += [double.of_object(f, method, said) for f in firsts for method in double.methods(f)]
    return sorted(found, key=lambda f: f.summary.line)


def from_callables(
    backward: Callable[..., Any],
    forward: Callable[..., Any] | None = None,
    first: Callable[..., Any] | None = None,
) -> Implementation:
    """The same for callables given from Python; ``first``: the backward pass below a double one."""
    name = getattr(backward, "__name__", type(backward).__name__)
    if first is not None or looks_double(name, backward, {}):
        below = None if first is None else from_callables(first, forward)
        return double.made(name, backward, forward, below, {})
    if isinstance(backward, type):
        return _tried(name, backward, Surroundings({}))
    if "cache" not in roles_taken(backward, name, {}):
        return functions.made_alone(name, backward, forward, {})
    if forward is None:
        raise CannotAsk(f"{name} takes a cache; give the forward pass that makes it as well")
    return functions.made_pair(name, backward, forward, {})


def _tried(name: str, thing: Any, beside: Surroundings) -> Implementation:
    return next(f for row in CONVENTIONS if (f := row.find(name, thing, beside)))


def _firsts(beside: Surroundings) -> list[Implementation]:
    """The backward passes; raises ``CannotAsk`` where none can be called."""
    own = beside.own
    there = likely(own) or [n for n, o in own.items() if gives_its_backward(n, o)]
    if not there:
        raise CannotAsk(
            f"{beside.place}: no backward pass found; expected a function with 'backward' in its "
            f"name, or a class with forward and backward; it has {_list(own)}"
        )
    found, problems = [], []
    methods = [(n, m) for n in there if isinstance(own[n], type) for m in further(own[n])]
    for name, method in (*((n, "") for n in there), *methods):
        try:
            found.append(_tried(name, own[name], replace(beside, method=method)))
        except CannotAsk as error:
            problems.append(str(error))
    if not found:
        raise CannotAsk("; ".join(problems))
    return sorted(found, key=lambda f: f.summary.line)


def _double(name: str, thing: Any, beside: Surroundings) -> Implementation:
    try:
        return _tried(name, thing, beside)
    except CannotAsk as error:
        return double.unusable(name, thing, str(error))


def _named(own: Mapping[str, Any], name: str, place: str) -> Any:
    outer, _, inner = name.partition(".")
    if outer not in own:
        raise CannotAsk(f"{place} has no function or class {name!r}; it has {_list(own)}")
    thing = own[outer]
    if inner and not callable(getattr(thing, inner, None)):
        raise CannotAsk(f"{place}: {outer} has no method {inner!r}")
    return thing


def _list(own: Iterable[str]) -> str:
    names = list(own)
    rest = [f"{len(names) - LISTED} more"] if len(names) > LISTED else []
    return ", ".join([*names[:LISTED], *rest]) or "no functions or classes"
