"""The backward pass as a linear map: its closed form, its parts, how long dx can be; its matrix.

``T = s*J/gamma`` is symmetric, 0 on the constant batch, ``eps/s**2`` on xhat and 1 on all that is
orthogonal to both; so its spectrum and rank are known for every batch size. Batches that are
special besides. Sources: ``facts.md`` sections 1 and 2 (one rule for the family) and 4 (g, k).
"""

from collections.abc import Iterator

from sympy import Abs, Integer, S, sqrt

from bncheck.algebra.notation import gradient, indices_of, total
from bncheck.theory.parts import Words
from bncheck.theory.statements import (
    NORM,
    POLYNOMIAL,
    RANK,
    TRACE,
    Pairs,
    Run,
    Statement,
    lam,
    marked,
    t,
    when_moved,
)


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
        name, right = "forward mode is the backward pass", layer.y + t * layer.dx
        yield when_moved(name, layer.x, layer.dy, marked(layer.y), right)
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
        "dx is at most γ/s times dy long", layer.sum(layer.dx**2), layer.sum(h**2) / layer.root**2,
        relation="≤", slack=lost / layer.root**2,
    )  # fmt: skip


def eigen(layer: Words) -> Iterator[Statement]:
    """What J does to 1, to xhat and to the rest; its polynomial, trace, spectrum and rank."""
    dy, dx, weight = layer.dy, layer.dx, layer.weight
    if layer.centred:
        ones = Run("′", ((dy, 1 / weight),))
        yield Statement("J on 1", marked(dx), S.Zero, runs=(ones,))
    along = Run("′", ((dy, layer.xhat / weight),))
    leak = layer.scale / weight * layer.eps / layer.root**3
    yield Statement("J on x̂", marked(dx), leak * layer.xhat, runs=(along,))
    given: Pairs = ((total(weight * dy * layer.xhat, layer.over), S.Zero),)
    if layer.centred:
        given = ((total(weight * dy, layer.over), S.Zero), *given)
    yield Statement("J on the rest", dx, layer.scale * dy / layer.root, given=given)
    yield from _polynomials(layer)
    if weight == 1:
        yield from _spectra(layer)


def _polynomials(layer: Words) -> Iterator[Statement]:
    """``T (T - 1) (T - eps/s**2) = 0``, applied to dy; T twice is T at eps = 0."""
    dy, dx = layer.dy, layer.dx
    delta = layer.eps / layer.root**2
    once = Run("′", ((dy, layer.root * dx / layer.scale),))
    twice = Run("″", ((dy, layer.root * marked(dx) / layer.scale),))
    if layer.eps == 0:
        yield Statement("J twice", marked(dx), dx, runs=(once,))
        return
    left = marked(dx, "″") - (1 + delta) * marked(dx) + delta * dx
    yield Statement("polynomial of J", left, S.Zero, runs=(once, twice))
    yield Statement("J twice", marked(dx), dx, given=((layer.eps, S.Zero),), runs=(once,))


def _spectra(layer: Words) -> Iterator[Statement]:
    many, lost = layer.many, int(layer.centred)
    delta = layer.eps / layer.root**2
    rho = layer.spread / layer.root**2 if layer.eps != 0 else S.One
    yield Statement("trace of J", TRACE, layer.scale / layer.root * (many - lost - rho))
    spectrum = lam**lost * (lam - delta) * (lam - 1) ** (many - lost - 1)
    actions = ("J on 1",) * lost + ("J on x̂", "J on the rest")
    yield Statement("spectrum of sJ/γ", POLYNOMIAL, spectrum, follows=actions)
    known = ("spectrum of sJ/γ",)
    if layer.eps == 0:
        yield Statement("rank of J", RANK, many - lost - 1, follows=known)
        return
    some, above = (many >= 2,) if layer.centred else (), (layer.eps > 0,)
    yield Statement("rank of J, ε > 0", RANK, many - lost, needs=above, follows=known)
    zero: Pairs = ((layer.eps, S.Zero),)
    yield Statement(
        "rank of J, ε = 0", RANK, many - lost - 1, given=zero, needs=some, follows=known
    )
    longest = Abs(layer.scale) / layer.root
    yield Statement("norm of J", NORM, longest, needs=(many >= lost + 2,), follows=known)
    if layer.centred and len(layer.over) == 1:
        pair: Pairs = ((layer.over[0].upper, Integer(2)),)
        yield Statement("norm of J, two values", NORM, longest * delta, given=pair, follows=known)


def special(layer: Words) -> Iterator[Statement]:
    """Two values, one value, a constant batch, half the squared output as the loss."""
    if not layer.centred:
        return
    upstream = layer.scale * layer.dy
    leak = layer.eps / layer.root**3
    if len(layer.over) == 1:
        (i,) = layer.over
        pair: Pairs = ((i.upper, Integer(2)),)
        yield Statement("two values", layer.dx, leak * layer.project(upstream), given=pair)
        if layer.freedom == layer.many:
            yield Statement("one value", layer.dx, S.Zero, given=((i.upper, Integer(1)),))
    flat, some = Run("′", ((layer.x, layer.constant("c")),)), (layer.eps > 0,)
    yield Statement("constant batch: y", marked(layer.y), layer.shift, needs=some, runs=(flat,))
    right = layer.project(upstream) / sqrt(layer.eps)
    yield Statement("constant batch: dx", marked(layer.dx), right, needs=some, runs=(flat,))
    parameters = layer.found.wrt[1:]
    if parameters and set(indices_of(parameters[0])) <= set(layer.kept):
        d = gradient(parameters[0])
        yield Statement("constant batch: dγ", marked(d), S.Zero, needs=some, runs=(flat,))
    if layer.weight == 1:
        run = Run("′", ((layer.dy, layer.y),))
        right = layer.scale**2 * leak * layer.xhat
        yield Statement("loss ½‖y‖²", marked(layer.dx), right, runs=(run,))
