"""The Jacobian of the forward pass: read off the closed backward pass.

``dx`` is linear in the upstream gradient, ``dx[q] = sum_p dy[p] * dy[p]/dx[q]``; so the entry
``dy[p]/dx[q]`` is what ``dx[q]`` becomes when the upstream gradient is 1 at p and 0 elsewhere.

The matrix of a group is made from the one entry that holds for every row and column. Entries
differ in their places alone, so one is worked out for each way in which a column can lie to its
row (before it, on it, behind it), and the others are that entry with other places in it: SymPy
need not find their form again, which would take minutes for some hundred rows.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from sympy import Add, Expr, Idx, ImmutableDenseMatrix, Indexed, Integer, KroneckerDelta, Mul

from bncheck.algebra.notation import (
    Tensor,
    Total,
    distribute,
    gradient,
    indices_of,
    moved,
    name_of,
    size,
    total,
)
from bncheck.algebra.program import Line
from bncheck.calculus.derivation import Derivation, normalised
from bncheck.calculus.factoring import factored
from bncheck.calculus.interpret import Place, places
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
    full = found.closed.in_full(gradient(operand)).xreplace(dict.fromkeys(others, Integer(0)))
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
    return ImmutableDenseMatrix(_matrix(moved(at.entry, same), rows, columns, homes))


def jacobian_line(found: Derivation, name: str) -> Line:
    """The Jacobian's entries as a line: upstream times entry, summed, is the gradient."""
    at = jacobian(found, name)
    homes = {_suffixed(i, "1"): i for i in found.forward.axes}
    away = {i: _suffixed(i, "0") for i in indices_of(at.row)}
    entry = distribute(moved(moved(at.entry, away), homes))
    dy = moved(found.upstream[0], away)
    back = {zero: i for i, zero in away.items()}
    contracted = Add(*(_contracted(term * dy, back) for term in Add.make_args(entry)))
    operand = next(a for a in found.wrt if name_of(a) == name)
    return Line(found.forward.gradient(operand), contracted)


def _contracted(term: Expr, back: dict[Idx, Idx]) -> Expr:
    """The sum of a product over all rows: a delta leaves one of its sum."""
    factors = Mul.make_args(term)
    deltas = [f for f in factors if isinstance(f, KroneckerDelta)]
    picked = dict(sorted(d.args, key=back.keys().__contains__, reverse=True) for d in deltas)
    rest = moved(Mul(*(f for f in factors if f not in deltas)), picked)
    summed = total(rest, back.keys() - picked.keys())
    sums = [node for node in summed.atoms(Total) if set(node.over) <= back.keys()]
    home = {s: Total(moved(s.body, back), *(back[row] for row in s.over)) for s in sums}
    return summed.xreplace(home)


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
    same = dict(sorted(d.args, key=lambda i: len(str(i)), reverse=True) for d in deltas)
    rest = product.xreplace(dict.fromkeys(deltas, Integer(1))) if deltas else product
    return moved(rest, same), deltas


def _suffixed(index: Idx, suffix: str) -> Idx:
    return Idx(f"{index.label}{suffix}", (index.lower, index.upper))


def _matrix(
    entry: Expr, rows: tuple[Idx, ...], columns: tuple[Idx, ...], homes: Mapping[Idx, Idx]
) -> list[list[Expr]]:
    """``entry`` at every place of the row indices and the column indices.

    ``homes``: the row index of the same axis, by column index.
    """
    pairs = [(rows.index(homes[c]), n) for n, c in enumerate(columns) if homes[c] in rows]
    makers: dict[Place, Callable[[Place], Expr]] = {}

    def at(row: Place, column: Place) -> Expr:
        order = tuple((row[r] > column[c]) - (row[r] < column[c]) for r, c in pairs)
        if order not in makers:
            makers[order] = _maker(entry, (*rows, *columns), (*row, *column))
        return makers[order]((*row, *column))

    return [[at(row, column) for column in places(columns)] for row in places(rows)]


def _maker(entry: Expr, indices: tuple[Idx, ...], first: Place) -> Callable[[Place], Expr]:
    """Makes the entry at any place that lies as ``first`` does: the same form, other leaves."""
    if entry.has(Total):
        return lambda place: moved(entry, _put(indices, place))
    there = _put(indices, first)
    leaves = {leaf.xreplace(there): _leaf(leaf, indices) for leaf in entry.atoms(Indexed)}
    return _builder(entry.xreplace(there), leaves)


def _builder(node: Expr, leaves: Mapping[Expr, Callable[[Place], Expr]]) -> Callable[[Place], Expr]:
    """Builds ``node`` again from other leaves, its arguments in the order in which they are."""
    if node in leaves:
        return leaves[node]
    if leaves.keys().isdisjoint(node.atoms(Indexed)):
        return lambda place: node
    parts = [_builder(arg, leaves) for arg in node.args]
    if isinstance(node, Add | Mul):
        return lambda place: node.func._from_args([part(place) for part in parts], True)
    return lambda place: node.func(*(part(place) for part in parts))


def _leaf(leaf: Indexed, indices: tuple[Idx, ...]) -> Callable[[Place], Expr]:
    """The leaf at any place, made once for each."""
    own = [n for n, i in enumerate(indices) if i in leaf.indices]
    made = cache(lambda here: leaf.xreplace(_put([indices[n] for n in own], here)))
    return lambda place: made(tuple(place[n] for n in own))


def _put(indices: Iterable[Idx], place: Place) -> dict[Idx, Integer]:
    return dict(zip(indices, map(Integer, place), strict=True))
