"""Batch norm and the gradient's length: the published bounds, and what is true of them.

Sources: Santurkar et al. 2018, theorems 4.1 and 4.4; Li, *Normalization in Deep Neural Networks*,
(53) to (63). Where a claim is false as printed, the counterexample is part of the statement.
"""

from collections.abc import Iterator
from dataclasses import replace

from sympy import Expr, Rational, S, Symbol, sqrt

from bncheck.algebra.notation import Total
from bncheck.theory.family.higher_derivatives import squares
from bncheck.theory.parts import Words
from bncheck.theory.statements import K4, Pairs, Run, Statement, marked

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
        "the bound at ε = 0 is an equality", ours,
        layer.scale**2 / layer.spread * _bracket(layer, layer.xhat, layer.many),
        given=((layer.eps, S.Zero),), printed="Li (53), Santurkar et al. 4.1: ≤",
    )  # fmt: skip


def _bounds(layer: Words) -> Iterator[Statement]:
    ours, gained = layer.sum(layer.dx**2), layer.scale**2 * layer.eps
    along = layer.sum(layer.dy * layer.xhat)
    last = gained * along**2 / (layer.freedom * layer.root**4)
    more = gained / (layer.spread * layer.root**2) * squares(layer, layer.dy)
    yield Statement(
        "the bound for ε > 0", ours,
        layer.scale**2 / layer.spread * _bracket(layer, layer.xhat, layer.freedom), relation="≤",
        slack=more + last, printed="Li (53), x̂ of Algorithm 1",
    )  # fmt: skip
    yield _strict(layer)
    yield Statement(
        "a tighter bound", ours,
        layer.scale**2 / layer.root**2 * _bracket(layer, layer.xhat, layer.freedom), relation="≤",
        slack=last,
    )  # fmt: skip


def _strict(layer: Words) -> Statement:
    rho, leak = layer.spread / layer.root**2, layer.eps / layer.root**2
    x0, front = _unit(layer), layer.scale**2 / layer.spread * leak
    projected = layer.project(layer.dy)
    rest = projected - x0 * layer.sum(layer.dy * x0) / layer.freedom
    least = front * (1 - rho + rho**2) * layer.sum(projected**2)
    bound = layer.scale**2 / layer.spread * _bracket(layer, layer.xhat, layer.freedom)
    return Statement(
        "and it is strict", layer.sum(layer.dx**2), bound - least, relation="≤",
        slack=front * rho * leak * Total(rest**2, *layer.over),
        note="by 3/4·γ²ε/(σ²s²)·‖Pg‖² at least, Pg = g − mean(g): strict unless g is constant",
    )  # fmt: skip


def unbiased(layer: Words) -> Iterator[Statement]:
    """With the variance over m - 1 the printed 1/m is only looser."""
    ours, gained = layer.sum(layer.dx**2), layer.scale**2 * layer.eps
    along = layer.sum(layer.dy * layer.xhat)
    slack = gained / (layer.spread * layer.root**2) * squares(layer, layer.dy)
    slack += gained * along**2 / (layer.freedom * layer.root**4)
    slack += layer.scale**2 * along**2 / (layer.many * layer.freedom * layer.spread)
    yield Statement(
        "ddof 1: the bound for ε > 0, with 1/m", ours,
        layer.scale**2 / layer.spread * _bracket(layer, layer.xhat, layer.many), relation="≤",
        slack=slack, needs=(layer.many >= 2,), printed="Li (53)",
    )  # fmt: skip


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
        note="so the bound fails iff k > 1/(1 + ρ − ρ²), k = ⟨g, x₀⟩²/(m‖Pg‖²), ρ = σ²/s²",
    )
    threshold = 1 + rho - rho**2
    yield Statement(
        "1 + ρ − ρ² is at least 1", S.One, threshold, relation="≤",
        slack=rho * layer.eps / layer.root**2,
    )  # fmt: skip
    half = Rational(1, 2)
    yield Statement(
        "and at most 5/4", threshold, Rational(5, 4), relation="≤", slack=(rho - half) ** 2
    )
    on_it = tuple(2 * a + b for a, b in zip(UNIT, (1, -1, -1, 1), strict=True))
    yield Statement(
        "at the threshold both sides are equal", ours, bound, at={**K4, "dy": on_it, "eps": 25},
        note="ρ = 1/2, k = 4/5",
    )  # fmt: skip
    yield Statement(
        "the bound for ε > 0 where x̂ has norm √m", ours, bound, relation="≤",
        at={**K4, "dy": UNIT}, printed="Li (53) as its proof reads it", holds=False,
        note="dy is x₀",
    )  # fmt: skip
    elsewhere = Run("′", ((layer.dy, layer.y - layer.x),))
    yield Statement(
        "the bound by the gradient at x, not at y", layer.sum(marked(layer.dx) ** 2), S.Zero,
        relation="≤", runs=(elsewhere,), at=K4, printed="Li (61): ∂ℓ̂/∂y = ∂ℓ/∂x", holds=False,
        note="ℓ(z) = ½‖z − x‖² has gradient 0 at x, so the right side is 0",
    )  # fmt: skip
    yield Statement(
        "batch norm shortens the gradient", ours, layer.sum(layer.dy**2), relation="≤",
        at={**K4, "dy": (1, -1, -1, 1), "gamma": 12}, printed="Deb: it lowers its bound",
        holds=False,
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
        note="c is λ: max over ‖X‖ ≤ λ, with y and x̂ frozen, of ‖Xᵀdx‖²",
    )
    more = layer.scale**2 * layer.eps / (layer.spread * layer.root**2)
    last = layer.scale**2 * layer.eps / (layer.freedom * layer.root**4)
    yield Statement(
        "the same with γ²/σ² and 1/m: a bound",
        weights,
        layer.scale**2 / layer.spread * c**2 * _bracket(layer, layer.xhat, layer.freedom),
        relation="≤",
        slack=c**2 * (more * squares(layer, layer.dy)
                      + last * layer.sum(layer.dy * layer.xhat) ** 2),
    )  # fmt: skip
    yield from _repairs(layer, weights)
    yield from _printed(layer, weights)
    yield from _moving(layer)


def _repairs(layer: Words, weights: Expr) -> Iterator[Statement]:
    """(63) with all three repairs, and with two of them."""
    zero: Pairs = ((layer.eps, S.Zero),)
    front, g = layer.scale**2 / layer.spread, layer.sum(layer.dy**2)
    along = layer.sum(layer.dy * layer.xhat) ** 2
    unit, mean = along / layer.sum(layer.xhat**2), layer.sum(layer.dy) ** 2 / layer.many
    at = {**K4, "eps": 0, "c": 2}
    true = Statement(
        "(63) with g for g², λμ for μ, x̂/‖x̂‖ for x̂", weights,
        front * c**2 * (g - mean - unit), given=zero,
    )  # fmt: skip
    yield true
    for name, right in (
        ("(63) with the last two of these", (c**2 * g) ** 2 - c**2 * (mean + unit)),
        ("(63) with the first and the last", c**2 * g - mean - c**2 * unit),
        ("(63) with the first two", c**2 * (g - mean - along)),
    ):
        yield replace(true, name=name, right=front * right, at=at, holds=False)  # fmt: skip


def _printed(layer: Words, weights: Expr) -> Iterator[Statement]:
    """(63) letter by letter, in two readings of g squared."""
    plain = {**K4, "eps": 0, "c": 1}
    small = {**plain, "dy": tuple(Rational(k, 10) for k in (1, 2, -1, 3))}
    g = c**2 * layer.sum(layer.dy**2)
    tail = layer.many * (layer.sum(layer.dy) / layer.many) ** 2
    tail += c**2 * layer.sum(layer.dy * layer.xhat) ** 2
    for name, square, at, holds, note in (
        ("(63), g² as g", g, plain, False, ""),
        ("(63), g² as g squared", g**2, small, False, "ℓ/10"),
        ("(63), g² as g squared, by accident", g**2, plain, True, "ℓ itself"),
    ):
        right = layer.scale**2 / layer.spread * (square - tail)
        yield Statement(
            name, weights, right, relation="≤", at=at, printed="Li (63), Santurkar et al. 4.4",
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
        first**2 + layer.sum(b * marked(layer.dx)) ** 2, layer.sum(b * layer.dx) ** 2 / r**2,
        given=zero, runs=run,
        note="grows beyond every bound as r goes to 0: (62) has no maximum at ε = 0",
    )  # fmt: skip
    along = layer.sum(layer.dy * layer.xhat) ** 2 / layer.freedom
    rest = layer.sum(layer.dy) ** 2 / layer.many + (1 + layer.eps / layer.root**2) * along
    share = layer.scale**2 / layer.root**2
    yield Statement(
        "for ε > 0 there is one", layer.eps * layer.sum(layer.dx**2),
        layer.scale**2 * layer.sum(layer.dy**2), relation="≤",
        slack=share * (layer.spread * layer.sum(layer.dy**2) + layer.eps * rest),
        note="so ‖∇ℓ‖² of the weights is at most λ²γ²/ε times ‖∂ℓ/∂y‖²",
    )  # fmt: skip


def _unit(layer: Words) -> Expr:
    return layer.xhat * layer.root / sqrt(layer.spread)


def _bracket(layer: Words, hat: Expr, freedom: Expr, factor: Expr = S.One) -> Expr:
    """``|g|^2 - <1, g>^2/m - factor*<g, hat>^2/n``."""
    square = layer.sum(layer.dy**2) - layer.sum(layer.dy) ** 2 / layer.many
    return square - factor * layer.sum(layer.dy * hat) ** 2 / freedom
