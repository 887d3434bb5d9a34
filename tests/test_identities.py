"""Every identity holds, is proved where it says so, and is refuted once something in it is wrong.

Two witnesses, the prover (normal forms, every size) and exact rationals (entry by entry), share
nothing but the programs; a statement has to convince both, and a mutant has to convince neither.
"""

import json
from dataclasses import replace

import pytest
from sympy import Rational, S, Symbol

from bncheck.algebra.notation import Mean, axis, like, tensor
from bncheck.algebra.program import Program, Step
from bncheck.calculus.identities import identities
from bncheck.calculus.instance import tried
from bncheck.calculus.judging import judge, judge_all
from bncheck.calculus.proof import cannot_be_negative, left_over
from bncheck.calculus.statement import Run, Statement, marked
from bncheck.calculus.words import words
from bncheck.errors import CannotAsk
from bncheck.layers import LAYERS, layer

QUICK = [(name, {}) for name in LAYERS] + [
    ("batch-norm", {"ddof": 1, "variance": "raw"}),
    ("batch-norm", {"mode": "evaluation"}),
    ("batch-norm", {"affine": False}),
    ("layer-norm", {"affine": False, "ddof": 1}),
]
ON_NUMBERS_ONLY = {
    "spectrum of sJ/γ", "rank of J", "rank of J, ε > 0", "rank of J, ε = 0", "norm of J",
}  # fmt: skip


@pytest.mark.parametrize(("name", "options"), QUICK, ids=lambda v: str(v))
def test_every_identity_holds_and_is_proved_for_every_size(name, options):
    program = layer(name, **options)
    found = judge_all(identities(program), words(program))
    assert {one.statement.name: one.residual for one in found if one.residual != 0} == {}
    assert {o.statement.name for o in found if o.verdict != "proved"} <= ON_NUMBERS_ONLY


INDEPENDENT = {  # what does not depend on the input at all: no change of it can matter
    "shift: dβ", "scale: dβ", "scale and flip: dβ", "permutation: dβ", "γ times c: dγ",
    "γ times c: dβ", "c added to β: dx",
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
    for order, _ in enumerate(said.given):
        yield "condition", replace(said, given=said.given[:order] + said.given[order + 1 :])
    for number, run in enumerate(said.runs):
        if said.name in INDEPENDENT:
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


BATCH_NORM = layer("batch-norm")
MUTANTS = [
    (said.name, how, mutant) for said in identities(BATCH_NORM) for how, mutant in mutants(said)
]


@pytest.mark.parametrize(
    ("name", "how", "mutant"), MUTANTS, ids=lambda v: v if isinstance(v, str) else ""
)
def test_a_spoiled_identity_is_refuted(name, how, mutant):
    found = judge(mutant, words(BATCH_NORM))
    assert found.verdict == "refuted"
    assert left_over(mutant, words(BATCH_NORM)) != 0


def test_there_are_mutants_of_every_identity():
    assert {name for name, _, _ in MUTANTS} >= {
        said.name for said in identities(BATCH_NORM) if said.relation == "="
    }


@pytest.mark.parametrize(
    "name", ["layer-norm", "rms-norm", "group-norm", "instance-norm", "weight-norm"]
)
def test_a_wrong_factor_is_refuted_in_every_layer(name):
    program = layer(name)
    for said in identities(program):
        if said.relation == "=":
            wrong = replace(said, right=2 * said.right + int(said.right == 0))
            assert tried(wrong, words(program)).apart != 0, said.name


def test_duplication_needs_ddof_0():
    said = next(s for s in identities(BATCH_NORM) if s.name == "batch twice: dx")
    assert judge(said, words(BATCH_NORM)).verdict == "proved"
    unbiased = words(layer("batch-norm", ddof=1))
    assert judge(said, unbiased).verdict == "refuted"
    assert left_over(said, unbiased) != 0


def test_the_jacobian_of_layer_norm_is_symmetric_for_equal_gamma_alone():
    found = words(layer("layer-norm"))
    g, dy = tensor("g")[axis("i", "m"), axis("j", "D")], found.dy
    plain = Statement(
        "symmetry",
        found.sum(g * found.dx),
        found.sum(dy * marked(found.dx)),
        runs=(Run("′", ((dy, g),)),),
    )
    assert judge(plain, found).verdict == "refuted"
    equal = replace(plain, given=((tensor("gamma")[axis("j", "D")], Symbol("c", real=True)),))
    assert judge(equal, found).verdict == "proved"


def test_a_bound_needs_a_slack_that_cannot_be_negative():
    found = words(BATCH_NORM)
    square, plain = found.sum(found.dx**2), found.sum(found.dx)
    assert cannot_be_negative(square)
    assert not cannot_be_negative(plain)
    assert not cannot_be_negative(-square)
    bound = Statement("bound", S.Zero, square, relation="≤", slack=square)
    assert judge(bound, found).verdict == "proved"
    assert judge(replace(bound, slack=2 * square), found).verdict == "exact"
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
    found = {said.name: judge(said, words(own)) for said in identities(own)}
    assert found["symmetry"].verdict == "proved"
    assert {one.verdict for one in found.values()} <= {"proved", "exact"}
    cubed = (*steps[:2], Step(y[i, j], xhat[i, j] ** 3))
    with pytest.raises(CannotAsk, match="does not normalise"):
        identities(replace(own, steps=cubed))


@pytest.mark.parametrize("form", ["text", "json", "markdown", "latex"])
def test_the_command_writes_every_identity(bncheck, form):
    done = bncheck("identities", "rms-norm", "--format", form)
    assert done.returncode == 0, done.stderr
    names = [said.name for said in identities(layer("rms-norm"))]
    if form == "json":
        records = json.loads(done.stdout)
        assert [r["name"] for r in records] == names
        assert {r["residual"] for r in records} == {"0"}
    elif form == "latex":
        assert done.stdout.count(r"\begin{multline}") == len(names)
        assert done.stdout.isascii()
    else:
        assert all(name in done.stdout for name in names)
