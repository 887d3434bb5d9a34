"""Variants of a layer: the variance as a node of the graph, statistics held fixed, eps outside.

Which partial derivatives belong together: written out (``(x - mu)**2``) the variance has no slope
in mu; from raw moments it has; as a function of x alone it has no edge from mu at all. Each graph
gives the same dx, unless one mixes two of them. In evaluation mode the statistics are inputs, so
that the layer is linear in each entry. With eps outside the root, ``s = sigma + eps``, it is
another layer with another Jacobian.

Sources: ``facts.md`` section 1; Li, *Normalization in Deep Neural Networks*, (49).
"""

from collections.abc import Iterator
from dataclasses import replace

from sympy import Expr, Gt, S, sqrt

from bncheck.algebra.notation import Tensor, Total, gradient, indices_of, like, total
from bncheck.algebra.program import Program, Step
from bncheck.theory.family.higher_derivatives import parameter_directions
from bncheck.theory.family.linear_map import parameters
from bncheck.theory.parts import Words
from bncheck.theory.statements import K4, Run, Statement, marked, t, when_moved


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
    right = spread + t * layer.sum(a * 2 * (x - mean) / layer.freedom)
    yield when_moved("∂σ²/∂x in total", x, a, marked(spread), right)


def _gathered(layer: Words, slope: Expr, at_mean: Expr) -> Expr:
    """dx by the chain rule, from the slopes of the variance and of the loss in the mean."""
    direct = layer.scale * layer.dy / layer.root
    return direct + slope * gradient(layer.spread) + at_mean / layer.many


def evaluation(layer: Words) -> Iterator[Statement]:
    """``J = gamma/s`` times the unit matrix, the statistics' own gradients, double backward."""
    slope = layer.scale / layer.root
    affine = slope * layer.x + (layer.shift - slope * layer.mean)
    yield Statement("y is affine in x", layer.y, affine)
    yield Statement("dx", layer.dx, slope * layer.dy)
    run = Run("′", ((layer.x, layer.direction("a")),))
    yield Statement("dx at any x", marked(layer.dx), layer.dx, runs=(run,))
    yield from parameters(layer)
    yield from _statistics(layer)
    yield from _double_backward(layer)


def _statistics(layer: Words) -> Iterator[Statement]:
    away, over = like("a", layer.mean), _over(layer)
    grown = total(layer.dy * (marked(layer.y) - layer.y), over)
    right = -t * away * total(layer.dx, over)
    yield when_moved("gradient of the running mean", layer.mean, away, grown, right)
    right = -t * away * total(layer.dx * (layer.x - layer.mean), over) / (2 * layer.root**2)
    yield when_moved("gradient of the running variance", layer.spread, away, grown, right)


def _double_backward(layer: Words) -> Iterator[Statement]:
    """The gradients of ``F = <a, dx> + <b, dgamma> + <c, dbeta>``."""
    a, g, over = layer.direction("a"), layer.direction("g"), _over(layer)
    b, c = parameter_directions(layer)
    by_dy = layer.scale * a / layer.root + b * layer.xhat + c

    def scalar(mark: str) -> Expr:
        dy, hat = marked(layer.dy, mark), marked(layer.xhat, mark)
        return total(a * marked(layer.dx, mark), over) + total(dy * (b * hat + c), over)

    def said(name: str, operand: Tensor, towards: Tensor, grown: Expr) -> Statement:
        name, right = f"double backward: ∂F/∂{name}", scalar("") + t * grown
        return when_moved(name, operand, towards, scalar("′"), right)

    yield said("x", layer.x, g, total(g * b * layer.dy / layer.root, over))
    yield said("dy", layer.dy, g, total(g * by_dy, over))
    for operand, name in zip(layer.found.wrt[1:], ("γ", "β"), strict=False):
        q = like("q", operand)
        grown = q * total(a * layer.dy, over) / layer.root if name == "γ" else S.Zero
        yield said(name, operand, q, grown)


def _over(layer: Words) -> set[object]:
    """The axes that share a statistic: the batch."""
    return set(layer.forward.axes) - set(indices_of(layer.mean))


def outside(layer: Words) -> Program:
    """The same layer with eps added to the root and not under it."""
    forward, root = layer.forward, layer.forward.step(layer.root)
    changed = Step(root.target, sqrt(layer.spread) + layer.eps, root.note)
    steps = tuple(changed if step == root else step for step in forward.steps)
    return replace(forward, title=f"{forward.title}, ε outside the root", steps=steps)


def eps_outside(layer: Words) -> Iterator[Statement]:
    """``J = gamma/s*(P - s/(n*sigma)*xhat*xhat')``; it leaks ``eps/s`` along xhat, not its square.

    For dy and for a tangent alike; the formula for eps under the root is false here.
    """
    h, a, sigma = layer.scale * layer.dy, layer.direction("a"), sqrt(layer.spread)
    along = layer.sum(h * layer.xhat) / layer.freedom
    ratio, some = layer.root / sigma, (Gt(layer.spread, 0, evaluate=False),)
    right = (layer.project(h) - ratio * layer.xhat * along) / layer.root
    yield Statement("ε outside: dx in closed form", layer.dx, right, needs=some)
    tangent = layer.project(a) - ratio * layer.xhat * layer.sum(a * layer.xhat) / layer.freedom
    grown = layer.scale / layer.root * tangent
    name, right = "ε outside: forward mode", layer.y + t * grown
    yield when_moved(name, layer.x, a, marked(layer.y), right, needs=some)
    hat = Run("′", ((layer.dy, layer.xhat / layer.weight),))
    leak = layer.scale / layer.weight * layer.eps / layer.root**2 * layer.xhat
    yield Statement("ε outside: J on x̂", marked(layer.dx), leak, runs=(hat,))
    zero = ((layer.eps, S.Zero),)
    inside = (layer.project(h) - layer.xhat * along) / layer.root
    yield Statement("ε outside: the formula for ε inside at ε = 0", layer.dx, inside, given=zero)
    name = "ε outside: the formula for ε inside"
    yield Statement(name, layer.dx, inside, at=K4, holds=False)
