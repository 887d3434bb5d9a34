"""A statement on numbers: exact rationals, for which each side is worked out entry by entry.

It shares nothing with the prover but the programs: runs are evaluated entry by entry at changed
inputs, derivatives by ``t**2 = 0``, matrices column by column. Batches are drawn so that standard
deviations are rational, and what is printed as a counterexample can be checked by hand.
"""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from sympy import Expr, Integer, Matrix, S, expand, sqrt

from bncheck.algebra.notation import carried, indices_of, name_of, operands, size
from bncheck.algebra.spelling import unmarked
from bncheck.calculus.unroll import places
from bncheck.theory.drawing import MATRIX, ONE, ZERO, drawn, usual
from bncheck.theory.family.spectrum import NORM, POLYNOMIAL, RANK, TRACE, lam
from bncheck.theory.normal import place
from bncheck.theory.parts import Words, specialised
from bncheck.theory.rationals import FAST, SLOW, Arithmetic, Irrational, Jet, Known, evaluate
from bncheck.theory.statement import Pairs, Run, Statement


@dataclass(frozen=True)
class Trial:
    """Both sides where they differ most, their difference (0 where the statement held), inputs."""

    left: Expr
    right: Expr
    apart: Expr
    values: Known


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
    small = _small(layer, tuple(sizes.items()))
    wanted = mentioned(said, "")
    if by is FAST and not (said.at or said.given):
        shared = usual(small, seed)
        evaluate(small, shared, by, wanted - shared.keys())
        known = drawn(said, small, seed)
    else:
        known = drawn(said, small, seed)
        known = {name: {at: by.number(n) for at, n in own.items()} for name, own in known.items()}
        evaluate(small, known, by, wanted)
    for run in said.runs:
        known |= _run(run, layer, sizes, known, by, mentioned(said, run.mark))
    _matrices(said, small, known, by)
    exprs = (said.left, said.right, said.slack)
    sides = [[by.value(e, known, at) for e in exprs] for at in _everywhere(said)]
    differing = [s for s in sides if s[0] != s[1] or said.slack != 0] or sides[:1]
    trials = [_compared(said, known, *map(by.exactly, s)) for s in differing]
    return max(trials, key=lambda one: (one.apart != 0, abs(_size(one.apart))))


@cache
def _small(layer: Words, sizes: tuple[tuple[Any, int], ...]) -> Words:
    return specialised(layer, dict(sizes))


def _compared(said: Statement, known: Known, left: Expr, right: Expr, slack: Expr) -> Trial:
    apart = expand(left - right)
    if said.relation == "≤" and apart.is_nonpositive:
        apart = expand(apart + slack) if said.slack != 0 else S.Zero
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


def mentioned(said: Statement, mark: str) -> set[str]:
    """The names with this mark that a statement reads, without it."""
    exprs = [said.left, said.right, said.slack, *(e for pair in said.given for e in pair)]
    exprs += [e for run in said.runs for pair in run.changes for e in pair]
    names = (unmarked(name_of(a)) for e in exprs for a in operands(e))
    return {name for name, own in names if own == mark}


def _run(
    run: Run, layer: Words, sizes: dict[Any, int], known: Known, by: Arithmetic, wanted: set[str]
) -> Known:
    """The layer's values at changed inputs, under their names with the mark behind."""
    copied = {size(i): sizes[size(i)] * run.copies for i in layer.over[:1]}
    small = _small(layer, tuple((sizes | copied).items()))
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
    evaluate(small, inputs, by, wanted)
    return {name + run.mark: numbers for name, numbers in inputs.items()}


def _home(
    at: tuple[int, ...], indices: tuple[Any, ...], layer: Words, sizes: dict[Any, int]
) -> list[int]:
    """The place in the batch itself of a place in the repeated batch."""
    labels = {i.label.name: int(sizes[size(i)]) for i in layer.forward.axes}
    return [(n - 1) % labels[i.label.name] + 1 for n, i in zip(at, indices, strict=True)]


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
        evaluate(layer, hot, by, [name_of(layer.dx)])
        rows.append([by.exactly(hot[name_of(layer.dx)][other]) for other in spots])
    evaluate(layer, known, by, [name_of(layer.xhat)])
    matrix = Matrix(rows)
    ratio = by.exactly(by.value(layer.root / layer.scale, known, group))
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
