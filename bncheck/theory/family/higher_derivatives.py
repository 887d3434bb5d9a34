"""Statements of second order: the derivative of y and of dx, and the potential of which y is one.

Derivatives are those of the forward pass at ``x + t*a`` with ``t**2 = 0``. Source: ``facts.md``,
sections 1, 2 and 4 (o, r).
"""

from collections.abc import Iterator

from sympy import Expr, S, sqrt

from bncheck.algebra.notation import Tensor, Total, like
from bncheck.theory.parts import Words
from bncheck.theory.statements import Run, Statement, marked, t, u, when_moved


def curvature(layer: Words) -> Iterator[Statement]:
    """Forward mode, potential and its convexity, second derivative, double backward."""
    yield from _forward_mode(layer)
    if layer.weight == 1:
        yield _potential(layer)
    yield positive(layer)
    if layer.weight == 1:
        yield from _convex(layer)
    yield _second(layer)
    yield from _double_backward(layer)


def _forward_mode(layer: Words) -> Iterator[Statement]:
    """The Jacobian, as what it does to a tangent."""
    a = layer.direction("a")
    changes = [(layer.x, layer.x + t * a)]
    grown = layer.scale / layer.root * (layer.project(a) - layer.xhat * _along(layer, a))
    for parameter, factor, name in zip(
        layer.found.wrt[1:], (layer.xhat, S.One), ("b", "c"), strict=False
    ):
        tangent = like(name, parameter)
        changes.append((parameter, parameter + t * tangent))
        grown += tangent * factor
    runs = (Run("′", tuple(changes)),)
    yield Statement("forward mode", marked(layer.y), layer.y + t * grown, runs=runs, order=(t,))


def _potential(layer: Words) -> Statement:
    """``y`` is the gradient of ``gamma*n*s + beta*sum(x)``; hence J is symmetric."""
    a = layer.direction("a")
    right = _potential_at(layer, "") + t * layer.sum(a * layer.y)
    return when_moved("potential", layer.x, a, _potential_at(layer, "′"), right)


def _potential_at(layer: Words, mark: str) -> Expr:
    grown = layer.freedom * layer.scale * marked(layer.root, mark)
    return grown + layer.shift * layer.sum(marked(layer.x, mark))


def positive(layer: Words) -> Statement:
    """``<h, T h>`` is a sum of squares, so that T has no negative eigenvalue."""
    return Statement(
        "T is not negative", S.Zero, layer.root * layer.sum(layer.scale * layer.dy * layer.dx),
        relation="≤", slack=squares(layer, layer.scale * layer.dy),
    )  # fmt: skip


def _convex(layer: Words) -> Iterator[Statement]:
    """The potential over ``gamma`` is convex, and so its gradient y over ``gamma`` monotone.

    With ``(P x, sqrt(n*eps))`` for x, a vector of length ``s*sqrt(n)``: both say that a squared
    distance is not negative, of such vectors each divided by its length.
    """
    other, root = layer.direction("b"), marked(layer.root)
    runs = (Run("′", ((layer.x, other),)),)
    apart = layer.xhat - marked(layer.xhat)
    here, there = (_potential_at(layer, mark) for mark in ("", "′"))
    above = there - here - layer.sum(layer.y * (other - layer.x))
    leak = layer.freedom * layer.eps
    mean = marked(layer.mean) if layer.centred else S.Zero
    far = Total((root * layer.xhat - (other - mean)) ** 2, *layer.over)
    far += leak * (root / layer.root - 1) ** 2
    yield Statement(
        "potential is convex", S.Zero, layer.scale * root * above, relation="≤",
        slack=layer.scale**2 / 2 * far, runs=runs,
    )  # fmt: skip
    inner = layer.sum((layer.y - marked(layer.y)) * (layer.x - other))
    far = Total(apart**2, *layer.over) + leak * (1 / layer.root - 1 / root) ** 2
    yield Statement(
        "y is monotone where γ > 0", S.Zero, layer.scale * inner, relation="≤",
        slack=layer.scale**2 * (layer.root + root) / 2 * far, runs=runs, general=layer.eps == 0,
        follows=("potential is convex",),
        note="the sum of two of the lines above, with x and x′ changed about",
    )  # fmt: skip


def squares(layer: Words, h: Expr) -> Expr:
    """``|Ph|^2 - <h, xhat>^2/n`` as a sum of squares; ``x0`` is (x - mu)/sigma."""
    x0 = layer.xhat * (layer.root / sqrt(layer.spread) if layer.eps != 0 else 1)
    along = layer.sum(h * x0)
    rest = layer.project(h) - x0 * along / layer.freedom
    return Total(rest**2, *layer.over) + layer.eps / layer.root**2 * along**2 / layer.freedom


def _second(layer: Words) -> Statement:
    """The second derivative of ``<dy, y>``; symmetric in dy and both directions."""
    a, b, h = layer.direction("a"), layer.direction("b"), layer.scale * layer.dy
    alongs = [layer.sum(z * layer.xhat) for z in (a, b, h)]
    inner = [layer.sum(z * layer.project(w)) for z, w in ((b, h), (h, a), (a, b))]
    mixed = sum((p * q for p, q in zip(alongs, inner, strict=True)), S.Zero)
    mixed -= 3 * alongs[0] * alongs[1] * alongs[2] / layer.freedom
    first = t * layer.sum(a * layer.dx) + u * layer.sum(b * layer.dx)
    runs = (Run("′", ((layer.x, layer.x + t * a + u * b),)),)
    right = first - t * u * mixed / (layer.freedom * layer.root**2)
    grown = layer.sum(layer.dy * (marked(layer.y) - layer.y))
    return Statement("second derivative", grown, right, runs=runs, order=(t, u))


def _double_backward(layer: Words) -> Iterator[Statement]:
    """The gradients of ``F = <a, dx> + <b, dgamma> + <c, dbeta>``, the sums over one group."""
    a, h, xhat = layer.direction("a"), layer.scale * layer.dy, layer.xhat
    b, c = parameter_directions(layer)

    def scalar(mark: str) -> Expr:
        dy, hat = marked(layer.dy, mark), marked(xhat, mark)
        return layer.sum(a * marked(layer.dx, mark)) + layer.sum(b * dy * hat) + layer.sum(c * dy)

    def said(name: str, operand: Tensor, away: Tensor, formula: Expr) -> Statement:
        right = scalar("") + t * layer.sum(away * formula)
        return when_moved(f"double backward: ∂F/∂{name}", operand, away, scalar("′"), right)

    n, away = layer.freedom, layer.direction("g")
    along, up = _along(layer, a), layer.sum(h * xhat)
    path = (layer.sum(a * layer.project(h)) - 3 * along * up) * xhat
    path += up * layer.project(a) + n * along * layer.project(h)
    by_x = -path / (n * layer.root**2)
    by_x += (layer.project(b * layer.dy) - xhat * _along(layer, b * layer.dy)) / layer.root
    tangent = (layer.project(a) - xhat * along) / layer.root
    yield said("x", layer.x, away, by_x)
    yield said("dy", layer.dy, away, layer.scale * tangent + b * xhat + c)
    for gamma in layer.found.wrt[1:2]:
        yield said("γ", gamma, like("q", gamma), layer.dy * tangent)
    if layer.shift != 0:
        yield said("β", layer.shift, like("q", layer.shift), S.Zero)


def parameter_directions(layer: Words) -> tuple[Expr, Expr]:
    """Directions b of gamma and c of beta; 0 where the layer has none."""
    own = layer.found.wrt[1:]
    return like("b", own[0]) if own else S.Zero, like("c", own[1]) if len(own) > 1 else S.Zero


def _along(layer: Words, body: Expr) -> Expr:
    return layer.sum(body * layer.xhat) / layer.freedom
