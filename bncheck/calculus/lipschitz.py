"""Batch norm and the gradient's length: the published bounds, and what is true of them.

Sources: Santurkar et al. 2018, theorems 4.1 and 4.4; Li, *Normalization in Deep Neural Networks*,
(53) to (63). Where a claim is false as printed, the counterexample is part of the statement.
"""

from collections.abc import Iterator
from typing import Any

from sympy import Expr, Rational, S, Symbol, sqrt

from bncheck.algebra.notation import Total
from bncheck.calculus.curvature import squares
from bncheck.calculus.statement import Pairs, Run, Statement, marked
from bncheck.calculus.words import Words

K4: dict[str, Any] = {
    "x": (10, 4, 2, -4), "dy": (1, 2, -1, 3), "gamma": 2, "beta": Rational(1, 2), "eps": 11,
}  # fmt: skip
"""A batch with mean 3 and variance 25; with eps = 11, s = 6."""
UNIT = tuple(Rational(k, 5) for k in (7, 1, -1, -7))
"""(x - mu)/sigma of that batch."""
c = Symbol("c", real=True)


def lipschitz(layer: Words) -> Iterator[Statement]:
    """Theorem 4.1 (Li 53): an equality for every eps; its bound, its slack, where it fails."""
    yield from _equalities(layer)
    yield from _bounds(layer)
    yield from _failures(layer)


def _equalities(layer: Words) -> Iterator[Statement]:
    leak = layer.eps / layer.root**2
    ours, x0 = layer.sum(layer.dx**2), _unit(layer)
    front = layer.scale**2 / layer.root**2
    yield Statement(
        "‖dx‖² for every ε", ours, front * _bracket(layer, layer.xhat, layer.freedom, 1 + leak)
    )
    yield Statement(
        "‖dx‖² for every ε, by x₀ = (x − μ)/σ",
        ours,
        front * _bracket(layer, x0, layer.freedom, 1 - leak**2),
    )
    yield Statement(
        "the bound at ε = 0 is an equality",
        ours,
        layer.scale**2 / layer.spread * _bracket(layer, layer.xhat, layer.many),
        given=((layer.eps, S.Zero),),
        printed="Li (53), Santurkar 4.1: ≤",
    )


def _bounds(layer: Words) -> Iterator[Statement]:
    ours, gained = layer.sum(layer.dx**2), layer.scale**2 * layer.eps
    along = layer.sum(layer.dy * layer.xhat)
    last = gained * along**2 / (layer.freedom * layer.root**4)
    more = gained / (layer.spread * layer.root**2) * squares(layer, layer.dy)
    yield Statement(
        "the bound for ε > 0",
        ours,
        layer.scale**2 / layer.spread * _bracket(layer, layer.xhat, layer.freedom),
        relation="≤",
        slack=more + last,
        printed="Li (53), x̂ of Algorithm 1",
    )
    yield Statement(
        "a tighter bound",
        ours,
        layer.scale**2 / layer.root**2 * _bracket(layer, layer.xhat, layer.freedom),
        relation="≤",
        slack=last,
    )


def _failures(layer: Words) -> Iterator[Statement]:
    ours, x0 = layer.sum(layer.dx**2), _unit(layer)
    bound = layer.scale**2 / layer.spread * _bracket(layer, x0, layer.freedom)
    rho = layer.spread / layer.root**2
    projected = layer.sum(layer.project(layer.dy) ** 2)
    along = layer.sum(layer.dy * x0) ** 2 / layer.freedom
    yield Statement(
        "slack where x̂ has norm √m",
        bound - ours,
        layer.scale**2 / layer.spread * (1 - rho) * (projected - (1 + rho - rho**2) * along),
        note="negative as soon as ⟨g, x₀⟩²/(m‖Pg‖²) > 1/(1 + ρ − ρ²), ρ = σ²/s²",
    )
    yield Statement(
        "the bound for ε > 0 where x̂ has norm √m", ours, bound, relation="≤",
        at={**K4, "dy": UNIT}, printed="Li (53) as its proof reads it", holds=False,
        note="K4, dy = x₀, ε = 11",
    )  # fmt: skip
    elsewhere = Run("′", ((layer.dy, layer.y - layer.x),))
    yield Statement(
        "the bound by the gradient at x, not at y", layer.sum(marked(layer.dx) ** 2), S.Zero,
        relation="≤", runs=(elsewhere,), at=K4, printed="Li (61): ∂ℓ̂/∂y = ∂ℓ/∂x", holds=False,
        note="ℓ(z) = ½‖z − x‖² has gradient 0 at x, so the right side is 0; K4",
    )  # fmt: skip
    yield Statement(
        "batch norm shortens the gradient", ours, layer.sum(layer.dy**2), relation="≤",
        at={**K4, "dy": (1, -1, -1, 1), "gamma": 12}, holds=False,
        note="where |γ| > s it may lengthen it: by γ²/s² for dy orthogonal to 1 and x̂",
    )  # fmt: skip


def minimax(layer: Words) -> Iterator[Statement]:
    """Theorem 4.4 (Li 62, 63), with frozen activations; λ is c, X has columns a, v is b."""
    a, b = layer.direction("a"), layer.direction("b")
    inner, long = layer.sum(a * b), layer.sum(b**2)
    rest = Total((a - b * inner / long) ** 2, *layer.over)
    yield Statement(
        "one column of Xᵀv", inner**2, layer.sum(a**2) * long, relation="≤", slack=long * rest,
        note="so max over ‖X‖ ≤ λ of ‖Xᵀv‖² is at most λ²‖v‖²",
    )  # fmt: skip
    yield Statement(
        "and it is attained", layer.sum(c * b / sqrt(long) * b) ** 2, c**2 * long,
        note="at X = λ v e₁ᵀ/‖v‖",
    )  # fmt: skip
    leak = layer.eps / layer.root**2
    front = layer.scale**2 / layer.root**2
    weights = c**2 * layer.sum(layer.dx**2)
    yield Statement(
        "minimax bound, repaired: an equality",
        weights,
        front * c**2 * _bracket(layer, layer.xhat, layer.freedom, 1 + leak),
    )
    zero: Pairs = ((layer.eps, S.Zero),)
    unit = layer.sum(layer.dy * layer.xhat) ** 2 / layer.sum(layer.xhat**2)
    yield Statement(
        "(63) with g for g², λμ for μ, x̂/‖x̂‖ for x̂",
        weights,
        layer.scale**2 / layer.spread
        * (c**2 * _bracket(layer, layer.xhat, S.One, S.Zero) - c**2 * unit),
        given=zero,
    )  # fmt: skip
    yield from _printed(layer, weights)
    yield from _moving(layer)


def _printed(layer: Words, weights: Expr) -> Iterator[Statement]:
    """(63) letter by letter, in two readings of g squared."""
    plain = {**K4, "eps": 0, "c": 1}
    small = {**plain, "dy": tuple(Rational(k, 10) for k in (1, 2, -1, 3))}
    g = c**2 * layer.sum(layer.dy**2)
    tail = layer.many * (layer.sum(layer.dy) / layer.many) ** 2
    tail += c**2 * layer.sum(layer.dy * layer.xhat) ** 2
    for name, square, at, holds, note in (
        ("(63), g² as g", g, plain, False, "K4, ε = 0, λ = 1"),
        ("(63), g² as g squared", g**2, small, False, "K4, ε = 0, λ = 1, ℓ/10"),
        ("(63), g² as g squared, by accident", g**2, plain, True, "K4, ε = 0, λ = 1, ℓ itself"),
    ):
        right = layer.scale**2 / layer.spread * (square - tail)
        yield Statement(
            name, weights, right, relation="≤", at=at, printed="Li (63), Santurkar 4.4",
            holds=holds, note=note,
        )  # fmt: skip


def _moving(layer: Words) -> Iterator[Statement]:
    """(62) letter by letter: y moves with X, and there is no maximum."""
    r = Symbol("r", positive=True)
    b, zero = layer.direction("b"), ((layer.eps, S.Zero),)
    run = (Run("′", ((layer.x, 1 + r * layer.x),)),)
    first = layer.sum((1 + r * layer.x) * marked(layer.dx))
    yield Statement(
        "∇ℓ of the weights at X = [1 + r x, b], w = (1, 0)",
        first**2 + layer.sum(b * marked(layer.dx)) ** 2,
        layer.sum(b * layer.dx) ** 2 / r**2,
        given=zero,
        runs=run,
        note="grows beyond every bound as r goes to 0: (62) has no maximum at ε = 0",
    )
    along = layer.sum(layer.dy * layer.xhat) ** 2 / layer.freedom
    rest = layer.sum(layer.dy) ** 2 / layer.many + (1 + layer.eps / layer.root**2) * along
    share = layer.scale**2 / layer.root**2
    yield Statement(
        "for ε > 0 there is one",
        layer.eps * layer.sum(layer.dx**2),
        layer.scale**2 * layer.sum(layer.dy**2),
        relation="≤",
        slack=share * (layer.spread * layer.sum(layer.dy**2) + layer.eps * rest),
        note="so ‖∇ℓ‖² of the weights is at most λ²γ²/ε times ‖∂ℓ/∂y‖²",
    )


def _unit(layer: Words) -> Expr:
    return layer.xhat * layer.root / sqrt(layer.spread)


def _bracket(layer: Words, hat: Expr, freedom: Expr, factor: Expr = S.One) -> Expr:
    """``|g|^2 - <1, g>^2/m - factor*<g, hat>^2/n``."""
    square = layer.sum(layer.dy**2) - layer.sum(layer.dy) ** 2 / layer.many
    return square - factor * layer.sum(layer.dy * hat) ** 2 / freedom
