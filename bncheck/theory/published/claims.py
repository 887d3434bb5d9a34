"""What is published about batch norm: what is true, under which conditions, and what is not.

Each claim is a statement like those of the family; those that are false as printed are there with
``holds=False`` and a counterexample in exact numbers, and bncheck expects to see them refuted. A
line that a condition mends stands twice. Sources of the lines here: Li, *Normalization in Deep
Neural Networks* (numbers of equations); Deb, *Batch Normalization*; of batch norm as another way
to write the weights, and as a layer that can do nothing, Kohler et al. 2018, and Ioffe and Szegedy
2015, section 3. There ``x = p a + q b``: two columns a, b of data, one column (p, q) of weights.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sympy import Expr, Rational, S, sqrt

from bncheck.algebra.notation import Mean, Total, gradient
from bncheck.algebra.program import Program
from bncheck.calculus.passes import derived_once
from bncheck.theory.family.variants import eps_outside, outside
from bncheck.theory.judging import judge_all
from bncheck.theory.parts import Words, words
from bncheck.theory.published.internal_covariate_shift import covariate_shift
from bncheck.theory.published.lipschitz_bounds import lipschitz, minimax, unbiased
from bncheck.theory.statements import K4, Judgement, Pairs, Run, Statement, marked, t


def statements(layer: Words) -> tuple[Statement, ...]:
    """What is said about batch norm as a function of one batch."""
    themes = (printed_lines, lipschitz, minimax, reparameterised, restored)
    return tuple(said for theme in themes for said in theme(layer))


def theorems(
    batch: Program, raw: Program, over_less: Program, weight: Program, seed: int = 0
) -> Iterator[Judgement]:
    """Every theorem, judged: of batch norm, of its relatives, and of a network with it.

    ``raw``: batch norm with the variance from raw moments; ``over_less``: with the variance over
    m - 1; ``weight``: weight norm.
    """
    layer = words(derived_once(batch))
    for program, said in (
        (batch, statements), (raw, printed_graph), (over_less, unbiased),
        (outside(layer), eps_outside), (weight, weight_norm),
    ):  # fmt: skip
        about = words(derived_once(program))
        yield from judge_all(said(about), about, seed)
    yield from covariate_shift(batch)


def printed_lines(layer: Words) -> Iterator[Statement]:
    """Of batch norm with the variance about the mean."""
    zero: Pairs = ((layer.eps, S.Zero),)
    said = Statement("x̂ has length √m", layer.sum(layer.xhat**2), layer.many, at=K4,
                     printed="Li (1) and before (55), tutorial: unit variance")  # fmt: skip
    yield replace(said, name=f"{said.name} at ε = 0", given=zero, at={})
    yield replace(said, name=f"{said.name} for ε > 0", holds=False)
    yield from _li(layer)
    h, sigma = layer.dy, sqrt(layer.spread)
    said = Statement("dx, σ for s", layer.dx, layer.scale * _closed(layer, h) / sigma,
                     printed="Li (54)", at=K4)  # fmt: skip
    yield replace(said, name=f"{said.name} at ε = 0", given=zero, at={})
    yield replace(said, name=f"{said.name} for ε > 0", holds=False)
    yield from _deb(layer)


def _closed(layer: Words, h: Expr) -> Expr:
    along = layer.sum(h * layer.xhat)
    return h - layer.sum(h) / layer.many - layer.xhat * along / layer.many


def _li(layer: Words) -> Iterator[Statement]:
    """The sum over the batch belongs to the whole product, not to ``x - mu`` alone."""
    h, s, xhat, off = layer.scale * layer.dy, layer.root, layer.xhat, layer.x - layer.mean
    lost = "a sum of x − μ alone is 0, and the path through σ² is lost"
    torn = h * (-layer.sum(off) / (2 * s**3))
    direct = h / s - layer.sum(h) / (s * layer.many)
    dvar = gradient(layer.spread)
    for name, left, right, printed, note in (
        ("dσ², the sum of x − μ alone", dvar, torn, "Li (27)", lost),
        ("dx, the sum of x − μ alone", layer.dx, direct + torn * 2 * off / layer.many,
         "Li (36), (38)", lost),
        ("dx, the sum of x̂ alone", layer.dx,
         direct - h * layer.sum(xhat) * xhat / (layer.many * s), "Li (43)", lost),
        ("dx, the sum over i of terms with j", layer.dx,
         direct - xhat * h * xhat / s, "Li (44)",
         "read with j = i, m equal terms; with a sum over j it is the closed form"),
        ("dx, ŷ read as x̂", layer.dx, layer.scale * _closed(layer, h) / s, "Li (45)",
         "γ counts twice; with ŷ read as y it is the closed form"),
    ):  # fmt: skip
        yield Statement(name, left, right, at=K4, printed=printed, holds=False, note=note)


def _deb(layer: Words) -> Iterator[Statement]:
    """The gradients of the statistics from dx, which is not known yet, in place of dxhat."""
    dmu, dvar = gradient(layer.mean), gradient(layer.spread)
    off = layer.x - layer.mean
    for name, left, weight in (
        ("dμ from dx, not dx̂", dmu, -1 / layer.root),
        ("dσ² from dx, not dx̂", dvar, -off / (2 * layer.root**3)),
    ):
        yield Statement(name, left, layer.sum(layer.dx * weight), at=K4, printed="Deb",
                        holds=False, note="the hat is missing")  # fmt: skip


def printed_graph(raw: Words) -> Iterator[Statement]:
    """Deb takes the variance from raw moments, and its partials from another graph."""
    h, mean, spread, x = raw.scale * raw.dy, raw.mean, raw.spread, raw.x
    dmu, dvar, a = gradient(mean), gradient(spread), raw.direction("a")
    direct = -raw.sum(h) / raw.root
    slope = 2 * (x - mean) / raw.many
    written = raw.forward.step(spread).expr.xreplace({x: x + t * a})
    mixed = h / raw.root + slope * dvar
    no = Statement("", S.Zero, S.Zero, at=K4, printed="Deb", holds=False)
    yield replace(no, name="raw σ²: dμ without the edge to σ²", left=dmu, right=direct)
    yield replace(
        no, name="raw σ²: ∂σ²/∂x at fixed μ is 2(x − μ)/m", left=written,
        right=spread + t * raw.sum(a * slope), order=(t,), note="that is the derivative in total",
        at={**K4, "a": (0, 1, 0, 0)},
    )  # fmt: skip
    yield replace(
        no, name="raw σ²: both together give dx", left=raw.dx, right=mixed + direct / raw.many,
        at={}, holds=True, note="two wrongs: σ² as a function of x alone, with no edge from μ",
    )  # fmt: skip
    yield replace(
        no, name="raw σ²: its own dμ with that ∂σ²/∂x", left=raw.dx, right=mixed + dmu / raw.many,
        printed="", note="wrong by −2μ/m·dσ² everywhere",
    )  # fmt: skip


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
