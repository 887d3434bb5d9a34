"""What holds for a layer's gradients: statements in the words of the family, as data.

Sources: ``facts.md`` sections 1, 2 and 4; the first line says what a gradient is, and with it the
closed form is proved from the forward pass alone. Second order is in ``curvature``.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from sympy import S, Symbol

from bncheck.algebra.notation import Tensor, gradient, indices_of, like, name_of, total
from bncheck.algebra.spelling import SPELLINGS
from bncheck.theory.family.higher_derivatives import curvature
from bncheck.theory.family.linear_map import eigen, pullback, special
from bncheck.theory.family.variants import eps_outside, evaluation, graphs
from bncheck.theory.parts import Words
from bncheck.theory.statements import Run, Statement, at_place, marked, t, when_moved

Theme = Callable[[Words], Iterator[Statement]]
c, r = Symbol("c", real=True), Symbol("r", positive=True)


def identities(layer: Words) -> tuple[Statement, ...]:
    """Every statement that is about this layer."""
    return tuple(statement for theme in _themes(layer) for statement in theme(layer))


def checks(layer: Words) -> tuple[Statement, ...]:
    """Those that can be put to gradients that somebody else has worked out.

    They give no formula for a gradient, but say what one does: under a change of the inputs,
    along a direction, together with another gradient.
    """
    formulas = (_normalised, pullback, graphs, curvature, evaluation, eps_outside)
    themes = (theme for theme in _themes(layer) if theme not in formulas)
    return tuple(statement for theme in themes for statement in theme(layer))


def _themes(layer: Words) -> tuple[Theme, ...]:
    if layer.spread in layer.forward.inputs:
        return (_gradients, evaluation, _parameters)
    if layer.outside:
        return (_normalised, _gradients, eps_outside)
    return (
        _normalised, _gradients, pullback, _sums, _invariances, _upstream, _parameters, eigen,
        special, graphs, curvature,
    )  # fmt: skip


def _normalised(layer: Words) -> Iterator[Statement]:
    if layer.centred:
        yield Statement("mean of x̂", layer.sum(layer.xhat), S.Zero)
    yield Statement("length of x̂", layer.sum(layer.xhat**2), layer.length)


def _gradients(layer: Words) -> Iterator[Statement]:
    """``sum(dy*y)`` at ``a + t*b`` grows by ``t*sum(b*da)``: that is what a gradient is."""
    for operand in layer.found.wrt:
        away = like("a", operand)
        own = indices_of(operand)
        over = layer.over or layer.forward.axes
        if operand != layer.x:
            over = tuple(i for i in layer.forward.axes if i not in own)
        grown = total(layer.dy * marked(layer.y), over) - total(layer.dy * layer.y, over)
        right = t * total(away * gradient(operand), set(own) & set(over))
        yield when_moved(f"d{spelled(operand)} is the gradient", operand, away, grown, right)


def _sums(layer: Words) -> Iterator[Statement]:
    upstream = layer.scale * layer.dy
    leak = layer.eps / layer.root**3
    if layer.centred:
        yield Statement("sum of dx", layer.sum(layer.dx), S.Zero)
    along = layer.sum(upstream * layer.xhat)
    yield Statement("dx along x̂", layer.sum(layer.dx * layer.xhat), leak * along)
    yield Statement("dx along x", layer.root**2 * layer.sum(layer.dx * layer.x), layer.eps * along)
    squares = layer.sum(upstream**2) - (1 + layer.eps / layer.root**2) * along**2 / layer.freedom
    if layer.centred:
        squares -= layer.sum(upstream) ** 2 / layer.many
    yield Statement("norm", layer.root**2 * layer.sum(layer.dx**2), squares)


def _invariances(layer: Words) -> Iterator[Statement]:
    if layer.centred:
        shifted = (Run("′", ((layer.x, layer.x + layer.constant("c")),)),)
        yield Statement("shift: y", marked(layer.y), layer.y, runs=shifted)
        for operand in layer.found.wrt:
            name = f"shift: d{spelled(operand)}"
            yield Statement(name, marked(gradient(operand)), gradient(operand), runs=shifted)
    yield from _scalings(layer)
    yield from _permutations(layer)
    yield from _repetitions(layer)


def _scalings(layer: Words) -> Iterator[Statement]:
    """x by r, a positive number, and by -r; eps has to grow by r squared."""
    for sign, word in ((1, "scale"), (-1, "scale and flip")):
        changes = ((layer.x, sign * r * layer.x), (layer.eps, r**2 * layer.eps))
        runs = (Run("′", changes if layer.eps != 0 else changes[:1]),)
        free = layer.y - layer.shift
        yield Statement(f"{word}: y", marked(layer.y) - layer.shift, sign * free, runs=runs)
        yield Statement(f"{word}: dx", marked(layer.dx), layer.dx / r, runs=runs)
        for operand in layer.found.wrt[1:]:
            factor = sign if layer.scale.has(operand) else 1
            name = f"{word}: d{spelled(operand)}"
            yield Statement(name, marked(gradient(operand)), factor * gradient(operand), runs=runs)


def _permutations(layer: Words) -> Iterator[Statement]:
    i = layer.over[-1]
    moving = [a for a in (*layer.forward.inputs, layer.dy) if i in indices_of(a)]
    run = Run("′", tuple((a, at_place(a, i)) for a in moving))
    for operand in layer.found.wrt:
        d = gradient(operand)
        right = at_place(d, i) if i in indices_of(d) else d
        yield Statement(f"permutation: d{spelled(operand)}", marked(d), right, runs=(run,))


def _repetitions(layer: Words) -> Iterator[Statement]:
    """The batch twice: only where the statistics are means."""
    if len(layer.over) > 1 or layer.freedom != layer.many or layer.scale.has(*layer.over):
        return
    run = Run("′", copies=2)
    yield Statement("batch twice: dx", marked(layer.dx), layer.dx, runs=(run,))


def _upstream(layer: Words) -> Iterator[Statement]:
    g, dy = like("g", layer.dy), layer.dy
    other = Run("″", ((dy, g),))
    both = (other, Run("′", ((dy, r * dy + c * g),)))
    yield Statement(
        "linear in dy", marked(layer.dx), r * layer.dx + c * marked(layer.dx, "″"), runs=both
    )
    weight = layer.weight
    yield Statement(
        "symmetry", layer.sum(weight * g * layer.dx),
        layer.sum(weight * dy * marked(layer.dx, "″")), runs=(other,),
    )  # fmt: skip
    if weight != 1:
        plain = Statement(
            "symmetry without γ", layer.sum(g * layer.dx), layer.sum(dy * marked(layer.dx, "″")),
            runs=(other,), holds=False, note="only where γ is the same over the group",
        )  # fmt: skip
        yield plain
        same = ((weight, c),)
        yield replace(plain, name="symmetry where γ is the same", given=same, holds=True, note="")
    if layer.centred:
        constant = layer.constant("c") / weight
        run = Run("′", ((dy, dy + constant),))
        yield Statement("constant added to dy", marked(layer.dx), layer.dx, runs=(run,))
    run = Run("′", ((dy, dy + c * layer.xhat / weight),))
    leak = c * (layer.scale / weight) * layer.eps / layer.root**3
    yield Statement("x̂ added to dy", marked(layer.dx), layer.dx + leak * layer.xhat, runs=(run,))


def _parameters(layer: Words) -> Iterator[Statement]:
    parameters = layer.found.wrt[1:]
    if not parameters:
        return
    over = set(layer.forward.axes) - set(indices_of(parameters[0]))
    right = sum((a * gradient(a) for a in parameters), S.Zero)
    yield Statement("dy along y", total(layer.dy * layer.y, over), right)
    grown = Run("′", ((layer.scale, c * layer.scale),))
    yield Statement("γ times c: dx", marked(layer.dx), c * layer.dx, runs=(grown,))
    for a in parameters:
        yield Statement(
            f"γ times c: d{spelled(a)}", marked(gradient(a)), gradient(a), runs=(grown,)
        )
    if layer.shift != 0:
        run = Run("′", ((layer.shift, layer.shift + c),))
        for a in layer.found.wrt:
            name = f"c added to β: d{spelled(a)}"
            yield Statement(name, marked(gradient(a)), gradient(a), runs=(run,))
    gamma = parameters[0]
    if over == set(layer.over):
        away = layer.direction("a")
        grown = layer.scale * (marked(gradient(gamma)) - gradient(gamma))
        yield when_moved("dγ along x", layer.x, away, grown, t * layer.sum(away * layer.dx))


def spelled(operand: Tensor) -> str:
    """The name of an operand as a reader writes it."""
    return SPELLINGS[name_of(operand)][1] if name_of(operand) in SPELLINGS else name_of(operand)
