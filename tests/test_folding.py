"""Oracle: both programs on exact rationals by the unrolled witness, NumPy, and planted mistakes."""

from dataclasses import replace

import numpy as np
import pytest
from sympy import Rational, sqrt

from bncheck.algebra.layers import LAYERS, layer
from bncheck.algebra.notation import size
from bncheck.algebra.program import Program, Step
from bncheck.calculus.folding import Folding, folded, frozen, prove
from bncheck.calculus.interpret import evaluate
from bncheck.calculus.passes import derived
from bncheck.calculus.unroll import exactly_equal, sample
from bncheck.numbers.arithmetic import evaluate as on_arrays
from bncheck.telling.errors import CannotAsk, Disagreement

EVALUATION = {
    "affine": layer("batch-norm", mode="evaluation"),
    "plain": layer("batch-norm", mode="evaluation", affine=False),
    "frozen": frozen(LAYERS["batch-norm"]),
    "frozen, raw, over m - 1": frozen(layer("batch-norm", variance="raw", ddof=1)),
    "frozen deviation": frozen(LAYERS["batch-norm"], ("mu", "sd")),
}


def _small(program: Program) -> Program:
    return program.specialised({size(i): n for i, n in zip(program.axes, (2, 2, 3), strict=True)})


@pytest.mark.parametrize("case", EVALUATION)
def test_the_folded_layer_is_the_same_on_exact_rationals(case):
    found = folded(EVALUATION[case])
    separate, together = _small(found.separate), _small(found.together)
    values = sample(separate)
    one, other = evaluate(separate, values)["y"], evaluate(together, values)["y"]
    assert len(one) == 6
    assert all(exactly_equal(one[at], other[at]) for at in one)


def test_the_frozen_layer_is_the_evaluation_mode():
    given = EVALUATION["affine"]
    made = frozen(LAYERS["batch-norm"])
    names = {"mu": "running_mean", "var": "running_var"}
    swapped = {made.tensors[a]: given.tensors[b] for a, b in names.items()}
    assert [s.expr.xreplace(swapped) for s in made.steps] == [s.expr for s in given.steps]
    assert {a.xreplace(swapped) for a in made.inputs} == set(given.inputs)


def test_frozen_statistics_have_no_gradient_path():
    found = derived(frozen(LAYERS["batch-norm"]))
    t = found.forward.tensors
    (dx,) = (s for s in found.closed.steps if str(s.target).startswith("dx"))
    assert dx.expr == t["gamma"] * found.upstream[0] / t["sd"]


def test_the_folded_weights_are_the_textbooks():
    made = folded(EVALUATION["affine"]).together
    t = made.tensors
    slope = t["gamma"] / sqrt(t["running_var"] + t["eps"])
    assert made.steps[0].expr == t["W"] * slope
    assert (made.steps[1].expr - t["beta"] - (t["c"] - t["running_mean"]) * slope).expand() == 0


def test_in_numpy():
    rng = np.random.default_rng(1)
    u, w, c = rng.standard_normal((5, 4)), rng.standard_normal((4, 3)), rng.standard_normal(3)
    gamma, beta, mean, var = rng.random((4, 3))
    given = {"u": u, "W": w, "c": c, "gamma": gamma, "beta": beta, "running_mean": mean,
             "running_var": var, "eps": 0.1}  # fmt: skip
    y = gamma * (u @ w + c - mean) / np.sqrt(var + 0.1) + beta
    known = on_arrays(folded(EVALUATION["affine"]).together, given)
    np.testing.assert_allclose(known["y"].value, y, rtol=1e-12)
    np.testing.assert_allclose(u @ known["Wfolded"].value + known["cfolded"].value, y, rtol=1e-12)


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("factor", [-1, Rational(1, 2), 0])
def test_a_wrong_factor_is_refuted(order, factor):
    _refuted(order, lambda expr, t: factor * expr)


@pytest.mark.parametrize("name", ["running_mean", "beta", "c", "eps", "gamma", "running_var"])
def test_a_wrong_bias_is_refuted(name):
    _refuted(1, lambda expr, t: expr.xreplace({t[name]: 2 * t[name]}))


def _refuted(order, mistake):
    found = folded(EVALUATION["affine"])
    steps = list(found.together.steps)
    expr = mistake(steps[order].expr, found.together.tensors)
    steps[order] = Step(steps[order].target, expr)
    with pytest.raises(Disagreement, match="differs by"):
        prove(Folding(found.separate, replace(found.together, steps=tuple(steps))))


def test_what_cannot_be_folded():
    for program, said in [
        (LAYERS["batch-norm"], "not affine"),
        (frozen(LAYERS["layer-norm"]), "differs between samples"),
        (EVALUATION["affine"], None),
    ]:
        if said is None:
            with pytest.raises(CannotAsk, match="no statistics to freeze"):
                frozen(program)
            continue
        with pytest.raises(CannotAsk, match=said):
            folded(program)


def test_it_ends_the_derivation(bncheck):
    shown = bncheck("derive", "batch-norm", "--mode", "evaluation").stdout
    _, _, last = shown.partition("Folded into a linear layer before it")
    for row in (
        "xᵢⱼ = Σₖ Wₖⱼ·uᵢₖ + cⱼ",
        "W′ₖⱼ = γⱼ·Wₖⱼ/√(vʳⱼ + ε)",
        "c′ⱼ = βⱼ + γⱼ/√(vʳⱼ + ε)·(cⱼ − μʳⱼ)",
        "yᵢⱼ = Σₖ W′ₖⱼ·uᵢₖ + c′ⱼ",
    ):
        assert row in last
    assert "Folded" not in bncheck("derive", "batch-norm").stdout
