"""A backward pass as emitted NumPy text, with what has to be known to call it.

Plain data, so that it can go to the child process; nothing here needs SymPy.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bncheck.numbers.agreement import RECOMPUTED, REPRODUCED, largest, negligible

Array = NDArray[Any]


@dataclass(frozen=True)
class Recipe:
    """``source``: text with ``forward`` and ``backward``; ``takes``: the roles of the arguments.

    ``gives``: the gradients in the order returned, by role (``"dx"``); ``axes``: the number of
    axes of x; ``fold``: which of an array's axes become one where it has more than that,
    ``"first"`` or ``"last"``; ``defaults``: roles that a call may leave out.
    """

    source: str
    takes: tuple[str, ...]
    gives: tuple[str, ...]
    axes: int
    fold: str = "last"
    defaults: Mapping[str, float] = field(default_factory=dict)


def prepared(recipe: Recipe, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values by role in the shapes of the emitted text; raises ``KeyError`` or ``ValueError``.

    x and dy get ``recipe.axes`` axes, gamma and beta one; single precision becomes double, so
    that a gradient that is 0 is told from its rounding.
    """
    known = {**recipe.defaults, **values}
    if "gamma" in known:
        known.setdefault("beta", np.zeros(np.size(known["gamma"])))
    ready = {name: known[name] for name in ("dy", *recipe.takes)}
    for name in ("x", "dy"):
        ready[name] = _folded(_lifted(ready[name]), recipe)
    for name in {"gamma", "beta"} & ready.keys():
        ready[name] = np.ravel(_lifted(ready[name]))
    for name in {"eps", "groups"} & ready.keys():
        ready[name] = np.asarray(ready[name]).item()
    return ready


def run(recipe: Recipe, values: Mapping[str, Any]) -> tuple[Array, dict[str, Array]]:
    """The output and the gradients by role, for values by role."""
    ready = prepared(recipe, values)
    namespace = _executed(recipe.source)
    with np.errstate(all="ignore"):
        y, kept = namespace["forward"](*(ready[name] for name in recipe.takes))
        found = namespace["backward"](ready["dy"], kept)
    return y, dict(zip(recipe.gives, found, strict=True))


def size(right: Array, dy: Any) -> float:
    """What an error of this gradient is relative to: its largest entry.

    Where the gradient is 0 but for rounding, the largest entry of the upstream gradient.
    """
    own, upstream = largest(right), largest(dy)
    return upstream or 1.0 if negligible(own, upstream, RECOMPUTED) else own


def apart(one: Any, other: Array, dy: Any) -> float:
    """The largest difference of two gradients, relative to the size of the second."""
    mine, right = (np.asarray(a, np.longdouble).ravel() for a in (one, other))
    if mine.size != right.size:
        return np.inf
    with np.errstate(all="ignore"):
        found = float(abs(mine - right).max(initial=0.0)) / size(right, dy)
    return found if found == found else np.inf


def reproduced(recipe: Recipe, values: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    """Whether the recipe gives the gradients that a call returned: it is that layer's."""
    try:
        _, right = run(recipe, values)
    except (KeyError, ValueError, TypeError, IndexError, ZeroDivisionError):
        return False
    known = theirs.keys() & right.keys()
    limit = REPRODUCED.get(np.asarray(values["x"]).dtype.char, REPRODUCED["d"])
    return bool(known) and all(apart(theirs[n], right[n], values["dy"]) <= limit for n in known)


def _lifted(value: Any) -> Array:
    array = np.asarray(value)
    return array if array.dtype.char in "dg" else array.astype(float)


def _folded(array: Array, recipe: Recipe) -> Array:
    if array.ndim <= recipe.axes:
        return array
    if recipe.fold == "first":
        return array.reshape(-1, *array.shape[array.ndim - recipe.axes + 1 :])
    return array.reshape(*array.shape[: recipe.axes - 1], -1)


@cache
def _executed(source: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": "bncheck_recipe"}
    exec(compile(source, "<emitted by bncheck>", "exec"), namespace)
    return namespace
