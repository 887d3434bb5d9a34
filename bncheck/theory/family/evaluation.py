"""Evaluation mode: statistics that are held fixed, so that the layer is linear in each entry.

Sources: ``facts.md`` section 1; Li, *Normalization in Deep Neural Networks*, (49).
"""

from collections.abc import Iterator

from sympy import Expr, S

from bncheck.algebra.notation import Tensor, indices_of, like, total
from bncheck.theory.family.pullback import parameters
from bncheck.theory.parts import Words
from bncheck.theory.statement import Run, Statement, marked, t


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
    run = Run("′", ((layer.mean, layer.mean + t * away),))
    right = -t * away * total(layer.dx, over)
    yield Statement("gradient of the running mean", grown, right, runs=(run,), order=(t,))
    run = Run("′", ((layer.spread, layer.spread + t * away),))
    right = -t * away * total(layer.dx * (layer.x - layer.mean), over) / (2 * layer.root**2)
    yield Statement("gradient of the running variance", grown, right, runs=(run,), order=(t,))


def _double_backward(layer: Words) -> Iterator[Statement]:
    """The gradients of ``F = <a, dx> + <b, dgamma> + <c, dbeta>``."""
    a, g, over = layer.direction("a"), layer.direction("g"), _over(layer)
    own = layer.found.wrt[1:]
    b = like("b", own[0]) if own else S.Zero
    c = like("c", own[1]) if len(own) > 1 else S.Zero
    by_dy = layer.scale * a / layer.root + b * layer.xhat + c

    def scalar(mark: str) -> Expr:
        dy, hat = marked(layer.dy, mark), marked(layer.xhat, mark)
        return total(a * marked(layer.dx, mark), over) + total(dy * (b * hat + c), over)

    def said(name: str, operand: Tensor, towards: Tensor, grown: Expr) -> Statement:
        runs = (Run("′", ((operand, operand + t * towards),)),)
        right = scalar("") + t * grown
        return Statement(f"double backward: ∂F/∂{name}", scalar("′"), right, runs=runs, order=(t,))

    yield said("x", layer.x, g, total(g * b * layer.dy / layer.root, over))
    yield said("dy", layer.dy, g, total(g * by_dy, over))
    for operand, name in zip(own, ("γ", "β"), strict=False):
        q = like("q", operand)
        grown = q * total(a * layer.dy, over) / layer.root if name == "γ" else S.Zero
        yield said(name, operand, q, grown)


def _over(layer: Words) -> set[object]:
    """The axes that share a statistic: the batch."""
    return set(layer.forward.axes) - set(indices_of(layer.mean))
