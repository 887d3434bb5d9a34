"""A wrong gradient shown: on the smallest input, to check by hand, and as a picture of where it is
off.

The input holds small integers, and what comes out fractions. A picture has one sign for each entry;
only where some entries are off and others are not: what is off everywhere has its reason in the
terms, and a picture of it would say nothing.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from math import isqrt
from typing import Any

import numpy as np
from sympy import Expr, Integer, Rational

from bncheck.algebra.notation import indices_of, name_of, operands, size
from bncheck.algebra.program import Program
from bncheck.calculus.derivation import Derivation, normalised
from bncheck.calculus.interpret import evaluate
from bncheck.identity.crossing import Bench
from bncheck.identity.readings import Reading
from bncheck.numbers import layout
from bncheck.numbers.agreement import RECOMPUTED, ROUNDING, alike, near
from bncheck.numbers.observation import Array, Observation, Trial
from bncheck.subject.names import DIRECTIONS as COTANGENTS
from bncheck.telling.errors import BncheckError, CannotAsk
from bncheck.telling.report import Counterexample, Heat

ROWS, COLUMNS = 5, 24
"""The largest picture; of a larger array several entries share a sign, that of the worst."""


GROUPS = {2: ((0, 2), (1, 0)), 3: ((-3, 0, 3), (1, 2, 0)), 4: ((10, 4, 2, -4), (1, 2, -1, 3))}
"""By their number: the values of a group and their upstream gradients."""

DIRECTIONS = {2: (1, -1), 3: (2, 0, 1), 4: (1, 2, 0, -1)}
"""By the number of values of a group: where dx moves, in second order."""

SIZES = ((2, 1), (3, 1), (4, 1), (2, 2), (3, 2), (4, 3))
"""Values in a group, and groups: the smallest on which the mistake shows is taken."""


def smallest(bench: Bench, gradient: str, worst: Trial) -> Counterexample | None:
    """The smallest of a few inputs on which the gradient is wrong, with the right numbers.

    ``worst``: the trial on which it is; with a gamma of 0 where that is needed to show it. None
    where the layer is unknown, or where it shows on none of them.
    """
    if not bench.reading.known or bench.reading.ignored:
        return None
    scale = np.asarray(worst.values.get("gamma", 1.0))
    without = not worst.easy and not scale.all()
    for per_group, groups in SIZES:
        for first in dict.fromkeys((per_group, per_group // 2, 1)):
            with suppress(BncheckError):
                made = _tried(bench, gradient, (first, per_group // first), groups, without)
                if made is not None:
                    return made
    return None


def _tried(
    bench: Bench, gradient: str, per_group: tuple[int, int], groups: int, without: bool
) -> Counterexample | None:
    """``per_group``: the values of a group, as rows and as columns where the layout splits its
    axis; ``without``: the first gamma is 0.
    """
    program, at = bench.program, bench.reading.layout
    lengths = _lengths(program, per_group[0] * per_group[1], groups)
    if per_group[1] > 1 and not at.split():
        return None
    exact = _inputs(bench, lengths, without)
    parts = {}
    for name, count in at.split().items():
        rows, rest = divmod(lengths[name], per_group[1])
        whole = (rows, per_group[1]) if not rest else (lengths[name], 1)
        parts[name] = (whole[0], *(1,) * (count - 2), whole[1])
    trial = Trial("by hand", {n: _array(v) for n, v in exact.items()}, parts=parts)
    theirs = bench.run(trial).gradients[gradient]
    operand = next(a for a in program.inputs if name_of(program.gradient(a)) == gradient)
    right = _right(bench.reading.found, lengths, exact, gradient)
    wanted = np.array(_nested({k: float(v) for k, v in right.items()}))
    if theirs.shape != wanted.shape or alike(theirs, wanted, RECOMPUTED, least=1.0):
        return None
    shown = {k: layout.array_to_user(at, program, operand, _texts(v), parts)
             for k, v in (("right", right), ("yours", _entries(theirs)))}  # fmt: skip
    unread = {"groups", *({"beta"} - {*bench.backward.takes} if program.first else ())}
    given = bench.inputs(trial).items()
    inputs = {n: np.asarray(v).tolist() for n, v in given if n not in unread}
    return Counterexample(gradient, inputs, shown["right"].tolist(), shown["yours"].tolist())


def _lengths(program: Program, per_group: int, groups: int) -> dict[str, int]:
    along = normalised(program)
    outer = [i for i in program.axes if i not in along]
    lengths = {i.label.name: 1 for i in program.axes}
    lengths[along[-1].label.name] = per_group
    if outer:
        lengths[outer[-1].label.name] = groups
    return lengths


def _inputs(bench: Bench, lengths: Mapping[str, int], without: bool) -> dict[str, Any]:
    """Exact inputs; eps is taken so that the root is a whole number."""
    program, found = bench.program, bench.reading.found
    along = normalised(program)[-1].label.name
    values, upstream = GROUPS[lengths[along]]
    exact: dict[str, Any] = {}
    takes = bench.backward.takes
    for operand in (*program.inputs, *found.upstream):
        name, names = name_of(operand), [i.label.name for i in indices_of(operand)]
        if not names:
            exact[name] = Integer(0)
            continue
        exact[name] = {}
        for place in np.ndindex(*(lengths[n] for n in names)):
            where = dict(zip(names, place, strict=True))
            group = sum(k for n, k in where.items() if n != along)
            if operand == program.inputs[0]:
                number: Expr = Integer(values[where[along]] + group)
            elif operand == found.upstream[0] and found.order == 2:
                number = Integer(DIRECTIONS[lengths[along]][where[along]] + 2 * group)
            elif operand in (*found.upstream, *program.first) and along in names:
                number = Integer(upstream[where[along]] - group)
            elif layout.role_of(program, name) in set(COTANGENTS) - set(takes):
                number = Integer(0)
            else:
                number = Integer(2 + group if name == "gamma" else 1 + 2 * group)
            if without and name == "gamma" and not any(place):
                number = Integer(0)
            exact[name][tuple(k + 1 for k in place)] = number
    if "eps" in exact:
        exact["eps"] = _eps(bench.reading, lengths, exact)
    return exact


def _eps(reading: Reading, lengths: Mapping[str, int], exact: Mapping[str, Any]) -> Expr:
    """The user's own, or what makes the variance of the first group a square."""
    if reading.eps is not None:
        return Rational(str(reading.eps))
    small = reading.forward.specialised(_sizes(reading.forward, lengths))
    eps = small.tensors["eps"]
    root = next((s for s in small.steps if s.expr.is_Pow and eps in operands(s.expr)), None)
    if root is None:  # it stands beside the root
        return Integer(1)
    inner = evaluate(small, {**exact, "eps": Integer(0)})[name_of(root.target)]
    under = next(iter(inner.values())) ** 2
    if not under.is_Rational:
        raise CannotAsk("the variance of this group is no fraction")
    whole = isqrt(int(under)) + 1
    return Integer(whole) ** 2 - under


def _right(
    found: Derivation, lengths: Mapping[str, int], exact: Mapping[str, Any], gradient: str
) -> dict[tuple[int, ...], Expr]:
    sizes = _sizes(found.forward, lengths)
    known = evaluate(found.forward.specialised(sizes), exact)
    upstream = {name_of(u): exact[name_of(u)] for u in found.upstream}
    return evaluate(found.closed.specialised(sizes), {**known, **upstream})[gradient]


def _sizes(program: Program, lengths: Mapping[str, int]) -> dict[Any, int]:
    return {size(i): lengths[i.label.name] for i in program.axes}


def _array(value: Any) -> Any:
    if isinstance(value, dict):
        return np.array(_nested({k: float(v) for k, v in value.items()}))
    return float(value)


def _nested(entries: Mapping[tuple[int, ...], Any]) -> Any:
    """Entries by places from 1 as nested lists."""
    shape = tuple(max(at[k] for at in entries) for k in range(len(next(iter(entries)))))
    array = np.empty(shape, object)
    for at, number in entries.items():
        array[tuple(k - 1 for k in at)] = number
    return array.tolist()


def _entries(array: Any) -> dict[tuple[int, ...], Any]:
    return {tuple(k + 1 for k in at): number for at, number in np.ndenumerate(array)}


def _texts(entries: Mapping[tuple[int, ...], Any]) -> Any:
    return np.array(_nested({at: _text(number) for at, number in entries.items()}), object)


def _text(number: Any) -> str:
    """A fraction where it is one of small numbers, else a decimal."""
    if getattr(number, "is_Rational", False) and number.q < 10**6:
        return str(number)
    value = float(number)
    plain = Fraction(value).limit_denominator(10_000) if np.isfinite(value) else Fraction(0)
    return str(plain) if near(float(plain), value, ROUNDING) else f"{value:.6g}"


def heat(found: Derivation, seen: Sequence[Observation], gradient: str) -> Heat | None:
    """The first trial on which the gradient is right here and wrong there; None without one.

    Rather one with two values or more along each axis, where there is such a one.
    """
    partly = [s for s in seen if gradient in s.gradients and _is_partial(s, gradient)]
    if not partly:
        return None
    one = next((s for s in partly if min(s.gradients[gradient].shape) > 1), partly[0])
    apart, off = _relative(one, gradient), one.off(gradient)
    letters = [str(size(i)) for i in indices_of(found.closed.tensors[gradient])]
    names = [f"{n} = {k}" for n, k in zip(letters, apart.shape, strict=True)]
    down, across = _axes(off)
    others = tuple(k for k in range(apart.ndim) if k not in (down, across))
    cells = np.where(off, apart, 0.0).max(axis=others) if others else np.where(off, apart, 0.0)
    if down is None:
        rows, name = cells[np.newaxis, :], ""
    else:
        rows, name = (cells if down < across else cells.T), names[down]
    pooled = _pooled(_pooled(rows, ROWS).T, COLUMNS).T
    return Heat(gradient, name, names[across], tuple(tuple(map(float, row)) for row in pooled))


def _is_partial(one: Observation, gradient: str) -> bool:
    if one.gradients[gradient].shape != one.reference.gradients[gradient].shape:
        return False
    off = one.off(gradient)
    return bool(off.any() and not off.all())


def _relative(one: Observation, gradient: str) -> Array:
    """The error of each entry by the largest value of the right gradient."""
    right = np.asarray(one.reference.gradients[gradient], float)
    apart = abs(np.asarray(one.gradients[gradient], float) - right)
    largest = float(abs(right).max()) or 1.0
    return np.asarray(np.nan_to_num(apart / largest, nan=np.inf, posinf=np.inf))


def _axes(off: Array) -> tuple[int | None, int]:
    """The axes down and across: those along which most changes, the longer one across."""
    if off.ndim == 1:
        return None, 0

    def uneven(axis: int) -> float:
        others = tuple(k for k in range(off.ndim) if k != axis)
        return float(np.ptp(off.mean(axis=others)))

    first, second = sorted(range(off.ndim), key=uneven, reverse=True)[:2]
    down, across = sorted((first, second), key=lambda k: (off.shape[k], -k))
    return (first, second) if off.shape[down] == off.shape[across] else (down, across)


def _pooled(rows: Array, most: int) -> Array:
    """At most so many rows; each is the largest of those that it stands for."""
    if len(rows) <= most:
        return rows
    return np.stack([part.max(axis=0) for part in np.array_split(rows, most)])
