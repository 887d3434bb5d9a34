"""Classes whose objects have a forward and a backward pass: make one, feed it, read it out.

Parameters may come late (after a first forward pass, ``build()``, ``initialize(optimizer)``);
their gradients may be returned, kept as attributes, in dictionaries, lists or parameter objects,
or never shown because backward updates the parameters itself: then the update is watched.
"""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bncheck.subject.conventions.convention import Found
from bncheck.subject.conventions.methods import backward_method, forward_method
from bncheck.subject.conventions.pair import Ran, called, defaults, with_cache
from bncheck.subject.holders import (
    attributes,
    gradients_kept,
    gradients_named,
)
from bncheck.subject.names import SETUPS, TESTING, role
from bncheck.subject.parameters import RATE, parameters, set_parameters, updates
from bncheck.subject.returned import output, plain
from bncheck.subject.signature import required, roles_of
from bncheck.subject.watching import Watch
from bncheck.telling.report import Remark

Inputs = Mapping[str, Any]


def output_of(found: Found, given: Inputs) -> NDArray[Any]:
    """The output of a fresh object's forward pass."""
    return ready(found, given)[1]


def run(found: Found, given: Inputs) -> Ran:
    """A fresh object, its forward and its backward pass; ``before``: a batch before that."""
    instance, y, rest, watch = ready(found, given)
    if "before" in given:
        passed(instance, {**given, "x": given["before"]}, found)
        y, rest = passed(instance, given, found)
    return _back(found, given, instance, y, rest, watch)


def run_again(found: Found, given: Inputs, before: Inputs) -> Ran:
    """The same in an object through which another batch went ``before``, there and back."""
    instance, y, rest, watch = ready(found, before)
    _back(found, before, instance, y, rest, watch)
    set_parameters(instance, given)
    y, rest = passed(instance, given, found)
    watch.seen.clear()
    return _back(found, given, instance, y, rest, watch)


def _back(
    found: Found, given: Inputs, instance: Any, y: NDArray[Any], rest: list[Any], watch: Watch
) -> Ran:
    before = dict(gradients_kept(instance))
    old = {n: np.array(plain(v)) for n, v in parameters(instance)}
    result = passed_back(instance, {**given, "output": y}, rest, found)
    kept = dict(gradients_kept(instance))
    extra = {n: v for n, v in kept.items() if n != "dx" or result is None}
    extra = extra or before
    remarks: tuple[Remark, ...] = ()
    if not {"dgamma", "dbeta"} & set(extra) and not _is_several(result):
        seen = watch.seen or updates(instance, old)
        extra = {**extra, **seen}
        if seen:
            text = "backward updates the parameters; their gradients are read off the update"
            remarks = (Remark("updates-parameters", text),)
    shapes = {n: v.shape for n, v in old.items()}
    by_name = {*watch.seen, *gradients_named(instance)}
    return Ran(y, result, extra, remarks, shapes, frozenset(by_name & set(extra)))


_OPTIMIZER = re.compile(r"optim|(?<![a-z])opt(?![a-z])|updater", re.IGNORECASE)
"""What an attribute that holds an optimizer is called."""


def ready(found: Found, given: Inputs) -> tuple[Any, NDArray[Any], list[Any], Watch]:
    """An object with the trial's parameters, its output, and what forward returned besides."""
    problem: Exception | None = None
    ways = list(_ways(given))
    order = found.memory.get("way")
    for number in [order] if order is not None else range(len(ways)):
        try:
            made = _made(found, given, *ways[number])
        except Exception as error:
            problem = problem or error
            continue
        found.memory["way"] = number
        return made
    assert problem is not None
    raise problem


def _ways(given: Inputs) -> Iterator[tuple[Any, bool]]:
    """What a parameter that asks for a size may mean; and whether optional ones are filled."""
    x = given["x"]
    width = int(np.prod(given["gamma"].shape)) if "gamma" in given else int(x.shape[-1])
    widths: list[Any] = [width, (width,), tuple(x.shape[1:]), tuple(x.shape), int(x.shape[-1])]
    widths = [w for k, w in enumerate(widths) if w not in widths[:k]]
    yield from ((w, optional) for optional, w in product((False, True), widths))


def _made(
    found: Found, given: Inputs, width: Any, optional: bool
) -> tuple[Any, NDArray[Any], list[Any], Watch]:
    cls = found.backward
    watch = Watch(lambda: parameters(instance))
    supplied = {
        **defaults(given), **given, "width": width, "optimizer": watch, "rate": RATE,
    }  # fmt: skip
    instance = cls(**_filled(cls, {**supplied, "x": width}, found, optional))
    _set_up(instance, supplied, found)
    set_parameters(instance, given)
    y, rest = passed(instance, given, found)
    if set_parameters(instance, given):
        y, rest = passed(instance, given, found)
    return instance, y, rest, watch


def _filled(
    function: Callable[..., Any], supplied: Inputs, found: Found, optional: bool
) -> dict[str, Any]:
    roles = roles_of(function, found.roles)
    needed = required(function)
    arguments = {}
    for name, known in roles.items():
        wanted = name in needed or (optional and known == "width")
        if known in ("gamma", "beta", "eps", "groups", "rate", "optimizer") and known in supplied:
            wanted = wanted or known in ("gamma", "beta", "eps", "groups", "rate")
        if wanted:
            # n and m are as often the features of a layer as its rows
            meant = "width" if known is None or (len(name) == 1 and known == "count") else known
            arguments[name] = supplied.get(meant, supplied["width"])
    return arguments


def _set_up(instance: Any, supplied: Inputs, found: Found) -> None:
    """Training mode, and the methods that make the parameters."""
    for name, value in list(attributes(instance).items()):
        known = role(name)
        if known == "training" and isinstance(value, bool):
            setattr(instance, name, True)
        elif known == "rate" and isinstance(value, float):
            setattr(instance, name, RATE)
        elif name.strip("_").lower() in ("testing_phase", "testing", "eval", "test"):
            setattr(instance, name, False)
        elif _OPTIMIZER.search(name) and not isinstance(value, str | float | int | dict):
            setattr(instance, name, supplied["optimizer"])
        elif name == "input_shape" and value is None:
            setattr(instance, name, supplied["x"].shape[1:])
    there = {n.replace("_", "").lower(): n for n in dir(instance) if n[:1] != "_"}
    if isinstance(getattr(type(instance), "optimizer", None), property):
        with suppress(AttributeError):
            instance.optimizer = supplied["optimizer"]
    for setup in SETUPS:
        method = getattr(instance, there.pop(setup.replace("_", ""), ""), None)
        if not inspect.ismethod(method) or method.__func__.__module__.split(".")[0] == "torch":
            continue
        shaped = {**supplied, "width": tuple(supplied["x"].shape[1:])}
        values = shaped if setup in ("set_input_shape", "build") else supplied
        with suppress(Exception):  # whether it was needed the forward pass will show
            method(**_filled(method, values, found, optional=False))


def passed(instance: Any, given: Inputs, found: Found) -> tuple[NDArray[Any], list[Any]]:
    """The output of an object's forward pass in training, and what it returned besides."""
    forward = getattr(instance, str(forward_method(type(instance))))
    try:
        result = called(forward, given, found.roles)
    except AttributeError as error:
        name = error.name or ""
        if error.obj is not instance or not _is_mode(name):
            raise
        setattr(instance, name, role(name) == "training")  # its owner would set it
        result = called(forward, given, found.roles)
    rest = list(result[1:]) if isinstance(result, tuple) else []
    if result is None:
        names = ("output", "out", "y", "outputs", "a", "_output", "activation", "result")
        result = next((getattr(instance, n) for n in names if hasattr(instance, n)), None)
    return output(result), rest


def _is_mode(name: str) -> bool:
    """Whether an attribute says if this is training."""
    return role(name) == "training" or bool(TESTING.match(name.strip("_")))


def passed_back(instance: Any, given: Inputs, rest: list[Any], found: Found) -> Any:
    """What an object's backward pass returns; ``rest``: what its forward pass handed on."""
    backward = getattr(instance, str(backward_method(type(instance))))
    needed, known = required(backward), roles_of(backward, found.roles)
    if rest and len(needed) > 1 and not {"x", "gamma"} & {known[n] for n in needed}:
        return with_cache(backward, given, rest, found.roles)
    if len(needed) <= 1 and "dy" not in known.values() and known:
        return backward(**{(needed or list(known))[0]: given["dy"]})
    return called(backward, given, found.roles, first="dy")


def _is_several(result: Any) -> bool:
    return isinstance(result, tuple | list | dict) and len(result) > 1
