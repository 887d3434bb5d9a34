"""A forward program with one operation in each step, as people write it out to derive by hand.

``xhat = (x - mu)/sd`` becomes ``t1 = x - mu``, ``t2 = 1/sd``, ``xhat = t1*t2``: then every
intermediate that a staged backward pass can have is the gradient of a step.
"""

from dataclasses import replace

from sympy import Add, Expr, Mul, S

from bncheck.algebra.notation import Tensor, Total, carried, operands, tensor
from bncheck.algebra.program import Program, Step


def elementary(forward: Program) -> Program:
    """The same program in steps of one operation; equal parts are computed once."""
    steps: list[Step] = []
    names: dict[Expr, Tensor] = {}
    for step in forward.steps:
        expr = _opened(forward, step.expr, steps, names)
        names[expr] = step.target
        steps.append(Step(step.target, expr, step.note))
    return replace(forward, steps=tuple(steps))


def _opened(forward: Program, expr: Expr, steps: list[Step], names: dict[Expr, Tensor]) -> Expr:
    """The last operation of ``expr``; what it works on is given names before."""

    def inner(part: Expr) -> Expr:
        return _named(forward, part, steps, names)

    if isinstance(expr, Total):
        return expr.func(inner(expr.body), *expr.over)
    if isinstance(expr, Add):
        return Add(*(_scaled(part, inner) for part in expr.args))
    if isinstance(expr, Mul):
        return Mul(*(inner(part) for part in expr.args))
    if expr.is_Pow:
        return inner(expr.base) ** expr.exp
    return expr.func(*map(inner, expr.args)) if expr.args and not _is_atom(expr) else expr


def _scaled(part: Expr, inner: object) -> Expr:
    """A term of a sum: a number times something with a name."""
    numbers = [f for f in Mul.make_args(part) if not operands(f)]
    others = [f for f in Mul.make_args(part) if operands(f)]
    return Mul(*numbers, inner(Mul(*others)) if others else S.One)  # type: ignore[operator]


def _named(forward: Program, expr: Expr, steps: list[Step], names: dict[Expr, Tensor]) -> Expr:
    if _is_atom(expr):
        return expr
    opened = _opened(forward, expr, steps, names)
    if opened not in names:
        at = tuple(i for i in forward.axes if i in carried(opened))
        name = tensor(f"t{len(steps)}", positive=bool(opened.is_positive))
        names[opened] = name[at] if at else name
        steps.append(Step(names[opened], opened))
    return names[opened]


def _is_atom(expr: Expr) -> bool:
    return not operands(expr) or expr in operands(expr)
