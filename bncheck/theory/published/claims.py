"""What is published about batch norm: what is true, under which conditions, and what is not.

Each claim is a statement like those of the family; those that are false as printed are there with
``holds=False`` and a counterexample in exact numbers, and bncheck expects to see them refuted. A
line that a condition mends stands twice. Sources of the lines here: Li, *Normalization in Deep
Neural Networks* (numbers of equations); Deb, *Batch Normalization*.
"""

from collections.abc import Iterator
from dataclasses import replace

from sympy import Expr, S, sqrt

from bncheck.algebra.notation import gradient
from bncheck.algebra.program import Program
from bncheck.calculus.passes import derived_once
from bncheck.theory.family.variants import eps_outside, outside
from bncheck.theory.judging import judge_all
from bncheck.theory.parts import Words, words
from bncheck.theory.published.internal_covariate_shift import covariate_shift
from bncheck.theory.published.lipschitz_bounds import lipschitz, minimax, unbiased
from bncheck.theory.published.reparameterisation import reparameterised, restored, weight_norm
from bncheck.theory.statements import K4, Judgement, Pairs, Statement, t


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
