"""A statement on numbers: exact rationals, for which each side is worked out entry by entry.

It shares nothing with the prover but the programs: runs are evaluated entry by entry at changed
inputs, derivatives by ``t**2 = 0``, matrices column by column. Batches are drawn so that standard
deviations are rational, and what is printed as a counterexample can be checked by hand.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from math import isqrt
from operator import mul
from random import Random
from typing import Any

from sympy import Expr, Indexed, Integer, Matrix, Pow, S, Symbol, diff, expand, sqrt

from bncheck.algebra.notation import Tensor, Total, carried, indices_of, name_of, operands, size
from bncheck.algebra.program import Program, Step
from bncheck.algebra.spelling import unmarked
from bncheck.calculus.eigen import NORM, POLYNOMIAL, RANK, TRACE, lam
from bncheck.calculus.normal import place
from bncheck.calculus.rationals import Irrational, Jet, Known, exactly, value
from bncheck.calculus.statement import Pairs, Run, Statement, t, u
from bncheck.calculus.unroll import places, value_at
from bncheck.calculus.words import Words, words

ZERO, ONE = Fraction(0), Fraction(1)
MATRIX = {TRACE, RANK, NORM, POLYNOMIAL}

BATCHES = {
    (True, 0): (-7, -5, 1, 11), (True, 1): (-5, -7, 5, 7), (False, 0): (5, 3, -1, 1),
}  # fmt: skip
"""Four values whose deviation is a whole number: centred over m, over m - 1; root mean square."""


@dataclass(frozen=True)
class Trial:
    """Both sides where they differ most, their difference (0 where the statement held), inputs."""

    left: Expr
    right: Expr
    apart: Expr
    values: Known


@dataclass(frozen=True)
class Arithmetic:
    """Fractions where every root is rational, else SymPy's numbers."""

    value: Callable[[Expr, Known, dict[Any, int]], Any]
    exactly: Callable[[Any], Expr]
    number: Callable[[Jet], Any]


FAST = Arithmetic(value, exactly, lambda jet: jet)
SLOW = Arithmetic(lambda *a: _truncated(value_at(*a), (t, u)), lambda number: number, exactly)


def tried(statement: Statement, layer: Words, seed: int = 0) -> Trial:
    """The statement on one batch of exact numbers; the same seed gives the same numbers."""
    if statement.left.free_symbols & MATRIX:
        return _tried(statement, layer, seed, SLOW)
    try:
        return _tried(statement, layer, seed, FAST)
    except Irrational:
        return _tried(statement, layer, seed, SLOW)


def _tried(statement: Statement, layer: Words, seed: int, by: Arithmetic) -> Trial:
    sizes = _sizes(statement, layer)
    said = _specialised(statement, sizes)
    small = _small(layer.forward, tuple(sizes.items()))
    known = _inputs(said, small, Random(seed))
    known = {name: {at: by.number(n) for at, n in own.items()} for name, own in known.items()}
    _evaluate(small, known, by)
    for run in said.runs:
        known |= _run(run, layer, sizes, known, by)
    _matrices(said, small, known, by)
    trials = [_compared(said, known, at, by) for at in _everywhere(said)]
    return max(trials, key=lambda one: abs(_size(one.apart)))


@cache
def _small(forward: Program, sizes: tuple[tuple[Any, int], ...]) -> Words:
    return words(forward.specialised(dict(sizes)))


def _compared(said: Statement, known: Known, at: dict[Any, int], by: Arithmetic) -> Trial:
    left, right = (by.exactly(by.value(e, known, at)) for e in (said.left, said.right))
    apart = expand(left - right)
    if said.relation == "≤" and apart.is_nonpositive:
        apart = S.Zero
    return Trial(left, right, apart, known)


def _size(number: Expr) -> Any:
    """How large a difference is, infinitesimals and unknowns taken as 1."""
    return number.xreplace(dict.fromkeys(number.free_symbols, S.One)).evalf(20)


def _sizes(statement: Statement, layer: Words) -> dict[Any, int]:
    """4 values in a group (the number that is given, the length of the example), 2 elsewhere."""
    given = {a: int(b) for a, b in statement.given if a.is_integer and a.is_Symbol}
    example = statement.at.get(name_of(layer.x), ())
    along = len(example) or (4 if len(layer.over) == 1 else 2)
    other = 1 if example else 2
    sizes = {size(i): along if i in layer.over else other for i in layer.forward.axes}
    return sizes | given


def _specialised(statement: Statement, sizes: dict[Any, int]) -> Statement:
    put = {a: Integer(b) for a, b in sizes.items()}

    def at(pairs: Pairs) -> Pairs:
        return tuple((a.xreplace(put), b.xreplace(put)) for a, b in pairs)

    return replace(
        statement,
        left=statement.left.xreplace(put),
        right=statement.right.xreplace(put),
        given=at(statement.given),
        runs=tuple(Run(r.mark, at(r.changes), r.copies) for r in statement.runs),
    )


def _everywhere(said: Statement) -> list[dict[Any, int]]:
    free = sorted(carried(said.left) | carried(said.right), key=str)
    own = tuple(i for i in free if not str(i).startswith("π"))
    found = [_with_places(dict(zip(own, at, strict=True))) for at in places(own)]
    return found[:1] if said.left.free_symbols & MATRIX else found


def _with_places(at: dict[Any, int]) -> dict[Any, int]:
    """The permutation: one place on, the last one first."""
    return at | {place(i): number % int(size(i)) + 1 for i, number in at.items()}


def _inputs(said: Statement, layer: Words, rng: Random) -> Known:
    """Numbers for the layer's inputs, the upstream gradient and every other name."""
    own = {*layer.forward.inputs, *layer.found.upstream}
    known = {name_of(a): _drawn(a, rng) for a in sorted(own | _others(said, layer), key=str)}
    known |= {"t": {(): Jet(ZERO, ONE)}, "u": {(): Jet(ZERO, ZERO, ONE)}}
    if not said.at:
        known[name_of(layer.x)] = _batch(layer, rng)
    for name, numbers in said.at.items():
        given = numbers if isinstance(numbers, tuple) else (numbers,)
        known[name] = dict(
            zip(known[name], (Jet(Fraction(str(number))) for number in given), strict=True)
        )
    if layer.eps != 0 and name_of(layer.eps) not in said.at:
        known[name_of(layer.eps)] = {(): _eps(layer, known)}
    _impose(said.given, layer, known)
    return known


def _others(said: Statement, layer: Words) -> set[Tensor]:
    """The names in a statement that no program gives: directions, constants, other gradients."""
    said_in = [said.left, said.right, *(e for _, e in said.given)]
    said_in += [e for run in said.runs for _, e in run.changes]
    given = {name_of(step.target) for p in _programs(layer) for step in p.steps}
    given |= {name_of(a) for a in (*layer.forward.inputs, *layer.found.upstream)}
    given |= {name_of(a) for a in (*MATRIX, lam, t, u)}
    named = {a for e in said_in for a in operands(e)}
    return {a for a in named if unmarked(name_of(a))[0] not in given}


def _drawn(operand: Tensor, rng: Random) -> dict[tuple[int, ...], Jet]:
    """Small rationals of both signs, none 0; positive where the name says so."""
    drawn = {}
    for number, at in enumerate(places(indices_of(operand))):
        one = Fraction(rng.choice((-1, 1)) * rng.randint(1, 9), rng.randint(1, 3))
        drawn[at] = Jet(abs(one) if operand.is_positive or operand.is_nonnegative else one)
        if name_of(operand).endswith("var"):
            drawn[at] = Jet(Fraction((number + 2) ** 2 - 1))  # with eps = 1 the root is rational
    return drawn


def _batch(layer: Words, rng: Random) -> dict[tuple[int, ...], Jet]:
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


def _eps(layer: Words, known: Known) -> Jet:
    """What makes the root a rational number."""
    written = layer.forward.step(layer.root).expr
    if layer.spread in layer.forward.inputs or not isinstance(written, Pow):
        return Jet(ONE)
    trial = dict(known)
    for step in layer.forward.steps:
        if step.target == layer.root:
            break
        _step(step, trial, FAST)
    spread = value(written.base - layer.eps, trial, dict.fromkeys(layer.kept, 1)).one
    return Jet((isqrt(spread.numerator // spread.denominator) + 1) ** 2 - spread)


def _impose(given: Pairs, layer: Words, known: Known) -> None:
    """Make the conditions true: inputs set, and the upstream gradient freed of what must vanish."""
    for left, right in given:
        if isinstance(left, Indexed | Symbol) and not left.is_integer:
            known[name_of(left)] = dict.fromkeys(known[name_of(left)], value(right, known, {}))
    sums = [left for left, _ in given if isinstance(left, Total)]
    moving = [next(a for a in operands(e) if _is_free(a, e, layer)) for e in sums]
    for operand in dict.fromkeys(moving):
        _evaluate(layer, known, FAST)
        _free(operand, [e for a, e in zip(moving, sums, strict=True) if a == operand], known)


def _is_free(operand: Tensor, node: Total, layer: Words) -> bool:
    """The operand that a condition is about: the upstream gradient, or one that no step gives."""
    theirs = {*layer.forward.inputs, *layer.forward.targets}
    return set(node.over) <= set(indices_of(operand)) and operand not in theirs


def _free(operand: Tensor, sums: list[Total], known: Known) -> None:
    """``sum(w*dy) = 0`` for every w, by taking from dy its part along each, one after the other."""
    over, full = sums[0].over, indices_of(operand)
    kept = tuple(i for i in full if i not in over)
    for group in places(kept):
        inside = [dict(zip((*kept, *over), (*group, *at), strict=True)) for at in places(over)]
        spots = [tuple(at[i] for i in full) for at in inside]
        done: list[list[Fraction]] = []
        for node in sums:
            weight = [value(diff(node.body, operand), known, at).one for at in inside]
            for other in done:
                weight = _without(weight, other)
            done.append(weight)
        numbers = [known[name_of(operand)][spot].one for spot in spots]
        for weight in done:
            numbers = _without(numbers, weight)
        known[name_of(operand)] |= {at: Jet(n) for at, n in zip(spots, numbers, strict=True)}


def _without(numbers: list[Fraction], along: list[Fraction]) -> list[Fraction]:
    """Numbers less their part along others."""
    share = sum(map(mul, numbers, along)) / sum(map(mul, along, along))
    return [a - share * b for a, b in zip(numbers, along, strict=True)]


def _programs(layer: Words) -> tuple[Program, ...]:
    return (layer.found.forward, layer.found.closed, layer.found.chain)


def _evaluate(layer: Words, known: Known, by: Arithmetic) -> None:
    """Every step of the forward pass, the closed form and the chain, entry by entry."""
    for program in _programs(layer):
        for step in program.steps:
            _step(step, known, by)


def _step(step: Step, known: Known, by: Arithmetic) -> None:
    indices = indices_of(step.target)
    known[name_of(step.target)] = {
        at: by.value(step.expr, known, dict(zip(indices, at, strict=True)))
        for at in places(indices)
    }


def _truncated(number: Expr, order: tuple[Symbol, ...]) -> Expr:
    """First powers of what is infinitesimal."""
    for small in order:
        if number.has(small):
            slope = diff(number, small).xreplace({small: S.Zero})
            number = expand(number.xreplace({small: S.Zero}) + small * slope)
    return number


def _run(run: Run, layer: Words, sizes: dict[Any, int], known: Known, by: Arithmetic) -> Known:
    """The layer's values at changed inputs, under their names with the mark behind."""
    copied = {size(i): sizes[size(i)] * run.copies for i in layer.over[:1]}
    small = _small(layer.forward, tuple((sizes | copied).items()))
    changes = {name_of(a): (a, e) for a, e in run.changes}
    inputs: Known = {}
    for operand in (*small.forward.inputs, *small.found.upstream):
        name, indices = name_of(operand), indices_of(operand)
        inputs[name] = {}
        for at in places(indices):
            home = _home(at, indices, layer, sizes)
            inputs[name][at] = known[name][tuple(home)]
            if name in changes:
                changed, expr = changes[name]
                here = _with_places(dict(zip(indices_of(changed), home, strict=True)))
                inputs[name][at] = by.value(expr, known, here)
    _evaluate(small, inputs, by)
    return {name + run.mark: numbers for name, numbers in inputs.items()}


def _home(
    at: tuple[int, ...], indices: tuple[Any, ...], layer: Words, sizes: dict[Any, int]
) -> list[int]:
    """The place in the batch itself of a place in the repeated batch."""
    labels = {str(i.label): int(sizes[size(i)]) for i in layer.forward.axes}
    return [(n - 1) % labels[str(i.label)] + 1 for n, i in zip(at, indices, strict=True)]


def _matrices(said: Statement, layer: Words, known: Known, by: Arithmetic) -> None:
    """The Jacobian of the first group, column by column, and what is asked of it."""
    if not said.left.free_symbols & MATRIX:
        return
    full = indices_of(layer.x)
    group = dict.fromkeys(layer.kept, 1)
    inside = [group | dict(zip(layer.over, at, strict=True)) for at in places(layer.over)]
    spots = [tuple(at[i] for i in full) for at in inside]
    rows = []
    for spot in spots:
        one = {at: by.number(Jet(ONE if at == spot else ZERO)) for at in known[name_of(layer.dy)]}
        hot = known | {name_of(layer.dy): one}
        _evaluate(layer, hot, by)
        rows.append([by.exactly(hot[name_of(layer.dx)][other]) for other in spots])
    matrix = Matrix(rows)
    ratio = by.exactly(by.value(layer.root / layer.scale, known, group))
    polynomial = (matrix * ratio).charpoly()
    lengths = (matrix.T * matrix).eigenvals()
    found = {
        TRACE: matrix.trace(),
        RANK: S(matrix.rank()),
        NORM: sqrt(max(lengths)),
        POLYNOMIAL: polynomial.as_expr().xreplace({polynomial.gen: lam}),
    }
    known |= {name_of(a): {(): number} for a, number in found.items()}
    known[name_of(lam)] = {(): lam}
