"""Backward programs with one change: what somebody may have written instead.

Each is made by changing the program, so that every layer has its own: a path cut, a sign, a count,
an operand in another's place, eps left out, sums over other axes. None is a formula of its own.
"""

from collections.abc import Iterator, Mapping
from functools import cache, partial
from itertools import chain, combinations
from typing import Any

from sympy import Add, Expr, Integer, Mul, Pow, S, Symbol

from bncheck.algebra.notation import (
    Mean,
    Tensor,
    Total,
    count,
    indices_of,
    name_of,
    operands,
    size,
    tensor,
)
from bncheck.algebra.program import Step
from bncheck.algebra.spelling import plain
from bncheck.calculus.closed import terms
from bncheck.calculus.derivation import Derivation, normalised
from bncheck.cause.hypothesis import (
    Hypothesis,
    Question,
    by_change,
    by_steps,
    is_statistic,
    with_expressions,
)
from bncheck.telling.codes import found
from bncheck.telling.sentences import ROOTS
from bncheck.writers.formulas.unicode import line

Arguments = dict[str, Any]


def changes(question: Question) -> Iterator[Hypothesis]:
    """Changed programs for one gradient, the likeliest first; in second order of the whole only."""
    derivation, gradient = question.derivation, question.gradient
    if not question.of_input:
        yield from _whole(derivation, gradient)
    if derivation.order == 1:
        yield from _paths(derivation)
        yield from _terms(derivation, gradient)
        yield from _operands(derivation, gradient)
        yield from _whole(derivation, gradient)


def joint_counts(question: Question) -> Iterator[Hypothesis]:
    """Where a group lies along several axes: terms with another count than that of its values."""
    derivation, along = question.derivation, normalised(question.derivation.forward)
    if derivation.order == 1 and len(along) > 1:
        yield from _counted(derivation, question.gradient, Mul(*map(size, along)))


def edits(question: Question) -> tuple[Hypothesis, ...]:
    """Programs with one edit in one step, in the order of the backward pass."""
    return _edits(question.derivation) if question.derivation.order == 1 else ()


def elsewhere(question: Question) -> tuple[Hypothesis, ...]:
    """For the gradient of the input: sums over other axes, and gamma outside the sums.

    In layer norm and its kin gamma differs within a group: it does not commute with the sums.
    """
    return _elsewhere(question.derivation) if question.of_input else ()


def _paths(derivation: Derivation) -> Iterator[Hypothesis]:
    """The gradient through a statistic lost, or with its sign flipped; and through all of them."""
    program, forward = derivation.chain, derivation.forward
    change = partial(by_change, derivation=derivation, program=program)
    inner = {
        s.target: (s.expr, forward.step(forward.tensors[name]).note.split(",")[0] or name)
        for s in reversed(program.steps)
        if s.target not in program.outputs and is_statistic(s, derivation)
        for name in (name_of(s.target)[1:],)
    }
    for target, (_, name) in inner.items():
        yield change(found("path-missing", statistic=name), put={target: S.Zero})
    yield change(found("paths-missing"), put=dict.fromkeys(inner, S.Zero))
    for target, (expr, name) in inner.items():
        yield change(found("path-sign", statistic=name), put={target: -expr})


def _terms(derivation: Derivation, gradient: str) -> Iterator[Hypothesis]:
    """One term, or every term, of the closed gradient with another count or factor."""
    for length in dict.fromkeys(size(i) for i in normalised(derivation.forward)):
        yield from _counted(derivation, gradient, length)
    parts, target = _parts(derivation, gradient)
    change = partial(by_change, derivation=derivation, program=derivation.closed)
    for factors in (
        ((Integer(2), "factor", "term-twice"),),
        ((S.Half, "factor", "term-half"),),
        ((S.Zero, "term-missing", "term"), (S.NegativeOne, "term-sign", "term")),
    ):
        for k, part in enumerate(parts):
            for factor, code, form in factors:
                put = {target: _scaled(parts, {k: factor})}
                yield change(found(code, form, term=line(part)), put=put)


def _counted(derivation: Derivation, gradient: str, length: Expr) -> Iterator[Hypothesis]:
    """Another count than ``length`` in one term, in two, or in all."""
    n, (parts, target) = str(length), _parts(derivation, gradient)
    others = [size(i) for i in derivation.forward.axes if size(i) != length]
    places = range(len(parts))
    subsets = [*combinations(places, 1), *combinations(places, 2)]
    for chosen in [*subsets, *([tuple(places)] if len(parts) > 2 else [])]:
        if not all(parts[k].has(symbol) for k in chosen for symbol in length.free_symbols):
            continue
        there = tuple(line(parts[k]) for k in chosen)
        for code, said, factor in (
            ("count-minus-1", {"length": n}, length / (length - 1)),
            ("count-plus-1", {"length": n}, (length - 1) / length),
            ("sum-for-mean", {}, length),
            ("mean-of-mean", {"length": n}, 1 / length),
            *(("count-axis", {"other": str(o), "length": n}, length / o) for o in others),
        ):
            put = {target: _scaled(parts, dict.fromkeys(chosen, factor))}
            finding = found(code, **said, terms=there)
            yield by_change(finding, derivation, derivation.closed, put)


def _parts(derivation: Derivation, gradient: str) -> tuple[tuple[Expr, ...], Tensor]:
    """The terms of a closed gradient, and what they are the terms of."""
    target = derivation.closed.tensors[gradient]
    return terms(derivation.closed.step(target)), target


def _scaled(parts: tuple[Expr, ...], factors: Mapping[int, Expr]) -> Expr:
    return Add(*(factors.get(k, S.One) * part for k, part in enumerate(parts)))


def _operands(derivation: Derivation, gradient: str) -> Iterator[Hypothesis]:
    """Another value in an operand's place: gamma forgotten, x for xhat, variance for its root."""
    closed = derivation.closed
    change = partial(by_change, derivation=derivation, program=closed)
    for code, form, said, values in _replacements(derivation):
        put = {s.target: s.expr.xreplace(values) for s in closed.steps}
        yield change(found(code, form, **said), put=put)
        for step in closed.steps:
            if values.keys() & set(operands(step.expr)) and len(closed.steps) > 1:
                where = name_of(step.target)
                finding = found(code, form, **said, where=None if where == gradient else where)
                yield change(finding, put={step.target: put[step.target]})


_Replacement = tuple[str, str, Arguments, dict[Tensor, Expr]]
"""Code, form and arguments, and what stands for what."""


def _replacements(derivation: Derivation) -> Iterator[_Replacement]:
    forward = derivation.forward
    gamma, beta = forward.tensors.get("gamma"), forward.tensors.get("beta")
    roots = [s for s in forward.steps if s.expr.is_Pow and not s.expr.has(Total)]
    full = [a for a in derivation.cached if set(indices_of(a)) == set(forward.axes)]
    if gamma is not None and gamma in derivation.cached:
        yield "gamma-missing", "", {}, {gamma: S.One}
        yield "gamma-twice", "", {}, {gamma: gamma**2}
        if beta is not None:
            yield "beta-for-gamma", "", {}, {gamma: beta}
    for root in roots:
        yield from _of_root(derivation, root, full)
    for a in full:
        yield from _of_full(derivation, a, [root.target for root in roots])
    if gamma is not None:
        (up,) = derivation.upstream
        yield "gamma-extra", "", {"upstream": name_of(up)}, {up: gamma * up}


def _of_root(derivation: Derivation, step: Step, full: list[Tensor]) -> Iterator[_Replacement]:
    """Another power of the standard deviation, and one without eps."""
    root, name, eps = step.target, name_of(step.target), derivation.forward.tensors.get("eps")
    yield "variance-for-sd", "square", {"root": name}, {root: root**2}
    for what, value in (("missing", S.One), ("multiplied", 1 / root), ("root", root**S.Half)):
        code = f"{name if name in ROOTS else 'root'}-{what}"
        yield code, "", {"root": name}, {root: value}
    if eps is None:
        return
    bare = step.expr.xreplace({eps: S.Zero})
    normal = {a: a * root / bare for a in full}
    yield "eps-missing", "", {}, {root: bare, **normal}
    yield "eps-missing", "", {"at": name}, {root: bare}
    for a in full:
        yield "eps-missing", "", {"at": name_of(a)}, {a: normal[a]}


def _of_full(derivation: Derivation, a: Tensor, roots: list[Tensor]) -> Iterator[_Replacement]:
    """Other values for a normalised one: the input, the output, one division more or less."""
    first, out = derivation.forward.inputs[0], derivation.forward.outputs[0]
    gamma = derivation.forward.tensors.get("gamma")
    others: list[tuple[Expr, str, Tensor | None]] = [(first, "", None), (out, "", None)]
    for root in roots:
        others += [(a * root, "undivided", root), (a / root, "divided", root)]
    if gamma is not None and set(indices_of(gamma)) < set(indices_of(a)):
        others.append((out / gamma, "beta", None))
    for other, form, by in others:
        divisor = {} if by is None else {"root": name_of(by)}
        yield "operand", form, {"other": line(other), "operand": name_of(a), **divisor}, {a: other}


def _whole(derivation: Derivation, gradient: str) -> Iterator[Hypothesis]:
    """The whole gradient by a factor: its sign, the batch size, nothing at all."""
    closed, up, said = derivation.closed, derivation.upstream[0], {"gradient": gradient}
    target = closed.tensors[gradient]
    expr, first = closed.step(target).expr, derivation.order == 1

    def change(code: str, other: Expr, form: str = "", **more: str) -> Hypothesis:
        return by_change(found(code, form, **said, **more), derivation, closed, {target: other})

    if first and indices_of(up) == indices_of(target):
        yield change("handed-on", up, upstream=name_of(up))
    yield change("sign", -expr, "whole")
    for length in map(size, derivation.forward.axes) if first else ():
        if length not in operands(target):
            yield change("divided-by-count", expr / length, count=str(length))
            yield change("times-count", expr * length, count=str(length))
    yield change("zero", S.Zero)


# -- one edit in one step: a factor, a sign, a power, a count, an operand ------------------------

_FACTORS = (
    (S.NegativeOne, "sign", "part"),
    (S.Zero, "term-missing", "part"),
    (Integer(2), "factor", "part-twice"),
    (S.Half, "factor", "part-half"),
)

_Edit = tuple[str, str, Arguments, Expr]
"""Code, form and arguments, and the changed right-hand side."""


@cache
def _edits(derivation: Derivation) -> tuple[Hypothesis, ...]:
    return tuple(
        by_change(
            found(code, form, **said, where=name_of(step.target)),
            derivation, program, {step.target: expr},
        )
        for program in (derivation.chain, derivation.closed)
        for step in program.steps
        for code, form, said, expr in _edited(derivation, step)
    )  # fmt: skip


def _edited(derivation: Derivation, step: Step) -> Iterator[_Edit]:
    parts = Add.make_args(step.expr)
    for part in parts:
        rest = step.expr - part
        name = plain(part) if len(parts) > 1 else name_of(step.target)
        for factor, code, form in _FACTORS:
            yield code, form, {"part": name}, rest + factor * part
        for code, form, said, changed in _powers(part):
            yield code, form, said, rest + changed
    yield from _counts(derivation, step)
    for node in sorted(step.expr.atoms(Total), key=str):
        length, mean = count(node.over), isinstance(node, Mean)
        other = node * length if mean else node / length
        code = "sum-for-mean" if mean else "mean-for-sum"
        yield code, "", {}, step.expr.xreplace({node: other})
    yield from _swapped(derivation, step)


def _powers(part: Expr) -> Iterator[_Edit]:
    """Factors of another power: 1/sd for 1/sd**2, gamma left out, gamma twice."""
    factors = Mul.make_args(part)
    for factor in factors:
        base, exponent = factor.as_base_exp()
        if not operands(base) or isinstance(base, Total) or base.is_Add:
            continue
        rest = Mul(*(f for f in factors if f is not factor))
        for other in (0, 1, 2, -1, -2, -3, S.Half):
            if other != exponent and (exponent == 1) == (other >= 0):
                there = {"other": plain(Pow(base, other))} if other else {}
                form = "" if other else "nothing"
                yield "power", form, {**there, "operand": plain(factor)}, rest * base**other
        if exponent == -1:
            yield "multiplied", "", {"operand": plain(base)}, rest * base


def _counts(derivation: Derivation, step: Step) -> Iterator[_Edit]:
    """Another number of terms where one stands openly or in a mean: m - 1, another axis, none."""
    lengths = [size(i) for i in derivation.forward.axes]
    means = [node for node in sorted(step.expr.atoms(Total), key=str) if isinstance(node, Mean)]
    for length in lengths:
        others: list[Any] = [length - 1, S.One, *(n for n in lengths if n != length)]
        for other in others:
            said = {"other": str(other), "length": str(length)}
            expr = Add(*(_recounted(part, length, other) for part in Add.make_args(step.expr)))
            if expr != step.expr:
                yield "count", "", said, expr
            for node in means:
                if length in map(size, node.over):
                    yield "count", "", said, step.expr.xreplace({node: node * length / other})


def _recounted(part: Expr, length: Expr, other: Expr) -> Expr:
    factors = Mul.make_args(part)
    return Mul(*(f if operands(f) else f.xreplace({length: other}) for f in factors))


def _swapped(derivation: Derivation, step: Step) -> Iterator[_Edit]:
    """Another value of the same indices in an operand's place, and means left out."""
    there = (*derivation.upstream, *derivation.forward.inputs, *derivation.forward.targets)
    sums = sorted(step.expr.atoms(Total), key=str)
    for operand in operands(step.expr):
        for other in there:
            if other != operand and indices_of(other) == indices_of(operand) != ():
                said = {"other": name_of(other), "operand": name_of(operand)}
                yield "operand", "", said, step.expr.xreplace({operand: other})
    for operand in (a for a in operands(step.expr) if name_of(a) == "mu"):
        for part in (step.expr, *(node for node in sums if operand in operands(node))):
            bare = part.xreplace({operand: S.Zero})
            yield "operand", "centred", {}, step.expr.xreplace({part: bare})


# -- other axes ----------------------------------------------------------------------------------


@cache
def _elsewhere(derivation: Derivation) -> tuple[Hypothesis, ...]:
    return (*_gammas(derivation), *_axes(derivation))


def _gammas(derivation: Derivation) -> Iterator[Hypothesis]:
    closed, gamma = derivation.closed, derivation.forward.tensors.get("gamma")
    if gamma is None or not set(indices_of(gamma)) & set(normalised(derivation.forward)):
        return
    last = closed.tensors[name_of(derivation.chain.outputs[0])]
    for finding, inside in (
        (found("gamma-outside"), S.One),
        (found("gamma-twice", "sums"), gamma),
    ):
        put = {s.target: s.expr.xreplace({gamma: inside}) for s in closed.steps}
        yield by_change(finding, derivation, closed, {**put, last: gamma * put[last]})


def _axes(derivation: Derivation) -> Iterator[Hypothesis]:
    """The sums of the closed form over any other axes; one of them, or all together.

    What does not commute with such a sum may stand inside it: gamma, the standard deviation.
    """
    closed, tensors = derivation.closed, derivation.forward.tensors
    last = closed.step(closed.tensors[name_of(derivation.chain.outputs[0])])
    sums = [s for s in closed.steps if s.target in operands(last.expr) and s.expr.has(Total)]
    frame = indices_of(last.target)
    roots = [s.target for s in derivation.forward.steps if s.expr.is_Pow and not s.expr.has(Total)]
    read = [a for a in (tensors.get("gamma"), *roots) if a in operands(last.expr)]
    for over in chain.from_iterable(combinations(frame, n) for n in range(1, len(frame) + 1)):
        inside = [S.One, *(a for a in read if set(indices_of(a)) & set(over))]
        for chosen in dict.fromkeys((*((s,) for s in sums), tuple(sums))):
            if all(set(over) != set(_over(s)) for s in chosen):
                for factor in inside:
                    yield from _summed(derivation, last, chosen, over, factor)


def _summed(
    derivation: Derivation,
    last: Step,
    chosen: tuple[Step, ...],
    over: tuple[Expr, ...],
    inside: Expr,
) -> Iterator[Hypothesis]:
    """The chosen sums over other axes, with a factor inside them."""
    said = {
        "over": tuple(str(size(i)) for i in over),
        "right": tuple(str(size(i)) for i in _over(chosen[0])),
        "sums": tuple(name_of(s.target) for s in chosen),
    }
    left = tuple(i for i in indices_of(last.target) if i not in over)
    for form in ("mean", "sum"):
        put, extra = {}, []
        for step in chosen:
            name = f"other_{name_of(step.target)}"
            other = tensor(name)[left] if left else Symbol(name, real=True)
            body = next(iter(step.expr.atoms(Total))).body
            factor = count(_over(step)) / count(over) if form == "mean" else S.One
            extra.append(Step(other, factor * Total(inside * body, *over)))
            put[step.target] = other / inside
        changed = with_expressions(derivation.closed, {last.target: last.expr.xreplace(put)})
        at = derivation.closed.targets.index(last.target)
        steps = (*changed[:at], *extra, *changed[at:])
        yield by_steps(found("axis", form, **said), derivation, derivation.closed, steps)


def _over(step: Step) -> tuple[Expr, ...]:
    return tuple(next(iter(step.expr.atoms(Total))).over)
