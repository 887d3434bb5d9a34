"""The prover: both sides of a statement in normal form, and what is left of their difference.

A statement whose difference comes out as 0 holds for every size of the batch. It is no search:
where nothing comes out, nothing is claimed, and exact numbers decide (``instance``).
"""

from dataclasses import dataclass, field, replace
from functools import cache

from sympy import Add, Dummy, Expr, Idx, Indexed, Integer, Mul, Pow, S, Symbol, expand

from bncheck.algebra.notation import Mean, Tensor, Total, indices_of, moved, name_of, operands
from bncheck.algebra.program import Step
from bncheck.algebra.spelling import unmarked
from bncheck.calculus.jacobians import jacobian
from bncheck.theory.normal_forms import Rules, assumed, normal, rules
from bncheck.theory.parts import Words
from bncheck.theory.statements import TRACE, Pairs, Run, Statement, place


@dataclass
class RunValues:
    """The values of a layer in one run, worked out when they are asked for."""

    layer: Words
    known: Rules
    changes: dict[Tensor, Expr] = field(default_factory=dict)
    copies: int = 1
    found: dict[Tensor, Expr] = field(default_factory=dict)

    def of(self, operand: Tensor) -> Expr:
        """The normal form of an input, of a step of the forward pass, or of a gradient."""
        if operand not in self.found:
            step = _steps(self.layer).get(name_of(operand))
            if operand in self.changes or step is None:
                self.found[operand] = normal(self.changes.get(operand, operand), self.known)
            else:
                self.found[operand] = self._run(step)
        return self.found[operand]

    def _run(self, step: Step) -> Expr:
        expr = step.expr if self.copies == 1 else _repeated(step.expr, self.layer, self.copies)
        return normal(expr.xreplace({a: self.of(a) for a in operands(expr)}), self.known)


def left_over(statement: Statement, layer: Words) -> Expr:
    """What is left of ``left - right`` (of a bound: of its slack); 0 is a proof for every size."""
    known = _assumed(layer, statement.given, statement.order)
    runs = {"": _unchanged(layer, statement.given)}
    for run in statement.runs:
        if any(unmarked(name_of(a))[1] for _, e in run.changes for a in operands(e)):
            runs[run.mark] = _after(run, runs, known)
        else:
            runs[run.mark] = _changed(layer, run, statement.given, statement.order)
    apart = statement.right - statement.left if statement.slack != 0 else statement.left
    apart -= statement.slack if statement.slack != 0 else statement.right
    rest = normal(_put(apart, runs, known), known)
    sizes = {a: b for a, b in statement.given if a in known.sizes}
    return _at_size(rest, layer, *sizes.popitem()) if sizes else rest


@cache
def _assumed(layer: Words, given: Pairs, order: tuple[Symbol, ...]) -> Rules:
    known = assumed(given, layer, rules(layer))
    return replace(known, order=order, places={place(i): i for i in layer.over})


@cache
def _unchanged(layer: Words, given: Pairs) -> RunValues:
    """The values at the inputs as they are, the same for every statement with these conditions."""
    return RunValues(layer, _assumed(layer, given, ()))


@cache
def _changed(layer: Words, run: Run, given: Pairs, order: tuple[Symbol, ...]) -> RunValues:
    """The values at changed inputs, the same for every statement about them."""
    return _after(run, {"": _unchanged(layer, given)}, _assumed(layer, given, order))


def _after(run: Run, runs: dict[str, RunValues], known: Rules) -> RunValues:
    changes = {a: _put(value, runs, known) for a, value in run.changes}
    return RunValues(runs[""].layer, known, changes, run.copies)


def is_proved(statement: Statement, layer: Words) -> bool:
    """Whether the statement holds for every size; a bound needs a slack that cannot be negative."""
    if statement.relation == "≤" and not cannot_be_negative(statement.slack):
        return False
    return left_over(statement, layer) == 0


def cannot_be_negative(expr: Expr) -> bool:
    """Whether one sees it: sums of products of squares and of what is positive by assumption."""
    if expr.is_nonnegative or (isinstance(expr, Pow) and expr.exp.is_even):
        return True
    if isinstance(expr, Total):
        return cannot_be_negative(expr.body)
    if isinstance(expr, Add | Mul):
        return all(map(cannot_be_negative, expr.args))
    return isinstance(expr, Pow) and cannot_be_negative(expr.base)


def _put(expr: Expr, runs: dict[str, RunValues], known: Rules) -> Expr:
    """Every name by its value in its run; at another place of a permutation, by the value there."""
    put: dict[Tensor, Expr] = {TRACE: _trace(runs[""].layer)} if expr.has(TRACE) else {}
    homes = _homes(runs[""].layer)
    for operand in set(operands(expr)) - put.keys():
        name, mark = unmarked(name_of(operand))
        home = homes.get(name, operand)
        places = zip(indices_of(home), indices_of(operand), strict=True)
        put[operand] = moved(runs[mark].of(home), {i: to for i, to in places if i != to})
    return expr.xreplace(put)


def _homes(layer: Words) -> dict[str, Tensor]:
    """Every value of the layer by its name, with the indices that it has in the program."""
    steps = {name: step.target for name, step in _steps(layer).items()}
    upstream = {name_of(a): a for a in layer.found.upstream}
    return {name_of(a): a for a in layer.forward.inputs} | steps | upstream


def _steps(layer: Words) -> dict[str, Step]:
    """The step that gives each value: of the forward pass, the closed form, or else the chain."""
    return {name_of(step.target): step for step in reversed(layer.steps)}


def _repeated(expr: Expr, layer: Words, copies: int) -> Expr:
    """A step on a batch that is repeated: sums and sizes grow, means stay."""
    kept = {a: Dummy(real=True) for a in _outermost(expr)}
    grown = {dummy: _grown(a, layer, copies) for a, dummy in kept.items()}
    many = layer.over[0].upper
    return expr.xreplace(kept).xreplace({many: copies * many}).xreplace(grown)


def _grown(leaf: Expr, layer: Words, copies: int) -> Expr:
    summed = isinstance(leaf, Total) and not isinstance(leaf, Mean)
    return copies * leaf if summed and set(leaf.over) & set(layer.over) else leaf


def _outermost(expr: Expr) -> set[Expr]:
    if isinstance(expr, Indexed | Total):
        return {expr}
    return set().union(*(_outermost(a) for a in expr.args))


def _trace(layer: Words) -> Expr:
    """The sum of the Jacobian's entries on the diagonal of one group."""
    entry = jacobian(layer.found, name_of(layer.x)).entry
    homes = {str(i.label): i for i in layer.forward.axes}
    same = {i: homes[str(i.label)[:-1]] for i in entry.atoms(Idx) if str(i.label) not in homes}
    return Total(entry.xreplace(same), *layer.over)


def _at_size(expr: Expr, layer: Words, many: Symbol, number: Expr) -> Expr:
    """What is left for a group of one value (xhat is 0) or of two (they are opposite)."""
    (i,) = layer.over
    xhat = layer.xhat
    first, second = (xhat.xreplace({i: Integer(k)}) for k in (1, 2))
    square = layer.freedom.xreplace({many: number}) / number * layer.spread / layer.root**2
    left = S.Zero
    for k in range(1, int(number) + 1):
        there = _spelled_out(expr, i, int(number)).xreplace({i: Integer(k)})
        there = there.xreplace({many: number, first: S.Zero if number == 1 else first})
        there = expand(expand(there.xreplace({second: -first})).xreplace({first**2: square}))
        left += abs(there) if there else S.Zero
    return left


def _spelled_out(expr: Expr, i: Idx, number: int) -> Expr:
    """The sums over i term by term."""
    sums = {
        node: sum((node.body.xreplace({i: Integer(k)}) for k in range(1, number + 1)), S.Zero)
        for node in expr.atoms(Total)
        if i in node.over
    }
    return expr.xreplace(sums)
