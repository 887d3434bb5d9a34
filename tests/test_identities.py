"""Every identity holds, is proved where it says so, and is refuted once something in it is wrong.

Two witnesses, the prover (normal forms, every size) and exact rationals (entry by entry), share
nothing but the programs; a statement has to convince both, and a mutant has to convince neither.
"""

import json
from dataclasses import replace

import pytest
from sympy import Rational, S

from bncheck.algebra.layers import LAYERS, layer
from bncheck.algebra.notation import Mean, axis, like, tensor
from bncheck.algebra.program import Program, Step
from bncheck.calculus.passes import derived_once
from bncheck.telling.errors import CannotAsk
from bncheck.theory.family.laws import identities
from bncheck.theory.instances import tried
from bncheck.theory.judging import judge, judge_all
from bncheck.theory.parts import words
from bncheck.theory.proof import cannot_be_negative, left_over
from bncheck.theory.statements import Statement

QUICK = [(name, {}) for name in LAYERS] + [
    ("batch-norm", {"ddof": 1, "variance": "raw"}),
    ("batch-norm", {"variance": "raw"}),
    ("batch-norm", {"mode": "evaluation"}),
    ("batch-norm", {"mode": "evaluation", "affine": False}),
    ("batch-norm", {"affine": False}),
    ("layer-norm", {"affine": False, "ddof": 1}),
]
DEDUCED = {
    "spectrum of sJ/γ", "rank of J", "rank of J, ε > 0", "rank of J, ε = 0", "norm of J",
    "norm of J, two values", "y is monotone where γ > 0",
}  # fmt: skip


@pytest.mark.parametrize(("name", "options"), QUICK, ids=lambda v: str(v))
def test_every_identity_holds_and_is_proved_for_every_size(name, options):
    parts = words(derived_once(layer(name, **options)))
    found = judge_all(identities(parts), parts)
    assert [one.statement.name for one in found if not one.as_expected] == []
    kept = [one for one in found if one.statement.holds and one.verdict != "proved"]
    assert {one.statement.name for one in kept} <= DEDUCED
    assert {one.verdict for one in kept} <= {"deduced"}


WHERE = {}  # every statement, in the first of these layers that it is about
for name, options in QUICK:
    parts = words(derived_once(layer(name, **options)))
    for said in identities(parts):
        WHERE.setdefault(said.name, (said, parts))

INDEPENDENT = {  # what does not depend on the input at all: no change of it can matter
    "shift: dβ", "scale: dβ", "scale and flip: dβ", "permutation: dβ", "γ times c: dγ",
    "γ times c: dβ", "c added to β: dx", "c added to β: dγ", "c added to β: dβ", "dx at any x",
    "double backward: ∂F/∂β",
}  # fmt: skip
INVARIANT = {  # true without the change, too; so the change is made a wrong one
    "shift: y", "shift: dx", "shift: dγ", "constant added to dy", "J twice",
}  # fmt: skip


def said_of(operand):
    return operand.base[axis("i", "m"), axis("j", "D")]


def mutants(said):
    """The statement with a sign, a factor, a condition or a part of the change of inputs wrong."""
    if said.relation == "=":
        wrong = -said.right if said.right != 0 else said.right + 1
        yield "sign", replace(said, right=wrong)
        yield "factor", replace(said, right=said.right * Rational(3, 2) + int(said.right == 0))
    else:
        yield "sign", replace(said, right=said.left - said.slack)
        yield "factor", replace(said, slack=said.slack * Rational(3, 2))
    for order, _ in enumerate(said.given):
        yield "condition", replace(said, given=said.given[:order] + said.given[order + 1 :])
    for number, run in enumerate(said.runs):
        if said.name in INDEPENDENT or said.relation == "≤":
            continue
        if said.name in INVARIANT:
            ((operand, value),) = run.changes
            varying = replace(run, changes=((operand, value + like("z", said_of(operand))),))
            yield "another change", replace(said, runs=(varying,))
            continue
        for order, change in enumerate(run.changes):
            less = replace(run, changes=run.changes[:order] + run.changes[order + 1 :])
            runs = (*said.runs[:number], less, *said.runs[number + 1 :])
            yield f"{change[0]} unchanged", replace(said, runs=runs)


MUTANTS = [
    (name, how, mutant, where)
    for name, (said, where) in WHERE.items()
    if said.holds
    for how, mutant in mutants(said)
]


@pytest.mark.parametrize(
    ("name", "how", "mutant", "where"), MUTANTS, ids=lambda v: v if isinstance(v, str) else ""
)
def test_a_spoiled_identity_is_refuted(name, how, mutant, where):
    assert judge(mutant, where).verdict == "refuted"
    assert left_over(mutant, where) != 0


NEEDS = [(name, said, where, need) for name, (said, where) in WHERE.items() for need in said.needs]


@pytest.mark.parametrize(
    ("name", "said", "where", "need"), NEEDS, ids=lambda v: v if isinstance(v, str) else ""
)
def test_where_it_does_not_hold_it_is_refuted_or_has_no_value(name, said, where, need):
    """One value less than it needs, or eps = 0."""
    less = need.rhs - 1 if need.rel_op == ">=" else need.rhs
    without = replace(said, given=(*said.given, (need.lhs, less)))
    try:
        assert judge(without, where).verdict == "refuted"
    except ZeroDivisionError:
        assert need.rel_op == ">"


@pytest.mark.parametrize("name", [name for name, (said, _) in WHERE.items() if not said.holds])
def test_what_is_told_as_false_is_not_expected_to_hold(name):
    said, where = WHERE[name]
    assert judge(said, where).as_expected
    assert not judge(replace(said, holds=True), where).as_expected


def test_every_statement_is_spoiled():
    every = [words(derived_once(layer(name, **options))) for name, options in QUICK]
    stated = {said.name: said.holds for parts in every for said in identities(parts)}
    assert {name for name, *_ in MUTANTS} == {name for name, holds in stated.items() if holds}


@pytest.mark.parametrize(
    "name", ["layer-norm", "rms-norm", "group-norm", "instance-norm", "weight-norm"]
)
def test_a_wrong_factor_is_refuted_in_every_layer(name):
    parts = words(derived_once(layer(name)))
    for said in identities(parts):
        if said.relation == "=" and said.holds:
            wrong = replace(said, right=2 * said.right + int(said.right == 0))
            assert tried(wrong, parts).apart != 0, said.name


def test_duplication_needs_ddof_0():
    said, where = WHERE["batch twice: dx"]
    assert judge(said, where).verdict == "proved"
    unbiased = words(derived_once(layer("batch-norm", ddof=1)))
    assert judge(said, unbiased).verdict == "refuted"
    assert left_over(said, unbiased) != 0


def test_a_bound_needs_a_slack_that_cannot_be_negative():
    found = words(derived_once(layer("batch-norm")))
    square, plain = found.sum(found.dx**2), found.sum(found.dx)
    assert cannot_be_negative(square)
    assert not cannot_be_negative(plain)
    assert not cannot_be_negative(-square)
    bound = Statement("bound", S.Zero, square, relation="≤", slack=square)
    assert judge(bound, found).verdict == "proved"
    assert judge(replace(bound, slack=2 * square), found).verdict == "refuted"
    assert judge(replace(bound, right=-square, slack=-square), found).verdict == "refuted"


def test_identities_of_a_layer_of_ones_own():
    i, j = axis("i", "m"), axis("j", "D")
    x, y, xhat, root = tensor("x"), tensor("y"), tensor("xhat"), tensor("root", positive=True)
    steps = (
        Step(root[j], Mean(x[i, j] ** 2, i) ** S.Half),
        Step(xhat[i, j], x[i, j] / root[j]),
        Step(y[i, j], 3 * xhat[i, j]),
    )
    own = Program("own", (i, j), (x[i, j],), steps, (y[i, j],), wrt=(x[i, j],))
    parts = words(derived_once(own))
    found = {said.name: judge(said, parts) for said in identities(parts)}
    assert found["symmetry"].verdict == "proved"
    assert {one.verdict for one in found.values()} <= {"proved", "exact"}
    cubed = (*steps[:2], Step(y[i, j], xhat[i, j] ** 3))
    with pytest.raises(CannotAsk, match="does not normalise"):
        words(derived_once(replace(own, steps=cubed)))


def test_what_is_deduced_stands_on_what_is_proved():
    found = words(derived_once(LAYERS["batch-norm"]))
    said = {one.name: one for one in identities(found)}
    bases = ("J on 1", "J on x̂", "J on the rest")
    chain = [said[name] for name in (*bases, "spectrum of sJ/γ", "rank of J, ε > 0")]
    assert [one.verdict for one in judge_all(chain, found)] == ["proved"] * 3 + ["deduced"] * 2
    # what it stands on is not proved, or is not there: numbers alone are left
    unproved = [replace(chain[0], general=False), *chain[1:]]
    assert [one.verdict for one in judge_all(unproved, found)][-2:] == ["exact"] * 2
    assert judge_all(chain[3:], found)[0].verdict == "exact"
    # and numbers refute what does not follow
    wrong = replace(chain[-1], right=chain[-1].right - 1)
    assert judge_all([*chain[:-1], wrong], found)[-1].verdict == "refuted"


@pytest.mark.parametrize("form", ["text", "json", "markdown", "latex"])
def test_the_command_writes_every_identity(bncheck, form):
    done = bncheck("identities", "rms-norm", "--format", form)
    assert done.returncode == 0, done.stderr
    names = [said.name for said in identities(words(derived_once(layer("rms-norm"))))]
    if form == "json":
        records = json.loads(done.stdout)
        assert [r["name"] for r in records] == names
        assert {r["residual"] for r in records if r["expected"] == "true"} == {"0"}
    elif form == "latex":
        assert done.stdout.count(r"\said{") == len(names)
        assert done.stdout.isascii()
    else:
        assert all(name in done.stdout for name in names)
