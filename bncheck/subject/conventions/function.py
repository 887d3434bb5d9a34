"""A plain ``backward(dy, x, gamma, eps)`` in any order of recognised names."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bncheck.subject.conventions.arguments import called
from bncheck.subject.conventions.implementations import (
    Change,
    Implementation,
    Ran,
    Surroundings,
    summarised,
)
from bncheck.subject.conventions.methods import partner
from bncheck.subject.conventions.returned import gradients, output
from bncheck.subject.conventions.stand_ins import (
    bound_arguments,
    changed,
    exchange_code,
    numbers_by_role,
)
from bncheck.subject.messages import Inputs
from bncheck.subject.signature import Roles, check_known, roles_taken
from bncheck.telling.codes import Finding
from bncheck.telling.errors import CannotAsk


def find(name: str, thing: Any, beside: Surroundings) -> Implementation | None:
    """Whatever no other convention has claimed."""
    return made(name, thing, partner(name, beside.own), beside.said)


def made(
    name: str, backward: Callable[..., Any], forward: Callable[..., Any] | None, said: Roles
) -> Implementation:
    """With the forward pass beside it, if any; raises ``CannotAsk`` where dy or x is not taken."""
    takes = roles_taken(backward, name, said)
    for needed in ("dy", "x"):
        if needed not in takes and not (needed == "x" and {"xhat", "centred"} & set(takes)):
            what = {"dy": "the upstream gradient", "x": "the input"}[needed]
            raise CannotAsk(
                f"{name}{inspect.signature(backward)} has no parameter that bncheck knows as "
                f"{what}; expected one called {needed}, say backward(dy, x, gamma, beta, eps), "
                f"or --name PARAMETER={needed}"
            )
    check_known(backward, name, said)
    summary = summarised(name, "function", backward, takes, forward)
    return Implementation(summary, backward, forward, said)


def output_of(own: Implementation, given: Inputs) -> NDArray[Any]:
    """The output of the forward pass; raises ``CannotAsk`` where there is none."""
    if own.forward is None:
        raise CannotAsk(f"{own.summary.name} has no forward pass")
    return output(called(own.forward, given, own.roles))


def run(own: Implementation, given: Inputs) -> Ran:
    """A backward pass on its own; the forward pass, if any, sees copies of its own."""
    y = None
    if own.forward is not None:
        copies = {n: v.copy() if isinstance(v, np.ndarray) else v for n, v in given.items()}
        y = output(called(own.forward, copies, own.roles))
    return Ran(y, called(own.backward, given, own.roles, first="dy"), {})


def read(own: Implementation, ran: Ran, inputs: Inputs) -> tuple[dict[str, Any], list[Finding]]:
    """The gradients by name, by key or by place."""
    return gradients(own.summary.name, ran.result, ran.extra, inputs, ran.shapes)


def exchange(own: Implementation, change: Change) -> None:
    """Other numbers in what the function returns, wherever it is called."""

    def stand_in_of(original: Callable[..., Any]) -> Callable[..., Any]:
        def stand_in(*args: Any, **kwargs: Any) -> Any:
            values = numbers_by_role(bound_arguments(original, args, kwargs))
            return changed(original(*args, **kwargs), values, change)

        return stand_in

    exchange_code(own.backward, stand_in_of)
