"""Backward programs with one change: what somebody may have written instead.

Each is made by changing the program, so that every layer has its own: a path cut, a sign, a
count, an operand in another's place, eps left out. None is a formula of its own.
"""

from collections.abc import Iterator
from functools import cache, partial
from typing import Any

from sympy import Add, Expr, Integer, Mul, Pow, S

from bncheck.algebra.notation import Mean, Tensor, Total, indices_of, name_of, operands, size
from bncheck.algebra.program import Program, Step
from bncheck.algebra.spelling import plain
from bncheck.calculus.closed import terms
from bncheck.calculus.derivation import Derivation, normalised
from bncheck.cause.hypothesis import Hypothesis, Question, by_program, is_statistic, knowing
from bncheck.telling.codes import found
from bncheck.telling.sentences import ROOTS
from bncheck.writers.formulas.unicode import line


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
    derivation, gradient = question.derivation, question.gradient
    along = normalised(derivation.forward)
    if derivation.order == 1 and len(along) > 1:
        step = derivation.closed.step(derivation.closed.tensors[gradient])
        parts = terms(step)
        for chosen in _subsets(len(parts)):
            yield from _counted(derivation, step, parts, chosen, Mul(*map(size, along)))


def edits(question: Question) -> tuple[Hypothesis, ...]:
    """Programs with one edit in one step, in the order of the backward pass."""
    return _edits(question.derivation) if question.derivation.order == 1 else ()


def _paths(derivation: Derivation) -> Iterator[Hypothesis]:
    """The gradient through a statistic lost, or with its sign flipped; and through all of them."""
    chain, put = derivation.chain, partial(_with, derivation, derivation.chain)
    inner = [
        s for s in chain.steps if s.target not in chain.outputs and is_statistic(s, derivation)
    ]
    named = {s.target: _statistic_name(derivation, s.target) for s in inner}
    for step in reversed(inner):
        cut = found("path-missing", statistic=named[step.target])
        yield by_program(cut, put(step, S.Zero))
    steps = (Step(s.target, S.Zero, s.note) if s.target in named else s for s in chain.steps)
    yield by_program(found("paths-missing"), knowing(derivation, chain, steps))
    for step in reversed(inner):
        flipped = found("path-sign", statistic=named[step.target])
        yield by_program(flipped, put(step, -step.expr))


def _terms(derivation: Derivation, gradient: str) -> Iterator[Hypothesis]:
    """One term, or every term, of the closed gradient with another count or factor."""
    closed = derivation.closed
    step = closed.step(closed.tensors[gradient])
    parts = terms(step)
    summed = partial(_summed, derivation, step, parts)
    for length in dict.fromkeys(size(i) for i in normalised(derivation.forward)):
        for chosen in _subsets(len(parts)):
            yield from _counted(derivation, step, parts, chosen, length)
    for factor, form in ((Integer(2), "term-twice"), (S.Half, "term-half")):
        for k, part in enumerate(parts):
            yield by_program(found("factor", form, term=line(part)), summed({k: factor}))
    for k, part in enumerate(parts):
        name = line(part)
        yield by_program(found("term-missing", "term", term=name), summed({k: S.Zero}))
        yield by_program(found("term-sign", "term", term=name), summed({k: S.NegativeOne}))


def _counted(
    derivation: Derivation,
    step: Step,
    parts: tuple[Expr, ...],
    chosen: tuple[int, ...],
    length: Expr,
) -> Iterator[Hypothesis]:
    if not all(parts[k].has(n) for k in chosen for n in length.free_symbols):
        return
    n, there = str(length), tuple(line(parts[k]) for k in chosen)
    others = [size(i) for i in derivation.forward.axes if size(i) != length]
    for finding, factor in (
        (found("count-minus-1", length=n, terms=there), length / (length - 1)),
        (found("count-plus-1", length=n, terms=there), (length - 1) / length),
        (found("sum-for-mean", terms=there), length),
        (found("mean-of-mean", length=n, terms=there), 1 / length),
        *((found("count-axis", other=str(o), length=n, terms=there), length / o) for o in others),
    ):
        yield by_program(finding, _summed(derivation, step, parts, dict.fromkeys(chosen, factor)))


def _operands(derivation: Derivation, gradient: str) -> Iterator[Hypothesis]:
    """Another value in an operand's place: gamma forgotten, x for xhat, variance for its root."""
    closed = derivation.closed
    target = closed.tensors[gradient]
    for code, form, arguments, put in _replacements(derivation):
        everywhere = (Step(s.target, s.expr.xreplace(put), s.note) for s in closed.steps)
        yield by_program(found(code, form, **arguments), knowing(derivation, closed, everywhere))
        for step in closed.steps:
            if put.keys() & set(operands(step.expr)) and len(closed.steps) > 1:
                where = None if step.target == target else name_of(step.target)
                changed = _with(derivation, closed, step, step.expr.xreplace(put))
                yield by_program(found(code, form, **arguments, where=where), changed)


_Replacement = tuple[str, str, dict[str, Any], dict[Tensor, Expr]]
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
    for other, form, root in others:
        arguments = {"other": line(other), "operand": name_of(a)}
        divisor = {"root": name_of(root)} if root is not None else {}
        yield "operand", form, {**arguments, **divisor}, {a: other}


def _whole(derivation: Derivation, gradient: str) -> Iterator[Hypothesis]:
    """The whole gradient by a factor: its sign, the batch size, nothing at all."""
    closed = derivation.closed
    step = closed.step(closed.tensors[gradient])
    put = partial(_with, derivation, closed, step)
    counts = [size(i) for i in derivation.forward.axes if size(i) not in operands(step.target)]
    up = derivation.upstream[0]
    said = {"gradient": gradient}
    if derivation.order == 1 and indices_of(up) == indices_of(step.target):
        yield by_program(found("handed-on", **said, upstream=name_of(up)), put(up))
    yield by_program(found("sign", "whole", **said), put(-step.expr))
    for count in counts if derivation.order == 1 else ():
        said["count"] = str(count)
        yield by_program(found("divided-by-count", **said), put(step.expr / count))
        yield by_program(found("times-count", **said), put(step.expr * count))
    yield by_program(found("zero", gradient=gradient), put(S.Zero))


def _statistic_name(derivation: Derivation, gradient: Tensor) -> str:
    name = name_of(gradient)[1:]
    forward = derivation.forward
    return forward.step(forward.tensors[name]).note.split(",")[0] or name


def _subsets(count: int) -> list[tuple[int, ...]]:
    single = [(k,) for k in range(count)]
    pairs = [(a, b) for a in range(count) for b in range(a + 1, count)]
    return [*single, *pairs, *([tuple(range(count))] if count > 2 else [])]


def _summed(
    derivation: Derivation, step: Step, parts: tuple[Expr, ...], factors: dict[int, Expr]
) -> Program:
    changed = (Mul(factors.get(k, S.One), part) for k, part in enumerate(parts))
    return _with(derivation, derivation.closed, step, Add(*changed))


def _with(derivation: Derivation, program: Program, step: Step, expr: Expr) -> Program:
    """The program with another right-hand side in one step."""
    steps = (Step(s.target, expr, s.note) if s == step else s for s in program.steps)
    return knowing(derivation, program, steps)


# -- one edit in one step: a factor, a sign, a power, a count, an operand ------------------------

_FACTORS = (
    (S.NegativeOne, "sign", "part"),
    (S.Zero, "term-missing", "part"),
    (Integer(2), "factor", "part-twice"),
    (S.Half, "factor", "part-half"),
)

_Edit = tuple[str, str, dict[str, Any], Expr]
"""Code, form and arguments, and the changed right-hand side."""


@cache
def _edits(derivation: Derivation) -> tuple[Hypothesis, ...]:
    return tuple(
        by_program(
            found(code, form, **arguments, where=name_of(step.target)),
            _with(derivation, program, step, expr),
        )
        for program in (derivation.chain, derivation.closed)
        for step in program.steps
        for code, form, arguments, expr in _edited(derivation, step)
    )


def _edited(derivation: Derivation, step: Step) -> Iterator[_Edit]:
    parts = Add.make_args(step.expr)
    for part in parts:
        rest = step.expr - part
        name = plain(part) if len(parts) > 1 else name_of(step.target)
        for factor, code, form in _FACTORS:
            yield code, form, {"part": name}, rest + factor * part
        for code, form, arguments, changed in _powers(part):
            yield code, form, arguments, rest + changed
    yield from _counts(derivation, step)
    yield from _sums(step.expr)
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
            parts = [_recounted(part, length, other) for part in Add.make_args(step.expr)]
            if Add(*parts) != step.expr:
                yield "count", "", said, Add(*parts)
            for node in means:
                if length in map(size, node.over):
                    yield "count", "", said, step.expr.xreplace({node: node * length / other})


def _recounted(part: Expr, length: Expr, other: Expr) -> Expr:
    factors = Mul.make_args(part)
    return Mul(*(f.xreplace({length: other}) if not operands(f) else f for f in factors))


def _sums(expr: Expr) -> Iterator[_Edit]:
    """A sum for a mean, a mean for a sum, none at all for the mean of what it runs over."""
    for node in sorted(expr.atoms(Total), key=str):
        count = Mul(*(size(i) for i in node.over))
        if isinstance(node, Mean):
            yield "sum-for-mean", "", {}, expr.xreplace({node: count * node})
        else:
            yield "mean-for-sum", "", {}, expr.xreplace({node: node / count})


def _swapped(derivation: Derivation, step: Step) -> Iterator[_Edit]:
    """Another value of the same indices in an operand's place, and means left out."""
    there = (*derivation.upstream, *derivation.forward.inputs, *derivation.forward.targets)
    for operand in operands(step.expr):
        for other in there:
            if other != operand and indices_of(other) == indices_of(operand) != ():
                said = {"other": name_of(other), "operand": name_of(operand)}
                yield "operand", "", said, step.expr.xreplace({operand: other})
        if name_of(operand) == "mu":
            yield "operand", "centred", {}, step.expr.xreplace({operand: S.Zero})
    for inner in sorted(step.expr.atoms(Total), key=str):
        for operand in operands(inner):
            if name_of(operand) == "mu":
                changed = inner.xreplace({operand: S.Zero})
                yield "operand", "centred", {}, step.expr.xreplace({inner: changed})
