"""Classes whose objects have a forward and a backward pass: make one, feed it, read it out.

Parameters may come late (after a first forward pass, ``build()``, ``initialize(optimizer)``);
their gradients may be returned, kept as attributes, in dictionaries, lists or parameter objects,
or never shown because backward updates the parameters itself: then the update is watched.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bncheck.subject.conventions.implementations import (
    Change,
    Implementation,
    Kept,
    Ran,
    Surroundings,
)
from bncheck.subject.conventions.instances import passed, passed_back, ready
from bncheck.subject.conventions.methods import backward_method, forward_method
from bncheck.subject.conventions.returned import by_key
from bncheck.subject.conventions.running import MODES, with_argument
from bncheck.subject.conventions.stand_ins import (
    Made,
    changing,
    given_to,
    inputs_of,
    noting,
    numbers,
    numbers_by_role,
    settings,
)
from bncheck.subject.holders import (
    RATE,
    Watch,
    attributes,
    gradients_kept,
    gradients_named,
    held_by,
    parameters,
    places,
    set_parameters,
    updates,
)
from bncheck.subject.messages import Backward, Inputs, plain
from bncheck.subject.names import TESTING, layer_hint, role
from bncheck.subject.signature import (
    called,
    line_of,
    ranks_said,
    required,
    roles_of,
)
from bncheck.telling.codes import Finding, found
from bncheck.telling.errors import CannotAsk


def find(name: str, thing: Any, beside: Surroundings) -> Implementation | None:
    """A class; raises ``CannotAsk`` where it has no method of either kind."""
    if not isinstance(thing, type):
        return None
    there, back = forward_method(thing), beside.method or backward_method(thing)
    if there is None or back is None:
        missing = "forward" if there is None else "backward"
        raise CannotAsk(f"class {name} has no method {missing}; expected forward and backward")
    methods = (thing.__init__, getattr(thing, there), getattr(thing, back))  # type: ignore[misc]
    takes = [r for method in methods for r in roles_of(method, beside.said).values() if r]
    summary = Backward(
        name=f"{name}.{back}" if beside.method else name,
        kind="class",
        line=line_of(getattr(thing, back) if beside.method else thing),
        has_forward=True,
        takes=(*dict.fromkeys(takes), "gamma", "beta"),
        layer_hint=layer_hint(name),
        description=f"{name}(...), {there}(x), {back}(dy)",
        has_object=True,
        ranks=ranks_said(thing, getattr(thing, there), getattr(thing, back)),
    )
    return Implementation(summary, thing, None, beside.said, method=back)


def output_of(own: Implementation, given: Inputs) -> NDArray[Any]:
    """The output of a fresh object's forward pass."""
    return ready(own, given)[1]


def run(own: Implementation, given: Inputs) -> Ran:
    """A fresh object, its forward and its backward pass.

    ``earlier``: inputs of a batch that goes through the object before; ``there_and_back``:
    through its backward pass as well. What backward asks for and nobody knows gets the first of
    ``UNKNOWN`` with which most gradients are found.
    """
    best: Ran | None = None
    problem: Exception | None = None
    fills = own.memory.get("fill") or (UNKNOWN if _unknown(own) else UNKNOWN[:1])
    for fill in fills:
        try:
            ran = _run(own, given, fill)
        except Exception as error:
            problem = problem or error
            continue
        if best is None or len(_missing(ran.extra, ran)) < len(_missing(best.extra, best)):
            best, own.memory["fill"] = ran, (fill,)
        if not _missing(best.extra, best):
            break
    if best is None:
        assert problem is not None
        raise problem
    return best


def _run(own: Implementation, given: Inputs, fill: Any) -> Ran:
    earlier = given.get("earlier")
    instance, y, rest, watch = ready(own, earlier or given)
    if earlier:
        if given.get("there_and_back"):
            _back(own, {**earlier, "fill": fill}, instance, y, rest, watch)
        set_parameters(instance, given, own.memory["parameters"])
        y, rest = passed(instance, given, own)
        watch.seen.clear()
    return _back(own, {**given, "fill": fill}, instance, y, rest, watch)


UNKNOWN = (0.0, RATE, 2, 1, None)
"""What is tried for what backward asks for and nobody knows: a rate, a weight of a penalty, a
size; None is a dictionary to be filled."""


def _unknown(own: Implementation) -> list[str]:
    """The arguments of the backward pass that nobody knows; gamma is none of them where the
    object holds it.
    """
    cls: Any = own.backward
    backward = getattr(cls, own.method)
    taken = roles_of(getattr(cls, str(forward_method(cls))), own.roles).values()
    known = roles_of(backward, own.roles)
    places_ = own.memory.get("parameters") or {}
    held = set(places_.values()) - set(taken)
    names = {part for place in places_ for part in re.split(r"\W+", place)}
    unknown = [
        n for n in required(backward)[1:]
        if known[n] is None or (known[n] in held and n not in names)
    ]  # fmt: skip
    return unknown if "dy" in known.values() else unknown[1:]


def _missing(found_: Iterable[str], ran: Ran) -> set[str]:
    """The gradients of the parameters that were not found, where none may be among the results."""
    if _is_several(ran.result):
        return set()
    return {"d" + name for name in ran.moves} - set(found_)


def _back(
    own: Implementation,
    given: Inputs,
    instance: Any,
    y: NDArray[Any],
    rest: list[Any],
    watch: Watch,
) -> Ran:
    """The backward pass of an object that has seen the forward pass, and all that it left."""
    known = own.memory["parameters"]
    before = {n: np.array(plain(v)) for n, v in gradients_kept(instance)}
    written = {} if given.get("there_and_back") else before  # there it was written before
    old = {n: np.array(plain(p.value)) for n, p in parameters(instance, known)}
    there = {p.name: np.array(plain(p.value)) for p in places(instance)}
    result, values = _asked_back(own, {**given, "output": y, "optimizer": watch}, instance, rest)
    fill = values["unknown"]
    moves = tuple(sorted(set(known.values()))) if known else ()
    ran = Ran(y, result, {}, moves=moves)

    def new(there: Mapping[str, Any]) -> set[str]:
        return {n for n, v in there.items() if not _is(written.get(n), v)}

    extra = _kept(instance, fill, result)
    others = {n: v for n, v in values.items() if n not in moves}  # scale=1 is a weight of dgamma
    if _missing(new(extra), ran) and _asked_for_more(own, instance, others):
        extra = _kept(instance, fill, result)
    extra = extra or before
    remarks: tuple[Finding, ...] = ()
    either = {"dgamma", "dbeta"}
    missing = _missing(new(extra), ran) | (set() if either & set(extra) else either)
    if missing and not _is_several(result):
        stepped = updates(instance, old, known) if _has_rate(own, instance, fill) else {}
        seen = {n: v for n, v in {**stepped, **watch.seen}.items() if n in missing}
        extra = {**extra, **seen}
        if seen:
            remarks = (found("updates-parameters"),)
    by_name = {*watch.seen, *gradients_named(instance)}
    missing = _missing(new(extra), ran)
    if missing and (left := _changed(instance, there, old.values())):
        extra = {**{n: v for n, v in extra.items() if n not in missing}, **left}
    named = frozenset(by_name & set(extra))
    return replace(ran, extra=extra, remarks=remarks, shapes=_shapes(instance, old), by_name=named)


def _kept(instance: Any, fill: Any, result: Any) -> dict[str, Any]:
    """Gradients by name, in the object or in the dictionary that backward was given to fill."""
    filled = by_key(fill) if isinstance(fill, dict) else {}
    there = {**dict(gradients_kept(instance)), **filled}
    return {n: v for n, v in there.items() if n != "dx" or result is None}


def _shapes(instance: Any, old: Mapping[str, NDArray[Any]]) -> dict[str, tuple[int, ...]]:
    """Of the parameters, by what they are; of those that do not move the output by their names."""
    named = {n: p.value.shape for n, p in reversed([*parameters(instance)])}
    return {**named, **{n: v.shape for n, v in old.items()}}


def _asked_back(
    own: Implementation, given: Inputs, instance: Any, rest: list[Any]
) -> tuple[Any, dict[str, Any]]:
    """What the backward pass returns, and the values by role that it could have."""
    values = {**given, "rate": RATE, "unknown": {} if given["fill"] is None else given["fill"]}
    taken = roles_of(getattr(instance, own.method), own.roles)
    for name in _unknown(own):
        values.pop(taken[name] or "", None)
    values |= {"cache": rest[0] if len(rest) == 1 else tuple(rest)} if rest else {}
    return passed_back(instance, values, rest, own), values


def _is(one: NDArray[Any] | None, other: Any) -> bool:
    return one is not None and np.array_equal(one, plain(other), equal_nan=True)


def _has_rate(own: Implementation, instance: Any, fill: Any) -> bool:
    """Whether a step that backward takes is one of ``RATE``."""
    backward = getattr(instance, own.method)
    asked = {roles_of(backward, own.roles)[n] for n in required(backward)}
    names = map(str, attributes(instance))
    return fill == RATE or "rate" in asked or any(role(n) == "rate" for n in names)


_OF_PARAMETERS = re.compile(r"grad|acc|param|backw|delta|deriv", re.IGNORECASE)
"""What a method that computes gradients beside backward has in its name."""


def _asked_for_more(own: Implementation, instance: Any, values: Inputs) -> bool:
    """Call the other methods that take dy and make gradients; whether there was one."""
    cls = type(instance)
    known = {forward_method(cls), own.method}
    called_one = False
    for name in dir(cls):
        method = getattr(instance, name, None)
        if name[:2] == "__" or name in known or not inspect.ismethod(method):
            continue
        roles = roles_of(method, own.roles)
        alone = len(roles) == 1 and None in roles.values()
        if _OF_PARAMETERS.search(name) and ("dy" in roles.values() or alone):
            with suppress(Exception):
                called(method, values, own.roles, first="dy")
                called_one = True
    return called_one


def _changed(
    instance: Any, before: Mapping[str, NDArray[Any]], parameters_: Iterable[NDArray[Any]]
) -> dict[str, Any]:
    """The arrays of a parameter's size that backward left, by place; which is which comes later."""
    sizes = {p.size for p in parameters_}
    made = {p.name: np.asarray(plain(p.value)) for p in places(instance)}
    return {
        name: value
        for name, value in made.items()
        if value.size in sizes
        and not (name in before and np.array_equal(before[name], value, equal_nan=True))
    }


_SWITCHES = ("eval", "eval_mode", "set_eval", "test_mode", "set_test", "inference_mode")


def _is_several(result: Any) -> bool:
    return isinstance(result, tuple | list | dict) and len(result) > 1


def exchange(own: Implementation, change: Change) -> None:
    """The methods of a class: forward remembers x, backward has its gradients exchanged."""
    cls: Any = own.backward
    there, back = str(forward_method(cls)), own.method
    forward, backward = getattr(cls, there), getattr(cls, back)
    made: Made = []

    def values_of(args: Any, kwargs: Any) -> dict[str, Any]:
        known = inputs_of(args[0], made)
        given = given_to(backward, args, kwargs)
        values = {**settings(args[0]), **known, **numbers_by_role(given)} if known else {}
        if values and "dy" not in values:
            values["dy"] = numbers(list(given.values())[1])
        return values

    for name, stand_in, old in (
        (there, noting(forward, made, lambda args, result: args[0]), forward),
        (back, changing(backward, values_of, change, holds=True), backward),
    ):
        stand_in.__signature__ = inspect.signature(old)  # type: ignore[attr-defined]
        setattr(cls, name, stand_in)


def kept_by_object(own: Implementation, given: Inputs) -> Kept | None:
    """What an object keeps in its attributes and in its dictionaries."""
    instance = ready(own, given)[0]
    return Kept(
        lambda x: passed(instance, {**given, "x": x}, own),
        lambda: (holder for _, holder in held_by(instance)),
        _modes(instance, own, given),
    )


def _modes(instance: Any, own: Implementation, given: Inputs) -> Iterator[Callable[[Any], Any]]:
    """An argument of forward, a method of its own, attributes, a method that switches."""
    forward = getattr(instance, str(forward_method(type(instance))))

    def in_its_mode(x: Any) -> Any:
        return passed(instance, {**given, "x": x}, own)[0]

    for function in (*with_argument(forward, own), *_methods(instance, forward)):
        yield lambda x, f=function: called(f, {**given, "x": x}, own.roles)  # type: ignore[misc]
    for mode in MODES:
        if not _switched(attributes(instance), mode):
            break
        yield in_its_mode
    for name in _SWITCHES:
        method = getattr(instance, name, None)
        if inspect.ismethod(method) and not required(method):
            with suppress(Exception):  # the output will show whether it did
                method()
            yield in_its_mode
    train = getattr(instance, "train", None)
    if inspect.ismethod(train) and len(inspect.signature(train).parameters) == 1:
        with suppress(Exception):
            train(False)
        yield in_its_mode


def _methods(instance: Any, forward: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Methods that are a forward pass in evaluation mode: ``predict(x)``, ``forward_test(x)``."""
    for name in dir(type(instance)):
        last = re.split(r"_|(?<=[a-z])(?=[A-Z])", name)
        if name[:1] == "_" or not any(map(TESTING.match, last)):
            continue
        method = getattr(instance, name, None)
        if inspect.ismethod(method) and method != forward and len(required(method)) == 1:
            yield method


def _switched(holder: MutableMapping[Any, Any], mode: str) -> bool:
    """Put a holder's settings into evaluation mode; whether another word may be tried."""
    switched = False
    for name, value in list(holder.items()):
        if role(str(name)) == "training" and isinstance(value, bool | str):
            holder[name] = mode if isinstance(value, str) else False
        elif isinstance(value, bool) and TESTING.match(str(name).strip("_")):
            holder[name] = True
        else:
            continue
        switched |= isinstance(value, str) or mode == MODES[0]
    return switched
