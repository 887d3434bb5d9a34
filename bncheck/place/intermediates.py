"""Right values that a backward pass may compute on the way, found by evaluating programs.

The gradients of every step of the forward program, in its own steps and in steps of one
operation; what each path contributes to them; the terms of the closed form; and products of
these values with powers of the standard deviation, summed or not.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from itertools import combinations, product
from typing import Any

import numpy as np
from sympy import Add, Expr, Mul, S

from bncheck.algebra.notation import (
    Tensor,
    Total,
    carried,
    gradient,
    indices_of,
    name_of,
    operands,
    tensor,
)  # fmt: skip
from bncheck.algebra.program import Program, Step
from bncheck.calculus.chain import backward, uses
from bncheck.calculus.closed import terms
from bncheck.calculus.derivation import Derivation, normalised
from bncheck.numbers.arithmetic import Array, evaluate
from bncheck.place.values import RightValue, RightValues


def right_values(found: Derivation, values: Mapping[str, Any]) -> RightValues:
    """The right values for the inputs of one trial, by the program's names."""
    nodes: dict[str, RightValue] = {}
    wholes: dict[str, RightValue] = {}
    parts: dict[str, list[RightValue]] = {}
    sums: dict[str, list[RightValue]] = {}
    for forward in (elementary(found.forward), found.forward):
        own: dict[str, list[RightValue]] = {}
        for name, right in _values_of(_contributions(forward), values).items():
            if name in forward.tensors:
                nodes[name] = right
            elif "|" in name:
                own.setdefault(name.partition("|")[0], []).append(right)
            else:
                wholes[name] = right
        for name, several in own.items():
            parts.setdefault(name, []).extend(several)
            sums.setdefault(name, []).extend(_sums(several))
    frame = np.broadcast_shapes(*(nodes[name_of(a)].value.shape for a in found.forward.inputs))
    counts = dict(zip(map(str, found.forward.axes), frame, strict=True))
    return RightValues(
        nodes, wholes, parts, sums,
        others=(*_closed(found, values, nodes), *_products(found.forward, nodes, wholes)),
        roles=_roles(found.forward),
        counts=counts,
        together=int(np.prod([counts[str(i)] for i in normalised(found.forward)])),
        width=nodes["gamma"].value.size if "gamma" in nodes else 0,
    )  # fmt: skip


@cache
def _contributions(forward: Program) -> Program:
    """Forward and backward steps, and as ``name|number`` the single contributions."""
    chain = backward(forward)
    paths = []
    for step in chain.steps:
        source = next(a for a in forward.tensors.values() if gradient(a) == step.target)
        for number, use in enumerate(uses(forward, source)):
            at, name = indices_of(step.target), f"{name_of(step.target)}|{number}"
            paths.append(Step(tensor(name)[at] if at else tensor(name), use.contribution))
    upstream = chain.inputs[: len(forward.outputs)]
    return replace(
        forward,
        inputs=(*upstream, *forward.inputs),
        steps=(*forward.steps, *chain.steps, *paths),
        outputs=chain.outputs,
        wrt=(),
    )


def _values_of(program: Program, values: Mapping[str, Any]) -> dict[str, RightValue]:
    doubles = {name: np.asarray(values[name], np.float64) for name in map(name_of, program.inputs)}
    got = evaluate(program, doubles)
    return {n: RightValue(n, _spread(program, a, got[n].value)) for n, a in program.tensors.items()}


def _spread(program: Program, operand: Tensor, value: Array) -> Array:
    """The value with an axis for each axis of the program, in their order."""
    at = indices_of(operand)
    order = [at.index(i) for i in program.axes if i in at]
    lengths = iter(np.transpose(value, order).shape)
    shape = [next(lengths) if i in at else 1 for i in program.axes]
    opened = np.asarray(np.transpose(value, order), np.float64).reshape(shape)
    for k in range(opened.ndim):  # where it is the same along an axis, it does not have it
        if opened.shape[k] > 1 and np.all(opened == opened.take([0], k)):
            opened = opened.take([0], k)
    return opened


def _sums(parts: list[RightValue]) -> Iterator[RightValue]:
    for several in range(2, len(parts) + 1):
        for some in combinations(parts, several):
            name = some[0].name.partition("|")[0]
            yield RightValue(name, np.asarray(sum(part.value for part in some)))


def _closed(
    found: Derivation, values: Mapping[str, Any], nodes: Mapping[str, RightValue]
) -> Iterator[RightValue]:
    """Terms of the closed form and their sums, also before the common factors are put on."""
    given = {n: values[n] for n in map(name_of, found.forward.inputs)}
    forward = {n: bounded.value for n, bounded in evaluate(found.forward, given).items()} | {
        name_of(u): values[name_of(u)] for u in found.upstream
    }
    first = found.closed.step(found.closed.outputs[0])
    extra = tuple(
        Step(tensor(f"term|{k}")[indices_of(first.target)], part)
        for k, part in enumerate(terms(first))
    )
    program = replace(found.closed, steps=(*found.closed.steps, *extra))
    got = _values_of(program, forward)
    yield from (k for n, k in got.items() if n.startswith("sum"))
    parts = [k for n, k in got.items() if n.startswith("term|")]
    scales = [nodes[n].value for n in _roots(found.forward)] + [np.ones(1)]
    gamma = nodes["gamma"].value if "gamma" in nodes else np.ones(1)
    for right in (*parts, *_sums(parts)):
        for scale, bare in product(scales, (np.ones(1), 1 / gamma)):
            yield RightValue("", right.value * scale * bare)


def _products(
    forward: Program, nodes: Mapping[str, RightValue], wholes: Mapping[str, RightValue]
) -> Iterator[RightValue]:
    """Products of small degree of upstream, gamma, x or the normalised value, and sd."""
    one = np.ones((1,) * len(forward.axes))
    full, roots, along = _normalised_value(forward), _roots(forward), normalised(forward)
    hat = nodes[full].value if full else one
    root = nodes[roots[0]].value if roots else one
    gamma = nodes["gamma"].value if "gamma" in nodes else one
    x = nodes[name_of(forward.inputs[0])].value
    dy = wholes["d" + name_of(forward.outputs[0])].value
    group = tuple(k for k, i in enumerate(forward.axes) if i in along)
    others = tuple(k for k, i in enumerate(forward.axes) if i not in along)
    # each with its weight, and with how many factors of sd come for nothing in powers of the
    # centred value; right code reads x itself but rarely
    bodies = ((one, 0, 0), (hat, 1, 1), (hat * hat, 2, 2), (x, 2, 0))
    for up, (body, degree, free), scale in product((0, 1), bodies, (0, 1)):
        for power in range(-4, 3):
            value = dy**up * body * gamma**scale * root**power
            # gamma*dy has a name, and counts as one
            weight = max(up, scale) + degree + min(abs(power - k) for k in range(free + 1))
            yield RightValue("", value, weight)
            for axes in (group, others) if up or degree else ():
                yield RightValue("", value.sum(axis=axes, keepdims=True), weight)
    summed = product(((one, 0), (hat, 1)), (0, 1), (one, hat), range(-4, 2), (0, 1))
    for (inner, degree), scale, body, power, outer in summed:
        total = (dy * inner * gamma**scale).sum(axis=group, keepdims=True)
        value = total * body * root**power * (gamma if outer else one)
        yield RightValue("", value, 3 + degree + abs(power) + outer)


def _roots(forward: Program) -> list[str]:
    return [name_of(s.target) for s in forward.steps if s.expr.is_Pow and s.expr.exp * 2 == 1]


def _normalised_value(forward: Program) -> str | None:
    """The last value before the output that has all axes."""
    whole = set(forward.axes)
    full = [s.target for s in forward.steps if set(indices_of(s.target)) == whole]
    names = [name_of(a) for a in full if a not in forward.outputs]
    return names[-1] if names else None


def _roles(forward: Program) -> dict[str, str]:
    """Which value of the forward pass ``mean``, ``var``, ``sd``, ``rstd``, ... are."""
    roles = {"x": name_of(forward.inputs[0]), "dy": name_of(forward.outputs[0])}
    roles |= {n: n for n in ("gamma", "beta", "eps") if n in forward.tensors}
    hat, roots = _normalised_value(forward), _roots(forward)
    if hat:
        roles["xhat"] = hat
    for root in roots:
        under = [a for a in operands(forward.step(forward.tensors[root]).expr) if indices_of(a)]
        roles |= {"sd": root, "var": name_of(under[0])} if under else {"sd": root}
    means = [
        name_of(s.target) for s in forward.steps
        if 0 < len(indices_of(s.target)) < len(forward.axes)
        and name_of(s.target) not in roles.values()
    ]  # fmt: skip
    if means:
        roles["mean"] = means[0]
    for step in elementary(forward).steps:
        if roots and step.expr == forward.tensors[roots[0]] ** -1:
            roles["rstd"] = name_of(step.target)
        if step.expr.is_Add and set(operands(step.expr)) == {
            forward.inputs[0], forward.tensors.get(roles.get("mean", ""))
        }:  # fmt: skip
            roles["centred"] = name_of(step.target)
    return roles


@cache
def elementary(forward: Program) -> Program:
    """A forward program with one operation in each step; equal parts are computed once.

    So people write it out to derive by hand: ``xhat = (x - mu)/sd`` becomes ``t1 = x - mu``,
    ``t2 = 1/sd``, ``xhat = t1*t2``, and every intermediate that a staged backward pass can have
    is the gradient of a step.
    """
    steps: list[Step] = []
    names: dict[Expr, Tensor] = {}
    for step in forward.steps:
        expr = _operation(forward, step.expr, steps, names)
        names[expr] = step.target
        steps.append(Step(step.target, expr, step.note))
    return replace(forward, steps=tuple(steps))


def _operation(forward: Program, expr: Expr, steps: list[Step], names: dict[Expr, Tensor]) -> Expr:
    """The last operation of ``expr``; what it works on is given names before."""

    def inner(part: Expr) -> Expr:
        return _named(forward, part, steps, names)

    if isinstance(expr, Total):
        return expr.func(inner(expr.body), *expr.over)
    if isinstance(expr, Add):
        return Add(*(_scaled(part, inner) for part in expr.args))
    if isinstance(expr, Mul):
        return Mul(*(inner(part) for part in expr.args))
    if expr.is_Pow:
        return inner(expr.base) ** expr.exp
    return expr.func(*map(inner, expr.args)) if expr.args and not _is_atom(expr) else expr


def _scaled(part: Expr, inner: Callable[[Expr], Expr]) -> Expr:
    """A term of a sum: a number times something with a name."""
    numbers = [f for f in Mul.make_args(part) if not operands(f)]
    others = [f for f in Mul.make_args(part) if operands(f)]
    return Mul(*numbers, inner(Mul(*others)) if others else S.One)


def _named(forward: Program, expr: Expr, steps: list[Step], names: dict[Expr, Tensor]) -> Expr:
    if _is_atom(expr):
        return expr
    opened = _operation(forward, expr, steps, names)
    if opened not in names:
        at = tuple(i for i in forward.axes if i in carried(opened))
        name = tensor(f"t{len(steps)}", positive=bool(opened.is_positive))
        names[opened] = name[at] if at else name
        steps.append(Step(names[opened], opened))
    return names[opened]


def _is_atom(expr: Expr) -> bool:
    return not operands(expr) or expr in operands(expr)
