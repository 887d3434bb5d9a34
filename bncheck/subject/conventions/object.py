"""Classes whose objects have a forward and a backward pass: make one, feed it, read it out.

Parameters may come late (after a first forward pass, ``build()``, ``initialize(optimizer)``);
their gradients may be returned, kept as attributes, in dictionaries, lists or parameter objects,
or never shown because backward updates the parameters itself: then the update is watched.
"""

import inspect
import re
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import suppress
from itertools import product
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
from bncheck.subject.conventions.methods import backward_method, forward_method
from bncheck.subject.conventions.returned import output
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
    set_parameters,
    updates,
)
from bncheck.subject.messages import Backward, Inputs, plain
from bncheck.subject.names import SETUPS, TESTING, layer_hint, role
from bncheck.subject.signature import (
    called,
    defaults,
    line_of,
    ranks_said,
    required,
    roles_of,
    with_cache,
)
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
        ranks=ranks_said(thing, getattr(thing, there), getattr(thing, back)),
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


_SWITCHES = ("eval", "eval_mode", "set_eval", "test_mode", "set_test", "inference_mode")
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
    cls: Any = own.backward
    there, back = str(forward_method(cls)), str(backward_method(cls))
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
