"""Forward passes that are nearly a layer: the layer's program with one change."""

from collections.abc import Iterator

import numpy as np
from sympy import S

from bncheck.algebra.notation import indices_of, name_of
from bncheck.algebra.program import Program, Step
from bncheck.calculus.derivation import normalised
from bncheck.numbers.agreement import SINGLE, alike, negligible
from bncheck.numbers.arithmetic import Array, evaluate
from bncheck.numbers.trials import Trial


def variants_of(program: Program) -> Iterator[tuple[str, str, Program]]:
    """Code, text and program of each."""
    roots = [s for s in program.steps if s.expr.is_Pow and s.expr.exp == S.Half]
    eps, gamma = program.tensors.get("eps"), program.tensors.get("gamma")
    title = program.title.lower()
    for root in roots:
        if eps is None:
            break
        name, bare = name_of(root.target), root.expr.xreplace({eps: S.Zero})
        outside = _with(program, root, bare + eps)
        yield (
            "forward-eps-outside",
            f"{title} with eps added to {name}, not under the root",
            outside,
        )
        twice = _with(program, root, root.expr + eps)
        yield "forward-eps-twice", f"{title} with eps added twice: under the root and to it", twice
        text = f"{title} with eps squared"
        yield "forward-eps-squared", text, _with(program, root, root.expr.xreplace({eps: eps**2}))
    if gamma is not None:
        last = program.steps[-1]
        shifted = _with(program, last, last.expr.xreplace({gamma: 1 + gamma}))
        yield "forward-gamma-plus-1", f"{title} with 1 + gamma where gamma stands", shifted


def slopes(program: Program, trial: Trial, y: Array) -> str:
    """How the output depends on x in each group, where that is a straight line; else nothing.

    A layer's output is a line in x with the slope gamma/sd; a forward pass with another slope is
    recognised by it.
    """
    known = {n: np.asarray(b.value, float) for n, b in evaluate(program, trial.values).items()}
    x = known[name_of(program.inputs[0])]
    if y.shape != x.shape:
        return ""
    along = [indices_of(program.inputs[0]).index(i) for i in normalised(program)]
    axes = tuple(along)
    gamma = _broadcast(program, known, "gamma")
    beta = _broadcast(program, known, "beta")
    scaled = (y - (0.0 if beta is None else beta)) / (1.0 if gamma is None else gamma)
    xc, sc = (a - a.mean(axis=axes, keepdims=True) for a in (x, scaled))
    slope = (xc * sc).sum(axis=axes) / (xc * xc).sum(axis=axes)
    left = sc - np.expand_dims(slope, axes) * xc
    if not negligible(left, sc, SINGLE):
        return ""
    title = program.title.lower()
    if alike(slope, np.ones(slope.shape), SINGLE):
        return f"the forward pass never divides by the standard deviation; it is no {title}"
    if slope.size > 1 and negligible(np.ptp(slope), slope, SINGLE):
        return (
            f"the forward pass divides every group by the same number, {1 / slope.flat[0]:.4g}; "
            f"it is no {title}"
        )
    return f"the forward pass is linear in x in every group, and yet no {title}: another scale"


def _broadcast(program: Program, known: dict[str, Array], name: str) -> Array | None:
    operand = program.tensors.get(name)
    if operand is None or not indices_of(operand):
        return None
    frame = indices_of(program.inputs[0])
    slots = tuple(slice(None) if i in indices_of(operand) else None for i in frame)
    return known[name][slots]


def _with(program: Program, step: Step, expr: object) -> Program:
    from dataclasses import replace

    steps = tuple(Step(s.target, expr, s.note) if s is step else s for s in program.steps)
    return replace(program, steps=steps)
