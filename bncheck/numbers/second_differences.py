"""The third witness of second order: derivatives of a backward pass by its values alone.

``S = sum(ddx*dx) + sum(ddgamma*dgamma) + ...`` of the user's own backward pass where there is
one, else of the reference's; every entry of dy, x and gamma is moved by itself.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bncheck.algebra.notation import name_of
from bncheck.numbers import layout
from bncheck.numbers.arithmetic import Array, evaluate
from bncheck.numbers.differences import Differences, Move, slopes_of
from bncheck.numbers.trials import Trial
from bncheck.telling.errors import CannotAsk
from bncheck.verdict.bench import Case, user_inputs

Backward = Callable[[Sequence[Mapping[str, Any]]], list[dict[str, Array]]]
"""Several inputs at once in, their gradients out, by the program's names and axes."""


def second_differences(case: Case, trial: Trial) -> Differences:
    """The gradients of S at a trial, by differences of a backward pass."""
    try:
        return _of(case, trial, lambda many: _theirs(case, trial, many), "")
    except (CannotAsk, KeyError):
        if not case.identity.known:
            raise CannotAsk(
                f"{case.candidate.name}: its forward pass is of no layer that bncheck knows, and "
                "there is no backward pass of which differences could be taken"
            ) from None
        return _of(case, trial, lambda many: _ours(case, many), " of the reference")


def _of(case: Case, trial: Trial, backward: Backward, whose: str) -> Differences:
    found, values = case.found, trial.values
    given = {name_of(a): np.asarray(values[name_of(a)]) for a in found.upstream}

    def products(many: Sequence[Mapping[str, Any]]) -> list[Array]:
        """All products that S is the sum of."""
        made = backward(many)
        return [np.concatenate([(g * one[n[1:]]).ravel() for n, g in given.items()])
                for one in made]  # fmt: skip

    plans = {name_of(a): _moves(values[name_of(a)]) for a in found.wrt}
    parts, method = slopes_of(products, values, plans)
    gradients, error = {}, {}
    for a in found.wrt:
        slopes, spreads = parts[name_of(a)]
        name, shape = name_of(found.forward.gradient(a)), np.shape(values[name_of(a)])
        gradients[name] = np.array([s.sum() for s in slopes]).reshape(shape)
        error[name] = np.array([s.sum() for s in spreads]).reshape(shape)
    return Differences(gradients, error, method + whose)


def _moves(values: Any) -> list[Move]:
    return [Move(place, ()) for place in np.ndindex(*np.shape(values))]


def _theirs(case: Case, trial: Trial, many: Sequence[Mapping[str, Any]]) -> list[dict[str, Array]]:
    """The user's own backward pass; raises ``CannotAsk`` where there is none to be called."""
    if not case.candidate.first:
        raise CannotAsk("there is no backward pass below")
    program, at = case.found.layer, case.identity.layout
    asked = [user_inputs(case, _all_complex(values), trial) for values in many]
    made = case.subject.firsts(case.candidate.name, asked)
    return [_in_order(case, trial, layout.from_user(at, program, one, trial.values, trial.parts))
            for one in made]  # fmt: skip


def _in_order(case: Case, trial: Trial, made: dict[str, Array]) -> dict[str, Array]:
    """dgamma and dbeta by value: where they are nearer the other way round, they are swapped."""
    if not {"dgamma", "dbeta"} <= made.keys():
        return made
    right = case.seen[0].reference.known if case.seen else {}
    if "dgamma" not in right or made["dgamma"].shape != np.shape(right["dgamma"]):
        return made

    def apart(one: str, other: str) -> float:
        return float(abs(made[one] - np.asarray(right[other], float)).sum())

    straight = apart("dgamma", "dgamma") + apart("dbeta", "dbeta")
    if apart("dgamma", "dbeta") + apart("dbeta", "dgamma") < straight:
        return {**made, "dgamma": made["dbeta"], "dbeta": made["dgamma"]}
    return made


def _ours(case: Case, many: Sequence[Mapping[str, Any]]) -> list[dict[str, Array]]:
    outputs = [name_of(out) for out in case.found.forward.outputs]
    program, made = case.found.forward, []
    for values in many:
        known = evaluate(program, values)
        made.append({name: np.asarray(known[name].value) for name in outputs})
    return made


def _all_complex(values: Mapping[str, Any]) -> dict[str, Any]:
    """Every array complex where one is: code may make its results as x is."""
    if not any(np.iscomplexobj(v) for v in values.values()):
        return dict(values)
    return {n: v.astype(complex) if isinstance(v, np.ndarray) else v for n, v in values.items()}
