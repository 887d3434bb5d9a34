"""A program as one reads it: sums where they stand, and no index that means two things."""

from collections.abc import Iterable

from sympy import Add, Expr, Idx, Mul, S, Symbol, expand

from bncheck.algebra.notation import Tensor, Total, count, indices_of, size
from bncheck.algebra.program import Program, Step
from bncheck.calculus.derivation import Derivation, Rewriting, normalised
from bncheck.calculus.jacobians import explicit

PRIME = "1"
"""The suffix of an index that is printed with a prime: ``i1`` is i prime."""


def shown(program: Program) -> tuple[Step, ...]:
    """The steps of a closed program, with the sums that only code needs written out."""
    return _without_sums(program.steps, _sums(program))


def results(found: Derivation) -> tuple[Step, ...]:
    """The steps of the closed form, with the sums written out.

    In second order also what is 0: the gradients with respect to inputs that no gradient reads.
    """
    layer, outputs = found.forward, {*found.closed.outputs}
    wrt = found.origin.wrt if found.origin else ()
    none = (layer.gradient(a) for a in wrt if layer.gradient(a) not in outputs)
    return (*written(found, found.closed.steps), *(Step(target, S.Zero) for target in none))


def written(found: Derivation, steps: Iterable[Step]) -> tuple[Step, ...]:
    """Steps without those that only give a sum its name; the sums stand where they are read."""
    return _without_sums(steps, _inline(found))


def action(found: Derivation) -> Step:
    """``S = sum(ddx*dx) + ...``: what second order takes the gradients of."""
    pairs = zip(found.upstream, found.forward.outputs, strict=True)
    products = ((up * out, indices_of(out)) for up, out in pairs)
    sums = (Total(body, *over) if over else body for body, over in products)
    return Step(Symbol("S", real=True), Add(*sums))


def lines(found: Derivation) -> tuple[Rewriting, ...]:
    """The rewritings that lead to the closed form, with the same sums written out."""
    inline = _inline(found)
    return tuple(
        Rewriting(r.target, unclashed(r.expr.xreplace(inline), indices_of(r.target)), r.reason)
        for r in found.rewritings
    )


def _inline(found: Derivation) -> dict[Tensor, Expr]:
    return _sums(found.closed) | (_sums(found.origin.closed) if found.origin else {})


def _sums(program: Program) -> dict[Tensor, Expr]:
    return {
        s.target: s.expr
        for s in program.steps
        if isinstance(s.expr, Total) and s.target not in program.outputs
    }


def _without_sums(steps: Iterable[Step], inline: dict[Tensor, Expr]) -> tuple[Step, ...]:
    return tuple(
        Step(s.target, unclashed(s.expr.xreplace(inline), indices_of(s.target)), s.note)
        for s in steps
        if s.target not in inline
    )


def unclashed(expr: Expr, free: tuple[Idx, ...]) -> Expr:
    """Sums over i inside an expression that carries i run over i prime instead."""
    if isinstance(expr, Total):
        body = unclashed(expr.body, (*free, *expr.over))
        clash = {i: primed(i) for i in expr.over if i in free}
        over = tuple(clash.get(i, i) for i in expr.over)
        return expr.func(body.xreplace(clash), *over)
    if not expr.has(Total):
        return expr
    return expr.func(*(unclashed(a, free) for a in expr.args), **_unevaluated(expr))


def primed(index: Idx) -> Idx:
    """The same axis by another letter: i prime."""
    return Idx(f"{index.label}{PRIME}", (index.lower, index.upper))


def _unevaluated(expr: Expr) -> dict[str, bool]:
    return {"evaluate": False} if expr.is_Mul or expr.is_Add else {}


LARGEST = 6
"""Rows of the largest Jacobian that is written out."""


def has_sizes(found: Derivation) -> bool:
    """Whether the normalised axes have numbers for sizes, so that a matrix can be written."""
    return all(size(i).is_number for i in normalised(found.forward))


def group_size(found: Derivation) -> int:
    """The number of values that are normalised together, where sizes are numbers."""
    return int(count(normalised(found.forward)))


def matrix(found: Derivation, name: str) -> tuple[Expr, list[list[Expr]]]:
    """The explicit Jacobian of one group as a shared factor and what is left of the entries."""
    entries = explicit(found, name)
    factors = [set(Mul.make_args(e)) for e in entries]
    shared = Mul(*(f for f in set.intersection(*factors) if not f.is_Add))
    numbers = [abs(Mul(*(f.primitive()[0] for f in Mul.make_args(e)))) for e in entries]
    shared /= max((number.q for number in numbers), default=1)
    rows = [[expand(e / shared) for e in entries.row(r)] for r in range(entries.rows)]
    return shared, rows
