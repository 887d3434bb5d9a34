"""Which of the arrays that a backward pass returned is which gradient: by shape, then by value.

In first order they come by name, but for dgamma and dbeta, whose places alone told them apart. In
second order they come by place, since nobody agrees on an order.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import permutations

import numpy as np

from bncheck.algebra.notation import Tensor, name_of
from bncheck.algebra.program import Program
from bncheck.numbers import layout as layouts
from bncheck.numbers.agreement import SINGLE, alike, gap, within
from bncheck.numbers.layout import Layout
from bncheck.numbers.observation import Array, Reference, Trial
from bncheck.subject.messages import is_place
from bncheck.telling.codes import Finding, found
from bncheck.telling.errors import CannotAsk

Order = Mapping[str, str]
"""Gradients by the key under which they came: in second order all of them, in their order; in
first order those that are not what they are called.
"""

PAIR = ("dgamma", "dbeta")
EXCHANGED: Order = {"dgamma": "dbeta", "dbeta": "dgamma"}

BETA = "d2beta"
"""The gradient with respect to beta: 0, and returned by some all the same."""


@dataclass(frozen=True, eq=False)
class Returned:
    """The arrays that a backward pass returned on a trial, as they came.

    ``whose``: its name; ``program``: whose inputs they are gradients of, in second order with a
    backward pass in it.
    """

    whose: str
    program: Program
    layout: Layout
    trial: Trial
    arrays: Mapping[str, Array]


def read(one: Returned, order: Order) -> dict[str, Array]:
    """The gradients by the program's names and in its axes, where the shapes allow it.

    Raises ``CannotAsk`` where in second order the shapes are not those of the order.
    """
    if one.program.first:
        if len(one.arrays) != len(order) or not _fits(one, order):
            raise CannotAsk(_misshapen(one))
        return dict(_by_place(one, order))
    trial = one.trial
    arrays = {**one.arrays, **{n: one.arrays[k] for n, k in order.items() if k in one.arrays}}
    return layouts.from_user(one.layout, one.program, arrays, trial.values, trial.parts)


def order_of(one: Returned, truth: Reference) -> Order:
    """The order in which most gradients are right, then in which they are nearest.

    In first order dgamma and dbeta are exchanged only where both are right then, and a gradient
    that has no name is the array that has its values, else the one of its shape that nothing else
    explains. Raises ``CannotAsk`` where in second order no order has their shapes.
    """
    if one.program.first:
        orders = [o for o in _orders(one.program, len(one.arrays)) if _fits(one, o)]
        if not orders:
            raise CannotAsk(_misshapen(one))
        best = max(orders, key=lambda order: _score(dict(_by_place(one, order)), truth))
        return {name: str(place) for place, name in enumerate(best)}
    return _found(one, truth) or _exchange(one, truth)


def _exchange(one: Returned, truth: Reference) -> Order:
    made = read(one, {})
    pair = {n: made[n] for n in PAIR if n in made and n in truth.gradients}
    if len(pair) < len(PAIR):
        return {}
    straight, other = _score(pair, truth), _score(_exchanged(pair), truth)
    return EXCHANGED if other[0] == len(PAIR) > straight[0] else {}


def _found(one: Returned, truth: Reference) -> Order:
    """The gradients without a name among the arrays of which only the place is known."""
    program, trial = one.program, one.trial
    operands = {"d" + layouts.role_of(program, name_of(v)): v for v in program.inputs}
    others = {k: a for k, a in one.arrays.items() if is_place(k)}
    missing = {n: v for n, v in operands.items() if n not in one.arrays} if others else {}
    order: dict[str, str] = {}

    def read_as(operand: Tensor, array: Array) -> Array | None:
        mine = np.asarray(trial.values[name_of(operand)])
        theirs = layouts.array_to_user(one.layout, program, operand, mine, trial.parts)
        if _squeezed(array.shape) != _squeezed(np.shape(theirs)):
            return None
        array = array.reshape(np.shape(theirs))
        return layouts.array_from_user(one.layout, program, operand, array, mine.shape, trial.parts)

    def is_right(name: str, operand: Tensor, array: Array) -> bool:
        made, own = read_as(operand, array), "d" + name_of(operand)
        return (
            made is not None
            and own in truth.gradients
            and within(made, truth.gradients[own], truth.allowed[own])
        )

    explained = {k for k, a in others.items() for n, v in operands.items() if is_right(n, v, a)}
    for name, operand in missing.items():
        there = [k for k, a in others.items() if is_right(name, operand, a)]
        order |= {name: there[0]} if there else {}
    for key, array in others.items():
        if key in explained or not _LIKE_A_GRADIENT.search(key):
            continue
        for name, operand in missing.items():
            made = read_as(operand, array)
            if name in order or made is None or _is_known(made, truth):
                continue
            order[name] = key
            break
    return order


_LIKE_A_GRADIENT = re.compile(r"^result|grad|delta|(?:^|[.'\[])_?d[^.\[]*(?:'\])?$", re.IGNORECASE)
"""The places of what is handed back as a gradient, be it wrong."""


def _is_known(made: Array, truth: Reference) -> bool:
    """Whether it is a value of the forward pass, or its negative."""
    there = (np.asarray(v) for v in truth.known.values())
    alike_ = [v for v in there if v.shape == made.shape and v.dtype.kind == "f"]
    return any(alike(made, v, SINGLE) or alike(-made, v, SINGLE) for v in alike_)


def nearest(made: dict[str, Array], known: Mapping[str, Array]) -> dict[str, Array]:
    """The gradients below a double backward pass: exchanged where they are nearer then."""
    if not {*PAIR} <= made.keys() & known.keys():
        return made
    if any(made[n].shape != np.shape(known[n]) for n in PAIR):
        return made
    apart, exchanged = (
        sum(float(gap(one[n], np.asarray(known[n], float)).sum()) for n in PAIR)
        for one in (made, _exchanged(made))
    )
    return _exchanged(made) if exchanged < apart else made


def misshapen(one: Returned, order: Order) -> Iterator[Finding]:
    """What has another shape than its operand, in second order; in first order it is seen where
    the code is called.
    """
    for name, part in zip(order, one.arrays.values(), strict=True) if one.program.first else ():
        _, wanted = _shapes(one, name)
        if part.shape != wanted:
            code = "dx-shape" if name != "d2gamma" else "param-shape"
            yield found(code, "double", name=name, shape=part.shape, expected=wanted)


def with_beta(truth: Reference, gradients: Mapping[str, Array]) -> Reference:
    """The reference with 0 for the gradient with respect to beta, where that is returned."""
    if BETA not in gradients:
        return truth
    zero = np.zeros(gradients[BETA].shape)
    smallest = zero + float(np.finfo(np.float64).smallest_subnormal)
    return replace(
        truth,
        gradients={**truth.gradients, BETA: zero},
        allowed={**truth.allowed, BETA: smallest},
    )


def _exchanged(made: Mapping[str, Array]) -> dict[str, Array]:
    return {**made, "dgamma": made["dbeta"], "dbeta": made["dgamma"]}


@cache
def _wanted(program: Program) -> dict[str, Tensor]:
    """What the second gradients are taken by, by their names."""
    wanted = {name_of(program.gradient(a)): a for a in program.wrt}
    if "beta" in program.tensors:
        wanted[BETA] = program.tensors["beta"]
    return wanted


def _orders(program: Program, count: int) -> Iterator[tuple[str, ...]]:
    names = [n for n in _wanted(program) if n != BETA or count > len(program.wrt)]
    yield from permutations(names, min(count, len(names))) if count <= len(names) else ()


def _shapes(one: Returned, name: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shape in the program's axes and in the user's."""
    operand = _wanted(one.program)[name]
    value = np.asarray(one.trial.values[name_of(operand)])
    mine = layouts.array_to_user(one.layout, one.program, operand, value, one.trial.parts)
    return value.shape, np.shape(mine)


def _fits(one: Returned, order: Iterable[str]) -> bool:
    for name, part in zip(order, one.arrays.values(), strict=True):
        _, wanted = _shapes(one, name)
        if part.shape != wanted and _squeezed(part.shape) != _squeezed(wanted):
            return False
    return True


def _by_place(one: Returned, order: Iterable[str]) -> Iterator[tuple[str, Array]]:
    for name, part in zip(order, one.arrays.values(), strict=True):
        shape, _ = _shapes(one, name)
        operand = _wanted(one.program)[name]
        yield (
            name,
            layouts.array_from_user(one.layout, one.program, operand, part, shape, one.trial.parts),
        )


def _score(made: Mapping[str, Array], truth: Reference) -> tuple[int, float]:
    """How many are right, then how near the others are."""
    right, near = 0, 0.0
    for name, yours in made.items():
        wanted = np.asarray(truth.gradients.get(name, np.zeros(yours.shape)))
        if yours.shape != wanted.shape:
            continue
        right += within(yours, wanted, truth.allowed.get(name, 0.0))
        size = float(np.asarray(abs(wanted), float).sum())
        near -= min(1.0, float(gap(yours, wanted).sum()) / size) if size else 1.0
    return right, near


def _misshapen(one: Returned) -> str:
    wanted = {n: _shapes(one, n)[1] for n in _wanted(one.program) if n != BETA}
    there = ", ".join(str(part.shape) for part in one.arrays.values())
    expected = ", ".join(f"{name} {shape}" for name, shape in wanted.items())
    return f"{one.whose} returned arrays of shapes {there}; expected {expected}"


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)
