"""NumPy code of forward mode and of second order: the functions beside forward and backward."""

from bncheck.algebra.notation import Tensor, name_of, operands, tangent
from bncheck.algebra.program import Step
from bncheck.calculus.derivation import Derivation
from bncheck.writers.numpy_parts import (
    formulas,
    function,
    given_read,
    lines,
    listed,
    returned,
    shape_words,
    shapes_of,
    unpacked_cache,
)


def jvp(found: Derivation) -> str:
    """The tangent of the output from those of the inputs and the cache."""
    (out,) = found.closed.outputs
    about = [
        f"How the output moves, {name_of(out)}: {shape_words(found.forward, out)}, where the "
        f"inputs move along {shapes_of(found.forward, found.upstream)}.",
        "",
        *formulas(found.closed.steps),
    ]
    body = [
        *given_read(found.forward, found.upstream),
        *unpacked_cache(found.cached),
        *lines(found.closed, found.closed.steps),
        *returned(found.forward, found.closed.outputs, alone=True),
    ]
    return function("jvp", [*map(name_of, found.upstream), "cache"], about, body)


def kept(found: Derivation) -> tuple[Tensor, ...]:
    """What first and second order need of the forward pass."""
    assert found.origin
    layer, read = found.layer, {*found.origin.cached, *found.cached}
    return tuple(a for a in (*layer.inputs, *layer.targets) if a in read)


def _before(found: Derivation) -> tuple[Step, ...]:
    """The steps of the backward pass that the double backward pass reads."""
    assert found.origin
    needed = found.origin.closed.behind(found.cached)
    return tuple(s for s in found.origin.closed.steps if s.target in needed)


def double_backward(found: Derivation) -> str:
    """Gradients of the gradients, from directions, upstream gradient and cache."""
    assert found.origin
    first, closed, layer = found.origin, found.closed, found.layer
    given = (*found.upstream, *first.upstream)
    before = _before(found)
    read = {a for s in (*before, *closed.steps) for a in operands(s.expr)}
    names = ", ".join(name_of(o) for o in closed.outputs)
    about = [
        f"The gradients ({names}) of S, the sum of the products of "
        f"{shapes_of(layer, found.upstream)} and the gradients that `backward` gives of "
        f"{shapes_of(layer, first.upstream)}.",
        "",
        f"Of S they are the gradients with respect to {listed(found.wrt)}; with respect to any "
        "other input the gradient is 0.",
        "",
        *formulas((*before, *closed.steps)),
    ]
    body = [
        *given_read(layer, given),
        *unpacked_cache(tuple(a for a in kept(found) if a in read)),
        *lines(first.closed, before),
        *lines(closed, closed.steps),
        *returned(layer, closed.outputs),
    ]
    return function("double_backward", [*map(name_of, given), "cache"], about, body)


def hessian_vector(found: Derivation) -> str:
    """Double backward, and the backward pass of what the loss adds by its own curvature."""
    assert found.origin
    first = found.origin
    (up,), (out,) = first.upstream, first.forward.outputs
    tangents = [name_of(tangent(a)) for a in first.wrt]
    doubled = [name_of(o) for o in found.closed.outputs]
    bent, moved = [name_of(o) for o in first.closed.outputs], "dd" + name_of(out)
    sums = [
        f"{second} + {own}" if (second := "d2" + name_of(a)) in doubled else own
        for a, own in zip(first.wrt, bent, strict=True)
    ]
    about = [
        f"The Hessian of the loss, with respect to ({listed(first.wrt)}), times the direction "
        f"({', '.join(tangents)}).",
        "",
        f"`curvature` is a function: how the gradient {name_of(up)} of the loss changes where "
        f"{name_of(out)} moves along an array of its shape; for half the sum of squares, the "
        "array itself.",
    ]
    call = ", ".join([*tangents, name_of(up), "cache"])
    body = [
        f"{', '.join(doubled)}{',' * (len(doubled) == 1)} = double_backward({call})",
        f"{', '.join(bent)}{',' * (len(bent) == 1)} = backward(curvature({moved}), cache)",
        f"return {', '.join(sums)}{',' * (len(sums) == 1)}",
    ]
    parameters = [*tangents, name_of(up), "curvature", "cache"]
    return function("hessian_vector", parameters, about, body)
