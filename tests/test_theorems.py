"""What is published: true statements are proved, false ones refuted by the numbers of the facts.

The counterexamples' numbers were worked out by hand and by SymPy elsewhere; here they are the
oracle. Every true statement is spoiled, and every false one has to be told as false.
"""

import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import typer
from sympy import Rational, S

from bncheck.calculus.covariate_shift import LARGER, SMALLER, covariate_shift, network, shift
from bncheck.calculus.judging import judge
from bncheck.calculus.reparameterisation import weight_norm
from bncheck.calculus.theorems import statements, theorems
from bncheck.calculus.words import words
from bncheck.cli import stating
from bncheck.layers import layer

BATCH_NORM = words(layer("batch-norm"))
STATEMENTS = {said.name: said for said in statements(BATCH_NORM)}
FALSE = {  # name: both sides at the counterexample
    "the bound for ε > 0 where x̂ has norm √m": ("121/2916", "0"),
    "the bound by the gradient at x, not at y": ("3025/6561", "0"),
    "batch norm shortens the gradient": ("16", "4"),
    "(63), g² as g": ("754/625", "391/625"),
    "(63), g² as g squared": ("377/31250", "-221/15625"),
    "BN(xᵀW) = xᵀŴ": None,
    "BN(xᵀW) = xᵀŴ + β for ε > 0": None,
    "BN(xᵀW) = xᵀŴ + β, S the covariance": None,
    "several columns, (WᵀSW)^½ a matrix root": None,
    "γ = σ, β = μ restore x for ε > 0": ("53/6", "10"),
    "they restore every batch": None,
}
EXAMPLES = {"(63), g² as g squared, by accident"}  # true of these numbers, of no others


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_theorem_is_what_it_is_told_to_be(name):
    found = judge(STATEMENTS[name], BATCH_NORM)
    assert found.as_expected
    assert (found.verdict == "refuted") == (name in FALSE)
    if name not in FALSE:
        assert found.verdict == ("exact" if name in EXAMPLES else "proved")
    elif FALSE[name] is not None:
        assert (found.trial.left, found.trial.right) == tuple(map(Rational, FALSE[name]))


def test_by_accident_means_these_numbers():
    found = judge(STATEMENTS["(63), g² as g squared, by accident"], BATCH_NORM)
    assert (found.trial.left, found.trial.right) == (Rational(754, 625), Rational(21391, 625))


WITHOUT = (  # S = I: numbers for which all conditions hold but the first, the second, ...
    {"eps": 24}, {"a": (1, 1, 1, 1)}, {"b": (1, 1, 1, 1)}, {"a": (2, 2, -2, -2)},
    {"b": (2, -2, 2, -2)}, {"b": (1, 1, -1, -1)},
)  # fmt: skip


def spoiled(said):
    if said.relation == "=":
        yield "sign", replace(said, right=-said.right)
        yield "factor", replace(said, right=said.right * Rational(3, 2))
    else:
        yield "half the slack", replace(said, slack=said.slack / 2)
        yield "less than the left", replace(said, right=said.left - said.slack)
    for order, _ in enumerate(said.given):
        less = said.given[:order] + said.given[order + 1 :]
        at = {**said.at, **WITHOUT[order]} if said.name == "S = I: weight norm" else {}
        yield "condition", replace(said, given=less, at=at)


SPOILED = [
    (name, how, mutant)
    for name, said in STATEMENTS.items()
    if name not in {*FALSE, *EXAMPLES}
    for how, mutant in spoiled(said)
]


@pytest.mark.parametrize(
    ("name", "how", "mutant"), SPOILED, ids=lambda v: v if isinstance(v, str) else ""
)
def test_a_spoiled_theorem_is_not_proved(name, how, mutant):
    found = judge(mutant, BATCH_NORM)
    assert found.verdict != "proved"
    if how != "half the slack":
        assert found.verdict == "refuted"


@pytest.mark.parametrize("name", FALSE)
def test_a_false_claim_told_as_true_is_no_longer_expected(name):
    assert not judge(replace(STATEMENTS[name], holds=True), BATCH_NORM).as_expected


def test_a_true_statement_told_as_false_is_no_longer_expected():
    said = STATEMENTS["‖dx‖² for every ε"]
    assert not judge(replace(said, holds=False), BATCH_NORM).as_expected


def test_what_weight_norm_computes():
    found = words(layer("weight-norm"))
    (said,) = weight_norm(found)
    assert judge(said, found).verdict == "proved"
    assert judge(replace(said, right=-said.right), found).verdict == "refuted"


def by_hand(case, normalised):
    """The shift by NumPy and central differences of the loss: no chain rule, no SymPy."""
    data, target = np.array(case.data, float), np.array(case.target, float)
    first = np.array([[float(Fraction(str(w))) for w in row] for row in case.first])
    second = np.array([float(Fraction(str(w))) for w in case.second])

    def loss(w1, w2):
        x = data @ w1
        if normalised:
            x = case.gamma * (x - x.mean(0)) / np.sqrt(x.var(0) + float(case.eps))
        return ((x @ w2 - target) ** 2).mean() / 2

    def slope(f, at, step=1e-5):
        out = np.zeros_like(at)
        for place in np.ndindex(at.shape):
            away = np.zeros_like(at)
            away[place] = step
            out[place] = (f(at + away) - f(at - away)) / (2 * step)
        return out

    moved = first - float(case.rate) * slope(lambda w: loss(w, second), first)
    before, after = (slope(lambda w, w1=w1: loss(w1, w), second) for w1 in (first, moved))
    return ((before - after) ** 2).sum()


@pytest.mark.parametrize("case", [SMALLER, LARGER], ids=["smaller", "larger"])
@pytest.mark.parametrize("normalised", [True, False])
def test_the_shift_of_a_network_is_what_differences_say(case, normalised):
    exact = shift(layer("batch-norm"), case, normalised)
    assert float(exact) == pytest.approx(by_hand(case, normalised), rel=2e-3)


def test_batch_norm_may_enlarge_the_shift():
    found = {one.statement.name: one for one in covariate_shift(layer("batch-norm"))}
    assert all(one.as_expected for one in found.values())
    assert found["batch norm reduces the shift"].verdict == "refuted"
    assert found["no shift for one input"].residual == 0
    still = replace(LARGER, rate=S.Zero)
    assert shift(layer("batch-norm"), still, True) == shift(layer("batch-norm"), still, False) == 0


def test_a_network_is_a_program_with_the_layer_in_it():
    inside = network(layer("batch-norm"), normalised=True)
    assert set(layer("batch-norm").steps) < set(inside.steps)
    assert len(network(layer("batch-norm"), normalised=False).steps) == 4


@pytest.mark.parametrize("form", ["text", "json", "markdown", "latex"])
def test_the_command_writes_every_theorem(bncheck, form):
    done = bncheck("theorems", "--format", form)
    assert done.returncode == 0, done.stderr
    if form == "json":
        records = {r["name"]: r for r in json.loads(done.stdout)}
        assert {n for n, r in records.items() if r["verdict"] == "refuted"} > set(FALSE)
        assert records["(63), g² as g"]["left"] == "754/625"
        assert records["(63), g² as g"]["example"]["x"] == "(10, 4, 2, -4)"
    elif form == "latex":
        assert done.stdout.isascii()
    else:
        assert "754/625 > 391/625" in done.stdout.replace("\\", "")


def test_disagreement_is_exit_code_3(capsys):
    found = list(theorems(layer("batch-norm"), layer("weight-norm")))[:1]
    stating._tell("theorems", found, stating.Told.json)
    wrong = replace(found[0].statement, right=-found[0].statement.right)
    with pytest.raises(typer.Exit) as stopped:
        stating._tell("theorems", [judge(wrong, BATCH_NORM)], stating.Told.text)
    assert stopped.value.exit_code == 3
    assert "REFUTED" in capsys.readouterr().out
