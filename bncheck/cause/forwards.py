"""Backward passes that are right for another forward pass: another eps, ddof, layer, mean.

The closed form and the chain rule stay; what they read of the forward pass comes, in some places
or in all, from a changed one. Such an operand is written with a prime: ``sd'``.
"""

from collections.abc import Iterator
from dataclasses import replace

from sympy import Expr, Rational, S

from bncheck.algebra.layers import LAYERS, layer, options
from bncheck.algebra.notation import Tensor, like, name_of, operands
from bncheck.algebra.program import Program, Step
from bncheck.calculus.derivation import Derivation
from bncheck.calculus.passes import derived_once
from bncheck.cause.programs import Change, known_to
from bncheck.telling.errors import BncheckError

OTHER_EPS = (1e-5, 1e-8, 1e-3, 1e-6, 1e-7, 1e-4, 1e-12, 1e-10, 1e-2, 1e-1, 2.0**-52)
PRIME = "'"


def forward_changes(found: Derivation) -> Iterator[Change]:
    """Changed programs, those that use another forward pass throughout first."""
    made = list(_others(found.forward))
    for code, text, other in made:
        yield from _throughout(found, code, text, other)
    for code, text, other in made:
        yield from _somewhere(found, code, text, other)
    yield from _other_layers(found)


def _others(forward: Program) -> Iterator[tuple[str, str, Program]]:
    """Code, text and the changed forward pass."""
    eps = forward.tensors.get("eps")
    roots = [s for s in forward.steps if s.expr.is_Pow and s.expr.exp == S.Half]
    yield from _other_ddof(forward)
    for root in roots:
        if eps is None:
            break
        name, inner = name_of(root.target), root.expr.base
        bare = inner.xreplace({eps: S.Zero})
        yield "eps-missing", "eps is forgotten", _with(forward, root, bare**S.Half)
        for value in OTHER_EPS:
            number = Rational(str(value))
            text = f"eps is {value:g}, whatever it was given"
            yield "eps-other", text, _with(forward, root, (bare + number) ** S.Half)
        for code, text, expr in (
            ("eps-outside", f"eps is added to {name}, not under the root", bare**S.Half + eps),
            ("eps-twice", f"eps is added twice in {name}", root.expr + eps),
            ("eps-twice", f"eps is added twice under the root of {name}", (inner + eps) ** S.Half),
            ("root-twice", f"the root is taken twice in {name}", (root.expr + eps) ** S.Half),
            ("eps-sign", f"eps is subtracted in {name}", (bare - eps) ** S.Half),
            ("eps-squared", f"eps is squared in {name}", (bare + eps**2) ** S.Half),
        ):
            yield code, text, _with(forward, root, expr)
    for root in roots:
        name, inner = name_of(root.target), root.expr.base
        yield "variance-for-sd", f"the root is missing in {name}", _with(forward, root, inner)
        text = f"the root is taken twice in {name}"
        yield "root-twice", text, _with(forward, root, inner ** (S.One / 4))
    yield from _uncentred(forward)


def _other_ddof(forward: Program) -> Iterator[tuple[str, str, Program]]:
    if "ddof" not in options(forward.name) if forward.name in LAYERS else True:
        return
    for ddof, text in ((1, "the variance is over m - 1"), (0, "the variance is over m")):
        other = layer(forward.name, ddof=ddof, affine="gamma" in forward.tensors)
        if other.steps != forward.steps and {*other.tensors} == {*forward.tensors}:
            yield "ddof", text, other


def _uncentred(forward: Program) -> Iterator[tuple[str, str, Program]]:
    """The mean not subtracted: in the normalised values, in the variance, or in both."""
    mean = forward.tensors.get("mu")
    readers = [s for s in forward.steps if mean is not None and mean in operands(s.expr)]
    for step in readers:
        bare = step.expr.xreplace({mean: S.Zero})
        text = f"the mean is not subtracted in {name_of(step.target)}"
        yield "mean-not-subtracted", text, _with(forward, step, bare)


def _throughout(found: Derivation, code: str, text: str, other: Program) -> Iterator[Change]:
    """The closed form and the chain rule with every forward value from the other pass."""
    for program in (found.closed, found.chain):
        read = _read(found, program)
        put = {a: _primed(a) for a in read}
        steps = tuple(Step(s.target, s.expr.xreplace(put), s.note) for s in program.steps)
        yield replace(known_to(found, code, text, program, steps, put), other=other)


def _somewhere(found: Derivation, code: str, text: str, other: Program) -> Iterator[Change]:
    """One forward value from the other pass, everywhere or in one step of the backward pass."""
    closed, chain = found.closed, found.chain
    for operand in _read(found, closed):
        put = {operand: _primed(operand)}
        steps = tuple(Step(s.target, s.expr.xreplace(put), s.note) for s in closed.steps)
        where = f"{text}, in the factor {name_of(operand)}"
        if _is_changed(other, found.forward, operand):
            yield replace(known_to(found, code, where, closed, steps, put), other=other)
    for step in chain.steps:
        for operand in _read(found, chain):
            if operand in operands(step.expr) and _is_changed(other, found.forward, operand):
                put = {operand: _primed(operand)}
                changed = tuple(
                    Step(s.target, s.expr.xreplace(put), s.note) if s is step else s
                    for s in chain.steps
                )
                where = text if name_of(operand) in text else f"{text}, in {name_of(operand)}"
                where += f" of {name_of(step.target)}"
                yield replace(known_to(found, code, where, chain, changed, put), other=other)


def _other_layers(found: Derivation) -> Iterator[Change]:
    """The backward pass of another layer of the same inputs."""
    mine = found.forward
    for name, program in LAYERS.items():
        if name == mine.name or program.inputs != mine.inputs:
            continue
        try:
            theirs = derived_once(program)
        except BncheckError:
            continue
        text = f"it is the backward pass of {program.title.lower()}"
        steps = (*program.steps, *theirs.chain.steps)
        inputs = (*theirs.upstream, *program.inputs)
        whole = replace(theirs.chain, inputs=inputs, steps=steps)
        yield Change("other-layer", text, whole)


def _read(found: Derivation, program: Program) -> list[Tensor]:
    """The values of the forward pass, not its inputs, that a backward program reads."""
    targets = set(found.forward.targets)
    return [a for s in program.steps for a in operands(s.expr) if a in targets]


def _is_changed(other: Program, forward: Program, operand: Tensor) -> bool:
    """Whether the operand, or anything that it comes from, is computed otherwise."""
    changed: set[Tensor] = set()
    for mine, theirs in zip(forward.steps, other.steps, strict=True):
        if mine.expr != theirs.expr or changed & set(operands(mine.expr)):
            changed.add(mine.target)
    return operand in changed


def _primed(operand: Tensor) -> Tensor:
    return like(name_of(operand) + PRIME, operand)


def _with(forward: Program, step: Step, expr: Expr) -> Program:
    steps = tuple(Step(s.target, expr, s.note) if s is step else s for s in forward.steps)
    return replace(forward, steps=steps)
