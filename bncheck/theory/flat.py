"""Sums of sums in one order: over the groups outside, over the values of a group inside.

``sum_j(a_j*sum_i(b_ij*c_i))`` and ``sum_i(c_i*sum_j(a_j*b_ij))`` are the same number and have two
normal forms; written so, they have one.
"""

from sympy import Add, Expr, Idx, Mul, S

from bncheck.algebra.notation import Total, carried, distribute, total


def in_one_order(expr: Expr, kept: frozenset[Idx]) -> Expr:
    """``expr`` with its sums over ``kept``, the axes that tell the groups apart, outside."""
    if isinstance(expr, Total):
        body = distribute(in_one_order(expr.body, kept))
        outer, inner = frozenset(expr.over) & kept, frozenset(expr.over) - kept
        return sum((_summed(term, outer, inner, kept) for term in Add.make_args(body)), S.Zero)
    if not expr.has(Total):
        return expr
    return expr.func(*(in_one_order(a, kept) for a in expr.args))


def _summed(term: Expr, outer: frozenset[Idx], inner: frozenset[Idx], kept: frozenset[Idx]) -> Expr:
    """The sum of a product, with the sums in it that belong beside its own opened."""
    factors = Mul.make_args(term)
    for factor in factors:
        if not isinstance(factor, Total) or isinstance(factor.body, Add):
            continue
        over, rest = frozenset(factor.over), [f for f in factors if f is not factor]
        if not (over & kept or carried(factor) & inner):
            continue
        beside = rest if over & kept else [f for f in rest if carried(f) & inner]
        bound = {i for f in beside for node in f.atoms(Total) for i in node.over}
        if over & (bound | outer | inner | carried(Mul(*rest))):
            continue
        return _summed(Mul(*rest, factor.body), outer | over & kept, inner | over - kept, kept)
    return total(total(term, inner), outer)
