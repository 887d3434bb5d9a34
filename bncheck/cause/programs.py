"""Backward programs with one change: what somebody may have written instead.

Each is made by changing the program, so that every layer has its own: a path cut, a sign, a
count, an operand in another's place, eps left out. None is a formula of its own.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from sympy import Add, Expr, Integer, Mul, S

from bncheck.algebra.notation import Tensor, Total, indices_of, name_of, operands, size
from bncheck.algebra.program import Program, Step
from bncheck.calculus.closed import terms
from bncheck.calculus.derivation import Derivation, normalised
from bncheck.writers.formulas.unicode import line


@dataclass(frozen=True)
class Change:
    """A changed backward program; ``code`` is short and stable, ``text`` says what was done.

    ``other``: the forward pass from which its operands with a prime come.
    """

    code: str
    text: str
    program: Program
    other: Program | None = None


def changes(found: Derivation, gradient: str) -> Iterator[Change]:
    """Changed programs for one gradient, ``dx`` say, the likeliest first."""
    if gradient != name_of(found.chain.outputs[0]):
        yield from _whole(found, gradient)
    yield from _paths(found)
    yield from _terms(found, gradient)
    yield from _operands(found, gradient)
    yield from _whole(found, gradient)


def _paths(found: Derivation) -> Iterator[Change]:
    """The gradient through a statistic lost, or with its sign flipped; and through all of them."""
    chain = found.chain
    inner = [s for s in chain.steps if s.target not in chain.outputs and is_statistic(s, found)]
    named = {s.target: _statistic_name(found, s.target) for s in inner}
    for step in reversed(inner):
        path = f"the path through the {named[step.target]}"
        yield Change("path-missing", f"{path} is missing", _with(found, chain, step, S.Zero))
    cut = {s.target for s in inner}
    steps = tuple(Step(s.target, S.Zero, s.note) if s.target in cut else s for s in chain.steps)
    yield Change(
        "paths-missing",
        "the statistics are held constant: the paths through them are missing",
        _known(found, chain, steps),
    )
    for step in reversed(inner):
        text = f"the sign of the path through the {named[step.target]} is flipped"
        yield Change("path-sign", text, _with(found, chain, step, -step.expr))


def _terms(found: Derivation, gradient: str) -> Iterator[Change]:
    """One term, or every term, of the closed gradient with another count or factor."""
    closed = found.closed
    step = closed.step(closed.tensors[gradient])
    parts = terms(step)
    for length in dict.fromkeys(size(i) for i in normalised(found.forward)):
        for chosen in _subsets(len(parts)):
            yield from _counted(found, step, parts, chosen, length)
    for factor, word in ((Integer(2), "twice"), (Integer(1) / 2, "half")):
        for k, part in enumerate(parts):
            text = f"the term {line(part)} is taken {word}"
            yield Change("factor", text, _summed(found, step, parts, {k: factor}))
    for k, part in enumerate(parts):
        text = f"the term {line(part)} is missing"
        yield Change("term-missing", text, _summed(found, step, parts, {k: S.Zero}))
        text = f"the term {line(part)} has the wrong sign"
        yield Change("term-sign", text, _summed(found, step, parts, {k: S.NegativeOne}))


def _counted(
    found: Derivation, step: Step, parts: tuple[Expr, ...], chosen: tuple[int, ...], length: Expr
) -> Iterator[Change]:
    counted = [k for k in chosen if parts[k].has(length)]
    if len(counted) < len(chosen):
        return
    others = [size(i) for i in found.forward.axes if size(i) != length]
    swaps = [
        ("count-minus-1", f"divided by {length} - 1 where {length} belongs", length / (length - 1)),
        ("count-plus-1", f"divided by {length} where {length} - 1 belongs", (length - 1) / length),
        ("sum-for-mean", "a sum where a mean belongs", length),
        ("mean-of-mean", f"divided by {length} once too often", 1 / length),
        *(("count-axis", f"divided by {o} where {length} belongs", length / o) for o in others),
    ]
    where = " and ".join(line(parts[k]) for k in chosen)
    for code, what, factor in swaps:
        text = f"{what}, in {where}"
        yield Change(code, text, _summed(found, step, parts, dict.fromkeys(chosen, factor)))


def _operands(found: Derivation, gradient: str) -> Iterator[Change]:
    """Another value in an operand's place: gamma forgotten, x for xhat, variance for its root."""
    closed = found.closed
    target = closed.tensors[gradient]
    for code, text, put in _replacements(found):
        everywhere = tuple(Step(s.target, s.expr.xreplace(put), s.note) for s in closed.steps)
        yield Change(code, f"{text}", _known(found, closed, everywhere))
        for step in closed.steps:
            if put.keys() & set(operands(step.expr)) and len(closed.steps) > 1:
                where = "" if step.target == target else f", in {name_of(step.target)}"
                changed = _with(found, closed, step, step.expr.xreplace(put))
                yield Change(code, f"{text}{where}", changed)


def _replacements(found: Derivation) -> Iterator[tuple[str, str, dict[Tensor, Expr]]]:
    forward, cached = found.forward, found.cached
    tensors = forward.tensors
    gamma, eps = tensors.get("gamma"), tensors.get("eps")
    roots = [s for s in forward.steps if s.expr.is_Pow and not s.expr.has(Total)]
    full = [a for a in cached if set(indices_of(a)) == set(forward.axes)]
    if gamma is not None and gamma in cached:
        yield "gamma-missing", "gamma is forgotten", {gamma: S.One}
        yield "gamma-twice", "gamma is counted twice", {gamma: gamma**2}
        if "beta" in tensors:
            yield "beta-for-gamma", "beta stands where gamma belongs", {gamma: tensors["beta"]}
    for root in roots:
        name = name_of(root.target)
        yield (
            "variance-for-sd",
            f"{name}**2 stands where {name} belongs: the root is missing",
            {root.target: root.target**2},
        )
        yield f"{name}-missing", f"the division by {name} is missing", {root.target: S.One}
        yield (
            f"{name}-multiplied",
            f"multiplied by {name}, not divided",
            {root.target: 1 / root.target},
        )
        yield (
            f"{name}-root",
            f"the root of {name} is taken twice",
            {root.target: root.target ** (S.One / 2)},
        )
        if eps is not None:
            bare = root.expr.xreplace({eps: S.Zero})
            normal = {a: a * root.target / bare for a in full}
            yield "eps-missing", "eps is forgotten", {root.target: bare, **normal}
            yield "eps-missing", f"eps is forgotten in {name}", {root.target: bare}
            for a in full:
                yield "eps-missing", f"eps is forgotten in {name_of(a)}", {a: normal[a]}
    for a in full:
        first = forward.inputs[0]
        others = [(first, ""), (forward.outputs[0], "")]
        for r in roots:
            sd = name_of(r.target)
            others.append((a * r.target, f": the division by {sd} is missing"))
            others.append((a / r.target, f": divided by {sd} once too often"))
        if gamma is not None and set(indices_of(gamma)) < set(indices_of(a)):
            others.append((forward.outputs[0] / gamma, ": beta is not subtracted from y"))
        for other, why in others:
            yield "operand", f"{line(other)} stands where {name_of(a)} belongs{why}", {a: other}
    if gamma is not None:
        (up,) = found.upstream
        yield (
            "gamma-extra",
            f"gamma*{name_of(up)} stands where {name_of(up)} belongs",
            {up: gamma * up},
        )


def _whole(found: Derivation, gradient: str) -> Iterator[Change]:
    """The whole gradient by a factor: its sign, the batch size, nothing at all."""
    closed = found.closed
    step = closed.step(closed.tensors[gradient])
    counts = [size(i) for i in found.forward.axes if size(i) not in operands(step.target)]
    (up,) = found.upstream
    if indices_of(up) == indices_of(step.target):
        text = f"{gradient} is {name_of(up)}, handed on as it came"
        yield Change("handed-on", text, _with(found, closed, step, up))
    yield Change("sign", f"{gradient} has the wrong sign", _with(found, closed, step, -step.expr))
    for count in counts:
        over = _with(found, closed, step, step.expr / count)
        yield Change("divided-by-count", f"{gradient} is divided by {count}", over)
        times = _with(found, closed, step, step.expr * count)
        yield Change("times-count", f"{gradient} is multiplied by {count}", times)
    yield Change("zero", f"{gradient} is zero", _with(found, closed, step, S.Zero))


def is_statistic(step: Step, found: Derivation) -> bool:
    """Whether a step's value is shared by a group."""
    return len(indices_of(step.target)) < len(found.forward.axes)


def _statistic_name(found: Derivation, gradient: Tensor) -> str:
    name = name_of(gradient)[1:]
    return found.forward.step(found.forward.tensors[name]).note.split(",")[0] or name


def _subsets(count: int) -> list[tuple[int, ...]]:
    single = [(k,) for k in range(count)]
    pairs = [(a, b) for a in range(count) for b in range(a + 1, count)]
    return [*single, *pairs, *([tuple(range(count))] if count > 2 else [])]


def _summed(
    found: Derivation, step: Step, parts: tuple[Expr, ...], factors: dict[int, Expr]
) -> Program:
    changed = (Mul(factors.get(k, S.One), part) for k, part in enumerate(parts))
    return _with(found, found.closed, step, Add(*changed))


def _with(found: Derivation, program: Program, step: Step, expr: Expr) -> Program:
    steps = tuple(Step(s.target, expr, s.note) if s == step else s for s in program.steps)
    return _known(found, program, steps)


def known_to(
    found: Derivation,
    code: str,
    text: str,
    program: Program,
    steps: tuple[Step, ...],
    put: Mapping[Tensor, Tensor] | None = None,
) -> Change:
    """A change that may read every value of the forward pass, and ``put`` of another one."""
    inputs = (*found.upstream, *found.forward.inputs, *found.forward.targets)
    inputs += tuple((put or {}).values())
    return Change(code, text, replace(program, inputs=inputs, steps=steps))


def _known(found: Derivation, program: Program, steps: tuple[Step, ...]) -> Program:
    """The program with these steps; it may read every value of the forward pass."""
    forward = found.forward
    inputs = (*found.upstream, *forward.inputs, *forward.targets)
    return replace(program, inputs=inputs, steps=steps)
