"""Batch norm as another way to write the weights, and as a layer that can do nothing.

``x = p a + q b``: two columns a, b of data and one column (p, q) of weights; for every batch
size. Sources: Kohler et al. 2018; Deb, *Batch Normalization*; Ioffe and Szegedy 2015, section 3.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sympy import Expr, Rational, S, sqrt

from bncheck.algebra.notation import Mean, Total
from bncheck.theory.parts import Words
from bncheck.theory.statements import K4, Pairs, Run, Statement, marked

COLUMNS: dict[str, Any] = {
    **K4, "a": (7, 1, -1, -7), "b": (1, -1, -1, 1), "p": 1, "q": 12, "eps": 0,
}  # fmt: skip
"""Centred columns, uncorrelated, of variance 25 and 1: with these weights sigma is 13."""
DEB = "Deb, deeper intuition"


def reparameterised(layer: Words) -> Iterator[Statement]:
    """``BN(x'W) = x'What + beta`` for one column of weights, where eps = 0 and x is centred."""
    a, b = layer.direction("a"), layer.direction("b")
    p, q = layer.constant("p"), layer.constant("q")
    z, centred = p * a + q * b, ((Total(a, *layer.over), S.Zero), (Total(b, *layer.over), S.Zero))
    zero: Pairs = ((layer.eps, S.Zero),)
    run = (Run("′", ((layer.x, z),)),)

    def over(second: Any) -> Expr:
        return sqrt(p**2 * second(a, a) + 2 * p * q * second(a, b) + q**2 * second(b, b))

    def moment(u: Expr, v: Expr) -> Expr:
        return Mean(u * v, *layer.over)

    def covariance(u: Expr, v: Expr) -> Expr:
        return moment(u, v) - Mean(u, *layer.over) * Mean(v, *layer.over)

    scaled, shift = layer.scale * z / over(moment), layer.shift
    true = Statement(
        "BN(xᵀW) = xᵀŴ + β", marked(layer.y), scaled + shift, given=(*zero, *centred), runs=run,
        at=COLUMNS,
    )  # fmt: skip
    yield true
    means = p * Mean(a, *layer.over) + q * Mean(b, *layer.over)
    rest = layer.scale * (z - means) / over(covariance)
    name = "BN(xᵀW) of x that is not centred"
    yield replace(true, name=name, right=rest + shift, given=zero, at={**COLUMNS, **_LIFTED})
    no = replace(true, printed=DEB, holds=False)
    yield replace(no, name="BN(xᵀW) = xᵀŴ", right=scaled, note="β is missing")
    yield replace(no, name="BN(xᵀW) = xᵀŴ + β for ε > 0", given=centred, at={**COLUMNS, "eps": 27})
    yield replace(
        no, name="BN(xᵀW) = xᵀŴ + β, S the covariance", right=layer.scale * z / over(covariance)
        + shift, given=zero, at={**COLUMNS, **_LIFTED}, note="the data are not centred",
    )  # fmt: skip
    yield from _several(layer)
    white: Pairs = tuple((Total(u, *layer.over), n) for u, n in (
        (a**2, layer.many), (b**2, layer.many), (a * b, S.Zero)))  # fmt: skip
    yield replace(
        true, name="S = I: weight norm", right=layer.scale * z / sqrt(p**2 + q**2) + shift,
        given=(*zero, *centred, *white),
        at={**COLUMNS, "a": (1, 1, -1, -1), "b": (1, -1, 1, -1), "p": 3, "q": 4},
    )  # fmt: skip


_LIFTED = {"a": (8, 2, 0, -6)}


def _several(layer: Words) -> Iterator[Statement]:
    """With a matrix root of W'SW, outputs of two columns of W would be uncorrelated."""
    other = layer.direction("b")
    yield Statement(
        "several columns, (WᵀSW)^½ a matrix root", layer.sum(layer.xhat * marked(layer.xhat)),
        S.Zero, runs=(Run("′", ((layer.x, other),)),), at={**K4, "eps": 0, "b": (5, -5, -1, 1)},
        printed=DEB, holds=False,
        note="a matrix root would leave the outputs x̂, x̂′ of two columns uncorrelated",
    )  # fmt: skip


def weight_norm(layer: Words) -> Iterator[Statement]:
    """What weight norm computes: the same Ŵ with S = I."""
    right = layer.scale * layer.x / sqrt(layer.sum(layer.x**2))
    yield Statement("weight norm: Ŵ = γW/(WᵀIW)^½", layer.y, right)


def restored(layer: Words) -> Iterator[Statement]:
    """``gamma = sqrt(var + eps)`` and ``beta = mu`` undo the layer for one mean and variance."""
    other = layer.direction("b")
    undone = ((layer.scale, layer.root), (layer.shift, layer.mean))
    yield Statement(
        "γ = √(σ² + ε), β = μ restore x", marked(layer.y), layer.x, runs=(Run("′", undone),)
    )
    yield Statement(
        "γ = σ, β = μ restore x for ε > 0", marked(layer.y), layer.x,
        runs=(Run("′", ((layer.scale, sqrt(layer.spread)), undone[1])),), holds=False, at=K4,
        printed="Ioffe and Szegedy, section 3, where there is no ε",
        note="true at ε = 0; with the ε of their Algorithm 1 it takes γ = √(σ² + ε)",
    )  # fmt: skip
    second = (Run("″", ((layer.x, other),)), Run("′", (*undone, (layer.x, other))))
    ratio = (other - marked(layer.mean, "″")) / marked(layer.root, "″")
    yield Statement(
        "what they make of another batch", marked(layer.y), layer.mean + layer.root * ratio,
        runs=second, at=_ANOTHER,
    )  # fmt: skip
    yield Statement(
        "they restore every batch", marked(layer.y), other, runs=second[1:], at=_ANOTHER,
        printed="tutorial: what came in can be recovered", holds=False,
        note="no two batches of different mean or variance",
    )  # fmt: skip
    mirror = Run("′", (*undone, (layer.x, 2 * layer.mean - layer.x)))
    yield Statement(
        "another batch of that mean and variance", marked(layer.y), 2 * layer.mean - layer.x,
        runs=(mirror,),
    )  # fmt: skip


_ANOTHER = {**K4, "b": (Rational(5, 2), 7, -1, Rational(7, 2))}
