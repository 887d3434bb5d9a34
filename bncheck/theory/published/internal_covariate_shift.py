"""Internal covariate shift of a small network, with batch norm and without.

The network is ``a -> x = a first -> [batch norm] -> out = y second``, its loss the mean of
``(out - target)**2/2``. The shift of the second layer is G - G': the gradient of its weights
before and after the first layer's step (Santurkar et al. 2018, definition 2.1; Li (50), (51)).
Each network is a ``Program``; its gradients are those of the package's own chain rule.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from sympy import Expr, Rational, S, Symbol, expand, radsimp

from bncheck.algebra.notation import Mean, Total, axis, indices_of, tensor
from bncheck.algebra.program import Program, Step
from bncheck.calculus.chain import backward
from bncheck.calculus.interpret import evaluate, places
from bncheck.theory.statements import Instance, Judgement, Statement

WITH, WITHOUT = Symbol("shiftwith", real=True), Symbol("shiftwithout", real=True)


@dataclass(frozen=True)
class Experiment:
    """Exact numbers: ``data`` by rows, a weight for each input and hidden unit, the rate."""

    data: tuple[tuple[int, ...], ...]
    target: tuple[int, ...]
    first: tuple[tuple[Expr | int, ...], ...]
    second: tuple[Expr | int, ...]
    rate: Expr
    eps: Expr = S.Zero
    gamma: int = 1


def network(norm: Program, normalised: bool) -> Program:
    """Two linear layers with mean squared error, with the layer ``norm`` between or without it."""
    i, j = norm.axes
    k = axis("p", "P")
    a, first, second, target = map(tensor, ("a", "first", "second", "target"))
    out, loss = tensor("out"), Symbol("loss", real=True)
    x, y = norm.wrt[0], norm.outputs[0]
    between = norm.steps if normalised else (Step(y, x, "as it is"),)
    parameters = tuple(p for p in norm.inputs if p != x) if normalised else ()
    return Program(
        name="network",
        axes=(i, k, j),
        inputs=(a[i, k], target[i], first[k, j], second[j], *parameters),
        steps=(
            Step(x, Total(a[i, k] * first[k, j], k), "first layer"),
            *between,
            Step(out[i], Total(y * second[j], j), "second layer"),
            Step(loss, Mean((out[i] - target[i]) ** 2, i) / 2, "mean squared error"),
        ),
        outputs=(loss,),
        wrt=(first[k, j], second[j]),
    )


def shift(norm: Program, case: Experiment, normalised: bool) -> Expr:
    """``|G - G'|**2`` of the second layer, exactly (the root after the step may stay a root)."""
    sizes: dict[Any, int] = {"m": len(case.data), "P": len(case.first), "D": len(case.second)}
    program = network(norm, normalised)
    symbols = {s.name: s for i in program.axes for s in i.upper.free_symbols}
    small = program.specialised({symbols[name]: number for name, number in sizes.items()})
    values = _values(small, case)
    before = _gradients(small, values)
    moved = {at: w - case.rate * before["dfirst"][at] for at, w in values["first"].items()}
    after = _gradients(small, values | {"first": moved})
    apart = (radsimp(before["dsecond"][at] - g) for at, g in after["dsecond"].items())
    return expand(sum((number**2 for number in apart), S.Zero))


def covariate_shift(norm: Program) -> Iterator[Judgement]:
    """Where batch norm makes the shift smaller, where larger, and where none is left of it."""
    for name, case, less in (
        ("the shift is smaller with batch norm", SMALLER, True),
        ("batch norm reduces the shift", LARGER, False),
    ):
        left, right = shift(norm, case, True), shift(norm, case, False)
        said = Statement(
            name, WITH, WITHOUT, relation="≤", holds=less, note=_told(case),
            printed="" if less else "Ioffe and Szegedy, Li after (49); Deb, tutorial: its aim",
        )  # fmt: skip
        yield judged(said, left, right)
    alone = replace(SMALLER, data=tuple(row[:1] for row in SMALLER.data), first=SMALLER.first[:1])
    note = "ε = 0, one input: the first step only rescales x, which batch norm does not see"
    yield judged(Statement("no shift for one input", WITH, S.Zero, note=note),
                 shift(norm, alone, True), S.Zero)  # fmt: skip


def judged(said: Statement, left: Expr, right: Expr) -> Judgement:
    """A statement about numbers that have been worked out."""
    apart = left - right
    if said.relation == "≤" and apart <= 0:
        apart = S.Zero
    trial = Instance(left, right, apart, {})
    return Judgement(said, "exact" if apart == 0 else "refuted", trial)


def _values(small: Program, case: Experiment) -> dict[str, Any]:
    """The numbers by name and place."""
    rows = {"a": case.data, "first": case.first}
    lists = {"target": case.target, "second": case.second}
    lists |= {"gamma": (case.gamma,) * len(case.second), "beta": (0,) * len(case.second)}
    values: dict[str, Any] = {"eps": case.eps}
    for operand in small.inputs:
        name = str(operand.base.label) if indices_of(operand) else operand.name
        for at in places(indices_of(operand)) if name != "eps" else ():
            number = rows[name][at[0] - 1][at[1] - 1] if name in rows else lists[name][at[0] - 1]
            values.setdefault(name, {})[at] = S(number)
    return values


def _gradients(small: Program, values: dict[str, Any]) -> dict[str, Any]:
    return evaluate(backward(small), {**evaluate(small, values), "dloss": S.One})


def _told(case: Experiment) -> str:
    told = (
        f"data {case.data}, target {case.target}, W₁ {case.first}, W₂ {case.second}, "
        f"rate {case.rate}, ε {case.eps}, γ {case.gamma}"
    )
    return told.replace("-", "−").replace(",)", ")")


SMALLER = Experiment(
    data=((7, 1), (1, -1), (-1, -1), (-7, 1)), target=(1, 2, -1, 3), first=((1,), (12,)),
    second=(2,), rate=Rational(1, 100),
)  # fmt: skip
"""With these weights the standard deviation before the step is 13."""
LARGER = replace(SMALLER, first=((Rational(1, 10),), (0,)), second=(Rational(1, 10),), gamma=3)
