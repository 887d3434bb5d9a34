"""Oracle: hand-written backward passes whose mistake, or rightness, is known beforehand."""

import json

import numpy as np
import pytest

from bncheck.telling.errors import CannotAsk
from bncheck.verification import references, verify, verify_all
from tests.mutants import RIGHT, WRONG, batch_closed


@pytest.mark.parametrize("name", RIGHT)
def test_right_ones_are_right_and_get_no_diagnosis(name):
    layer, backward = RIGHT[name]
    report = verify(backward)
    assert (report.verdict, report.layer) == ("right", layer)
    assert report.diagnosis == ()
    assert report.exit_code == 0


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", WRONG)
def test_wrong_ones_are_wrong_and_the_mistake_is_named(name):
    layer, backward, gradient, code = WRONG[name]
    report = verify(backward, layer=layer)
    assert report.verdict == "wrong"
    assert report.exit_code == 1
    assert [d.code for d in report.diagnosis if d.gradient == gradient] == [code]


def test_only_the_wrong_gradient_is_blamed():
    report = verify(WRONG["dgamma from x"][1], layer="batch-norm")
    assert {g.name: g.verdict for g in report.gradients} == {
        "dx": "right", "dgamma": "wrong", "dbeta": "right",
    }  # fmt: skip


def test_three_witnesses_for_each_gradient():
    report = verify(batch_closed)
    for gradient in report.gradients:
        pairs = {(c.first_witness, c.second_witness.split()[0]) for c in gradient.comparisons}
        assert pairs == {("yours", "symbolic"), ("yours", "complex"), ("symbolic", "complex")}


def test_the_factor_found_is_the_factor_made():
    report = verify(WRONG["m - 1"][1], layer="batch-norm")
    (cause,) = report.diagnosis
    assert [round(t.found, 9) for t in cause.terms] == [1, 1, round(7 / 6, 9)]
    assert cause.terms[2].reading.text == "m/(m - 1): divided by m - 1"


def test_the_references_are_right():
    assert [r.verdict for r in references()] == ["right", "right"]


def test_order_of_arguments_does_not_matter():
    def backward(eps, gamma, x, dout):
        return batch_closed(dout, x, gamma, None, eps)

    assert verify(backward).verdict == "right"


def test_a_layer_of_its_own_is_checked_against_its_own_forward():
    def forward(x, gamma, beta, eps):
        return gamma * np.tanh(x) + beta, (x, gamma)

    def backward(dy, cache):
        x, gamma = cache
        t = np.tanh(x)
        return dy * gamma * (1 - t * t), (dy * t).sum(axis=0), dy.sum(axis=0)

    report = verify(backward, forward=forward)
    assert (report.verdict, report.layer) == ("right", None)
    assert "no known layer" in report.assumed

    def wrong(dy, cache):
        return -backward(dy, cache)[0], *backward(dy, cache)[1:]

    report = verify(wrong, forward=forward)
    assert report.verdict == "wrong"
    assert report.diagnosis[0].code == "not-own-gradient"


@pytest.mark.parametrize(("ddof", "layer"), [(0, "batch-norm"), (1, "batch-norm")])
def test_the_forward_tells_its_ddof_and_eps(ddof, layer):
    def forward(x, gamma, beta):
        mu, var = x.mean(axis=0), x.var(axis=0, ddof=ddof)
        std = np.sqrt(var + 3e-4)
        return gamma * (x - mu) / std + beta, ((x - mu) / std, gamma, std)

    def backward(dy, cache):
        xhat, gamma, std = cache
        m = len(dy)
        dbeta, dgamma = dy.sum(axis=0), (dy * xhat).sum(axis=0)
        return gamma / std * (dy - dbeta / m - xhat * dgamma / (m - ddof)), dgamma, dbeta

    report = verify(backward, forward=forward)
    assert (report.layer, report.ddof) == (layer, ddof)
    assert report.eps == pytest.approx(3e-4, rel=1e-6)
    assert report.verdict == "right"


def test_raw_moments_lose_digits_and_are_not_called_wrong():
    def backward(dy, x, gamma, beta, eps):
        m = len(x)
        mu = x.mean(axis=0)
        std = np.sqrt(np.maximum((x * x).mean(axis=0) - mu * mu, 0) + eps)
        xhat = (x - mu) / std
        dbeta, dgamma = dy.sum(axis=0), (dy * xhat).sum(axis=0)
        return gamma / std * (dy - dbeta / m - xhat * dgamma / m), dgamma, dbeta

    report = verify(backward)
    assert report.verdict == "inaccurate"
    assert report.exit_code == 1
    assert report.diagnosis[0].code == "inaccurate"


def test_a_wrong_corner_is_found():
    def backward(dy, x, gamma, beta, eps):
        return batch_closed(dy, x, gamma, beta, eps or 1e-5)

    report = verify(backward)
    assert report.verdict == "wrong"
    assert report.diagnosis[0].code == "corner"
    assert "eps = 0" in report.diagnosis[0].text


def test_remarks():
    def backward(dy, x, gamma, beta, eps):
        dx, dgamma, dbeta = batch_closed(dy, x, gamma, beta, eps)
        dy *= 2
        return dx, dgamma[None], dbeta

    report = verify(backward)
    assert report.verdict == "right"
    assert {r.code for r in report.remarks} >= {"input-overwritten", "param-shape"}


def test_own_inputs_are_tried():
    def backward(dy, x, gamma, beta, eps):
        dx, dgamma, dbeta = batch_closed(dy, x, gamma, beta, eps)
        return np.where(x > 1e6, 0, dx), dgamma, dbeta

    x = np.random.default_rng(0).normal(size=(5, 3)) + 2e6
    assert verify(backward).verdict == "right"
    report = verify(backward, inputs={"x": x, "gamma": np.array([1.0, 2, 3])})
    assert report.verdict == "wrong"
    lacking = verify(backward, inputs={"gamma": np.ones(3)})
    assert (lacking.verdict, lacking.assumed) == ("cannot call", "the inputs hold gamma, but no x")


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (lambda dy: None, "returned None"),
        (lambda dy: dy * 1j, "complex"),
        (lambda dy: np.array([object()]), "expected an array of numbers"),
        (lambda dy: (v for v in dy), "expected an array of numbers"),
        (lambda dy: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_what_cannot_be_judged_is_said(result, said):
    def backward(dy, x, gamma, beta, eps):
        return result(dy)

    report = verify(backward)
    assert report.verdict == "cannot call"
    assert said in report.assumed
    assert report.exit_code == 2


def test_nan_in_one_gradient_is_wrong():
    def backward(dy, x, gamma, beta, eps):
        dx, dgamma, dbeta = batch_closed(dy, x, gamma, beta, eps)
        return dx, dgamma * np.nan, dbeta

    report = verify(backward)
    assert {g.name: g.verdict for g in report.gradients}["dgamma"] == "wrong"


def test_a_wrong_shape_is_wrong():
    def backward(dy, x, gamma, beta, eps):
        dx, dgamma, dbeta = batch_closed(dy, x, gamma, beta, eps)
        return dx.T, dgamma, dbeta

    report = verify(backward)
    assert report.verdict == "wrong"
    assert "has shape (3, 7), expected (7, 3)" in report.diagnosis[0].text


def test_unknown_parameters_and_layers():
    def backward(dy, x, flux):
        return dy * flux

    def idle(dy, x, flux):
        return dy

    report = verify(backward)
    assert report.verdict == "cannot call"
    assert "'flux' that bncheck does not know" in report.assumed
    assert "argument-guessed" in {r.code for r in verify(idle).remarks}
    with pytest.raises(CannotAsk, match="no layer is called"):
        verify(batch_closed, layer="bach-norm")


def test_every_pair_of_a_file_gets_a_report(tmp_path):
    path = tmp_path / "two.py"
    path.write_text(
        "def one_backward(dy, x, gamma, beta, eps):\n    return dy, gamma, beta\n"
        "def two_backward(dy, x, gamma, beta, eps):\n    return dy, gamma, beta\n"
    )
    assert [r.line for r in verify_all(str(path))] == [1, 3]
    assert verify(f"{path}:two_backward").target.endswith(":two_backward")


def test_state_between_calls_is_remarked():
    buffer, stale = {}, {}

    def reused(dy, x, gamma, beta, eps):
        dx, dgamma, dbeta = batch_closed(dy, x, gamma, beta, eps)
        out = buffer.setdefault(x.shape, np.empty(x.shape))
        out[...] = dx
        return out, dgamma, dbeta

    def cached(dy, x, gamma, beta, eps):
        x = stale.setdefault(x.shape, x.copy())
        return batch_closed(dy, x, gamma, beta, eps)

    report = verify(reused, layer="batch-norm")
    assert (report.verdict, {r.code for r in report.remarks}) == (
        "right",
        {"reused-buffer", "dtype-changed"},
    )
    report = verify(cached, layer="batch-norm")
    assert report.verdict == "wrong"


def test_chance_is_remarked():
    rng = np.random.default_rng(0)

    def backward(dy, x, gamma, beta, eps):
        dx, dgamma, dbeta = batch_closed(dy, x, gamma, beta, eps)
        return dx * (1 + 1e-16 * rng.integers(0, 9, dx.shape)), dgamma, dbeta

    report = verify(backward, layer="batch-norm")
    assert "state" in {r.code for r in report.remarks}


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_own_inputs_of_low_precision_are_judged_at_their_own(dtype):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(64, 5)).astype(dtype)
    inputs = {"x": x, "dy": rng.normal(size=x.shape).astype(dtype),
              "gamma": np.array([0.5, -2, 3, 1.5, 0.25], dtype), "beta": np.zeros(5, dtype),
              "eps": 1e-3}  # fmt: skip

    def backward(dy, x, gamma, beta, eps):
        parts = batch_closed(*(np.asarray(a, np.float64) for a in (dy, x, gamma, beta)), eps)
        return tuple(p.astype(x.dtype) for p in parts)

    def wrong(dy, x, gamma, beta, eps):
        dx, dgamma, dbeta = backward(dy, x, gamma, beta, eps)
        return -dx, dgamma, dbeta

    assert verify(backward, layer="batch-norm", inputs=inputs).verdict == "right"
    assert verify(wrong, layer="batch-norm", inputs=inputs).verdict == "wrong"


def test_digits_lost_elsewhere_are_a_remark_where_own_inputs_are_fine():
    def backward(dy, x, gamma, beta, eps):
        m, mu = len(x), x.mean(axis=0)
        std = np.sqrt(np.maximum((x * x).mean(axis=0) - mu * mu, 0) + eps)
        xhat = (x - mu) / std
        dbeta, dgamma = dy.sum(axis=0), (dy * xhat).sum(axis=0)
        return gamma / std * (dy - dbeta / m - xhat * dgamma / m), dgamma, dbeta

    x = np.random.default_rng(0).normal(size=(9, 3))
    report = verify(backward, layer="batch-norm", inputs={"x": x})
    assert report.verdict == "right"
    assert "loses-digits" in {r.code for r in report.remarks}


def test_the_blamed_line_is_said_once():
    report = verify("examples/wrong/m_minus_1.py")
    assert str(report).count(report.diagnosis[0].line_text) == 1


AMBIGUOUS = """
import json

import numpy as np

def forward(x, gamma, beta, eps):
    over = tuple(range(x.ndim - 1))
    mean, var = x.mean(over), x.var(over)
    s = np.sqrt(var + eps)
    xhat = (x - mean) / s
    return gamma * xhat + beta, (xhat, s, gamma, over)

def backward(dy, cache):
    xhat, s, gamma, over = cache
    dgamma, dbeta = (dy * xhat).sum(over), dy.sum(over)
    return gamma / s * (dy - dy.mean(over) - xhat * (dy * xhat).mean(over)), dgamma, dbeta
"""
LAST_AXIS = """
import json

import numpy as np

def backward(dy, x):
    xc = x - x.mean(-1, keepdims=True)
    s = np.sqrt((xc * xc).mean(-1, keepdims=True) + 1e-5)
    xhat = xc / s
    return (dy - dy.mean(-1, keepdims=True) - xhat * (dy * xhat).mean(-1, keepdims=True)) / s
"""


@pytest.mark.parametrize(
    ("source", "option", "value", "key", "found", "said"),
    [
        (AMBIGUOUS, "--layout", "NHWC", "layout", "(N, D)", "(N, H, W, C)"),
        (AMBIGUOUS, "--layer", "layer-norm", "verdict", "right", "wrong"),
        (AMBIGUOUS, "--ddof", "1", "layer", "batch-norm", None),
        (AMBIGUOUS, "--eps", "1e-3", "eps", None, 1e-3),
        (LAST_AXIS, "--layout", "BTD", "layout", "(D, N)", "(B, T, D)"),
        (LAST_AXIS, "--layer", "instance-norm", "layer", "batch-norm", "instance-norm"),
        (LAST_AXIS, "--layer", "rms-norm", "verdict", "right", "wrong"),
        (LAST_AXIS, "--ddof", "1", "verdict", "right", "wrong"),
        (LAST_AXIS, "--eps", "1e-3", "verdict", "right", "wrong"),
    ],
)
def test_what_the_user_says_is_heard(
    bncheck, tmp_path, source, option, value, key, found, said
):  # what could be found out as well would not show whether it was
    (tmp_path / "net.py").write_text(source)
    reports = [
        json.loads(bncheck("verify", tmp_path / "net.py", "--json", *more).stdout)["results"][0]
        for more in ((), (option, value))
    ]
    assert [report[key] for report in reports] == [found, said]


@pytest.mark.parametrize(
    "said", [{"layout": "ND"}, {"ddof": 0}, {"layout": "(N, D)", "ddof": 0, "eps": 1e-3}]
)
def test_layers_that_lack_what_was_said_are_passed_over(tmp_path, said):
    (tmp_path / "net.py").write_text(AMBIGUOUS)
    report = verify(str(tmp_path / "net.py"), **said)
    assert (report.verdict, report.layer, report.layout) == ("right", "batch-norm", "(N, D)")
    refused = verify(str(tmp_path / "net.py"), layout="DNCHW")
    assert refused.verdict == "cannot call"
    assert "has no layout 'DNCHW'" in refused.assumed
