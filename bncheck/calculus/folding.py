"""Evaluation mode: a forward pass with its statistics given, folded into the layer before it.

Freezing changes the program: the steps that sum over the batch become inputs. What is left is
affine in each entry of x, and a linear layer before it takes it in (Ioffe and Szegedy 2015,
Algorithm 2; Jacob et al. 2018, 3.2): ``y = gamma (u W + c - mu)/sd + beta = u W' + c'``.
"""

from dataclasses import dataclass, replace

from sympy import Expr, S, diff

from bncheck.algebra.notation import (
    Tensor,
    Total,
    axis,
    carried,
    distribute,
    indices_of,
    name_of,
    operands,
    tensor,
)
from bncheck.algebra.program import Program, Step
from bncheck.telling.errors import CannotAsk, Disagreement

before = axis("k", "K")
"""The features that go into the linear layer."""


@dataclass(frozen=True)
class Folding:
    """A linear layer with the frozen layer behind it, and the one linear layer that equals both.

    ``separate`` and ``together`` have the same inputs and the same output; in ``together`` the
    first steps are the weights W' and the bias c', which no longer depend on the data.
    """

    separate: Program
    together: Program


def frozen(forward: Program, statistics: tuple[str, ...] = ()) -> Program:
    """The program with statistics as inputs, by default the steps that sum over an axis.

    Steps that nothing needs any more are left out. Raises ``CannotAsk`` where there is none.
    """
    given = tuple(
        s.target for s in forward.steps
        if (name_of(s.target) in statistics if statistics else s.expr.has(Total))
    )  # fmt: skip
    if not given:
        raise CannotAsk(f"{forward.name} has no statistics to freeze")
    steps = tuple(s for s in forward.steps if s.target not in given)
    program = replace(forward, inputs=(*forward.inputs, *given), steps=steps)
    needed = program.behind(program.outputs)
    return replace(program, steps=tuple(s for s in steps if s.target in needed))


def folded(frozen_layer: Program) -> Folding:
    """The frozen layer folded into ``x = u W + c`` before it, proved for every size.

    Raises ``CannotAsk`` where that cannot be: the statistics are not given (training mode), or
    belong to samples and not to features, or the output is not affine in x.
    """
    x, (y,) = frozen_layer.inputs[0], frozen_layer.outputs
    feature = indices_of(x)[-1]
    u = tensor("u")[(*indices_of(x)[:-1], before)]
    weights, bias = tensor("W")[before, feature], tensor("c")[feature]
    linear = Step(x, Total(u * weights, before) + bias, "linear layer")
    slope, at_bias = _affine(frozen_layer, x, bias)
    if not (carried(slope) | carried(at_bias)) <= {feature}:
        raise CannotAsk(f"{frozen_layer.name} cannot be folded: {slope} differs between samples")
    new_weights, new_bias = tensor("Wfolded")[before, feature], tensor("cfolded")[feature]
    separate = replace(
        frozen_layer,
        axes=(*indices_of(x)[:-1], before, feature),
        inputs=(u, weights, bias, *frozen_layer.inputs[1:]),
        steps=(linear, *frozen_layer.steps),
        wrt=(u, weights, bias),
    )
    steps = (
        Step(new_weights, weights * slope, "weights, folded"),
        Step(new_bias, at_bias, "bias, folded"),
        Step(y, Total(u * new_weights, before) + new_bias, "one linear layer"),
    )
    made = Folding(separate, replace(separate, steps=steps))
    prove(made)
    return made


def prove(found: Folding) -> None:
    """Raise ``Disagreement`` unless both programs are one expression, for every size."""
    (y,) = found.separate.outputs
    apart = distribute(found.separate.in_full(y) - found.together.in_full(y))
    if apart != S.Zero:
        raise Disagreement(f"{found.separate.name}: the folded layer differs by {apart}")


def _affine(program: Program, x: Tensor, bias: Tensor) -> tuple[Expr, Expr]:
    """The slope of the output in x, and the output where x is the bias of the linear layer."""
    (y,) = program.outputs
    whole = program.in_full(y)
    slope = diff(whole, x)
    if whole.has(Total) or x in operands(slope):
        raise CannotAsk(f"{program.name} cannot be folded: its output is not affine in {x}")
    return slope, whole.xreplace({x: bias})
