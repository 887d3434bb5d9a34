"""Objects of a class: made as their author makes them, their parameters found by moving them, fed.

Names rank what may be a parameter; how the output is moved says which it is: gamma scales it, beta
shifts it, and what does not move it is none.
"""

import inspect
import random
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bncheck.numbers.agreement import RECOMPUTED, SINGLE, alike
from bncheck.subject.conventions.implementations import Implementation
from bncheck.subject.conventions.methods import forward_method
from bncheck.subject.conventions.returned import output
from bncheck.subject.holders import (
    RATE,
    Place,
    Watch,
    attributes,
    parameters,
    places,
    set_parameters,
)
from bncheck.subject.messages import Inputs
from bncheck.subject.names import SETUPS, TESTING, role
from bncheck.subject.signature import (
    called,
    defaults,
    parameters_of,
    required,
    roles_of,
    widths,
    with_cache,
)

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
            own.memory.pop("parameters", None)
            problem = problem or error
            continue
        own.memory["way"] = number
        return made
    assert problem is not None
    raise problem


def _ways(given: Inputs) -> Iterator[tuple[Any, bool]]:
    """What a parameter that asks for a size may mean; and whether optional ones are filled."""
    yield from ((w, optional) for optional, w in product((False, True), widths(given)))


def _made(
    own: Implementation, given: Inputs, width: Any, optional: bool
) -> tuple[Any, NDArray[Any], list[Any], Watch]:
    cls = own.backward
    watch = Watch(lambda: parameters(instance, own.memory["parameters"]))
    supplied = {
        **defaults(given), **given, "width": width, "optimizer": watch, "rate": RATE,
    }  # fmt: skip

    def fresh() -> Any:
        with drawn_alike():
            made = cls(**_filled(cls, {**supplied, "x": width}, own, optional))
            _set_up(made, supplied, own)
        return made

    if "parameters" not in own.memory:
        other = fresh()
        set_parameters(other, given)
        own.memory["parameters"] = moving(other, lambda: passed(other, given, own)[0])
    known = own.memory["parameters"]
    instance = fresh()
    set_parameters(instance, given, known)
    y, rest = passed(instance, given, own)
    if set_parameters(instance, given, known):
        y, rest = passed(instance, given, own)
    return instance, y, rest, watch


def _filled(
    function: Callable[..., Any], supplied: Inputs, own: Implementation, optional: bool
) -> dict[str, Any]:
    """The arguments of a constructor; one whose default is no array is never filled with one."""
    roles = roles_of(function, own.roles)
    needed = required(function)
    default = {p.name: p.default for p in parameters_of(function)}
    arguments = {}
    for name, known in roles.items():
        wanted = name in needed or (optional and known == "width")
        if known in ("gamma", "beta") and known in supplied:
            wanted = wanted or isinstance(default[name], np.ndarray)
        elif known in ("eps", "groups", "rate") and known in supplied:
            wanted = wanted or not isinstance(default[name], bool | str)
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
    backward = getattr(instance, own.method)
    needed, known = required(backward), roles_of(backward, own.roles)
    asked = {known[n] for n in needed}
    if rest and len(needed) > 1 and not {"x", "gamma", "rate", "optimizer", None} & asked:
        return with_cache(backward, given, rest, own.roles)
    if len(needed) <= 1 and "dy" not in known.values() and known:
        return backward(**{(needed or list(known))[0]: given["dy"]})
    return called(backward, given, own.roles, first="dy")


STEP = 0.5
"""How far an array is moved to see whether the output depends on it: exact in binary."""


@contextmanager
def drawn_alike() -> Iterator[None]:
    """Random parameters are the same for each object; the generators go on as they were."""
    torch: Any = sys.modules.get("torch")
    legacy: Any = np.random  # what the user's code draws from
    before = random.getstate(), legacy.get_state(), torch and torch.get_rng_state()
    random.seed(0)
    legacy.seed(0)
    if torch:
        torch.manual_seed(0)
    try:
        yield
    finally:
        random.setstate(before[0])
        legacy.set_state(before[1])
        if torch:
            torch.set_rng_state(before[2])


def moving(instance: Any, output: Callable[[], NDArray[Any]]) -> dict[str, str] | None:
    """Which arrays of an object move its output, by place: ``"gamma"`` or ``"beta"``.

    ``output``: its forward pass, called anew. None where it cannot be seen: where the output
    differs from call to call.
    """
    first = output()
    if not alike(output(), first, RECOMPUTED):
        return None
    found: dict[str, tuple[str, Place]] = {}
    for place in sorted(places(instance), key=lambda p: p.role is None):
        old = place.value.copy() if isinstance(place.value, np.ndarray) else place.value.clone()
        moved = []
        for times in (1, 2):
            with suppress(Exception):
                place.put(old + times * STEP)
                moved.append(output())
        place.put(old)
        means = _answer(first, moved, place.role)
        others = [other for known, other in found.values() if known == means]
        if means and all(other.value is place.value for other in others):
            found[place.name] = means, place
    return {name: means for name, (means, _) in found.items()}


def _answer(first: NDArray[Any], moved: Sequence[NDArray[Any]], named: str | None) -> str | None:
    """What an array is by which the output, at once and twice, was moved like this.

    Where it is neither shifted nor scaled, and moved all the same, it is what it is named.
    """
    if len(moved) < 2 or any(y.shape != first.shape for y in moved):
        return None
    once, twice = (np.asarray(y - first, float) for y in moved)
    if alike(once, np.full(once.shape, STEP), SINGLE):
        return "beta"
    both_signs = once.min(initial=0.0) < 0 < once.max(initial=0.0)
    if both_signs and alike(twice, 2 * once, SINGLE):
        return "gamma"
    return named if np.any(once) else None
