"""Oracle: the hand-written mutants; every wrong one has to leave the rounding bound somewhere.

What is said of a trial is read off its numbers; differences and reference are each other's oracle.
"""

from dataclasses import replace

import numpy as np
import pytest

from bncheck.algebra.layers import LAYERS
from bncheck.calculus.passes import derived, derived_once
from bncheck.numbers import layout as layouts
from bncheck.numbers.agreement import within
from bncheck.numbers.arithmetic import Bounded, evaluate
from bncheck.numbers.differences import measure
from bncheck.numbers.reference import lift, reference_at
from bncheck.numbers.trials import directed, draw, drawn
from bncheck.subject.messages import MEMORY, SECOND
from bncheck.telling.errors import CannotAsk, Disagreement
from tests.mutants import RIGHT, WRONG

FOUND = {name: derived(program) for name, program in LAYERS.items()}


def _outside(backward, layer, trial):
    """How far outside the bound the worst gradient is."""
    found = FOUND[layer]
    values = {k: np.array(v) if np.ndim(v) else v for k, v in trial.values.items()}
    truth = reference_at(found, values, trial.judged)
    names = [k for k in ("dy", "x", "gamma", "beta", "eps") if k in values]
    with np.errstate(all="ignore"):
        got = backward(*(values[k] for k in names))
    worst = 0.0
    for name, result in zip(truth.gradients, got, strict=False):
        ratio = abs(result - truth.gradients[name]) / truth.allowed[name]
        worst = max(worst, float(np.nan_to_num(ratio, nan=np.inf).max()))
    return worst


@pytest.mark.parametrize("name", RIGHT)
def test_right_code_stays_well_inside_the_bound(name):
    layer, backward = RIGHT[name]
    assert max(_outside(backward, layer, t) for t in draw(LAYERS[layer])) < 0.7


@pytest.mark.parametrize("name", WRONG)
def test_wrong_code_leaves_it_by_far_on_an_easy_trial(name):
    layer, backward, *_ = WRONG[name]
    easy = [t for t in draw(LAYERS[layer]) if t.easy]
    assert max(_outside(backward, layer, t) for t in easy) > 1e3


@pytest.mark.parametrize("name", LAYERS)
def test_the_trials_are_what_they_promise(name):
    program = LAYERS[name]
    drawn = list(draw(program))
    easy = [t for t in drawn if t.easy]
    assert {t.name for t in drawn} >= {"7 by 3", "one-hot upstream gradient", "read-only"}
    for trial in easy:
        gamma = trial.values["gamma"]
        assert (gamma < 0).any()
        assert not (gamma == 1).any()
        assert len(np.unique(gamma)) == gamma.size
    assert {t.memory for t in drawn} == {*MEMORY, SECOND}
    assert {str(t.dtype) for t in drawn} == {"float64", "float32", "float16"}
    again = list(draw(program))
    assert all(np.array_equal(a.values["gamma"], b.values["gamma"])
               for a, b in zip(drawn, again, strict=True))  # fmt: skip


@pytest.mark.parametrize("name", ["batch-norm", "layer-norm"])
def test_what_is_said_of_a_trial_can_be_seen_in_its_numbers(name):
    program, axis = LAYERS[name], {"batch-norm": 0, "layer-norm": 1}[name]
    for trial in draw(program, more=3):
        x, eps = np.float64(trial.values["x"]), trial.values["eps"]
        assert (x.shape if axis == 0 else x.shape[::-1]) == trial.sizes
        spread, level = x.var(axis).max(), abs(x.mean(axis)).min()
        assert trial.shows_eps == (trial.easy and 0.1 * spread < eps < spread)
        assert trial.cancels == (level**2 > 1e6 * spread > 0)
        assert (trial.grace > 0) == (trial.dtype != np.float64)
        assert trial.may_fail == (trial.grace > 0 or eps == 0)
    assert sum(t.shows_eps for t in draw(program)) == sum(t.cancels for t in draw(program)) == 1


def test_in_second_order_a_trial_has_directions():
    found = derived_once(LAYERS["batch-norm"], 2)
    plain = list(draw(found.layer))
    taken = drawn(found, takes=("dy", "x", "gamma", "ddx", "ddbeta"))
    for before, after in zip(plain, taken, strict=True):
        assert replace(before, values={}).__dict__ == replace(after, values={}).__dict__
        assert all(np.array_equal(v, after.values[n]) for n, v in before.values.items())
        assert {n: after.values[n].shape for n in ("ddx", "ddgamma", "ddbeta")} == {
            "ddx": after.values["x"].shape,
            "ddgamma": after.values["gamma"].shape,
            "ddbeta": after.values["gamma"].shape,
        }
        assert not after.values["ddgamma"].any()
        assert np.unique(after.values["ddx"]).size > 1
        assert after.values["ddbeta"].dtype == after.dtype
        assert not after.values["ddx"].flags.writeable
    assert taken is drawn(found, takes=("dy", "x", "gamma", "ddx", "ddbeta"))


def test_directions_that_are_given_are_taken_in_the_users_layout():
    found = derived_once(LAYERS["batch-norm"], 2)
    at = layouts.named(found.layer, "(D, N)")
    (trial, *_) = draw(found.layer, layout=at)
    ddx = np.arange(21.0).reshape(3, 7)
    given = {"ddx": ddx, "ddgamma": np.ones(3)}
    made = directed(found, at, ("ddx",), trial, np.random.default_rng(0), given)
    assert np.array_equal(made.values["ddx"], ddx.T)
    assert np.array_equal(made.values["ddgamma"], np.ones(3))
    with pytest.raises(
        CannotAsk, match=r"ddx of the inputs has shape \(2,\): not that of its grad"
    ):
        directed(found, at, ("ddx",), trial, np.random.default_rng(0), {"ddx": np.ones(2)})


@pytest.mark.parametrize("name", LAYERS)
def test_differences_of_a_backward_pass_are_the_second_gradients(name):
    found = derived_once(LAYERS[name], 2)
    takes = ("dy", "x", "gamma", "ddx", "ddgamma", "ddbeta")
    trial = next(t for t in drawn(found, takes=takes) if t.sizes == (6, 1))

    def backward(many):
        made = [evaluate(found.forward, one) for one in many]
        return [{n: np.asarray(known[n].value) for n in known if n[0] == "d"} for known in made]

    measured = measure(backward, found, trial.values)
    truth = reference_at(found, trial.values)
    assert set(measured.gradients) == set(truth.gradients)
    for key, slope in measured.gradients.items():
        assert within(slope, truth.gradients[key], measured.error[key] + truth.allowed[key])
    with pytest.raises(KeyError):
        measure(lambda many: [{} for _ in many], found, trial.values)


@pytest.mark.parametrize("complex_", [True, False])
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("together", [True, False])
def test_differences_agree_with_the_reference_within_their_own_estimate(name, complex_, together):
    program, found = LAYERS[name], FOUND[name]
    trial = next(iter(draw(program)))
    out = str(program.outputs[0].base.label)

    def forward(many):
        if not complex_ and any(np.iscomplexobj(v) for one in many for v in one.values()):
            raise TypeError("no complex numbers here")
        return [{out: np.asarray(evaluate(program, one)[out].value)} for one in many]

    measured = measure(forward, found, trial.values, together)
    assert measured.method == ("complex step" if complex_ else "central differences")
    truth = reference_at(found, trial.values)
    for key, slope in measured.gradients.items():
        apart = abs(slope - truth.gradients[key])
        assert np.all(apart <= measured.error[key] + truth.allowed[key])
        assert apart.max() < (1e-14 if complex_ else 1e-11) * 10


def test_code_that_drops_the_imaginary_part_falls_back_to_central_differences():
    program, found = LAYERS["batch-norm"], FOUND["batch-norm"]
    trial = next(iter(draw(program)))

    def forward(many):
        made = []
        for one in many:
            x = one["x"]
            std = np.sqrt(np.var(x, axis=0) + one["eps"])  # np.var takes the modulus
            made.append({"y": one["gamma"] * (x - x.mean(axis=0)) / std + one["beta"]})
        return made

    measured = measure(forward, found, trial.values)
    assert measured.method == "central differences"
    truth = reference_at(found, trial.values)
    assert abs(measured.gradients["dx"] - truth.gradients["dx"]).max() < 1e-10


def test_the_bound_covers_float32_arithmetic_and_is_not_idle():
    found = FOUND["batch-norm"]
    trial = next(iter(draw(LAYERS["batch-norm"])))
    small = {k: np.float32(v) for k, v in trial.values.items()}
    truth = reference_at(found, {k: np.float64(v) for k, v in small.items()}, np.dtype(np.float32))
    got = RIGHT["batch staged"][1](*(small[k] for k in ("dy", "x", "gamma", "beta", "eps")))
    ratio = abs(got[0] - truth.gradients["dx"]) / truth.allowed["dx"]
    assert 1e-4 < float(ratio.max()) < 1


def test_a_defect_of_the_reference_is_noticed(monkeypatch):
    from bncheck.numbers import reference as module

    real = module.evaluate

    def spoiled(program, inputs, *roundoff):
        known = dict(real(program, inputs, *roundoff))
        if program.name.endswith("closed"):
            known["dx"] = Bounded(known["dx"].value * 1.0001, known["dx"].error)
        return known

    monkeypatch.setattr(module, "evaluate", spoiled)
    trial = next(iter(draw(LAYERS["batch-norm"])))
    with pytest.raises(Disagreement, match="chain rule and closed form"):
        reference_at(FOUND["batch-norm"], trial.values)


def test_the_reference_without_a_long_double_uses_mpmath(monkeypatch):
    real = np.finfo
    monkeypatch.setattr(np, "finfo", lambda t: real(np.float64) if t is np.longdouble else real(t))
    assert lift(0.1).dtype == object
    trial = next(iter(draw(LAYERS["batch-norm"])))
    truth = reference_at(FOUND["batch-norm"], trial.values)
    monkeypatch.undo()
    plain = reference_at(FOUND["batch-norm"], trial.values)
    apart = abs(truth.gradients["dx"].astype(float) - plain.gradients["dx"].astype(float))
    assert apart.max() < 1e-15


def test_differences_cost_a_pass_for_each_value_of_a_group_not_for_each_entry():
    program, found = LAYERS["batch-norm"], FOUND["batch-norm"]
    trial = next(iter(draw(program)))
    m, features = trial.values["x"].shape
    calls = []

    def forward(many):
        calls.extend(many)
        return [{"y": np.asarray(evaluate(program, one)["y"].value)} for one in many]

    measure(forward, found, trial.values)
    checks = 3 * (1 + 6)  # complex step against central differences, once for each input
    assert len(calls) == m + 1 + 1 + checks
    assert features > 1
