"""A matrix of expressions from the one expression that holds for every row and column.

Entries differ in their places alone. So one entry is worked out for each way in which a column
can lie to its row (before it, on it, behind it), and the others are that entry with other places
in it: SymPy need not find their form again, which would take minutes for some hundred rows.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import product
from operator import itemgetter
from typing import Any

from sympy import Add, Expr, Idx, Indexed, Integer, Mul

from bncheck.algebra.notation import Total, size

Place = tuple[int, ...]


def matrix(
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

    return [[at(row, column) for column in _places(columns)] for row in _places(rows)]


def moved(expr: Expr, places: Mapping[Idx, Any]) -> Expr:
    """``expr`` at other places: its free indices replaced, those that a sum binds left."""
    if isinstance(expr, Total):
        free = {i: to for i, to in places.items() if i not in expr.over}
        return expr.func(moved(expr.body, free), *expr.over)
    if not expr.has(Total):
        return expr.xreplace(places)
    return expr.func(*(moved(a, places) for a in expr.args))


def _places(axes: Iterable[Idx]) -> list[Place]:
    return list(product(*(range(1, int(size(i)) + 1) for i in axes)))


def _maker(entry: Expr, indices: tuple[Idx, ...], first: Place) -> Callable[[Place], Expr]:
    """Makes the entry at any place that lies as ``first`` does: the same form, other leaves."""
    if entry.has(Total):
        return lambda place: moved(entry, _put(indices, place))
    there = _put(indices, first)
    leaves = {leaf.xreplace(there): leaf for leaf in entry.atoms(Indexed)}
    build = _builder(entry.xreplace(there), {leaf: n for n, leaf in enumerate(leaves)})
    fill = [_leaf(leaf, indices) for leaf in leaves.values()]
    return lambda place: build([at(place) for at in fill])


def _builder(node: Expr, slots: Mapping[Expr, int]) -> Callable[[list[Expr]], Expr]:
    """Builds ``node`` again from other leaves, its arguments in the order in which they are."""
    if node in slots:
        return itemgetter(slots[node])
    if slots.keys().isdisjoint(node.atoms(Indexed)):
        return lambda leaves: node
    parts = [_builder(arg, slots) for arg in node.args]
    if isinstance(node, Add | Mul):
        return lambda leaves: node.func._from_args([part(leaves) for part in parts], True)
    return lambda leaves: node.func(*(part(leaves) for part in parts))


def _leaf(leaf: Indexed, indices: tuple[Idx, ...]) -> Callable[[Place], Expr]:
    """The leaf at any place, made once for each."""
    own = [n for n, i in enumerate(indices) if i in leaf.indices]
    made: dict[Place, Expr] = {}

    def at(place: Place) -> Expr:
        here = tuple(place[n] for n in own)
        if here not in made:
            made[here] = leaf.xreplace(_put([indices[n] for n in own], here))
        return made[here]

    return at


def _put(indices: Iterable[Idx], place: Place) -> dict[Idx, Integer]:
    return dict(zip(indices, map(Integer, place), strict=True))
