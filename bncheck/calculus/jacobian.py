"""The Jacobian of the forward pass: read off the closed backward pass.

``dx`` is linear in the upstream gradient, ``dx[q] = sum_p dy[p] * dy[p]/dx[q]``; so the entry
``dy[p]/dx[q]`` is what ``dx[q]`` becomes when the upstream gradient is 1 at p and 0 elsewhere.
"""

from dataclasses import dataclass

from sympy import Add, Expr, Idx, ImmutableDenseMatrix, Integer, KroneckerDelta, Mul

from bncheck.algebra.notation import (
    Tensor,
    Total,
    distribute,
    gradient,
    indices_of,
    name_of,
    operands,
    size,
)
from bncheck.calculus.derivation import Derivation, normalised
from bncheck.calculus.factoring import factored
from bncheck.calculus.matrix import matrix, moved
from bncheck.telling.errors import CannotAsk


@dataclass(frozen=True)
class Jacobian:
    """``entry`` is d row / d column: ``row`` is y[i, j], ``column`` x[i1, j1]."""

    row: Tensor
    column: Tensor
    entry: Expr


def jacobian(found: Derivation, name: str) -> Jacobian:
    """The Jacobian of the (first) output with respect to the input called ``name``.

    Raises ``CannotAsk`` where the derivation does not hold that input's gradient.
    """
    operand = next((a for a in found.wrt if name_of(a) == name), None)
    if operand is None:
        there = ", ".join(name_of(a) for a in found.wrt)
        raise CannotAsk(f"{found.forward.name} was derived with respect to {there}, not {name}")
    output, (upstream, *others) = found.forward.outputs[0], found.upstream
    full = _in_full(found, operand).xreplace(dict.fromkeys(others, Integer(0)))
    hot = {i: _suffixed(i, "0") for i in indices_of(upstream)}
    entry = distribute(_collapsed(distribute(full), upstream, hot))
    away = {i: _suffixed(i, "1") for i in found.forward.axes}
    home = {zero: i for i, zero in hot.items()}
    return Jacobian(output, moved(operand, away), _merged(moved(moved(entry, away), home)))


def explicit(found: Derivation, name: str = "x") -> ImmutableDenseMatrix:
    """The matrix of one group for known sizes: 3 x 3 for batch norm at ``batch_size=3``.

    Rows and columns run over the normalised axes; the entries are in the named values of the
    forward pass (``xhat[1, j]``, ``sd[j]``). For a parameter, a column for each of its entries
    in the group. Raises ``CannotAsk`` where a size is still a symbol.
    """
    at = jacobian(found, name)
    along = normalised(found.forward)
    if not all(size(i).is_number for i in along):
        raise CannotAsk("an explicit Jacobian needs a batch size (-m); without one, see jacobian")
    homes = {_suffixed(i, "1"): i for i in found.forward.axes}
    rows = tuple(i for i in indices_of(at.row) if i in along)
    columns = tuple(i for i in indices_of(at.column) if homes[i] in along)
    same = {i: homes[i] for i in indices_of(at.column) if i not in columns}
    return ImmutableDenseMatrix(matrix(moved(at.entry, same), rows, columns, homes))


def _in_full(found: Derivation, operand: Tensor) -> Expr:
    """The closed gradient with every named sum and product written out."""
    steps = {step.target: step.expr for step in found.closed.steps}
    expr = steps[gradient(operand)]
    while steps.keys() & set(operands(expr)):
        expr = expr.xreplace(steps)
    return expr


def _collapsed(expr: Expr, upstream: Tensor, hot: dict[Idx, Idx]) -> Expr:
    """Each term with ``dy`` at one place: its sums pick that place, the rest is a delta."""
    if isinstance(expr, Add):
        return Add(*(_collapsed(term, upstream, hot) for term in expr.args))
    if isinstance(expr, Total) and expr.has(upstream):
        return _picked(expr, upstream, hot)
    if expr == upstream:
        return Mul(*(KroneckerDelta(i, there) for i, there in hot.items()))
    if isinstance(expr, Mul):
        return Mul(*(_collapsed(factor, upstream, hot) for factor in expr.args))
    return expr


def _picked(node: Total, upstream: Tensor, hot: dict[Idx, Idx]) -> Expr:
    """A sum that holds ``dy``: of the indices that ``dy`` has, one place is left."""
    picked = {i: hot[i] for i in node.over if i in hot}
    met = {KroneckerDelta(i, there): Integer(1) for i, there in picked.items()}
    body = moved(_collapsed(node.body, upstream, hot).xreplace(met), picked)
    rest = tuple(i for i in node.over if i not in hot)
    return distribute(Total(body, *rest)) if rest else body


def _merged(entry: Expr) -> Expr:
    """Where a term says i = i1, it speaks of i alone; what all terms share stands outside."""
    terms = (_told_by_deltas(term) for term in Add.make_args(entry))
    shared = factored(Add(*(Mul(rest, *deltas) for rest, deltas in terms)))
    rest, deltas = _told_by_deltas(shared)
    return Mul(*deltas, rest, evaluate=rest.is_number) if deltas else shared


def _told_by_deltas(product: Expr) -> tuple[Expr, list[Expr]]:
    """A product without its deltas, written with the first index of each, and its deltas."""
    factors = [f for part in Mul.make_args(product) for f in Mul.make_args(part)]
    deltas = [f for f in factors if isinstance(f, KroneckerDelta)]
    same = dict(sorted(d.args, key=_length, reverse=True) for d in deltas)
    rest = product.xreplace(dict.fromkeys(deltas, Integer(1))) if deltas else product
    return moved(rest, same), deltas


def _length(index: Idx) -> int:
    return len(str(index))


def _suffixed(index: Idx, suffix: str) -> Idx:
    return Idx(f"{index.label}{suffix}", (index.lower, index.upper))
