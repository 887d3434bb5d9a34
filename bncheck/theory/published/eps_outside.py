"""Batch norm with eps outside the root, ``s = sigma + eps``: another layer, another Jacobian.

Source: ``facts.md`` section 1.
"""

from collections.abc import Iterator
from dataclasses import replace

from sympy import Gt, S, sqrt

from bncheck.algebra.program import Program, Step
from bncheck.theory.parts import Words, words
from bncheck.theory.published.lipschitz import K4
from bncheck.theory.statement import Run, Statement, marked, t


def outside(forward: Program) -> Program:
    """The same layer with eps added to the root and not under it."""
    layer = words(forward)
    root = layer.forward.step(layer.root)
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
    run = Run("′", ((layer.x, layer.x + t * a),))
    name = "ε outside: forward mode"
    yield Statement(name, marked(layer.y), layer.y + t * grown, needs=some, runs=(run,), order=(t,))
    hat = Run("′", ((layer.dy, layer.xhat / layer.weight),))
    leak = layer.scale / layer.weight * layer.eps / layer.root**2 * layer.xhat
    yield Statement("ε outside: J on x̂", marked(layer.dx), leak, runs=(hat,))
    zero = ((layer.eps, S.Zero),)
    inside = (layer.project(h) - layer.xhat * along) / layer.root
    yield Statement("ε outside: the formula for ε inside at ε = 0", layer.dx, inside, given=zero)
    name = "ε outside: the formula for ε inside"
    yield Statement(name, layer.dx, inside, at=K4, holds=False)
