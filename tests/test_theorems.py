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

from bncheck.algebra.layers import layer
from bncheck.calculus.passes import derived_once
from bncheck.cli import commands
from bncheck.theory.family.variants import eps_outside, outside
from bncheck.theory.judging import judge, judge_all
from bncheck.theory.parts import words
from bncheck.theory.published.claims import printed_graph, statements, theorems, weight_norm
from bncheck.theory.published.internal_covariate_shift import (
    LARGER,
    SMALLER,
    covariate_shift,
    network,
    shift,
)
from bncheck.theory.published.lipschitz_bounds import unbiased
from bncheck.theory.statements import K4
from bncheck.writers.statements import rows
from tests.conftest import ROOT

BATCH_NORM = words(derived_once(layer("batch-norm")))
RAW, OVER_LESS = layer("batch-norm", variance="raw"), layer("batch-norm", ddof=1)
EVERY = [
    (said, where)
    for where, theme in (
        (BATCH_NORM, statements),
        (words(derived_once(RAW)), printed_graph),
        (words(derived_once(OVER_LESS)), unbiased),
        (words(derived_once(outside(BATCH_NORM))), eps_outside),
        (words(derived_once(layer("weight-norm"))), weight_norm),
    )
    for said in theme(where)
]
STATEMENTS = {said.name: said for said, _ in EVERY}
LAYERS = {said.name: where for said, where in EVERY}
FALSE = {  # name: both sides at the counterexample
    "x̂ has length √m for ε > 0": ("25/9", "4"),
    "dσ², the sum of x − μ alone": ("11/216", "0"),
    "dx, the sum of x − μ alone": ("41/432", "-1/12"),
    "dx, the sum of x̂ alone": ("41/432", "-1/12"),
    "dx, the sum over i of terms with j": ("175/432", "-7/9"),
    "dx, ŷ read as x̂": ("-335/432", "-335/216"),
    "dx, σ for s for ε > 0": ("-335/432", "-67/72"),
    "dμ from dx, not dx̂": ("-5/3", "0"),
    "dσ² from dx, not dx̂": ("11/216", "121/46656"),
    "raw σ²: dμ without the edge to σ²": ("-71/36", "-5/3"),
    "raw σ²: ∂σ²/∂x at fixed μ is 2(x − μ)/m": None,
    "raw σ²: its own dμ with that ∂σ²/∂x": ("41/432", "1/54"),
    "ε outside: the formula for ε inside": None,
    "(63) with the last two of these": ("3016/625", "357016/625"),
    "(63) with the first and the last": ("3016/625", "4891/625"),
    "(63) with the first two": ("3016/625", "1564/625"),
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
EXAMPLES = {  # true of these numbers, not of all
    "(63), g² as g squared, by accident", "at the threshold both sides are equal",
}  # fmt: skip


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_theorem_is_what_it_is_told_to_be(name):
    found = judge(STATEMENTS[name], LAYERS[name])
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
def test_a_spoiled_theorem_is_refuted(name, how, mutant):
    assert judge(mutant, LAYERS[name]).verdict == "refuted"


def test_every_theorem_is_spoiled_or_told_as_false():
    judged = theorems(BATCH_NORM.forward, RAW, OVER_LESS, layer("weight-norm"))
    names = {one.statement.name for one in judged}
    shifts = {one.statement.name for one in covariate_shift(BATCH_NORM.forward)}
    assert names == {*STATEMENTS} | shifts
    assert {*STATEMENTS} == {name for name, _, _ in SPOILED} | {*FALSE} | EXAMPLES


def test_what_is_true_of_these_numbers_is_not_of_others():
    others = {
        "(63), g² as g squared, by accident": STATEMENTS["(63), g² as g squared"].at,
        "at the threshold both sides are equal": K4,
    }
    for name in EXAMPLES:
        said = replace(STATEMENTS[name], at=others[name])
        assert judge(said, BATCH_NORM).verdict == "refuted"


def test_the_bound_fails_iff_k_is_above_the_threshold():
    """k and the threshold by fractions, on gradients of every direction; x of K4, eps = 11."""
    said = STATEMENTS["the bound for ε > 0 where x̂ has norm √m"]
    rho, failed = Fraction(25, 36), []
    x0, rest = np.array([7, 1, -1, -7]), np.array([1, -1, -1, 1])
    for along, across in ((1, 0), (1, 1), (1, 2), (7, 16), (7, 17), (2, 5), (1, 3), (0, 1)):
        k = Fraction(25 * along**2, 25 * along**2 + across**2)
        dy = tuple(Rational(int(n), 5) for n in along * x0 + across * rest)
        at = {**said.at, "dy": dy}
        refuted = judge(replace(said, at=at), BATCH_NORM).verdict == "refuted"
        assert refuted == (k > 1 / (1 + rho - rho**2))
        failed.append(refuted)
    assert failed == [True] * 4 + [False] * 4


@pytest.mark.parametrize("name", FALSE)
def test_a_false_claim_told_as_true_is_no_longer_expected(name):
    assert not judge(replace(STATEMENTS[name], holds=True), LAYERS[name]).as_expected


def test_a_true_statement_told_as_false_is_no_longer_expected():
    said = STATEMENTS["‖dx‖² for every ε"]
    assert not judge(replace(said, holds=False), BATCH_NORM).as_expected


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
    found = judge_all([STATEMENTS["‖dx‖² for every ε"]], BATCH_NORM)
    commands._tell("theorems", found, "json")
    wrong = replace(found[0].statement, right=-found[0].statement.right)
    with pytest.raises(typer.Exit) as stopped:
        commands._tell("theorems", [judge(wrong, BATCH_NORM)], "text")
    assert stopped.value.exit_code == 3
    assert "REFUTED" in capsys.readouterr().out


def claims():
    """The rows of the README's table: what is asked for, and what is shown."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.partition("| claim |")[2].partition("\n\n")[0]
    rows = [row.strip("| ").split(" | ") for row in table.splitlines()[2:]]
    return [(asked.strip("`'"), shown) for _, _, asked, shown in rows]


def test_the_readme_shows_every_claim_that_is_false_with_its_counterexample():
    judged = list(theorems(BATCH_NORM.forward, RAW, OVER_LESS, layer("weight-norm")))
    told = set()
    for asked, shown in claims():
        found = [a for a in judged if commands.is_about(a.statement, asked)]
        names = {row.name for row in rows(found) if shown in row.numbers or shown in row.shown}
        assert names, (asked, shown)
        told |= names
    printed = {a.statement.name for a in judged if a.verdict == "refuted" and a.statement.printed}
    assert printed <= told


def test_a_text_picks_theorems(bncheck):
    done = bncheck("theorems", "36", "--format", "json")
    assert [r["name"] for r in json.loads(done.stdout)] == ["dx, the sum of x − μ alone"]
    none = bncheck("theorems", "nonsense")
    assert none.returncode == 2
    assert "'nonsense'" in none.stderr
