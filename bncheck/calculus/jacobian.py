"""The Jacobian of the forward pass: read off the closed backward pass.

``dx`` is linear in the upstream gradient, ``dx[q] = sum_p dy[p] * dy[p]/dx[q]``; so the entry
``dy[p]/dx[q]`` is what ``dx[q]`` becomes when the upstream gradient is 1 at p and 0 elsewhere.
"""

from dataclasses import dataclass
from itertools import product

from sympy import (
    Add,
    Expr,
    Idx,
    ImmutableDenseMatrix,
    Indexed,
    Integer,
    KroneckerDelta,
    Mul,
)

from bncheck.algebra.notation import (
    Tensor,
    Total,
    distribute,
    indices_of,
    name_of,
    size,
)
from bncheck.calculus.derivation import Derivation, normalised
from bncheck.calculus.factoring import factored
from bncheck.errors import CannotAsk


@dataclass(frozen=True)
class Jacobian:
    """``entry`` is d row / d column: ``row`` is y[i, j], ``column`` x[i1, j1]."""

    row: Tensor
    column: Tensor
    entry: Expr


def jacobian(found: Derivation, name: str) -> Jacobian:
    """The Jacobian of the (only) output with respect to the input called ``name``.

    Raises ``CannotAsk`` where the derivation does not hold that input's gradient.
    """
    operand = next((a for a in found.wrt if name_of(a) == name), None)
    if operand is None:
        there = ", ".join(name_of(a) for a in found.wrt)
        raise CannotAsk(f"{found.forward.name} was derived with respect to {there}, not {name}")
    output, upstream = found.forward.outputs[0], found.upstream[0]
    gradient = _in_full(found, operand)
    one_hot = {i: _renamed(i, "0") for i in indices_of(upstream)}
    entry = distribute(_collapsed(distribute(gradient), upstream, one_hot))
    away = {i: _renamed(i, "1") for i in found.forward.axes}
    home = {hot: i for i, hot in one_hot.items()}
    entry = _moved(_moved(entry, away), home)
    return Jacobian(output, _moved(operand, away), _merged(entry))


def explicit(found: Derivation, name: str = "x") -> ImmutableDenseMatrix:
    """The matrix of one group for known sizes: 3 x 3 for batch norm at ``batch_size=3``.

    Rows and columns run over the normalised axes; the entries are in the named values of the
    forward pass (``xhat[1, j]``, ``sd[j]``). For a parameter, a column for each of its entries
    in the group. Raises ``CannotAsk`` where a size is still a symbol.
    """
    found_at = jacobian(found, name)
    along = normalised(found.forward)
    if not all(size(i).is_number for i in along):
        raise CannotAsk("an explicit Jacobian needs a batch size (-m); without one, see jacobian")
    row_axes = [i for i in indices_of(found_at.row) if i in along]
    column_axes = [i for i in indices_of(found_at.column) if _home(i) in {*map(str, along)}]
    same = {
        i: next(a for a in found.forward.axes if str(a) == _home(i))
        for i in indices_of(found_at.column)
        if i not in column_axes
    }
    entry = _moved(found_at.entry, same)
    rows = [dict(zip(row_axes, at, strict=True)) for at in _places(row_axes)]
    columns = [dict(zip(column_axes, at, strict=True)) for at in _places(column_axes)]
    by_row = (_moved(entry, row) for row in rows)
    return ImmutableDenseMatrix([[_moved(e, column) for column in columns] for e in by_row])


def _in_full(found: Derivation, operand: Tensor) -> Expr:
    """The closed gradient with every named sum and product written out."""
    steps = {s.target: s.expr for s in found.closed.steps}
    expr = steps[found.chain.tensors["d" + name_of(operand)]]
    while expr.atoms(Indexed) & steps.keys():
        expr = expr.xreplace(steps)
    return expr


def _collapsed(expr: Expr, upstream: Tensor, hot: dict[Idx, Idx]) -> Expr:
    """Each term with ``dy`` at one place: its sums pick that place, the rest is a delta."""
    if isinstance(expr, Add):
        return Add(*(_collapsed(term, upstream, hot) for term in expr.args))
    factors = []
    for factor in Mul.make_args(expr):
        if isinstance(factor, Total) and factor.body.has(upstream):
            picked = {i: hot[i] for i in factor.over}
            body = _collapsed(factor.body, upstream, hot)
            once = {KroneckerDelta(i, j): 1 for i, j in picked.items()}
            factors.append(_moved(body.xreplace(once), picked))
        elif factor == upstream:
            factors += [KroneckerDelta(i, j) for i, j in hot.items()]
        else:
            factors.append(factor)
    return Mul(*factors)


def _moved(expr: Expr, places: dict[Idx, Idx | int]) -> Expr:
    return expr.xreplace(places)


def _renamed(index: Idx, suffix: str) -> Idx:
    return Idx(f"{index.label}{suffix}", (index.lower, index.upper))


def _home(index: Idx) -> str:
    return str(index.label).removesuffix("1")


def _places(axes: list[Idx]) -> list[tuple[int, ...]]:
    return list(product(*(range(1, int(size(i)) + 1) for i in axes)))


def _merged(entry: Expr) -> Expr:
    """Where a term says i = i1, it speaks of i alone; what all terms share stands outside."""
    terms = []
    for term in Add.make_args(entry):
        deltas = [f for f in Mul.make_args(term) if isinstance(f, KroneckerDelta)]
        rest = Mul(*(f for f in Mul.make_args(term) if f not in deltas))
        same = dict(sorted(d.args, key=lambda i: -len(str(i))) for d in deltas)
        terms.append(Mul(_moved(rest, same), *deltas))
    shared = factored(Add(*terms))
    return _merged_inside(shared) if isinstance(shared, Mul) else shared


def _merged_inside(product: Expr) -> Expr:
    """The same for the deltas that stand before a bracket."""
    deltas = [d for d in product.atoms(KroneckerDelta) if not _bracket(product).has(d)]
    same = dict(sorted(d.args, key=lambda i: -len(str(i))) for d in deltas)
    inside = _moved(product.xreplace(dict.fromkeys(deltas, 1)), same)
    around = deltas if inside == 1 else [*deltas, inside]
    return Mul(*around, evaluate=False) if deltas else product


def _bracket(product: Expr) -> Expr:
    return next((f for f in product.args if isinstance(f, Add)), Integer(1))
