"""Call a double backward pass; what it returned, in order."""

from typing import Any

import numpy as np

from bncheck.subject.conventions import object as objects
from bncheck.subject.conventions.convention import Found
from bncheck.subject.conventions.pair import Ran, called, handed_on, with_cache
from bncheck.subject.returned import Inputs, kind_of, plain
from bncheck.subject.second_names import double_roles
from bncheck.telling.errors import CannotAsk
from bncheck.telling.report import Remark

FEWEST = 2
"""ddy and d2x at least: of one array alone it cannot be told which it is."""


def run_double(found: Found, given: Inputs) -> Ran:
    """Forward pass, where a cache is asked for, and double backward pass; an object's all three."""
    given = {**given, "mask": (True, True, True)}
    if found.candidate.has_object:
        return _run_object(found, given)
    roles = {n: r for n, r in double_roles(found.backward, found.roles).items() if r}
    if "cache" not in roles.values():
        return Ran(None, called(found.backward, given, roles, first="dy"), {})
    y, rest = handed_on(found, given)
    return Ran(y, with_cache(found.backward, given, rest, roles), {})


def _run_object(found: Found, given: Inputs) -> Ran:
    instance, y, rest, _ = objects.ready(found, given)
    objects.passed_back(instance, given, rest, found)
    double = getattr(instance, found.candidate.name.rpartition(".")[2])
    roles = {n: r for n, r in double_roles(double, found.roles).items() if r}
    return Ran(y, called(double, given, roles, first="ddx"), {})


def parts(name: str, result: Any, inputs: Inputs) -> tuple[dict[str, Any], list[Remark]]:
    """What was returned, by its place: ``{"0": ..., "1": ...}``; which is which is seen later."""
    result = plain(result)
    several = list(result.values()) if isinstance(result, dict) else result
    if not isinstance(several, tuple | list):
        raise CannotAsk(f"{name} returned {kind_of(result)}; {_expected(inputs)}")
    arrays = [np.asarray(plain(part)) for part in several if part is not None]
    for array in arrays:
        if array.dtype == object or not np.issubdtype(array.dtype, np.number):
            raise CannotAsk(f"{name} returned {array.dtype}; {_expected(inputs)}")
        if np.iscomplexobj(array) and not np.iscomplexobj(inputs["x"]):
            raise CannotAsk(f"{name} returned complex numbers from real inputs")
    most = 4 if "gamma" in inputs else FEWEST
    if not FEWEST <= len(arrays) <= most:
        values = "1 value" if len(arrays) == 1 else f"{len(arrays)} values"
        raise CannotAsk(f"{name} returned {values}; {_expected(inputs)}")
    return {str(k): array for k, array in enumerate(arrays)}, []


def _expected(inputs: Inputs) -> str:
    gradients_of = "dy, x and gamma" if "gamma" in inputs else "dy and x"
    return f"expected the gradients with respect to {gradients_of}"
