"""The normal form of expressions about one layer: sums of monomials, equal ones brought together.

All is written by the normalised values: ``x = mu + sd*xhat``, ``eps = sd**2 - var``,
``sum(xhat) = 0`` and ``sum(xhat**2) = n*var/sd**2``, each read off the forward program. The rules
hold for every batch size, so two expressions with one normal form are equal for every batch size.
Sums of sums have several; ``in_one_order`` leaves one: over the groups outside, inside over the
values of a group.
"""

from dataclasses import dataclass, field
from functools import cache

from sympy import Add, Expr, Idx, Mul, Pow, S, Symbol, cancel, factorial, ff

from bncheck.algebra.notation import Tensor, Total, carried, distribute, has, total
from bncheck.calculus.closed import inverse
from bncheck.theory.parts import Words, sizes_of


@dataclass(frozen=True)
class Rules:
    """``values``: what is written by other names; ``sums``: sums that are known.

    ``conditions``: what is assumed besides; ``order``: infinitesimals whose squares vanish;
    ``places``: indices that run through the values of another in another order.
    """

    values: dict[Expr, Expr]
    sums: dict[Expr, Expr] = field(default_factory=dict)
    conditions: dict[Expr, Expr] = field(default_factory=dict)
    order: tuple[Symbol, ...] = ()
    places: dict[Idx, Idx] = field(default_factory=dict)
    sizes: frozenset[Symbol] = frozenset()


@cache
def rules(layer: Words) -> Rules:
    """What holds for a layer's values, by reading its forward program."""
    read = inverse(layer.forward)
    values: dict[Expr, Expr] = dict(read.values)
    if isinstance(layer.spread, Tensor) and layer.eps == 0:
        values[layer.spread] = layer.root**2
    elif isinstance(layer.spread, Tensor):
        values[layer.eps] = _solved_for_eps(layer)
    known = Rules(values, dict(read.zeros), sizes=frozenset(sizes_of(layer.forward)))
    if layer.spread not in layer.forward.inputs:
        known.sums[Total(layer.xhat**2, *layer.over)] = layer.freedom * (
            values.get(layer.spread, layer.spread) / layer.root**2
        )
    return known


def normal(expr: Expr, known: Rules) -> Expr:
    """The normal form of ``expr``."""
    expr = _in_order(_roots(expr.xreplace(known.values), known), known)
    expr = distribute(expr)
    for put in (known.sums, known.conditions):
        if put:
            expr = distribute(expr.xreplace(put))
    for infinitesimal in known.order:
        expr = _truncated(expr, infinitesimal)
    return _collected(expr, known.sizes)


def assumed(given: tuple[tuple[Expr, Expr], ...], layer: Words, known: Rules) -> Rules:
    """The rules with conditions: ``eps = 0`` is ``var = sd**2``, the others are put as they are."""
    conditions: dict[Expr, Expr] = {}
    for left, right in given:
        if left == layer.eps and left in known.values:
            conditions[layer.spread] = layer.root**2 - right
        elif not (isinstance(left, Symbol) and left in known.sizes):
            conditions[left] = right
    return Rules(known.values, known.sums, conditions, known.order, known.places, known.sizes)


def _solved_for_eps(layer: Words) -> Expr:
    """``sd = sqrt(var + eps)`` or ``sd = f(var) + eps``, solved for eps."""
    expr = layer.forward.step(layer.root).expr
    if isinstance(expr, Pow) and expr.exp == S.Half:
        return layer.root**2 - (expr.base - layer.eps)
    return layer.root - (expr - layer.eps)


def _roots(expr: Expr, known: Rules) -> Expr:
    """Whatever stands under a root or a fraction bar, brought to its normal form there."""
    if isinstance(expr, Pow) and known.order and expr.has(*known.order) and not _whole(expr):
        return _series(expr, known)
    if isinstance(expr, Pow) and isinstance(expr.base, Add) and not _whole(expr):
        return Pow(normal(expr.base, known), expr.exp)
    if not has(expr, Pow) or not has(expr, Add):
        return expr
    if isinstance(expr, Total):
        return expr.func(_roots(expr.body, known), *expr.over)
    return expr.func(*(_roots(a, known) for a in expr.args))


def _whole(power: Pow) -> bool:
    return bool(power.exp.is_Integer and power.exp > 0)


def _in_order(expr: Expr, known: Rules) -> Expr:
    """A sum over all values in another order is the sum; one that mixes two orders is left."""
    if not known.places or not expr.has(*known.places):
        return expr
    if isinstance(expr, Total):
        body = _in_order(expr.body, known)
        free = carried(body)
        moved = {p: i for p, i in known.places.items() if i in expr.over and i not in free}
        return expr.func(body.xreplace(moved), *expr.over)
    if not has(expr, Total):
        return expr
    return expr.func(*(_in_order(a, known) for a in expr.args))


def _truncated(expr: Expr, infinitesimal: Symbol) -> Expr:
    """The terms of a polynomial up to the first power of what is infinitesimal."""
    if not expr.has(infinitesimal):
        return expr
    terms = Add.make_args(expr)
    return Add(*(e for e in terms if e.as_powers_dict().get(infinitesimal, 0) < 2))


def _series(power: Pow, known: Rules) -> Expr:
    """``(a + b)**e`` by powers of the infinitesimal b, of which as many count as there are."""
    base = normal(power.base, known)
    small = Add(*(e for e in Add.make_args(base) if e.has(*known.order)))
    terms = (
        ff(power.exp, k)
        / factorial(k)
        * (base - small) ** (power.exp - k)
        * normal(small**k, known)
        for k in range(len(known.order) + 1)
    )
    return Add(*terms)


def _collected(expr: Expr, sizes: frozenset[Symbol]) -> Expr:
    """Equal monomials brought together, their coefficients in the sizes in lowest terms."""
    found: dict[Expr, list[Expr]] = {}
    for term in Add.make_args(expr):
        own: list[Expr] = []
        rest: list[Expr] = []
        for factor in Mul.make_args(term):
            (own if _is_size(factor, sizes) else rest).append(factor)
        found.setdefault(Mul(*rest), []).append(Mul(*own))
    return Add(*(_lowest(Add(*own)) * rest for rest, own in found.items()))


def _lowest(coefficient: Expr) -> Expr:
    return cancel(coefficient) if has(coefficient, Add) else coefficient


def _is_size(factor: Expr, sizes: frozenset[Symbol]) -> bool:
    return not has(factor, Total) and factor.free_symbols <= sizes


def in_one_order(expr: Expr, kept: frozenset[Idx]) -> Expr:
    """``expr`` with its sums over ``kept``, the axes that tell the groups apart, outside.

    ``sum_j(a_j*sum_i(b_ij*c_i))`` and ``sum_i(c_i*sum_j(a_j*b_ij))`` are the same number and have
    two normal forms; written so, they have one.
    """
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
