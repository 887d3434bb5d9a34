"""Backward passes that are right for another forward pass: another eps, ddof, layer, mean.

The closed form and the chain rule stay; what they read of the forward pass comes, in some places
or in all, from a changed one. Such an operand is written with a prime: ``sd'``. In second order it
is the double backward pass of another layer, or of another variance.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache, partial

from sympy import Expr, Rational, S

from bncheck.algebra.layers import LAYERS, layer, options
from bncheck.algebra.notation import Tensor, like, name_of, operands, size
from bncheck.algebra.program import Program, Step
from bncheck.calculus.derivation import Derivation, normalised
from bncheck.calculus.passes import derived_once
from bncheck.cause.hypothesis import Hypothesis, Question, by_program, knowing
from bncheck.telling.codes import Finding, found
from bncheck.telling.errors import BncheckError

OTHER_EPS = (1e-5, 1e-8, 1e-3, 1e-6, 1e-7, 1e-4, 1e-12, 1e-10, 1e-2, 1e-1, 2.0**-52)
PRIME = "'"

_Other = tuple[Finding, Program]
"""A changed forward pass, and what is changed."""


def other_forwards(question: Question) -> Iterator[Hypothesis]:
    """In first order: first what uses another forward pass throughout, then other layers."""
    if question.derivation.order == 1:
        yield from _changed(question.derivation)
        yield from _other_layers(question)


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
    made = [(f, p) for other in others for f, p in _throughout(derivation, *other)]
    made += [(f, p) for other in others for f, p in _somewhere(derivation, *other)]
    return tuple(by_program(finding, program) for finding, program in made)


def _others(forward: Program) -> Iterator[_Other]:
    eps = forward.tensors.get("eps")
    roots = [s for s in forward.steps if s.expr.is_Pow and s.expr.exp == S.Half]
    yield from _other_ddof(forward)
    for root in roots:
        if eps is None:
            break
        inner, name = root.expr.base, {"root": name_of(root.target)}
        bare = inner.xreplace({eps: S.Zero})
        yield found("eps-missing"), _with(forward, root, bare**S.Half)
        for value in OTHER_EPS:
            other = (bare + Rational(str(value))) ** S.Half
            yield found("eps-other", eps=value), _with(forward, root, other)
        for finding, expr in (
            (found("eps-outside", **name), bare**S.Half + eps),
            (found("eps-twice", "outside", **name), root.expr + eps),
            (found("eps-twice", "inside", **name), (inner + eps) ** S.Half),
            (found("root-twice", **name), (root.expr + eps) ** S.Half),
            (found("eps-sign", **name), (bare - eps) ** S.Half),
            (found("eps-squared", **name), (bare + eps**2) ** S.Half),
        ):
            yield finding, _with(forward, root, expr)
    for root in roots:
        inner, name = root.expr.base, {"root": name_of(root.target)}
        yield found("variance-for-sd", "forward", **name), _with(forward, root, inner)
        yield found("root-twice", **name), _with(forward, root, inner ** (S.One / 4))
    yield from _uncentred(forward)


def _other_ddof(forward: Program) -> Iterator[_Other]:
    if "ddof" not in options(forward.name) if forward.name in LAYERS else True:
        return
    for ddof, over in ((1, "m - 1"), (0, "m")):
        other = layer(forward.name, ddof=ddof, affine="gamma" in forward.tensors)
        if other.steps != forward.steps and {*other.tensors} == {*forward.tensors}:
            yield found("ddof", over=over), other


def _uncentred(forward: Program) -> Iterator[_Other]:
    """The mean not subtracted: in the normalised values, in the variance, or in both."""
    mean = forward.tensors.get("mu")
    readers = [s for s in forward.steps if mean is not None and mean in operands(s.expr)]
    for step in readers:
        bare = step.expr.xreplace({mean: S.Zero})
        finding = found("mean-not-subtracted", value=name_of(step.target))
        yield finding, _with(forward, step, bare)


def _throughout(derivation: Derivation, finding: Finding, other: Program) -> Iterator[_Other]:
    """The closed form and the chain rule with every forward value from the other pass."""
    for program in (derivation.closed, derivation.chain):
        put = {a: _primed(a) for a in _read(derivation, program)}
        steps = (Step(s.target, s.expr.xreplace(put), s.note) for s in program.steps)
        yield finding, _reading(derivation, other, program, steps)


def _somewhere(derivation: Derivation, finding: Finding, other: Program) -> Iterator[_Other]:
    """One forward value from the other pass, everywhere or in one step of the backward pass."""
    closed, chain = derivation.closed, derivation.chain
    moved = _moved(other, derivation.forward)
    for operand in (a for a in _read(derivation, closed) if a in moved):
        put = {operand: _primed(operand)}
        steps = (Step(s.target, s.expr.xreplace(put), s.note) for s in closed.steps)
        somewhere = _at(finding, factor=name_of(operand))
        yield somewhere, _reading(derivation, other, closed, steps)
    read = [a for a in _read(derivation, chain) if a in moved]
    for step in chain.steps:
        for operand in (a for a in read if a in operands(step.expr)):
            changed = Step(step.target, step.expr.xreplace({operand: _primed(operand)}), step.note)
            steps = (changed if s is step else s for s in chain.steps)
            name = name_of(operand)
            said = {} if name in _names(finding) else {"operand": name}
            somewhere = _at(finding, **said, step=name_of(step.target))
            yield somewhere, _reading(derivation, other, chain, steps)


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
    derivation: Derivation, other: Program, program: Program, steps: Iterable[Step]
) -> Program:
    """A backward program that reads values with a prime, after the forward pass they are of."""
    put = {a: _primed(a) for a in other.targets}
    primed = (Step(put[s.target], s.expr.xreplace(put), s.note) for s in other.steps)
    return knowing(derivation, program, (*primed, *steps))


def _read(derivation: Derivation, program: Program) -> list[Tensor]:
    """The values of the forward pass, not its inputs, that a backward program reads."""
    targets = set(derivation.forward.targets)
    return [a for s in program.steps for a in operands(s.expr) if a in targets]


def _moved(other: Program, forward: Program) -> set[Tensor]:
    """The values that are computed otherwise, or come from such."""
    changed: set[Tensor] = set()
    for mine, theirs in zip(forward.steps, other.steps, strict=True):
        if mine.expr != theirs.expr or changed & set(operands(mine.expr)):
            changed.add(mine.target)
    return changed


def _primed(operand: Tensor) -> Tensor:
    return like(name_of(operand) + PRIME, operand)


def _with(forward: Program, step: Step, expr: Expr) -> Program:
    steps = tuple(Step(s.target, expr, s.note) if s is step else s for s in forward.steps)
    return replace(forward, steps=steps)
