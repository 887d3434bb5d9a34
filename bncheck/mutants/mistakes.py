"""Wrong backward passes of a layer, one change of its program each, as emitted NumPy text."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from sympy import Add, Expr, Mul, S

from bncheck.algebra.notation import Tensor, indices_of, like, name_of, size
from bncheck.algebra.program import Program, Step
from bncheck.calculus.closed import terms
from bncheck.calculus.derivation import Derivation
from bncheck.cause.hypothesis import Question
from bncheck.cause.programs import changes
from bncheck.mutants.recipe import Recipe
from bncheck.numbers import layout
from bncheck.numbers.agreement import RECOMPUTED, alike
from bncheck.numbers.arithmetic import Array, evaluate
from bncheck.numbers.trials import draw
from bncheck.telling.codes import Finding
from bncheck.writers.numpy_source import arguments, source

_RARE = ("mean-of-mean", "-root")
"""Endings of changes that explain a gradient in which they are found, but that few would make."""
_BY_TERM = ("count", "sum-for-mean", "factor", "term")
_BY_FINDING = ("path", *_BY_TERM)


@dataclass(frozen=True)
class Mistake:
    """A wrong backward pass: what was changed, which gradients it changes, and the text.

    ``gradients`` are roles (``dx`` is that of the layer's first input, whatever it is called).
    """

    code: str
    text: str
    gradients: tuple[str, ...]
    recipe: Recipe


@cache
def mistakes_in(found: Derivation) -> tuple[Mistake, ...]:
    """Mistakes that people make in this layer, as text to run."""
    roles = gradient_roles(found)
    return tuple(
        Mistake(
            change.code,
            change.text,
            tuple(role for name, role in roles.items() if name in moved),
            recipe(found, program),
        )
        for change, program, moved in wrong_programs(found)
    )


def wrong_programs(found: Derivation) -> Iterator[tuple[Finding, Program, frozenset[str]]]:
    """Changes, the wrong backward programs that they give, the names of the gradients changed.

    Each kind once, no two with the same results. Those that change nothing on generic inputs are
    no mistakes, and are left out.
    """
    values = next(draw(found.forward)).values
    forward = {name: b.value for name, b in evaluate(found.forward, values).items()}
    known = {**forward, **{name_of(u): values[name_of(u)] for u in found.upstream}}
    right = _gradients(found.chain, known)
    kinds: set[Any] = set()
    seen = [right]
    for name in right:
        for hypothesis in changes(Question(found, name)):
            change, changed = hypothesis.finding, hypothesis.program
            if changed is None or not _plausible(found, change, changed, name):
                continue
            program = _alone(found, changed)
            wrong = _gradients(program, known)
            moved = frozenset(n for n in right if not _same(wrong[n], right[n]))
            kind = change if change.code.startswith(_BY_FINDING) else (change.code, moved)
            if kind in kinds or any(all(_same(wrong[n], s[n]) for n in right) for s in seen):
                continue
            kinds.add(kind)
            seen.append(wrong)
            yield change, program, moved


def recipe(
    found: Derivation,
    backward: Program | None = None,
) -> Recipe:
    """The layer with this backward program, by default the right one, as text to run."""
    program = found.forward
    made = found
    if backward is not None:
        made = Derivation(found.forward, found.chain, _without_zeros(found, backward))
    roles = {**_roles(program), **{str(size(run[0])): "groups" for run in program.joined}}
    takes = tuple(roles[name] for name in arguments(program))
    gives = tuple(gradient_roles(found)[name_of(out)] for out in made.closed.outputs)
    text = source(made, with_jacobian=False)
    return Recipe(text, takes, gives, len(outer(program)))


def gradient_roles(found: Derivation) -> dict[str, str]:
    """The role of each gradient by its name in the program: ``dx`` for weight norm's ``dv``."""
    roles = _roles(found.forward)
    names = [name_of(out) for out in found.chain.outputs]
    return {name: "d" + roles[name[1:]] for name in names}


def outer(program: Program) -> tuple[tuple[Any, ...], ...]:
    """The axes of the first input's array outside: the indices that make up each."""
    left = list(indices_of(program.inputs[0]))
    axes = []
    while left:
        run = next((r for r in program.joined if tuple(left[: len(r)]) == r), (left[0],))
        axes.append(tuple(run))
        left = left[len(run) :]
    return tuple(axes)


def _roles(program: Program) -> Mapping[str, str]:
    return layout.role_names(program)


def _gradients(program: Program, known: Mapping[str, Array]) -> dict[str, Array]:
    inputs = {name_of(a): known[name_of(a)] for a in program.inputs}
    result = evaluate(program, inputs)
    return {name_of(out): result[name_of(out)].value for out in program.outputs}


def _same(one: Array, other: Array) -> bool:
    return alike(one, other, RECOMPUTED, least=1.0)


def _plausible(found: Derivation, change: Finding, program: Program, gradient: str) -> bool:
    """A change of one term of several, and of a count only where there is one to get wrong."""
    if change.code.endswith(_RARE):
        return False
    if not change.code.startswith(_BY_TERM):
        return True
    target = found.closed.tensors[gradient]
    before = terms(found.closed.step(target))
    altered = [t for t in Add.make_args(program.step(target).expr) if t not in before]
    lengths = [size(i) for i in found.forward.axes]
    counts = [*lengths, *(n - 1 for n in lengths)]
    grown = any(_power(t, n) > 0 for t in altered for n in counts)
    return len(before) > 1 and len(altered) <= 1 and not grown


def _power(term: Expr, length: Expr) -> int:
    """The power of a size among the factors of a term, not counting what is summed."""
    powers = dict(factor.as_base_exp() for factor in Mul.make_args(term))
    return int(powers.get(length, 0))


def _alone(found: Derivation, program: Program) -> Program:
    """A mistake in one gradient, where others are written with that sum: they keep the right one.

    Who writes ``dgamma`` with a mistake does not write ``dx`` in terms of it.
    """
    right = {s.target: s.expr for s in found.closed.steps}
    altered = [s for s in program.steps if right.get(s.target) != s.expr]
    if len(altered) != 1 or altered[0].target not in program.outputs:
        return program
    wrong = altered[0].target
    own = like(f"right_{name_of(wrong)}", wrong)
    steps: list[Step] = []
    for step in program.steps:
        if step.target == wrong and program.users(wrong):
            steps.append(Step(own, right[wrong]))
        steps.append(Step(step.target, step.expr.xreplace({wrong: own}), step.note))
    return replace(program, steps=tuple(steps))


def _without_zeros(found: Derivation, program: Program) -> Program:
    """Steps that are 0 left out; a gradient that is 0 as an array: its input less itself."""
    steps: list[Step] = []
    nothing: dict[Tensor, Expr] = {}
    for step in program.steps:
        expr = step.expr.xreplace(nothing)
        if expr != S.Zero:
            steps.append(Step(step.target, expr, step.note))
        elif step.target not in program.outputs:
            nothing[step.target] = S.Zero
        else:
            operand = found.forward.tensors[name_of(step.target)[1:]]
            copied = like(f"same_{name_of(operand)}", operand)
            steps += [Step(copied, operand), Step(step.target, copied - operand, step.note)]
    return replace(program, steps=tuple(steps))
