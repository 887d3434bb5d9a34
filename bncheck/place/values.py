"""Right values that a backward pass may compute on the way, found by evaluating programs.

The gradients of every step of the forward program, in its own steps and in steps of one
operation; what each path contributes to them; the terms of the closed form; and products of
these values with powers of the standard deviation, summed or not.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain as joined
from itertools import combinations, product
from typing import Any

import numpy as np

from bncheck.algebra.notation import Tensor, gradient, indices_of, name_of, operands, tensor
from bncheck.algebra.program import Program, Step
from bncheck.calculus.chain import backward, uses
from bncheck.calculus.closed import terms
from bncheck.calculus.derivation import Derivation, normalised
from bncheck.numbers.arithmetic import Array, evaluate
from bncheck.place.elementary import elementary


@dataclass(frozen=True, eq=False)
class Known:
    """A right value: float64, one axis per axis of the program, of length 1 where it has none.

    ``weight``: of how many factors it is made, where that is known.
    """

    name: str
    value: Array
    weight: int = 9


@dataclass(frozen=True)
class Library:
    """All right values on one trial.

    ``nodes``: values of the forward pass by name; ``wholes``: gradients by name; ``parts``: what
    single paths contribute to a gradient; ``sums``: what several contribute together; ``others``:
    terms and products; ``roles``: which node a role of ``names`` is; ``counts``: sizes
    of the axes; ``together``: how many values are normalised together; ``width``: of gamma.
    """

    nodes: dict[str, Known]
    wholes: dict[str, Known]
    parts: dict[str, tuple[Known, ...]]
    sums: dict[str, tuple[Known, ...]]
    others: tuple[Known, ...]
    roles: dict[str, str]
    counts: dict[str, int]
    together: int
    width: int

    def named(self) -> Iterator[Known]:
        """Values with a name, the plainest first."""
        yield from self.nodes.values()
        yield from self.wholes.values()
        for several in joined(self.parts.values(), self.sums.values()):
            yield from several


def library(found: Derivation, values: Mapping[str, Any]) -> Library:
    """The right values for the inputs of one trial, by the program's names."""
    nodes: dict[str, Known] = {}
    wholes: dict[str, Known] = {}
    parts: dict[str, list[Known]] = {}
    sums: dict[str, tuple[Known, ...]] = {}
    for forward in (elementary(found.forward), found.forward):
        got = _evaluated(forward, values)
        nodes |= {n: k for n, k in got.items() if n in forward.tensors}
        own: dict[str, list[Known]] = {}
        for name, known in got.items():
            if "|" in name:
                own.setdefault(name.partition("|")[0], []).append(known)
            elif name not in forward.tensors:
                wholes[name] = known
        for name, several in own.items():
            parts.setdefault(name, []).extend(several)
            sums[name] = (*sums.get(name, ()), *_sums(several))
    given = dict(zip(map(str, found.forward.axes), _frame(found.forward, nodes), strict=True))
    together = int(np.prod([given[str(i)] for i in normalised(found.forward)]))
    made = _products(found.forward, nodes, wholes)
    return Library(
        nodes, wholes, {n: tuple(p) for n, p in parts.items()}, sums,
        (*_closed(found, values, nodes), *made), _roles(found.forward), given,
        together, nodes["gamma"].value.size if "gamma" in nodes else 0,
    )  # fmt: skip


def _evaluated(forward: Program, values: Mapping[str, Any]) -> dict[str, Known]:
    """Forward and backward steps, and as ``name|number`` the single contributions."""
    chain = backward(forward)
    paths = []
    for step in chain.steps:
        source = next(a for a in forward.tensors.values() if gradient(a) == step.target)
        for number, use in enumerate(uses(forward, source)):
            at, name = indices_of(step.target), f"{name_of(step.target)}|{number}"
            paths.append(Step(tensor(name)[at] if at else tensor(name), use.contribution))
    upstream = chain.inputs[: len(forward.outputs)]
    whole = replace(
        forward,
        inputs=(*upstream, *forward.inputs),
        steps=(*forward.steps, *chain.steps, *paths),
        outputs=chain.outputs,
        wrt=(),
    )
    return _values_of(whole, values)


def _values_of(program: Program, values: Mapping[str, Any]) -> dict[str, Known]:
    doubles = {name: np.asarray(values[name], np.float64) for name in map(name_of, program.inputs)}
    got = evaluate(program, doubles)
    return {n: Known(n, _opened(program, a, got[n].value)) for n, a in program.tensors.items()}


def _opened(program: Program, operand: Tensor, value: Array) -> Array:
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


def _frame(forward: Program, nodes: Mapping[str, Known]) -> tuple[int, ...]:
    return np.broadcast_shapes(*(nodes[name_of(a)].value.shape for a in forward.inputs))


def _sums(parts: list[Known]) -> Iterator[Known]:
    for several in range(2, len(parts) + 1):
        for some in combinations(parts, several):
            name = some[0].name.partition("|")[0]
            yield Known(name, np.asarray(sum(k.value for k in some)))


def _closed(
    found: Derivation, values: Mapping[str, Any], nodes: Mapping[str, Known]
) -> Iterator[Known]:
    """Terms of the closed form and their sums, also before the common factors are put on."""
    ready = {**{n: k.value for n, k in nodes.items()}, **values}
    known = {n: ready[n] for n in map(name_of, found.forward.inputs)}
    forward = {n: b.value for n, b in evaluate(found.forward, known).items()} | {
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
    for known_sum in (*parts, *_sums(parts)):
        for scale, bare in product(scales, (np.ones(1), 1 / gamma)):
            yield Known("", known_sum.value * scale * bare)


def _products(
    forward: Program, nodes: Mapping[str, Known], wholes: Mapping[str, Known]
) -> Iterator[Known]:
    """Products of small degree of upstream, gamma, x or the normalised value, and sd."""
    one = np.ones((1,) * len(forward.axes))
    full, roots = _normalised_value(forward), _roots(forward)
    hat = nodes[full].value if full else one
    root = nodes[roots[0]].value if roots else one
    gamma = nodes["gamma"].value if "gamma" in nodes else one
    x = nodes[name_of(forward.inputs[0])].value
    dy = wholes["d" + name_of(forward.outputs[0])].value
    bodies = [
        ("1", one, 0),
        ("hat", hat, 1),
        ("hat2", hat * hat, 2),
        ("x", x, 2),
    ]  # right ones read x itself but rarely
    along = normalised(forward)
    group = tuple(k for k, i in enumerate(forward.axes) if i in along)
    others = tuple(k for k, i in enumerate(forward.axes) if i not in along)
    sums = []
    for up, (word, body, degree), scale in product((0, 1), bodies, (0, 1)):
        base = dy**up * body * gamma**scale
        for power in range(-4, 3):
            # in powers of the centred value fewer factors of sd may be needed
            cost = min(abs(power - c) for c in range(degree + 1)) if "hat" in word else abs(power)
            # gamma*dy has a name, and counts as one
            value, weight = base * root**power, max(up, scale) + degree + cost
            yield Known("", value, weight)
            for axes in (group, others) if up or degree else ():
                yield Known("", value.sum(axis=axes, keepdims=True), weight)
        if up and word in ("1", "hat"):
            sums.append((base.sum(axis=group, keepdims=True), 1 + degree))
    for (total, weight), body, power in product(sums, (one, hat), range(-4, 2)):
        for factor, extra in ((one, 0), (gamma, 1)):
            yield Known("", total * body * root**power * factor, weight + 2 + abs(power) + extra)


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
