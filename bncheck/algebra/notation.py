"""Axes, indexed tensors, sums and means: the words in which a layer is written down.

An axis is a SymPy ``Idx`` that carries its size (``i = axis("i", "m")``), a tensor is an
``Indexed`` (``x[i, j]``), and the indices *are* the shape: ``mu[j]`` has one entry per
feature. A scalar is a plain ``Symbol``.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from itertools import product
from typing import Any, Self, TypeAlias

from sympy import Add, Expr, Idx, Indexed, IndexedBase, Mul, Pow, Symbol, sympify

Tensor: TypeAlias = Indexed | Symbol


class Total(Expr):
    """``Total(body, i, ...)``: the sum of ``body`` over the indices named."""

    is_commutative = True
    is_extended_real = True

    def __new__(cls, body: Any, *over: Idx) -> Self:
        """Indices in a fixed order, so that equal sums are equal; one at least."""
        if not over or len(set(over)) < len(over):
            raise ValueError(f"{cls.__name__} runs over one or more indices, each named once")
        in_order = sorted(over, key=str) if len(over) > 1 else over
        return super().__new__(cls, sympify(body), *in_order)

    @property
    def body(self) -> Expr:
        """What is summed."""
        return self.args[0]

    @property
    def over(self) -> tuple[Idx, ...]:
        """The indices that the sum runs over (bound inside, not free outside)."""
        return self.args[1:]

    @property
    def free_symbols(self) -> set[Any]:
        """The symbols of the body less the bound indices."""
        return self.body.free_symbols - set(self.over) | {
            s for i in self.over for s in size(i).free_symbols
        }


class Mean(Total):
    """``Mean(body, i, ...)``: the sum divided by the number of terms."""


@cache
def size(index: Idx) -> Expr:
    """The number of values that an index takes, e.g. ``m`` for the batch."""
    return index.upper - index.lower + 1


def count(indices: Iterable[Idx]) -> Expr:
    """The number of terms of a sum over all the indices: the product of their sizes."""
    return Mul(*(size(i) for i in indices))


@cache
def axis(index: str, length: str) -> Idx:
    """An axis: its index letter, running from 1 to the symbol for its size."""
    return Idx(index, (1, Symbol(length, integer=True, positive=True)))


@cache
def tensor(name: str, *, positive: bool = False) -> IndexedBase:
    """A real tensor; ``positive`` for what stands under a root or in a denominator."""
    return IndexedBase(name, positive=True) if positive else IndexedBase(name, real=True)


def name_of(operand: Tensor) -> str:
    """The name of a tensor or scalar without its indices."""
    return str((operand.base.label if isinstance(operand, Indexed) else operand).name)


def indices_of(operand: Tensor) -> tuple[Idx, ...]:
    """The indices of a tensor, none for a scalar."""
    return operand.indices if isinstance(operand, Indexed) else ()


@cache
def like(name: str, operand: Tensor) -> Tensor:
    """A tensor of another name with the same indices (no assumption but real)."""
    indices = indices_of(operand)
    return tensor(name)[indices] if indices else Symbol(name, real=True)


def gradient(operand: Tensor) -> Tensor:
    """The gradient of the loss with respect to ``operand``: ``dx[i, j]`` for ``x[i, j]``."""
    return like("d" + name_of(operand), operand)


def tangent(operand: Tensor) -> Tensor:
    """The derivative of a value along the direction asked for: ``tx[i, j]`` for ``x[i, j]``."""
    return like("t" + name_of(operand), operand)


@cache
def operands(expr: Expr) -> tuple[Tensor, ...]:
    """The tensors and scalars that ``expr`` reads, in order of appearance; no sizes, no indices."""
    found: dict[Tensor, None] = {}

    def visit(node: Any) -> None:
        if isinstance(node, Indexed):
            found[node] = None
        elif isinstance(node, Symbol):
            if not node.is_integer:
                found[node] = None
        elif isinstance(node, Total):
            visit(node.body)
        elif not isinstance(node, Idx):
            for arg in node.args:
                visit(arg)

    visit(expr)
    return tuple(found)


@cache
def carried(expr: Expr) -> frozenset[Idx]:
    """The indices on which the value of ``expr`` depends (free ones)."""
    if isinstance(expr, Idx):
        return frozenset({expr})
    if isinstance(expr, Indexed):
        return frozenset(i for i in expr.indices if isinstance(i, Idx))
    if isinstance(expr, Total):
        return carried(expr.body) - set(expr.over)
    return frozenset().union(*(carried(a) for a in expr.args))


def moved(expr: Expr, places: Mapping[Idx, Any]) -> Expr:
    """``expr`` at other places: its free indices replaced, those that a sum binds left."""
    if isinstance(expr, Total):
        free = {i: to for i, to in places.items() if i not in expr.over}
        return expr.func(moved(expr.body, free), *expr.over)
    if not expr.has(Total):
        return expr.xreplace(places)
    return expr.func(*(moved(a, places) for a in expr.args))


def total(body: Expr, over: Iterable[Idx]) -> Expr:
    """The sum of ``body`` over the indices, with the factors that do not carry them outside.

    ``sum_i gamma_j dy_ij = gamma_j sum_i dy_ij``, and ``sum_i a_j = m a_j``.
    """
    over = set(over)
    inside: list[Expr] = []
    outside: list[Expr] = []
    for factor in Mul.make_args(body):
        (inside if carried(factor) & over else outside).append(factor)
    within = Mul(*inside)
    running = over & carried(within)
    outer = Mul(*outside, count(over - running))
    if not running:
        return outer * within
    return outer * Total(within, *running)


def expanded(expr: Expr) -> Expr:
    """Products and whole powers multiplied out, and nothing else rewritten.

    Roots and denominators such as ``m - 1`` stay as they are, whole. SymPy's ``expand`` would need
    them hidden from it, and takes three times as long.
    """
    if _is_flat(expr) or _is_root(expr):
        return expr
    if isinstance(expr, Pow) and expr.exp.is_Integer and expr.exp > 0:
        return _product([expr.base] * int(expr.exp))
    if isinstance(expr, Mul):
        return _product(expr.args)
    return expr.func(*map(expanded, expr.args))


def _product(factors: Iterable[Expr]) -> Expr:
    sums = (Add.make_args(expanded(factor)) for factor in factors)
    return Add(*(Mul(*term) for term in product(*sums)))


@cache
def _is_flat(expr: Expr) -> bool:
    """Whether it is a sum of products already, with no sum inside a product or whole power."""
    terms = Add.make_args(expr)
    return all(_is_root(f) or not has(f, Add) for term in terms for f in Mul.make_args(term))


def _is_root(power: Expr) -> bool:
    """Whether it is a root of a sum, or a sum below a fraction bar."""
    if not isinstance(power, Pow) or not isinstance(power.base, Add):
        return False
    return not (power.exp.is_Integer and power.exp > 0)


@cache
def has(expr: Expr, kind: Any) -> bool:
    """Whether there is a node of a kind in it; ``Expr.has``, remembered for every node."""
    return isinstance(expr, kind) or any(has(a, kind) for a in expr.args)


def distribute(expr: Expr) -> Expr:
    """A sum of monomials: means written as sums, sums split term by term, constants outside."""
    if isinstance(expr, Total):
        body = distribute(expr.body)
        parts = Add(*(total(term, expr.over) for term in Add.make_args(body)))
        return expanded(parts / count(expr.over)) if isinstance(expr, Mean) else parts
    if not has(expr, Total):
        return expanded(expr)
    return expanded(expr.func(*(distribute(a) if has(a, Total) else a for a in expr.args)))
