"""What a document says of a derivation besides its lines: how each is known, and what follows.

The identities of the layer come with their proofs: the normal form to which both sides come.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sympy import Expr, S

from bncheck.algebra.notation import Tensor, like, name_of, operands, size
from bncheck.algebra.program import Program
from bncheck.algebra.spelling import unmarked
from bncheck.calculus.derivation import Derivation
from bncheck.calculus.second import hessian
from bncheck.telling.errors import CannotAsk
from bncheck.theory.checked import Line, verdict, verdicts
from bncheck.theory.family.identities import identities
from bncheck.theory.judging import Judgement, Verdict, judge_all
from bncheck.theory.normal import rules
from bncheck.theory.parts import Words, words
from bncheck.theory.proof import left_over
from bncheck.theory.statement import Pairs, Statement


@dataclass(frozen=True)
class Identity:
    """A statement with what became of it; ``form``: what both sides are, where it was proved."""

    judgement: Judgement
    form: Expr | None = None


@dataclass(frozen=True)
class Evidence:
    """``lines``: what became of every equation; ``hessian``: of the Hessian's, by input.

    ``rules``: what the proofs of the identities put for what; no identities where the sizes are
    numbers, or where the layer is of no family.
    """

    lines: Mapping[Line, Verdict]
    hessian: Mapping[Tensor, Verdict]
    rules: Pairs = ()
    identities: tuple[Identity, ...] = ()

    @property
    def all_proved(self) -> bool:
        """Whether no line of the derivation is left with less than a proof."""
        return {*self.lines.values(), *self.hessian.values()} <= {"proved"}


def evidence(found: Derivation) -> Evidence:
    """Check every line, and judge what holds for the layer."""
    lines, second = verdicts(found), hessian_verdicts(found)
    lines |= verdicts(found.origin) if found.origin else {}
    open_sizes = all(size(i).free_symbols for i in found.layer.axes)
    try:
        layer = words(found.layer) if open_sizes else None
    except CannotAsk:
        layer = None
    if layer is None:
        return Evidence(lines, second)
    judged = judge_all(_about(found), layer)
    return Evidence(lines, second, put(layer), tuple(_proved(one, layer) for one in judged))


def hessian_verdicts(found: Derivation) -> dict[Tensor, Verdict]:
    """Of the two parts that make the Hessian of a loss that bends, by input."""
    if not found.origin:
        return {}
    first, whole, made = found.origin, hessian(found.origin), {}
    (y, *_) = first.forward.outputs
    bent = {first.upstream[0]: like("d2" + name_of(y), y)}
    for a in first.wrt:
        second = found.forward.gradient(a)
        own = _in_full(found.closed, second) if second in found.closed.targets else S.Zero
        back = _in_full(first.closed, first.forward.gradient(a)).xreplace(bent)
        made[a] = verdict(whole, Line(whole.forward.gradient(a), own + back))
    return made


def put(layer: Words) -> Pairs:
    """What the proofs put for what: values by other names, and sums that are known."""
    known = rules(layer)
    return (*known.values.items(), *known.sums.items())


def _about(found: Derivation) -> tuple[Statement, ...]:
    """The statements about what the derivation names, of its order.

    In forward mode there are no gradients; their derivatives are of second order.
    """
    stated, layer = identities(found.layer), found.layer
    gradients = {name_of(layer.gradient(a)) for a in (*layer.inputs, *layer.targets)}
    if found.mode == "forward":
        return tuple(said for said in stated if not _names(said).keys() & gradients)
    if found.origin:
        return stated
    return tuple(said for said in stated if not _is_second(said, gradients))


def _is_second(said: Statement, gradients: set[str]) -> bool:
    """Whether it is about how a gradient moves."""
    moved = {name for name, marks in _names(said).items() if marks != {""}}
    return len(said.order) > 1 or bool(said.order and moved & gradients)


def _names(said: Statement) -> dict[str, set[str]]:
    """What a statement reads, with the marks behind it."""
    exprs = [said.left, said.right, said.slack, *(e for pair in said.given for e in pair)]
    exprs += [e for run in said.runs for pair in run.changes for e in pair]
    found: dict[str, set[str]] = {}
    for name, mark in (unmarked(name_of(a)) for e in exprs for a in operands(e)):
        found.setdefault(name, set()).add(mark)
    return found


def _proved(one: Judgement, layer: Words) -> Identity:
    said = one.statement
    special = said.relation != "=" or any(a.is_integer for a, _ in said.given)
    if one.verdict != "proved" or special:
        return Identity(one)
    return Identity(one, left_over(replace(said, right=S.Zero), layer))


def _in_full(program: Program, expr: Expr) -> Expr:
    """With every named sum and product written out."""
    steps = {step.target: step.expr for step in program.steps}
    while steps.keys() & set(operands(expr)):
        expr = expr.xreplace(steps)
    return expr
