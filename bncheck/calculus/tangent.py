"""Forward mode: a program in, its tangent program out (the Jacobian times a vector).

A step ``v = f`` gives ``tv = sum of df/da * ta`` over what ``f`` reads, inside its sums too:
``mu = mean(x)`` gives ``tmu = mean(tx)``. It closes by the same rule as the backward pass.
"""

from dataclasses import replace

from bncheck.algebra.notation import Tensor, name_of, operands, tangent
from bncheck.algebra.program import Program, Step
from bncheck.calculus.chain import cache, check, named
from bncheck.calculus.closed import close
from bncheck.calculus.derivation import Derivation
from bncheck.calculus.partials import along
from bncheck.calculus.passes import chosen, specialised, witness
from bncheck.telling.errors import CannotAsk


def forward_mode(
    forward: Program, wrt: tuple[str, ...] = (), batch_size: int | None = None
) -> Derivation:
    """Derive how the outputs move with the inputs, and check it against the exact witness.

    ``wrt``: names of the inputs that move, by default those of the program. The tangent of ``x``
    is ``tx``. Raises ``CannotAsk`` and ``Disagreement`` as ``derivation`` does.
    """
    moving = chosen(forward, wrt) or forward.wrt
    moving = moving or tuple(a for a in forward.inputs if a in forward.behind(forward.outputs))
    chain = tangent_program(forward, moving)
    closing = close(forward, chain, tuple(map(tangent, moving)))
    found = Derivation(replace(forward, wrt=moving), chain, closing, mode="forward")
    witness(found, most=3)
    return found if batch_size is None else specialised(found, batch_size)


def tangent_program(forward: Program, wrt: tuple[Tensor, ...]) -> Program:
    """The tangents of ``wrt`` in, those of the outputs out; steps in the order of the forward.

    Raises ``CannotAsk`` where the outputs do not depend on ``wrt`` or a name is taken.
    """
    check(forward, wrt)
    moving = forward.moved(wrt) & forward.behind(forward.outputs)
    for taken in sorted({name_of(tangent(a)) for a in moving} & forward.tensors.keys()):
        raise CannotAsk(
            f"{forward.name}: the name {taken} is needed for the tangent of {taken[1:]}"
        )
    steps = tuple(_tangent_step(forward, s, moving) for s in forward.steps if s.target in moving)
    return Program(
        name=f"{forward.name} tangent",
        title=f"{forward.title}, forward mode",
        axes=forward.axes,
        joined=forward.joined,
        inputs=cache(forward, steps, tuple(map(tangent, wrt))),
        steps=steps,
        outputs=tuple(map(tangent, forward.outputs)),
    )


def _tangent_step(forward: Program, step: Step, moving: set[Tensor]) -> Step:
    through = " and ".join(name_of(a) for a in operands(step.expr) if a in moving)
    expr = named(forward, along(step.expr, moving))
    return Step(tangent(step.target), expr, f"through {through}")
