"""Code written on torch tensors: arrays become tensors on the way in, gradients come back.

torch is never imported here: it is used where the user's own file has imported it.
"""

import inspect
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bncheck.subject.conventions.convention import Found
from bncheck.subject.conventions.pair import Ran, defaults
from bncheck.subject.returned import output, plain
from bncheck.subject.signature import roles_of
from bncheck.telling.errors import CannotAsk

Inputs = Mapping[str, Any]


def are_used_by(thing: Callable[..., Any]) -> bool:
    """Whether the module in which it is defined has imported torch."""
    module = sys.modules.get(getattr(thing, "__module__", "") or "")
    return module is not None and any(
        isinstance(v, ModuleType) and v.__name__.split(".")[0] == "torch"
        for v in vars(module).values()
    )


def to_tensors(given: Inputs) -> dict[str, Any]:
    """The arrays as tensors that share their memory, so that overwriting is seen."""
    torch = sys.modules["torch"]
    made = {}
    for name, value in given.items():
        if isinstance(value, np.ndarray):
            if value.dtype == np.longdouble:
                raise CannotAsk("torch has no tensors of extended precision")
            made[name] = torch.from_numpy(value if value.flags.writeable else value.copy())
        else:
            made[name] = value
    return made


def output_of(found: Found, given: Inputs) -> NDArray[Any]:
    """The output of a ``torch.autograd.Function``."""
    arguments, _ = _arguments(found, given)
    return output(found.backward.apply(*arguments))  # type: ignore[attr-defined]


def run_autograd(found: Found, given: Inputs) -> Ran:
    """``apply``, and torch's own reverse sweep, which calls the user's ``backward``."""
    arguments, leaves = _arguments(found, given)
    names = list(leaves)
    try:
        y, slopes = _swept(found, arguments, leaves, given)
    except ValueError:
        # one that unpacks its needs_input_grad wants to be called without the settings
        y, slopes = _swept(found, arguments[: len(names)], leaves, given)
    named = {"d" + n: plain(s) for n, s in zip(names, slopes, strict=True) if s is not None}
    return Ran(output(y), None, named, by_name=frozenset(named))


def _swept(found: Found, arguments: list[Any], leaves: Inputs, given: Inputs) -> tuple[Any, Any]:
    y = found.backward.apply(*arguments)  # type: ignore[attr-defined]
    y = y[0] if isinstance(y, tuple) else y
    grad = sys.modules["torch"].autograd.grad
    return y, grad(y, list(leaves.values()), given["dy"], allow_unused=True)


def _arguments(found: Found, given: Inputs) -> tuple[list[Any], dict[str, Any]]:
    forward = found.forward
    assert forward is not None
    supplied = {**defaults(given), **given}
    leaves = {}
    for name in ("x", "gamma", "beta"):
        if name in given:
            leaf = given[name].clone().requires_grad_()
            supplied[name] = leaves[name] = leaf
    roles = dict(list(roles_of(forward, found.roles).items())[1:])  # without ctx
    parameters = inspect.signature(forward).parameters
    unknown = [n for n, r in roles.items() if r not in supplied]
    if "x" not in roles.values() and unknown:
        roles[unknown.pop(0)] = "x"
    needed = [n for n in unknown if parameters[n].default is parameters[n].empty]
    if needed:
        raise CannotAsk(
            f"{found.candidate.name}.forward has a parameter {needed[0]!r} that bncheck does not "
            f"know; say what it is with --name {needed[0]}=ROLE"
        )
    used = {n: leaf for n, leaf in leaves.items() if n in roles.values()}
    values = [parameters[n].default if n in unknown else supplied[str(r)] for n, r in roles.items()]
    return values, used
