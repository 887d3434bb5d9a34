"""Oracle: mistakes put in by hand, in two phrasings of six layers; and noise of known size."""

from fractions import Fraction
from math import isqrt

import numpy as np
import pytest

from bncheck.algebra.layers import LAYERS
from bncheck.algebra.notation import name_of
from bncheck.calculus.passes import derived_once
from bncheck.cause.causes import explain
from bncheck.cause.terms import fit
from bncheck.numbers import layout
from bncheck.numbers.observation import Observation, Trial
from bncheck.numbers.reference import reference_at, truth_of
from bncheck.numbers.trials import drawn
from bncheck.verdict.judgement import compare, result_of
from bncheck.verification import verify
from tests import mistakes
from tests.mutants import WRONG, batch_closed

ALL = {name: rest for name, *rest in mistakes.every()}
MISTAKES = dict(list(ALL.items())[::5])
"""One in five: ``tests/benchmarks/diagnosis.py`` asks for all, and prints what was said of each."""
BATCH = derived_once(LAYERS["batch-norm"])


def explained(name, backward):
    """The cause of each gradient that is wrong, from the numbers of all easy trials."""
    found = derived_once(LAYERS[name])
    at = layout.usual(found.forward)
    seen = [(t, _observed(found, at, t, backward)) for t in drawn(found, layout=at) if t.easy]
    wrong = [name_of(out) for out in found.chain.outputs]
    wrong = [g for g in wrong if any(one.off(g).any() for _, one in seen)]
    causes = []
    for gradient in wrong:
        made = [
            (trial, compare(("yours", "symbolic"), one.gradients[gradient],
                            one.reference.gradients[gradient], one.reference.allowed[gradient],
                            trial.name))
            for trial, one in seen
        ]  # fmt: skip
        result, worst = result_of(gradient, made)
        causes.append(explain(found, result, [one for _, one in seen], worst, at))
    return causes


def _observed(found, at, trial, backward):
    given = layout.to_user(at, found.forward, trial.values, trial.parts)
    count = backward.__code__.co_argcount
    got = backward(*(given[name] for name in backward.__code__.co_varnames[:count]))
    made = dict(zip(("dx", "dgamma", "dbeta"), got, strict=False))
    theirs = layout.from_user(at, found.forward, made, trial.values, trial.parts)
    return Observation(trial, truth_of(found, trial), theirs)


def test_there_are_enough():
    assert len(ALL) >= 256
    assert len({name.partition(": ")[2] for name in ALL}) >= 42
    assert {layer for layer, *_ in MISTAKES.values()} == set(LAYERS)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", MISTAKES)
def test_the_mistake_is_named(name):
    layer, backward, gradient, accepted = MISTAKES[name]
    (cause,) = explained(layer, backward)
    assert cause.gradient == ("dv" if (layer, gradient) == ("weight-norm", "dx") else gradient)
    assert cause.code in accepted, cause.text


@pytest.mark.parametrize("phrasing", ["staged", "closed"])
@pytest.mark.parametrize("layer", LAYERS)
def test_a_right_backward_pass_gets_no_diagnosis(layer, phrasing):
    backward = mistakes.function_of(mistakes.LAYERS[layer].source(phrasing))
    report = verify(backward, layer=layer)
    assert (report.verdict, report.diagnosis) == ("right", ())
    assert explained(layer, backward) == []


def _seen(rng, rows, columns, dtype, factors):
    """Batch norm's dx with each term times a factor, rounded to a dtype."""
    shape = (rows, columns)
    drawn = {"x": rng.normal(0.5, 2, shape), "dy": rng.normal(0.2, 1, shape),
             "gamma": rng.uniform(0.5, 2, columns), "beta": rng.normal(0, 1, columns)}  # fmt: skip
    values = {n: v.astype(dtype) for n, v in drawn.items()} | {"eps": 0.01}
    truth = reference_at(BATCH, values, np.dtype(dtype))
    k = {n: np.asarray(v, float) for n, v in truth.known.items()}
    scale, m = k["gamma"] / k["sd"], rows
    parts = (k["dy"], -k["dbeta"] / m, -k["dgamma"] * k["xhat"] / m)
    dx = scale * sum(f * part for f, part in zip(factors, parts, strict=True))
    return Observation(Trial("drawn", values), truth, {"dx": dx.astype(dtype)})


@pytest.mark.sampled(2)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize(
    ("factors", "readings"),
    [
        ((1, 1, 1), ("ok", "ok", "ok")),
        ((1, 0, 1), ("ok", "missing", "ok")),
        ((1, 1, 0.5), ("ok", "ok", "half")),
        ((1, 1, -1), ("ok", "ok", "sign flipped")),
        ((1, 1, 4096 / 4095), ("ok", "ok", "m/(m - 1): divided by m - 1")),
    ],
)
def test_factors_are_read_from_numbers_of_few_digits(dtype, factors, readings):
    seen = _seen(np.random.default_rng(0), 4096, 256, dtype, factors)
    terms = fit(BATCH, "dx", [seen]).terms
    assert tuple(t.reading.text for t in terms) == readings
    for term, factor in zip(terms, factors, strict=True):
        assert abs(term.found - factor) <= 6 * term.uncertainty + 1e-12


def test_the_uncertainty_holds():
    """Of 300 factors about 68 % lie within one standard error and 95 % within two."""
    rng = np.random.default_rng(1)
    ratios = []
    for _ in range(100):
        factors = (1.0, 1.37, 0.81)
        terms = fit(BATCH, "dx", [_seen(rng, 256, 2, "float16", factors)]).terms
        ratios += [abs(t.found - f) / t.uncertainty for t, f in zip(terms, factors, strict=True)]
    inside = [float(np.mean(np.array(ratios) < k)) for k in (1, 2)]
    assert 0.58 < inside[0] < 0.85
    assert inside[1] > 0.9


PLACES = {
    "only when m is odd": lambda dx, x, y: dx * (1 + len(x) % 2),
    "only when m = D": lambda dx, x, y: dx * (1 + (x.shape[0] == x.shape[1])),
    "only from 16 on, in index 1": lambda dx, x, y: dx * (1 + (np.arange(x.shape[1]) > 15)),
    "only at [0, 0]": lambda dx, x, y: dx * (1 + (np.indices(dx.shape).sum(axis=0) == 0)),
    "cut off at 0.5": lambda dx, x, y: np.clip(dx, -0.5, 0.5),
    "only where x > ": lambda dx, x, y: dx * (1 + (x > 2)),
}  # fmt: skip


@pytest.mark.parametrize("said", PLACES)
def test_where_it_fails_is_said(said):
    def backward(dy, x, gamma, beta, eps):
        dx, dgamma, dbeta = batch_closed(dy, x, gamma, beta, eps)
        return PLACES[said](dx, x, None), dgamma, dbeta

    (cause,) = verify(backward, layer="batch-norm").diagnosis
    assert said in cause.text


def test_two_changes_are_found_where_one_is_not_enough():
    def backward(dy, x, gamma, beta, eps):
        m, sd = len(x), np.sqrt(x.var(axis=0) + eps)
        xhat = (x - x.mean(axis=0)) / sd
        dbeta, dgamma = dy.sum(axis=0), (dy * xhat).sum(axis=0)
        wrong = gamma / sd * (dy - gamma * dbeta / m - x * dgamma / m)
        return wrong, dgamma, dbeta

    (cause,) = verify(backward, layer="batch-norm").diagnosis
    assert cause.code == "two-changes"
    assert "x" in cause.text


def _by_hand(inputs):
    """Batch norm's dx and dgamma in fractions, column by column, from the chain rule."""
    x, dy = (np.vectorize(Fraction, otypes=[object])(inputs[k]) for k in ("x", "dy"))
    gamma, eps = [Fraction(g) for g in inputs["gamma"]], Fraction(inputs["eps"])
    m, columns, dgamma = len(x), [], []
    for j, scale in enumerate(gamma):
        mean = sum(x[:, j]) / m
        centred = x[:, j] - mean
        under = sum(c * c for c in centred) / m + eps
        sd = Fraction(isqrt(under.numerator), isqrt(under.denominator))
        assert sd * sd == under
        dvar = sum(scale * d * c for d, c in zip(dy[:, j], centred, strict=True)) / (-2 * sd**3)
        dmu = -sum(scale * d for d in dy[:, j]) / sd
        columns.append([scale * d / sd + 2 * c * dvar / m + dmu / m
                        for d, c in zip(dy[:, j], centred, strict=True)])  # fmt: skip
        dgamma.append(sum(d * c / sd for d, c in zip(dy[:, j], centred, strict=True)))
    return {"dx": [list(row) for row in zip(*columns, strict=True)], "dgamma": dgamma}


@pytest.mark.parametrize(
    "name", ["mean path missing", "m - 1", "gamma forgotten", "dgamma from x", "variance half"]
)
def test_the_counterexample_can_be_checked_by_hand(name):
    backward = WRONG[name][1]
    example = verify(backward, layer="batch-norm").counterexample
    right = _by_hand(example.inputs)[example.gradient]
    assert np.array_equal(np.vectorize(Fraction, otypes=[object])(example.right), right)
    arrays = {k: np.array(v) if isinstance(v, list) else v for k, v in example.inputs.items()}
    got = backward(*(arrays[k] for k in ("dy", "x", "gamma", "beta", "eps")))
    theirs = got[("dx", "dgamma", "dbeta").index(example.gradient)]
    shown = np.vectorize(lambda text: float(Fraction(text)))(example.yours)
    assert np.allclose(theirs, shown, rtol=1e-5)
    assert not np.allclose(theirs, np.array(right, float), rtol=1e-6)
    space = {}
    exec(example.snippet.replace("...  #", "np.zeros(1)  #"), space)
    with pytest.raises(AssertionError):
        space[f"test_{example.gradient}"]()


def test_the_right_formula_stands_beside_it():
    report = verify(lambda dy, x, gamma, eps: (dy, dy.sum(0), dy.sum(0)), layer="batch-norm")
    assert {d.formula.partition(" = ")[0] for d in report.diagnosis} == {"dxᵢⱼ", "dγⱼ"}
