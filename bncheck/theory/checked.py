"""Every line of a derivation held against what it says, for every size where that can be proved.

A line ``dv = expr`` says that the loss grows by ``t*sum(a*expr)`` when ``v`` moves by ``t*a`` and
all that follows from ``v`` with it (``t**2 = 0``). The forward pass alone has to prove that, line
by line, whatever the chain rule and the closing made of the line before. Where the prover does
not know the layer, exact numbers decide.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from sympy import Add, Expr, Idx, Integer, KroneckerDelta, Mul, S

from bncheck.algebra.notation import (
    Tensor,
    Total,
    distribute,
    indices_of,
    like,
    name_of,
    tangent,
    total,
)
from bncheck.calculus.derivation import Derivation
from bncheck.calculus.jacobian import jacobian
from bncheck.calculus.matrix import moved
from bncheck.calculus.passes import small_sizes
from bncheck.calculus.unroll import (
    evaluate,
    exactly_equal,
    gradients,
    in_digits,
    sample,
    spread,
    tangents,
    value_at,
)
from bncheck.telling.errors import CannotAsk
from bncheck.theory.flat import in_one_order
from bncheck.theory.judging import Verdict
from bncheck.theory.normal import normal, rules
from bncheck.theory.parts import Words, words
from bncheck.theory.proof import left_over
from bncheck.theory.statement import Run, Statement, marked, t


@dataclass(frozen=True)
class Line:
    """One equation of a derivation: what it is about, and what it says that this is."""

    target: Tensor
    expr: Expr


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


def verdicts(found: Derivation) -> dict[Line, Verdict]:
    """What becomes of each line."""
    return {line: verdict(found, line) for line in lines(found)}


def verdict(found: Derivation, line: Line) -> Verdict:
    """``proved`` for every size that ``found`` leaves open, ``exact`` on numbers, or ``refuted``.

    Numbers are asked where there is no proof; the witness of the derivation has asked them before.
    """
    if _is_proved(found, line):
        return "proved"
    return "exact" if _is_exact(found, line) else "refuted"


def jacobian_line(found: Derivation, name: str) -> Line:
    """The Jacobian's entries as a line: upstream times entry, summed, is the gradient."""
    at = jacobian(found, name)
    homes = {str(i.label): i for i in found.forward.axes}
    away = {i: Idx(f"{i.label}0", (i.lower, i.upper)) for i in indices_of(at.row)}
    here = {i: homes[str(i.label).removesuffix("1")] for i in indices_of(at.column)}
    entry = distribute(moved(moved(at.entry, away), here))
    dy = moved(found.upstream[0], away)
    back = {zero: i for i, zero in away.items()}
    contracted = Add(*(_contracted(term * dy, back) for term in Add.make_args(entry)))
    operand = next(a for a in found.wrt if name_of(a) == name)
    return Line(found.forward.gradient(operand), contracted)


def _contracted(term: Expr, back: dict[Idx, Idx]) -> Expr:
    """The sum of a product over all rows: a delta leaves one of its sum."""
    factors = Mul.make_args(term)
    deltas = [f for f in factors if isinstance(f, KroneckerDelta)]
    picked = {row: i for d in deltas for row, i in _sides(d, back)}
    rest = moved(Mul(*(f for f in factors if f not in deltas)), picked)
    summed = total(rest, back.keys() - picked.keys())
    sums = [node for node in summed.atoms(Total) if set(node.over) <= back.keys()]
    home = {s: Total(moved(s.body, back), *(back[row] for row in s.over)) for s in sums}
    return summed.xreplace(home)


def _sides(delta: KroneckerDelta, back: dict[Idx, Idx]) -> Iterator[tuple[Idx, Idx]]:
    a, b = delta.args
    yield (a, b) if a in back else (b, a)


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
        return replace(words(found.layer), found=found)
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
    sizes: dict[Any, Any] = {s: Integer(n) for s, n in small_sizes(found.forward).items()}
    small = found.forward.specialised(sizes)
    values = in_digits(small, sample(small, *(u.xreplace(sizes) for u in found.upstream)))
    known: dict[str, Any] = evaluate(small, values)
    known |= {name_of(u): values[name_of(u)] for u in found.upstream}
    everything = {
        **known,
        **evaluate(found.closed.specialised(sizes), known),
        **evaluate(found.chain.specialised(sizes), known),
    }
    value = _value(found, line.target)
    assert value is not None
    value, expr = value.xreplace(sizes), line.expr.xreplace(sizes)
    if found.mode == "forward":
        truth = tangents(replace(small, outputs=(value,)), values, 3)["t" + name_of(value)]
    else:
        steps = tuple(s for s in small.steps if s.target != value)
        inputs = tuple(dict.fromkeys((*small.inputs, value)))
        free = replace(small, inputs=inputs, steps=steps, first=(), wrt=())
        numbers = known[name_of(value)]
        there = values | {name_of(value): numbers if indices_of(value) else numbers[()]}
        truth = gradients(free, there, (value,), 3)["d" + name_of(value)]
    return all(
        exactly_equal(
            value_at(expr, everything, dict(zip(indices_of(value), at, strict=True))), truth[at]
        )
        for at in spread(list(truth), 3)
    )
