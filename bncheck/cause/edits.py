"""Chain-rule programs with one edit in one step: a factor, a sign, a power, a count, an operand."""

from collections.abc import Iterator
from typing import Any

from sympy import Add, Expr, Integer, Mul, Pow, S

from bncheck.algebra.notation import Mean, Total, indices_of, name_of, operands, size
from bncheck.algebra.program import Step
from bncheck.algebra.spelling import plain
from bncheck.calculus.derivation import Derivation
from bncheck.cause.programs import Change, known_to

FACTORS = (
    (S.NegativeOne, "sign", "the sign of {} is flipped"),
    (S.Zero, "term-missing", "{} is missing"),
    (Integer(2), "factor", "{} is taken twice"),
    (S.One / 2, "factor", "{} is taken half"),
)


def edits(found: Derivation) -> Iterator[Change]:
    """Programs with one edit, step by step in the order of the backward pass."""
    for program in (found.chain, found.closed):
        for step in program.steps:
            for code, text, expr in _edited(found, step):
                where = f"{text}, in {name_of(step.target)}"
                steps = tuple(
                    Step(s.target, expr, s.note) if s is step else s for s in program.steps
                )
                yield known_to(found, code, where, program, steps)


def _edited(found: Derivation, step: Step) -> Iterator[tuple[str, str, Expr]]:
    """Code, text and the changed right-hand side."""
    parts = Add.make_args(step.expr)
    for part in parts:
        rest = step.expr - part
        name = plain(part) if len(parts) > 1 else name_of(step.target)
        for factor, code, text in FACTORS:
            yield code, text.format(name), rest + factor * part
        for code, text, changed in _powers(part):
            yield code, text, rest + changed
    yield from _counts(found, step)
    yield from _sums(step.expr)
    yield from _swapped(found, step)


def _powers(part: Expr) -> Iterator[tuple[str, str, Expr]]:
    """Factors of another power: 1/sd for 1/sd**2, gamma left out, gamma twice."""
    factors = Mul.make_args(part)
    for factor in factors:
        base, exponent = factor.as_base_exp()
        if not operands(base) or isinstance(base, Total) or base.is_Add:
            continue
        rest = Mul(*(f for f in factors if f is not factor))
        for other in (0, 1, 2, -1, -2, -3, S.One / 2):
            if other != exponent and (exponent == 1) == (other >= 0):
                there = plain(Pow(base, other)) if other else "nothing"
                text = f"{there} stands where {plain(factor)} belongs"
                yield "power", text, rest * base**other
        if exponent == -1:
            text = f"multiplied by {plain(base)}, not divided"
            yield "multiplied", text, rest * base


def _counts(found: Derivation, step: Step) -> Iterator[tuple[str, str, Expr]]:
    """Another number of terms where one stands openly or in a mean: m - 1, another axis, none."""
    lengths = [size(i) for i in found.forward.axes]
    means = [node for node in sorted(step.expr.atoms(Total), key=str) if isinstance(node, Mean)]
    for length in lengths:
        others: list[Any] = [length - 1, S.One, *(n for n in lengths if n != length)]
        for other in others:
            text = f"{other} stands where {length} belongs"
            parts = [_recounted(part, length, other) for part in Add.make_args(step.expr)]
            if Add(*parts) != step.expr:
                yield "count", text, Add(*parts)
            for node in means:
                if length in map(size, node.over):
                    yield "count", text, step.expr.xreplace({node: node * length / other})


def _recounted(part: Expr, length: Expr, other: Expr) -> Expr:
    factors = Mul.make_args(part)
    return Mul(*(f.xreplace({length: other}) if not operands(f) else f for f in factors))


def _sums(expr: Expr) -> Iterator[tuple[str, str, Expr]]:
    """A sum for a mean, a mean for a sum, none at all for the mean of what it runs over."""
    for node in sorted(expr.atoms(Total), key=str):
        count = Mul(*(size(i) for i in node.over))
        if isinstance(node, Mean):
            yield "sum-for-mean", "a sum where a mean belongs", expr.xreplace({node: count * node})
        else:
            yield "mean-for-sum", "a mean where a sum belongs", expr.xreplace({node: node / count})


def _swapped(found: Derivation, step: Step) -> Iterator[tuple[str, str, Expr]]:
    """Another value of the same indices in an operand's place, and means left out."""
    there = (*found.upstream, *found.forward.inputs, *found.forward.targets)
    for operand in operands(step.expr):
        for other in there:
            if other != operand and indices_of(other) == indices_of(operand) != ():
                text = f"{name_of(other)} stands where {name_of(operand)} belongs"
                yield "operand", text, step.expr.xreplace({operand: other})
        if name_of(operand) == "mu":
            text = "x stands where x - mu belongs"
            yield "operand", text, step.expr.xreplace({operand: S.Zero})
    for inner in sorted(step.expr.atoms(Total), key=str):
        for operand in operands(inner):
            if name_of(operand) == "mu":
                text = "x stands where x - mu belongs"
                changed = inner.xreplace({operand: S.Zero})
                yield "operand", text, step.expr.xreplace({inner: changed})
