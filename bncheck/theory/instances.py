"""A statement on numbers: exact rationals, for which each side is worked out entry by entry.

It shares nothing with the prover but the programs: runs are evaluated entry by entry at changed
inputs, derivatives by ``t**2 = 0``, matrices column by column. Batches are drawn so that standard
deviations are rational, and what is printed as a counterexample can be checked by hand.
"""

from dataclasses import replace
from functools import cache
from typing import Any

from sympy import Expr, Integer, Matrix, S, expand, sqrt

from bncheck.algebra.notation import carried, indices_of, name_of, size
from bncheck.calculus.interpret import Algebra, Numbers, evaluate_for, places, value_at
from bncheck.theory.batches import drawn, usual
from bncheck.theory.parts import Words, specialised
from bncheck.theory.rationals import JETS, ROOTS, Irrational, exactly
from bncheck.theory.statements import (
    MATRIX,
    NORM,
    POLYNOMIAL,
    RANK,
    TRACE,
    Instance,
    Pairs,
    Run,
    Statement,
    lam,
    place,
)


def tried(statement: Statement, layer: Words, seed: int = 0) -> Instance:
    """The statement on one batch of exact numbers; the same seed gives the same numbers."""
    if statement.left.free_symbols & MATRIX:
        return _tried(statement, layer, seed, ROOTS)
    try:
        return _tried(statement, layer, seed, JETS)
    except Irrational:
        return _tried(statement, layer, seed, ROOTS)


def _tried(statement: Statement, layer: Words, seed: int, by: Algebra) -> Instance:
    sizes = _sizes(statement, layer)
    said = _specialised(statement, sizes)
    small = _small(layer, tuple(sizes.items()))
    known = _worked_out(said, small, seed, by)
    for run in said.runs:
        known |= _run(run, layer, sizes, known, by, _named(said, run.mark))
    if said.left.free_symbols & MATRIX:
        _put_matrices(said, small, known)
    exprs = (said.left, said.right, said.slack)
    sides = [[value_at(e, known, at, by) for e in exprs] for at in _everywhere(said)]
    differing = [s for s in sides if s[0] != s[1] or said.slack != 0] or sides[:1]
    found = [_compared(said, known, *map(exactly, s)) for s in differing]
    return max(found, key=lambda one: (one.apart != 0, abs(_size(one.apart))))


def _worked_out(said: Statement, small: Words, seed: int, by: Algebra) -> Numbers:
    """All values that the statement reads, at the inputs as they are."""
    wanted = _named(said, "")
    if by is JETS and not (said.at or said.given):
        shared = usual(small, seed)
        evaluate_for(wanted - shared.keys(), small.steps, shared, by)
        return drawn(said, small, seed)
    known = drawn(said, small, seed)
    if by is ROOTS:
        known = {name: {at: exactly(n) for at, n in own.items()} for name, own in known.items()}
    evaluate_for(wanted, small.steps, known, by)
    return known


@cache
def _small(layer: Words, sizes: tuple[tuple[Any, int], ...]) -> Words:
    return specialised(layer, dict(sizes))


def _compared(said: Statement, known: Numbers, left: Expr, right: Expr, slack: Expr) -> Instance:
    apart = expand(left - right)
    if said.relation == "≤" and apart.is_nonpositive:
        apart = expand(apart + slack) if said.slack != 0 else S.Zero
    return Instance(left, right, apart, known)


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
        slack=statement.slack.xreplace(put),
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


def _named(said: Statement, mark: str) -> set[str]:
    return {name for name, own in said.names if own == mark}


def _run(
    run: Run, layer: Words, sizes: dict[Any, int], known: Numbers, by: Algebra, wanted: set[str]
) -> Numbers:
    """The layer's values at changed inputs, under their names with the mark behind."""
    copied = {size(i): sizes[size(i)] * run.copies for i in layer.over[:1]}
    small = _small(layer, tuple((sizes | copied).items()))
    changes = {name_of(a): (a, e) for a, e in run.changes}
    inputs: Numbers = {}
    for operand in (*small.forward.inputs, *small.found.upstream):
        name, indices = name_of(operand), indices_of(operand)
        inputs[name] = {}
        for at in places(indices):
            home = _home(at, indices, layer, sizes)
            inputs[name][at] = known[name][tuple(home)]
            if name in changes:
                changed, expr = changes[name]
                here = _with_places(dict(zip(indices_of(changed), home, strict=True)))
                inputs[name][at] = value_at(expr, known, here, by)
    evaluate_for(wanted, small.steps, inputs, by)
    return {name + run.mark: numbers for name, numbers in inputs.items()}


def _home(
    at: tuple[int, ...], indices: tuple[Any, ...], layer: Words, sizes: dict[Any, int]
) -> list[int]:
    """The place in the batch itself of a place in the repeated batch."""
    labels = {i.label.name: int(sizes[size(i)]) for i in layer.forward.axes}
    return [(n - 1) % labels[i.label.name] + 1 for n, i in zip(at, indices, strict=True)]


def _put_matrices(said: Statement, layer: Words, known: Numbers) -> None:
    """The Jacobian of the first group, column by column, and what is asked of it."""
    full, group = indices_of(layer.x), dict.fromkeys(layer.kept, 1)
    inside = [group | dict(zip(layer.over, at, strict=True)) for at in places(layer.over)]
    spots = [tuple(at[i] for i in full) for at in inside]
    rows = []
    for spot in spots:
        unit = {at: S.One if at == spot else S.Zero for at in known[name_of(layer.dy)]}
        hot = known | {name_of(layer.dy): unit}
        evaluate_for([name_of(layer.dx)], layer.steps, hot, ROOTS)
        rows.append([hot[name_of(layer.dx)][other] for other in spots])
    evaluate_for([name_of(layer.xhat)], layer.steps, known, ROOTS)
    matrix = Matrix(rows)
    ratio = value_at(layer.root / layer.scale, known, group, ROOTS)
    asked = {
        TRACE: matrix.trace,
        RANK: lambda: S(matrix.rank()),
        NORM: lambda: sqrt(max((matrix.T * matrix).eigenvals())),
        POLYNOMIAL: lambda: _polynomial(matrix * ratio),
    }
    for symbol in said.left.free_symbols & MATRIX:
        known[name_of(symbol)] = {(): asked[symbol]()}
    known[name_of(lam)] = {(): lam}


def _polynomial(matrix: Matrix) -> Expr:
    """``det(lam - matrix)``."""
    polynomial = matrix.charpoly()
    return polynomial.as_expr().xreplace({polynomial.gen: lam})
