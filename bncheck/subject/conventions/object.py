"""Classes whose objects have a forward and a backward pass: make one, feed it, read it out.

Parameters may come late (after a first forward pass, ``build()``, ``initialize(optimizer)``);
their gradients may be returned, kept as attributes, in dictionaries, lists or parameter objects,
or never shown because backward updates the parameters itself: then the update is watched.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bncheck.subject.conventions.arguments import called, defaults, with_cache
from bncheck.subject.conventions.implementations import Change, Implementation, Ran, Surroundings
from bncheck.subject.conventions.methods import backward_method, forward_method
from bncheck.subject.conventions.returned import output
from bncheck.subject.conventions.stand_ins import (
    bound_arguments,
    changed,
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
    parameters,
    set_parameters,
    updates,
)
from bncheck.subject.messages import Backward, Inputs, plain
from bncheck.subject.names import SETUPS, TESTING, layer_hint, role
from bncheck.subject.signature import line_of, required, roles_of
from bncheck.telling.codes import Finding, found
from bncheck.telling.errors import CannotAsk


def find(name: str, thing: Any, beside: Surroundings) -> Implementation | None:
    """A class; raises ``CannotAsk`` where it has no method of either kind."""
    if not isinstance(thing, type):
        return None
    there, back = forward_method(thing), backward_method(thing)
    if there is None or back is None:
        missing = "forward" if there is None else "backward"
        raise CannotAsk(f"class {name} has no method {missing}; expected forward and backward")
    methods = (thing.__init__, getattr(thing, there), getattr(thing, back))  # type: ignore[misc]
    takes = [r for method in methods for r in roles_of(method, beside.said).values() if r]
    summary = Backward(
        name=name,
        kind="class",
        line=line_of(thing),
        has_forward=True,
        takes=(*dict.fromkeys(takes), "gamma", "beta"),
        layer_hint=layer_hint(name),
        description=f"{name}(...), {there}(x), {back}(dy)",
        has_object=True,
    )
    return Implementation(summary, thing, None, beside.said)


def output_of(own: Implementation, given: Inputs) -> NDArray[Any]:
    """The output of a fresh object's forward pass."""
    return ready(own, given)[1]


def run(own: Implementation, given: Inputs) -> Ran:
    """A fresh object, its forward and its backward pass.

    ``earlier``: inputs of a batch that goes through the object before; ``there_and_back``:
    through its backward pass as well.
    """
    earlier = given.get("earlier")
    instance, y, rest, watch = ready(own, earlier or given)
    if earlier:
        if given.get("there_and_back"):
            _back(own, earlier, instance, y, rest, watch)
        set_parameters(instance, given)
        y, rest = passed(instance, given, own)
        watch.seen.clear()
    return _back(own, given, instance, y, rest, watch)


def _back(
    own: Implementation,
    given: Inputs,
    instance: Any,
    y: NDArray[Any],
    rest: list[Any],
    watch: Watch,
) -> Ran:
    before = dict(gradients_kept(instance))
    old = {n: np.array(plain(v)) for n, v in parameters(instance)}
    result = passed_back(instance, {**given, "output": y}, rest, own)
    kept = dict(gradients_kept(instance))
    extra = {n: v for n, v in kept.items() if n != "dx" or result is None}
    extra = extra or before
    remarks: tuple[Finding, ...] = ()
    if not {"dgamma", "dbeta"} & set(extra) and not _is_several(result):
        seen = watch.seen or updates(instance, old)
        extra = {**extra, **seen}
        if seen:
            remarks = (found("updates-parameters"),)
    shapes = {n: v.shape for n, v in old.items()}
    by_name = {*watch.seen, *gradients_named(instance)}
    return Ran(y, result, extra, remarks, shapes, frozenset(by_name & set(extra)))


_OPTIMIZER = re.compile(r"optim|(?<![a-z])opt(?![a-z])|updater", re.IGNORECASE)
"""What an attribute that holds an optimizer is called."""


def ready(own: Implementation, given: Inputs) -> tuple[Any, NDArray[Any], list[Any], Watch]:
    """An object with the trial's parameters, its output, and what forward returned besides."""
    problem: Exception | None = None
    ways = list(_ways(given))
    order = own.memory.get("way")
    for number in [order] if order is not None else range(len(ways)):
        try:
            made = _made(own, given, *ways[number])
        except Exception as error:
            problem = problem or error
            continue
        own.memory["way"] = number
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
    own: Implementation, given: Inputs, width: Any, optional: bool
) -> tuple[Any, NDArray[Any], list[Any], Watch]:
    cls = own.backward
    watch = Watch(lambda: parameters(instance))
    supplied = {
        **defaults(given), **given, "width": width, "optimizer": watch, "rate": RATE,
    }  # fmt: skip
    instance = cls(**_filled(cls, {**supplied, "x": width}, own, optional))
    _set_up(instance, supplied, own)
    set_parameters(instance, given)
    y, rest = passed(instance, given, own)
    if set_parameters(instance, given):
        y, rest = passed(instance, given, own)
    return instance, y, rest, watch


def _filled(
    function: Callable[..., Any], supplied: Inputs, own: Implementation, optional: bool
) -> dict[str, Any]:
    roles = roles_of(function, own.roles)
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


def _set_up(instance: Any, supplied: Inputs, own: Implementation) -> None:
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
            method(**_filled(method, values, own, optional=False))


def passed(instance: Any, given: Inputs, own: Implementation) -> tuple[NDArray[Any], list[Any]]:
    """The output of an object's forward pass in training, and what it returned besides."""
    forward = getattr(instance, str(forward_method(type(instance))))
    try:
        result = called(forward, given, own.roles)
    except AttributeError as error:
        name = error.name or ""
        if error.obj is not instance or not _is_mode(name):
            raise
        setattr(instance, name, role(name) == "training")  # its owner would set it
        result = called(forward, given, own.roles)
    rest = list(result[1:]) if isinstance(result, tuple) else []
    if result is None:
        names = ("output", "out", "y", "outputs", "a", "_output", "activation", "result")
        result = next((getattr(instance, n) for n in names if hasattr(instance, n)), None)
    return output(result), rest


def _is_mode(name: str) -> bool:
    """Whether an attribute says if this is training."""
    return role(name) == "training" or bool(TESTING.match(name.strip("_")))


def passed_back(instance: Any, given: Inputs, rest: list[Any], own: Implementation) -> Any:
    """What an object's backward pass returns; ``rest``: what its forward pass handed on."""
    backward = getattr(instance, str(backward_method(type(instance))))
    needed, known = required(backward), roles_of(backward, own.roles)
    if rest and len(needed) > 1 and not {"x", "gamma"} & {known[n] for n in needed}:
        return with_cache(backward, given, rest, own.roles)
    if len(needed) <= 1 and "dy" not in known.values() and known:
        return backward(**{(needed or list(known))[0]: given["dy"]})
    return called(backward, given, own.roles, first="dy")


def _is_several(result: Any) -> bool:
    return isinstance(result, tuple | list | dict) and len(result) > 1


def exchange(own: Implementation, change: Change) -> None:
    """The methods of a class: forward remembers x, backward has its gradients exchanged."""
    cls = own.backward
    names = forward_method(cls), backward_method(cls)  # type: ignore[arg-type]
    forward, backward = (getattr(cls, str(name)) for name in names)
    inputs: dict[int, tuple[Any, dict[str, Any]]] = {}

    def forward_stand_in(self: Any, *args: Any, **kwargs: Any) -> Any:
        given = numbers_by_role(bound_arguments(forward, (self, *args), kwargs))
        inputs[id(self)] = (self, {**settings(self), **given})
        return forward(self, *args, **kwargs)

    def backward_stand_in(self: Any, *args: Any, **kwargs: Any) -> Any:
        _, known = inputs.get(id(self), (self, {}))
        given = bound_arguments(backward, (self, *args), kwargs)
        values = {**known, **numbers_by_role(given)} if known else {}
        if values and "dy" not in values:
            values["dy"] = numbers(list(given.values())[1])
        result = backward(self, *args, **kwargs)
        return changed(result, values, change, held_by=self)

    for name, made, old in zip(
        names, (forward_stand_in, backward_stand_in), (forward, backward), strict=True
    ):
        made.__signature__ = inspect.signature(old)  # type: ignore[attr-defined]
        setattr(cls, str(name), made)
