"""A program: named steps over indexed tensors. The forward pass, the backward pass by the
chain rule and its closed form are all programs; every pass takes one and gives one, and
``check`` runs after each.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from sympy import Expr, Idx, Indexed, Integer, S

from bncheck.algebra.notation import (
    Tensor,
    Total,
    carried,
    indices_of,
    like,
    name_of,
    operands,
    size,
)
from bncheck.telling.errors import CannotAsk


@dataclass(frozen=True)
class Step:
    """One assignment ``target = expr`` for all values of the target's indices."""

    target: Tensor
    expr: Expr
    note: str = ""


@dataclass(frozen=True)
class Line:
    """An equation between values of a program that is claimed, and may be false."""

    target: Tensor
    expr: Expr


@dataclass(frozen=True)
class Program:
    """Inputs, steps in order, outputs.

    ``axes`` are the indices, each with its size. ``joined`` lists runs of indices that are one
    axis of the arrays outside: ``(g, k)`` where ``C = G * K`` channels come in G groups.
    ``wrt`` are the inputs whose gradients are asked for where nothing else is said.
    ``first`` are the gradients of the loss among the values of a program that holds a backward
    pass: it has none but in second order.
    """

    name: str
    axes: tuple[Idx, ...]
    inputs: tuple[Tensor, ...]
    steps: tuple[Step, ...]
    outputs: tuple[Tensor, ...]
    joined: tuple[tuple[Idx, ...], ...] = ()
    wrt: tuple[Tensor, ...] = field(default=())
    title: str = ""
    first: tuple[Tensor, ...] = ()

    def __post_init__(self) -> None:
        """Check at once, so that no later pass meets a program that means nothing."""
        check(self)

    @property
    def targets(self) -> tuple[Tensor, ...]:
        """What the steps define, in order."""
        return tuple(step.target for step in self.steps)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Every input and target by its name."""
        return {name_of(t): t for t in (*self.inputs, *self.targets)}

    def step(self, target: Tensor) -> Step:
        """The step that defines ``target``."""
        return next(s for s in self.steps if s.target == target)

    def users(self, operand: Tensor) -> tuple[Step, ...]:
        """The steps that read ``operand``."""
        return tuple(s for s in self.steps if operand in operands(s.expr))

    def moved(self, causes: Iterable[Tensor]) -> set[Tensor]:
        """The values that depend on any of the causes, these among them."""
        found = set(causes)
        for step in self.steps:
            if not found.isdisjoint(operands(step.expr)):
                found.add(step.target)
        return found

    def behind(self, results: Iterable[Tensor]) -> set[Tensor]:
        """The values on which any of the results depends, these among them."""
        found = set(results)
        for step in reversed(self.steps):
            if step.target in found:
                found.update(operands(step.expr))
        return found

    def in_full(self, expr: Expr) -> Expr:
        """``expr`` with what the steps define written out, until only inputs are left.

        No step may be read at other indices than its own.
        """
        steps = {step.target: step.expr for step in self.steps}
        while not steps.keys().isdisjoint(operands(expr)):
            expr = expr.xreplace(steps)
        return expr

    def upstream(self, output: Tensor) -> Tensor:
        """The upstream gradient of an output: ``dy`` for ``y``, in second order ``ddx``."""
        second = self.first and output not in self.first
        return like(("d2" if second else "d") + name_of(output), output)

    def gradient(self, operand: Tensor) -> Tensor:
        """The gradient with respect to a value: ``dx`` for ``x``, in second order ``d2x``.

        In second order ``dx`` is taken; the gradient with respect to ``dy`` is ``ddy``, and with
        respect to ``dgamma``, which is given as an output and read as well, ``d2dgamma``.
        """
        inner = operand in self.first and not (operand in self.outputs and self.users(operand))
        return like(("d2" if self.first and not inner else "d") + name_of(operand), operand)

    def specialised(self, sizes: Mapping[Any, int]) -> "Program":
        """The same program with numbers for some sizes (``{m: 3}``)."""
        put = {symbol: Integer(number) for symbol, number in sizes.items()}

        def at(things: Iterable[Any]) -> tuple[Any, ...]:
            return tuple(t.xreplace(put) for t in things)

        return replace(
            self,
            axes=at(self.axes),
            inputs=at(self.inputs),
            outputs=at(self.outputs),
            wrt=at(self.wrt),
            first=at(self.first),
            joined=tuple(at(run) for run in self.joined),
            steps=tuple(
                Step(s.target.xreplace(put), s.expr.xreplace(put), s.note) for s in self.steps
            ),
        )


def check(program: Program) -> None:
    """Raise ``CannotAsk`` unless every step reads what is known and binds its indices once."""
    known: dict[str, Tensor] = {}
    for operand in program.inputs:
        _define(program, known, operand)
    for step in program.steps:
        _check_operands(program, known, step)
        _check_symbols(program, step)
        _check_indices(program, step)
        _define(program, known, step.target)
    for operand in (*program.outputs, *program.wrt):
        if known.get(name_of(operand)) != operand:
            raise CannotAsk(f"program {program.name}: {operand} is asked for, but never defined")


def _define(program: Program, known: dict[str, Tensor], target: Tensor) -> None:
    name, indices = name_of(target), indices_of(target)
    if name in known:
        raise CannotAsk(f"program {program.name}: {name} is defined twice; give each its own name")
    if len(set(indices)) < len(indices) or not set(indices) <= set(program.axes):
        raise CannotAsk(
            f"program {program.name}: {target} needs distinct indices out of "
            f"{', '.join(map(str, program.axes))}"
        )
    known[name] = target


def _check_operands(program: Program, known: dict[str, Tensor], step: Step) -> None:
    for operand in operands(step.expr):
        name = name_of(operand)
        if name not in known:
            raise _wrong(program, step, f"reads {name}, which no input or earlier step gives")
        if known[name] != operand:
            there = str(known[name])
            if there == str(operand):
                there += " with other assumptions (positive or not)"
            raise _wrong(program, step, f"reads {operand}, but it was defined as {there}")


def _check_symbols(program: Program, step: Step) -> None:
    """Besides operands, an expression holds numbers and sizes of axes."""
    sizes = {s for i in program.axes for s in size(i).free_symbols}
    indices, numbers = _bare(step.expr)
    if indices:
        raise _wrong(program, step, f"computes with the index {min(indices, key=str)}")
    unknown = numbers - sizes
    if unknown:
        raise _wrong(program, step, f"reads {_names(unknown)}, which is the size of no axis")


@cache
def _bare(expr: Expr) -> tuple[frozenset[Idx], frozenset[Expr]]:
    """The indices and the whole numbers that are computed with, outside tensors and bounds."""
    bare = expr.xreplace(dict.fromkeys(expr.atoms(Indexed), S.One))
    bare = bare.replace(Total, lambda body, *_: body)
    return frozenset(bare.atoms(Idx)), frozenset(s for s in bare.free_symbols if s.is_integer)


def _check_indices(program: Program, step: Step) -> None:
    free = carried(step.expr) - set(indices_of(step.target))
    if free:
        raise _wrong(program, step, f"leaves {_names(free)} free; sum over it or give it a place")
    sums = step.expr.atoms(Total)
    bound = {i for node in sums for i in node.over}
    if not bound <= set(program.axes):
        missing = bound - set(program.axes)
        raise _wrong(program, step, f"sums over {_names(missing)}: no such axis")
    clash = bound & set(indices_of(step.target))
    if clash:
        raise _wrong(
            program, step, f"sums over {_names(clash)} and carries it too; make the sum a step"
        )
    twice = {i for a in sums for b in a.body.atoms(Total) for i in a.over if i in b.over}
    if twice:
        raise _wrong(
            program, step, f"sums over {_names(twice)} inside a sum over it; make the inner a step"
        )


def _wrong(program: Program, step: Step, what: str) -> CannotAsk:
    return CannotAsk(f"program {program.name}: the step for {name_of(step.target)} {what}")


def _names(indices: Iterable[Idx]) -> str:
    return ", ".join(sorted(map(str, indices)))
