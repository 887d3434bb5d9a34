"""The backward pass itself as statements: its closed form, its parts, how long dx can be.

Sources: ``facts.md`` sections 1 and 2 (one rule for the family) and 4 (g, k).
"""

from collections.abc import Iterator

from bncheck.algebra.notation import gradient, indices_of, total
from bncheck.theory.parts import Words
from bncheck.theory.statement import Run, Statement, marked, t


def pullback(layer: Words) -> Iterator[Statement]:
    """``dx = (h - mean(h) - xhat*sum(h*xhat)/n)/s`` with ``h = gamma*dy``, and what follows."""
    h, xhat = layer.scale * layer.dy, layer.xhat
    along = layer.sum(h * xhat)
    rest = layer.project(h) - xhat * along / layer.freedom
    yield Statement("dx in closed form", layer.dx, rest / layer.root)
    yield from parameters(layer)
    leak = layer.eps / layer.root**3
    orthogonal = layer.project(h) - xhat * along / layer.length
    parts = orthogonal / layer.root + leak * xhat * along / layer.length
    yield Statement("dx from its parts on 1, x̂ and the rest", layer.dx, parts)
    if layer.weight == 1:
        run = Run("′", ((layer.x, layer.x + t * layer.dy),))
        right = layer.y + t * layer.dx
        name = "forward mode is the backward pass"
        yield Statement(name, marked(layer.y), right, runs=(run,), order=(t,))
    yield _longest(layer)


def parameters(layer: Words) -> Iterator[Statement]:
    """``dgamma`` and ``dbeta``: sums over all places that share the parameter."""
    for operand, name in zip(layer.found.wrt[1:], ("dγ", "dβ"), strict=False):
        over = set(layer.forward.axes) - set(indices_of(operand))
        body = layer.dy * (layer.xhat if name == "dγ" else 1)
        yield Statement(f"{name} in closed form", gradient(operand), total(body, over))


def _longest(layer: Words) -> Statement:
    h = layer.scale * layer.dy
    along = layer.sum(h * layer.xhat) ** 2 / layer.freedom
    lost = (1 + layer.eps / layer.root**2) * along
    if layer.centred:
        lost += layer.sum(h) ** 2 / layer.many
    return Statement(
        "dx is at most γ/s times dy long",
        layer.sum(layer.dx**2),
        layer.sum(h**2) / layer.root**2,
        relation="≤",
        slack=lost / layer.root**2,
    )
