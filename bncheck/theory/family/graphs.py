"""Which partial derivatives belong together: the variance as a node of the computation graph.

Written out (``(x - mu)**2``) it has no slope in mu; from raw moments it has; as a function of x
alone it has no edge from mu at all. Each graph gives the same dx, unless one mixes two of them.
Source: ``facts.md`` section 1.
"""

from collections.abc import Iterator

from sympy import Expr, S

from bncheck.algebra.notation import Tensor, Total, gradient, like
from bncheck.theory.parts import Words
from bncheck.theory.statement import Run, Statement, marked, t


def graphs(layer: Words) -> Iterator[Statement]:
    """The partials on the graph of this program, and dx by it, by the others, by a mixture."""
    mean, spread = layer.mean, layer.spread
    if not isinstance(mean, Tensor) or spread not in layer.forward.targets:
        return
    raw = is_raw(layer)
    slope = 2 * (layer.x if raw else layer.x - mean) / layer.freedom
    at_mean = -2 * layer.many * mean / layer.freedom if raw else S.Zero
    yield from _partials(layer, slope, at_mean)
    dmu, dvar = gradient(mean), gradient(spread)
    direct = -layer.sum(layer.scale * layer.dy) / layer.root
    yield Statement("dμ on this graph", dmu, direct + at_mean * dvar)
    yield Statement("dx by this graph", layer.dx, _gathered(layer, slope, dmu))
    total = 2 * (layer.x - mean) / layer.freedom
    name = "dx with σ² a function of x alone"
    yield Statement(name, layer.dx, _gathered(layer, total, direct))
    other, name = (
        (total, "raw dμ with centred ∂σ²/∂x, less dx") if raw
        else (2 * layer.x / layer.freedom, "centred dμ with raw ∂σ²/∂x, less dx")
    )  # fmt: skip
    apart = (-2 if raw else 2) * mean / layer.freedom * dvar
    yield Statement(name, _gathered(layer, other, dmu) - layer.dx, apart)


def is_raw(layer: Words) -> bool:
    """Whether the variance is written from raw moments: a mean stands outside its sums."""
    written = layer.forward.step(layer.spread).expr
    sums = written.atoms(Total)
    outside = written.xreplace(dict.fromkeys(sums, S.Zero)).free_symbols
    inside = all(layer.mean in node.free_symbols for node in sums)
    return layer.mean in outside and not inside


def _partials(layer: Words, slope: Expr, at_mean: Expr) -> Iterator[Statement]:
    """By x at fixed mu, by mu at fixed x, and by x in total: of the step as it is written."""
    x, mean, spread, a = layer.x, layer.mean, layer.spread, layer.direction("a")
    written = layer.forward.step(spread).expr
    moved, away = {x: x + t * a}, like("b", mean)
    yield Statement(
        "∂σ²/∂x at fixed μ", written.xreplace(moved), spread + t * layer.sum(a * slope), order=(t,)
    )
    moved = {mean: mean + t * away}
    right = spread + t * away * at_mean
    yield Statement("∂σ²/∂μ at fixed x", written.xreplace(moved), right, order=(t,))
    run = Run("′", ((x, x + t * a),))
    right = spread + t * layer.sum(a * 2 * (x - mean) / layer.freedom)
    yield Statement("∂σ²/∂x in total", marked(spread), right, runs=(run,), order=(t,))


def _gathered(layer: Words, slope: Expr, at_mean: Expr) -> Expr:
    """dx by the chain rule, from the slopes of the variance and of the loss in the mean."""
    direct = layer.scale * layer.dy / layer.root
    return direct + slope * gradient(layer.spread) + at_mean / layer.many
