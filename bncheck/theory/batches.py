"""Exact numbers for a statement: batches whose deviations are rational, conditions made true."""

from fractions import Fraction
from functools import cache
from math import isqrt
from operator import mul
from random import Random

from sympy import Indexed, Pow, Symbol, diff

from bncheck.algebra.notation import Tensor, Total, indices_of, name_of, operands
from bncheck.algebra.spelling import unmarked
from bncheck.calculus.interpret import Numbers, Place, evaluate_for, places, value_at, work_out
from bncheck.theory.parts import Words
from bncheck.theory.rationals import JETS, ONE, ZERO, Jet
from bncheck.theory.statements import MATRIX, Pairs, Statement, lam, t, u

BATCHES = {
    (True, 0): (-7, -5, 1, 11), (True, 1): (-5, -7, 5, 7), (False, 0): (5, 3, -1, 1),
}  # fmt: skip
"""Four values whose deviation is a whole number: centred over m, over m - 1; root mean square."""


def drawn(said: Statement, layer: Words, seed: int) -> Numbers:
    """Numbers for the layer's inputs, the upstream gradient and every other name."""
    known = {name_of(a): _numbers(a, seed) for a in _others(said, layer)}
    known |= {"t": {(): Jet(ZERO, ONE)}, "u": {(): Jet(ZERO, ZERO, ONE)}}
    if not said.at:
        known |= usual(layer, seed)
        _impose(said.given, layer, known)
        return known
    known |= _inputs(layer, seed)
    for name, numbers in said.at.items():
        given = numbers if isinstance(numbers, tuple) else (numbers,)
        known[name] = dict(
            zip(known[name], (Jet(Fraction(str(number))) for number in given), strict=True)
        )
    if layer.eps != 0 and "eps" not in said.at:
        known[name_of(layer.eps)] = {(): _eps(layer, known)}
    return known


@cache
def usual(layer: Words, seed: int) -> Numbers:
    """Inputs and upstream gradient for all statements that ask for none of their own.

    What is worked out from them can be put beside them, for the next statement.
    """
    known = _inputs(layer, seed) | {name_of(layer.x): _batch(layer, Random(f"batch {seed}"))}
    return known | ({name_of(layer.eps): {(): _eps(layer, known)}} if layer.eps != 0 else {})


def _inputs(layer: Words, seed: int) -> Numbers:
    own = (*layer.forward.inputs, *layer.found.upstream)
    return {name_of(a): _numbers(a, seed) for a in own}


def _others(said: Statement, layer: Words) -> set[Tensor]:
    """The names in a statement that no program gives: directions, constants, other gradients."""
    own = (*layer.forward.inputs, *layer.found.upstream, *MATRIX, lam, t, u)
    given = {name_of(a) for a in (*own, *(step.target for step in layer.steps))}
    named = {a for e in said.expressions for a in operands(e)}
    return {a for a in named if unmarked(name_of(a))[0] not in given}


def _numbers(operand: Tensor, seed: int) -> dict[Place, Jet]:
    """Small rationals of both signs, none 0 or 1; positive where the name says so."""
    drawn, rng = {}, Random(f"{name_of(operand)} {seed}")
    for number, at in enumerate(places(indices_of(operand))):
        one = Fraction(rng.choice((-1, 1)) * rng.randint(4, 9), rng.randint(1, 3))
        drawn[at] = Jet(abs(one) if operand.is_positive or operand.is_nonnegative else one)
        if name_of(operand).endswith("var"):
            drawn[at] = Jet(Fraction((number + 2) ** 2 - 1))  # with eps = 1 the root is rational
    return drawn


def _batch(layer: Words, rng: Random) -> dict[Place, Jet]:
    """In each group the same four values in another order, with another sign and mean."""
    numbers = {}
    ddof = 0 if layer.freedom == layer.many or not layer.centred else 1
    base = [1, -2, 2, 4] if layer.eps == 0 else list(BATCHES[layer.centred, ddof])
    for group in places(layer.kept):
        shift = Fraction(rng.randint(1, 9), rng.randint(1, 3)) if layer.centred else ZERO
        sign = rng.choice((-1, 1))
        values = [sign * b if layer.centred else rng.choice((-1, 1)) * b for b in base]
        rng.shuffle(values)
        for at, one in zip(places(layer.over), values, strict=False):
            where = dict(zip((*layer.kept, *layer.over), (*group, *at), strict=True))
            numbers[tuple(where[i] for i in indices_of(layer.x))] = Jet(one + shift)
    return numbers


def _eps(layer: Words, known: Numbers) -> Jet:
    """What makes the root a rational number."""
    written = layer.forward.step(layer.root).expr
    if layer.spread in layer.forward.inputs or not isinstance(written, Pow):
        return Jet(ONE)
    trial = dict(known)
    for step in layer.forward.steps:
        if step.target == layer.root:
            break
        work_out(step, trial, JETS)
    spread = value_at(written.base - layer.eps, trial, dict.fromkeys(layer.kept, 1), JETS).one
    return Jet((isqrt(spread.numerator // spread.denominator) + 1) ** 2 - spread)


def _impose(given: Pairs, layer: Words, known: Numbers) -> None:
    """Make the conditions true: inputs set, and the upstream gradient freed of what must vanish."""
    for left, right in given:
        if isinstance(left, Indexed | Symbol) and not left.is_integer:
            known[name_of(left)] = dict.fromkeys(
                known[name_of(left)], value_at(right, known, {}, JETS)
            )
    sums = [left for left, _ in given if isinstance(left, Total)]
    moving = [next(a for a in operands(e) if _is_free(a, e, layer)) for e in sums]
    for operand in dict.fromkeys(moving):
        evaluate_for((name_of(a) for e in sums for a in operands(e)), layer.steps, known, JETS)
        _free(operand, [e for a, e in zip(moving, sums, strict=True) if a == operand], known)


def _is_free(operand: Tensor, node: Total, layer: Words) -> bool:
    """The operand that a condition is about: the upstream gradient, or one that no step gives."""
    theirs = {*layer.forward.inputs, *layer.forward.targets}
    return set(node.over) <= set(indices_of(operand)) and operand not in theirs


def _free(operand: Tensor, sums: list[Total], known: Numbers) -> None:
    """``sum(w*dy) = 0`` for every w, by taking from dy its part along each, one after the other."""
    over, full = sums[0].over, indices_of(operand)
    kept = tuple(i for i in full if i not in over)
    for group in places(kept):
        inside = [dict(zip((*kept, *over), (*group, *at), strict=True)) for at in places(over)]
        spots = [tuple(at[i] for i in full) for at in inside]
        done: list[list[Fraction]] = []
        for node in sums:
            slope = diff(node.body, operand)
            weight = [value_at(slope, known, at, JETS).one for at in inside]
            for other in done:
                weight = _without(weight, other)
            done.append(weight)
        numbers = [known[name_of(operand)][spot].one for spot in spots]
        for weight in done:
            numbers = _without(numbers, weight)
        freed = {at: Jet(n) for at, n in zip(spots, numbers, strict=True)}
        known[name_of(operand)] = known[name_of(operand)] | freed


def _without(numbers: list[Fraction], along: list[Fraction]) -> list[Fraction]:
    """Numbers less their part along others."""
    share = sum(map(mul, numbers, along)) / sum(map(mul, along, along))
    return [a - share * b for a, b in zip(numbers, along, strict=True)]
