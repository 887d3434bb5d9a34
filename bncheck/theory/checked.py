"""Every line of a derivation held against what it says, for every size where that can be proved.

A line ``dv = expr`` says that the loss grows by ``t*sum(a*expr)`` when ``v`` moves by ``t*a`` and
all that follows from ``v`` with it (``t**2 = 0``). The forward pass alone has to prove that, line
by line, whatever the chain rule and the closing made of the line before. Where the prover does
not know the layer, exact numbers decide. ``evidence`` is all that a document says of it: the
identities of the layer come with their proofs, the normal form to which both sides come.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

from sympy import Expr, Idx, S

from bncheck.algebra.notation import Tensor, indices_of, like, name_of, size, tangent, total
from bncheck.algebra.program import Line
from bncheck.calculus.derivation import Derivation
from bncheck.calculus.interpret import value_at
from bncheck.calculus.jacobians import jacobian_line
from bncheck.calculus.passes import derived_once, hessian, on_numbers
from bncheck.calculus.unroll import exactly_equal, gradients, spread, tangents
from bncheck.telling.errors import CannotAsk
from bncheck.theory.family.laws import identities
from bncheck.theory.judging import judge_all
from bncheck.theory.normal_forms import in_one_order, normal, rules
from bncheck.theory.parts import Words, words
from bncheck.theory.proof import left_over
from bncheck.theory.statements import (
    Evidence,
    Judgement,
    Pairs,
    Run,
    Standing,
    Statement,
    marked,
    t,
)


def evidence(found: Derivation) -> Evidence:
    """Check every line, and judge what holds for the layer."""
    lines, second = verdicts(found), hessian_verdicts(found)
    lines |= verdicts(found.origin) if found.origin else {}
    open_sizes = all(size(i).free_symbols for i in found.layer.axes)
    try:
        layer = words(derived_once(found.layer)) if open_sizes else None
    except CannotAsk:
        layer = None
    if layer is None:
        return Evidence(lines, second)
    judged = judge_all(_about(found, layer), layer)
    return Evidence(lines, second, put(layer), tuple(_with_form(one, layer) for one in judged))


def hessian_verdicts(found: Derivation) -> dict[Tensor, Standing]:
    """Of the two parts that make the Hessian of a loss that bends, by input."""
    if not found.origin:
        return {}
    first, whole, made = found.origin, hessian(found.origin), {}
    (y, *_) = first.forward.outputs
    bent = {first.upstream[0]: like("d2" + name_of(y), y)}
    for a in first.wrt:
        second = found.forward.gradient(a)
        own = found.closed.in_full(second) if second in found.closed.targets else S.Zero
        back = first.closed.in_full(first.forward.gradient(a)).xreplace(bent)
        made[a] = verdict(whole, Line(whole.forward.gradient(a), own + back))
    return made


def put(layer: Words) -> Pairs:
    """What the proofs put for what: values by other names, and sums that are known."""
    known = rules(layer)
    return (*known.values.items(), *known.sums.items())


def lines(found: Derivation) -> Iterator[Line]:
    """What a derivation claims: chain rule, rewritings, closed form, and the Jacobian's entries."""
    yield from (Line(s.target, s.expr) for s in found.chain.steps)
    yield from (Line(r.target, r.expr) for r in found.rewritings)
    yield from (Line(s.target, s.expr) for s in found.closed.steps if _value(found, s.target))
    if found.origin:
        second = (found.forward.gradient(a) for a in found.origin.wrt)
        yield from (Line(a, S.Zero) for a in second if a not in found.closed.targets)
    if found.mode == "reverse" and not found.origin:
        yield from (jacobian_line(found, name_of(a)) for a in found.wrt)


def verdicts(found: Derivation) -> dict[Line, Standing]:
    """What becomes of each line."""
    return {line: verdict(found, line) for line in lines(found)}


def verdict(found: Derivation, line: Line) -> Standing:
    """``proved`` for every size that ``found`` leaves open, ``exact`` on numbers, or ``refuted``.

    Numbers are asked where there is no proof; the witness of the derivation has asked them before.
    """
    if _is_proved(found, line):
        return "proved"
    return "exact" if _is_exact(found, line) else "refuted"


def _value(found: Derivation, target: Tensor) -> Tensor | None:
    """What a line's target is the gradient, or the tangent, with respect to; None for a sum."""
    derived = tangent if found.mode == "forward" else found.forward.gradient
    values = (*found.forward.inputs, *found.forward.targets)
    return next((a for a in values if derived(a) == target), None)


def _is_proved(found: Derivation, line: Line) -> bool:
    layer = _words(found)
    if layer is None:
        return False
    value = _value(found, line.target)
    assert value is not None
    if found.mode == "forward":
        return left_over(_moves(found, value, line.expr), layer) == 0
    whole = frozenset(layer.forward.axes)
    for over in dict.fromkeys((_own_axes(layer, value), whole)):
        rest = left_over(_grows(found, value, line.expr, over), layer)
        if normal(in_one_order(rest, frozenset(layer.kept)), rules(layer)) == 0:
            return True
    return False


@lru_cache(maxsize=64)
def _words(found: Derivation) -> Words | None:
    try:
        return replace(words(derived_once(found.layer)), found=found)
    except CannotAsk:
        return None


def _own_axes(layer: Words, value: Tensor) -> frozenset[Idx]:
    """The axes to sum over where a value of one group moves the outputs of that group alone.

    All, where an output has no place for the group: then it is the sum over all groups.
    """
    own, axes = frozenset(indices_of(value)), frozenset(layer.forward.axes)
    whole = own == frozenset(indices_of(layer.x))
    over = axes - own | (frozenset(layer.over) if whole else frozenset())
    apart = all(axes - over <= set(indices_of(out)) for out in layer.forward.outputs)
    return over if apart else axes


def _grows(found: Derivation, value: Tensor, expr: Expr, over: frozenset[Idx]) -> Statement:
    """``sum(dy*y)`` grows by ``t*sum(a*expr)`` where the value moves by ``t*a``."""
    away = like("a", value)
    grown = S.Zero
    for dy, y in zip(found.upstream, found.forward.outputs, strict=True):
        own = over & set(indices_of(y))
        grown += total(dy * marked(y), own) - total(dy * y, own)
    right = t * total(away * expr, over & set(indices_of(value)))
    run = Run("′", ((value, value + t * away),))
    return Statement(name_of(value), grown, right, runs=(run,), order=(t,))


def _moves(found: Derivation, value: Tensor, expr: Expr) -> Statement:
    """The value moves by ``t*expr`` where the inputs move by ``t`` times their tangents."""
    run = Run("′", tuple((a, a + t * tangent(a)) for a in found.wrt))
    return Statement(name_of(value), marked(value), value + t * expr, runs=(run,), order=(t,))


def _is_exact(found: Derivation, line: Line) -> bool:
    """On exact rationals, at three places, by plain ``sympy.diff`` of the forward pass."""
    on = on_numbers(found)
    value = _value(found, line.target)
    assert value is not None
    value, expr = value.xreplace(on.sizes), line.expr.xreplace(on.sizes)
    if found.mode == "forward":
        truth = tangents(replace(on.found.forward, outputs=(value,)), on.given, 3)[
            "t" + name_of(value)
        ]
    else:
        steps = tuple(s for s in on.found.forward.steps if s.target != value)
        inputs = tuple(dict.fromkeys((*on.found.forward.inputs, value)))
        free = replace(on.found.forward, inputs=inputs, steps=steps, first=(), wrt=())
        there = {**on.given, name_of(value): on.forward[name_of(value)]}
        truth = gradients(free, there, (value,), 3)["d" + name_of(value)]
    return all(
        exactly_equal(
            value_at(expr, on.everything, dict(zip(indices_of(value), at, strict=True))), truth[at]
        )
        for at in spread(list(truth), 3)
    )


def _about(found: Derivation, layer: Words) -> tuple[Statement, ...]:
    """The statements about what the derivation names, of its order.

    In forward mode there are no gradients; their derivatives are of second order.
    """
    stated, forward = identities(layer), layer.forward
    gradients = {name_of(forward.gradient(a)) for a in (*forward.inputs, *forward.targets)}
    if found.mode == "forward":
        return tuple(one for one in stated if gradients.isdisjoint(name for name, _ in one.names))
    if found.origin:
        return stated
    return tuple(one for one in stated if not _is_second(one, gradients))


def _is_second(said: Statement, gradients: set[str]) -> bool:
    """Whether it is about how a gradient moves."""
    moved = {name for name, mark in said.names if mark}
    return len(said.order) > 1 or bool(said.order and moved & gradients)


def _with_form(one: Judgement, layer: Words) -> Judgement:
    """With the normal form of both sides, where it was proved for every size by that form."""
    said = one.statement
    special = said.relation != "=" or any(a.is_integer for a, _ in said.given)
    if one.verdict != "proved" or special:
        return one
    return replace(one, form=left_over(replace(said, right=S.Zero), layer))
