"""A program as one reads it: sums where they stand, and no index that means two things."""

from collections.abc import Iterable

from sympy import Add, Expr, S, Symbol

from bncheck.algebra.notation import Tensor, Total, indices_of
from bncheck.algebra.program import Program, Step
from bncheck.algebra.spelling import unclashed
from bncheck.calculus.derivation import Derivation, Rewriting


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
    inline = _inline(found)
    return tuple(
        Step(s.target, unclashed(s.expr.xreplace(inline), indices_of(s.target)), s.note)
        for s in steps
        if s.target not in inline
    )


def rewritings(found: Derivation) -> tuple[Rewriting, ...]:
    """The rewritings that lead to the closed form, with the same sums written out."""
    inline = _inline(found)
    return tuple(
        Rewriting(r.target, unclashed(r.expr.xreplace(inline), indices_of(r.target)), r.reason)
        for r in found.rewritings
    )


def action(found: Derivation) -> Step:
    """``S = sum(ddx*dx) + ...``: what second order takes the gradients of."""
    pairs = zip(found.upstream, found.forward.outputs, strict=True)
    products = ((up * out, indices_of(out)) for up, out in pairs)
    sums = (Total(body, *over) if over else body for body, over in products)
    return Step(Symbol("S", real=True), Add(*sums))


def _inline(found: Derivation) -> dict[Tensor, Expr]:
    return _sums(found.closed) | (_sums(found.origin.closed) if found.origin else {})


def _sums(program: Program) -> dict[Tensor, Expr]:
    return {
        s.target: s.expr
        for s in program.steps
        if isinstance(s.expr, Total) and s.target not in program.outputs
    }
