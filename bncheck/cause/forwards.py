"""Backward passes that are right for another forward pass: another eps, ddof, layer, mean.

The closed form and the chain rule stay; what they read of the forward pass comes, in some places
or in all, from a changed one. Such an operand is written with a prime: ``sd'``. In second order it
is the double backward pass of another layer, or of another variance.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache, partial
from typing import Any

from sympy import Expr, Rational, S

from bncheck.algebra.layers import LAYERS, layer, options
from bncheck.algebra.notation import Tensor, like, name_of, operands, size
from bncheck.algebra.program import Program, Step
from bncheck.calculus.derivation import Derivation, normalised
from bncheck.calculus.passes import derived_once
from bncheck.cause.hypothesis import Hypothesis, Question, by_program, by_steps, with_expressions
from bncheck.cause.programs import changes
from bncheck.numbers.trials import USUAL_EPS
from bncheck.telling.codes import Finding, found
from bncheck.telling.errors import BncheckError

OTHER_EPS = (*USUAL_EPS[:11], 1e-1)
PRIME = "'"

_Other = tuple[Finding, Program]
"""A changed forward pass, and what is changed."""


def other_forwards(question: Question) -> Iterator[Hypothesis]:
    """In first order: first what uses another forward pass throughout, then other layers."""
    if question.derivation.order == 1:
        yield from _changed(question.derivation)
        yield from _other_layers(question)


def eps_beside(question: Question) -> Iterator[Hypothesis]:
    """Where the forward pass adds eps to the root: what is written as if it stood under it."""
    derivation, forward = question.derivation, question.derivation.forward
    step = _beside(forward)
    if derivation.order == 2 or step is None:
        return
    under = (step.expr - forward.tensors["eps"]).base + forward.tensors["eps"]
    usual = derived_once(_with(forward, step, under**S.Half), 1)
    said = {"root": name_of(step.target)}
    yield from _whole(question, usual.forward, found("eps-beside", "whole", **said))
    formula = found("eps-beside", **said)
    yield by_steps(formula, derivation, usual.closed, usual.closed.steps)
    for one in changes(replace(question, derivation=usual)):
        both = found("two-changes", first=formula, second=one.finding)
        yield Hypothesis(both, one.made, one.program)


def _beside(forward: Program) -> Step | None:
    """The step that adds eps to a root, if there is one."""
    eps = forward.tensors.get("eps")
    there = (s for s in forward.steps if s.expr.is_Add and eps in s.expr.args)
    return next((s for s in there if (s.expr - eps).is_Pow), None)


def other_doubles(question: Question) -> Iterator[Hypothesis]:
    """In second order: another variance, throughout or in what is kept; and other layers."""
    derivation, mine = question.derivation, question.derivation.layer
    if derivation.order == 1:
        return
    letters = "·".join(str(size(i)) for i in normalised(mine))
    for name in sorted(LAYERS, key=lambda name: name != mine.name):
        choices = options(name)
        affine = {"affine": "gamma" in mine.tensors} if "affine" in choices else {}
        for ddof in choices.get("ddof", (None,)):
            other = layer(name, **affine, **({} if ddof is None else {"ddof": ddof}))
            if other.steps == mine.steps or other.inputs != mine.inputs:
                continue
            theirs = partial(_whole, question, other)
            if name != mine.name:
                title = other.title.lower()
                yield from theirs(found("other-layer", "second", layer=title))
                continue
            over = f"{letters} - 1" if ddof else letters
            yield from theirs(found("ddof", over=over))
            put = {s.target: s for s in other.steps}
            kept = (put.get(s.target, s) for s in derivation.forward.steps)
            program = _from_inputs(derivation, derivation.closed, kept)
            yield by_program(found("ddof", "kept", over=over), program)


@cache
def _changed(derivation: Derivation) -> tuple[Hypothesis, ...]:
    others = list(_others(derivation.forward))
    ways = (_throughout, _somewhere)
    return tuple(h for way in ways for other in others for h in way(derivation, *other))


def _others(forward: Program) -> Iterator[_Other]:
    eps = forward.tensors.get("eps")
    roots = [s for s in forward.steps if s.expr.is_Pow and s.expr.exp == S.Half]
    yield from _other_ddof(forward)
    for root in roots:
        if eps is None:
            break
        inner, name = root.expr.base, {"root": name_of(root.target)}
        bare = inner.xreplace({eps: S.Zero})
        for finding, expr in (
            (found("eps-missing"), bare**S.Half),
            *((found("eps-other", eps=value), (bare + Rational(str(value))) ** S.Half)
              for value in OTHER_EPS),
            (found("eps-outside", **name), bare**S.Half + eps),
            (found("eps-twice", "outside", **name), root.expr + eps),
            (found("eps-twice", "inside", **name), (inner + eps) ** S.Half),
            (found("root-twice", **name), (root.expr + eps) ** S.Half),
            (found("eps-sign", **name), (bare - eps) ** S.Half),
            (found("eps-squared", **name), (bare + eps**2) ** S.Half),
        ):  # fmt: skip
            yield finding, _with(forward, root, expr)
    beside = _beside(forward)
    if beside is not None:
        bare = beside.expr - eps
        yield found("eps-missing"), _with(forward, beside, bare)
        for value in OTHER_EPS:
            other = bare + Rational(str(value))
            yield found("eps-other", eps=value), _with(forward, beside, other)
    for root in roots:
        inner, name = root.expr.base, {"root": name_of(root.target)}
        yield found("variance-for-sd", "forward", **name), _with(forward, root, inner)
        yield found("root-twice", **name), _with(forward, root, inner ** (S.One / 4))
    mean = forward.tensors.get("mu")
    for step in forward.users(mean) if mean is not None else ():
        bare = step.expr.xreplace({mean: S.Zero})
        yield found("mean-not-subtracted", value=name_of(step.target)), _with(forward, step, bare)


def _other_ddof(forward: Program) -> Iterator[_Other]:
    if "ddof" not in options(forward.name) if forward.name in LAYERS else True:
        return
    for ddof, over in ((1, "m - 1"), (0, "m")):
        other = layer(forward.name, ddof=ddof, affine="gamma" in forward.tensors)
        if other.steps != forward.steps and {*other.tensors} == {*forward.tensors}:
            yield found("ddof", over=over), other


def _throughout(derivation: Derivation, finding: Finding, other: Program) -> Iterator[Hypothesis]:
    """The closed form and the chain rule with every forward value from the other pass."""
    for program in (derivation.closed, derivation.chain):
        read = _read(derivation, program)
        put = {s.target: _primed(s.expr, read) for s in program.steps}
        yield _reading(finding, derivation, other, program, put)


def _somewhere(derivation: Derivation, finding: Finding, other: Program) -> Iterator[Hypothesis]:
    """One forward value from the other pass, everywhere or in one step of the backward pass."""
    closed, chain = derivation.closed, derivation.chain
    pairs = zip(derivation.forward.steps, other.steps, strict=True)
    moved = other.moved(theirs.target for mine, theirs in pairs if mine.expr != theirs.expr)
    for operand in (a for a in _read(derivation, closed) if a in moved):
        put = {s.target: _primed(s.expr, [operand]) for s in closed.steps}
        said = _at(finding, factor=name_of(operand))
        yield _reading(said, derivation, other, closed, put)
    read = [a for a in _read(derivation, chain) if a in moved]
    for step in chain.steps:
        for operand in (a for a in read if a in operands(step.expr)):
            name = name_of(operand)
            where = {} if name in _names(finding) else {"operand": name}
            said = _at(finding, **where, step=name_of(step.target))
            put = {step.target: _primed(step.expr, [operand])}
            yield _reading(said, derivation, other, chain, put)


def _names(finding: Finding) -> set[str]:
    """The values that the sentence names."""
    return {*finding.arguments.values(), *(("var",) if finding.code == "ddof" else ())}


def _at(finding: Finding, **where: str) -> Finding:
    return found(finding.code, finding.form, **{**finding.arguments, **where})


def _other_layers(question: Question) -> Iterator[Hypothesis]:
    """The backward pass of another layer of the same inputs."""
    mine = question.derivation.forward
    for name, program in LAYERS.items():
        if name != mine.name and program.inputs == mine.inputs:
            title = program.title.lower()
            yield from _whole(question, program, found("other-layer", "first", layer=title))


def _whole(question: Question, other: Program, finding: Finding) -> Iterator[Hypothesis]:
    """The backward pass of another forward pass, where that can be derived."""
    try:
        theirs = derived_once(other, question.derivation.order)
    except BncheckError:
        return
    if question.gradient in theirs.closed.tensors:
        backward = theirs.closed if theirs.order == 2 else theirs.chain
        yield by_program(finding, _from_inputs(theirs, backward, theirs.forward.steps))


def _from_inputs(derivation: Derivation, backward: Program, forward: Iterable[Step]) -> Program:
    """Forward and backward steps as one program from the inputs and what is given."""
    inputs = (*derivation.upstream, *derivation.forward.inputs)
    return replace(backward, inputs=inputs, steps=(*forward, *backward.steps))


def _reading(
    finding: Finding,
    derivation: Derivation,
    other: Program,
    program: Program,
    put: Mapping[Tensor, Expr],
) -> Hypothesis:
    """A backward program that reads values with a prime, after the forward pass they are of."""
    primed = (
        Step(_primed(s.target, other.targets), _primed(s.expr, other.targets), s.note)
        for s in other.steps
    )
    steps = (*primed, *with_expressions(program, put))
    return by_steps(finding, derivation, program, steps)


def _read(derivation: Derivation, program: Program) -> list[Tensor]:
    """The values of the forward pass, not its inputs, that a backward program reads."""
    targets = set(derivation.forward.targets)
    return [a for s in program.steps for a in operands(s.expr) if a in targets]


def _primed(expr: Expr, values: Iterable[Tensor]) -> Any:
    """The expression with some values of the other pass."""
    return expr.xreplace({a: like(name_of(a) + PRIME, a) for a in values})


def _with(forward: Program, step: Step, expr: Expr) -> Program:
    return replace(forward, steps=with_expressions(forward, {step.target: expr}))
