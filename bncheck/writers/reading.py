"""A program as one reads it: sums where they stand, and no index that means two things."""

from sympy import Expr, Idx, Mul, expand

from bncheck.algebra.notation import Tensor, Total, count, indices_of, size
from bncheck.algebra.program import Program, Step
from bncheck.calculus.closed import Rewriting
from bncheck.calculus.derivation import Derivation, normalised
from bncheck.calculus.jacobian import explicit

PRIME = "1"
"""The suffix of an index that is printed with a prime: ``i1`` is i prime."""


def shown(program: Program) -> tuple[Step, ...]:
    """The steps of a closed program, with the sums that only code needs written out."""
    inline = _inline(program)
    return tuple(
        Step(s.target, unclashed(s.expr.xreplace(inline), indices_of(s.target)), s.note)
        for s in program.steps
        if s.target not in inline
    )


def lines(found: Derivation) -> tuple[Rewriting, ...]:
    """The rewritings that lead to the closed form, with the same sums written out."""
    inline = _inline(found.closed)
    return tuple(
        Rewriting(r.target, unclashed(r.expr.xreplace(inline), indices_of(r.target)), r.reason)
        for r in found.rewritings
    )


def _inline(program: Program) -> dict[Tensor, Expr]:
    return {
        s.target: s.expr
        for s in program.steps
        if isinstance(s.expr, Total) and s.target not in program.outputs
    }


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
