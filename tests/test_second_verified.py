"""Oracles: formulas from the literature in other words than ours, each broken in one place;
what bncheck emits itself; PyTorch's own second derivative.
"""

import inspect
import json
import textwrap

import numpy as np
import pytest

from bncheck import api, assert_gradients, to_numpy, verify
from bncheck.subject.names import double_role, is_double
from bncheck.subject.signature import looks_double
from bncheck.telling.errors import CannotAsk
from bncheck.verification import verify_all
from tests import doubles
from tests.conftest import ROOT

EXAMPLE = ROOT / "examples" / "wrong" / "double_backward.py"
ALL = [(layer, f) for layer, several in doubles.RIGHT.items() for f in several]


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("layer", "function"), ALL, ids=lambda c: getattr(c, "__name__", c))
def test_right_ones_are_right(layer, function):
    report = verify(function, trials=2)
    assert report.verdict == "right", str(report)
    assert (report.order, report.layer, report.remarks) == (2, layer, ())
    witnesses = {c.second_witness for g in report.gradients for c in g.comparisons}
    assert witnesses == {"symbolic", "complex step of the reference"}


def test_what_is_found_out_is_said():
    assert verify(doubles.unbiased).ddof == 1
    assert verify(doubles.own_eps).eps == 1e-3
    published = verify(doubles.published)
    assert published.layout == "(N, C, H, W)"
    assert published.assumed.endswith("returns (d2x, d2gamma, ddy)")
    assert "(d2x, ddy, d2gamma)" in verify(doubles.rms_norm_double_backward).assumed


def test_an_unusual_eps_of_its_own_has_to_be_said():
    def batchnorm_double_backward(ddx, ddgamma, ddbeta, dy, x, gamma):
        return doubles.batch_norm(ddx, ddgamma, ddbeta, dy, x, gamma, 0.37)

    report = verify(batchnorm_double_backward)
    assert report.verdict == "cannot call"
    assert "say which eps it has with --eps" in report.assumed
    assert verify(batchnorm_double_backward, eps=0.37).verdict == "right"
    assert verify(doubles.own_eps, layer="batch-norm").verdict == "right"


def odd_forward(x, gamma, eps):
    """Of no layer that bncheck knows."""
    return gamma * np.sinh(x) + eps


def test_a_forward_pass_of_no_known_layer_is_not_needed():
    report = verify(doubles.batch_norm, forward=odd_forward)
    assert (report.verdict, report.layer) == ("right", "batch-norm")


@pytest.mark.parametrize("layer", doubles.RIGHT)
def test_what_is_emitted_is_right_and_so_is_its_backward_pass(layer, tmp_path):
    path = tmp_path / "emitted.py"
    path.write_text(to_numpy(layer, order=2).source, encoding="utf-8")
    reports = verify_all(str(path))
    assert [(r.verdict, r.order, r.layer) for r in reports] == [("right", n, layer) for n in (1, 2)]
    assert reports[1].assumed.endswith("differences of backward")


def _rows(a):
    return a.reshape(-1, a.shape[-1])


def images_last(ddx, ddgamma, ddbeta, dy, x, gamma, eps):
    made = doubles.batch_norm(_rows(ddx), ddgamma, ddbeta, _rows(dy), _rows(x), gamma, eps)
    return made[0].reshape(x.shape), made[1].reshape(x.shape), made[2]


def features_first(ddx, ddgamma, ddbeta, dy, x, gamma, eps):
    a, b, g = (p.reshape(-1) for p in (ddgamma, ddbeta, gamma))
    ddy, dx, dgamma = doubles.batch_norm(ddx.T, a, b, dy.T, x.T, g, eps)
    return ddy.T, dx.T, dgamma.reshape(gamma.shape)


def sequences_layer_norm(ddx, ddgamma, ddbeta, dy, x, gamma, eps):
    made = doubles.layer_norm(_rows(ddx), ddgamma, ddbeta, _rows(dy), _rows(x), gamma, eps)
    return made[0].reshape(x.shape), made[1].reshape(x.shape), made[2]


def images_group_norm(ddx, ddgamma, ddbeta, dy, x, gamma, groups, eps):
    flat = [a.reshape(*a.shape[:2], -1) for a in (ddx, dy, x)]
    a, b, g = (p.reshape(-1) for p in (ddgamma, ddbeta, gamma))
    ddy, dx, dgamma = doubles.group_norm(flat[0], a, b, flat[1], flat[2], g, groups, eps)
    return ddy.reshape(x.shape), dx.reshape(x.shape), dgamma.reshape(gamma.shape)


def images_last_instance_norm(ddx, ddgamma, ddbeta, dy, x, gamma, eps):
    if x.ndim != 4:
        raise ValueError("expected (N, H, W, C)")
    N, H, W, C = x.shape
    flat = [np.moveaxis(a, -1, 1).reshape(N, C, H * W) for a in (ddx, dy, x)]
    made = doubles.instance_norm(flat[0], ddgamma, ddbeta, flat[1], flat[2], gamma, eps)
    ddy, dx = (np.moveaxis(a.reshape(N, C, H, W), 1, -1) for a in made[:2])
    return ddy, dx, made[2]


def transposed_weight_norm(ddv, ddgamma, dw, v, gamma):
    ddw, dv, dgamma = doubles.weight_norm(ddv.T, ddgamma, dw.T, v.T, gamma)
    return ddw.T, dv.T, dgamma


@pytest.mark.parametrize(
    ("function", "layer", "layout"),
    [
        (images_last, "batch-norm", "NHWC"),
        (features_first, "batch-norm", "(D, N)"),
        (sequences_layer_norm, "layer-norm", "(B, T, D)"),
        (images_group_norm, "group-norm", "NCHW"),
        (images_last_instance_norm, "instance-norm", "(N, H, W, C)"),
        (transposed_weight_norm, "weight-norm", "(P, U)"),
    ],
)
def test_layouts(function, layer, layout):
    for asked in ({"layer": layer, "layout": layout}, {}):
        report = verify(function, **asked)
        assert (report.verdict, report.layer) == ("right", layer), str(report)


def broken(function, old, new):
    """The function with one change in its source."""
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(old) == 1, old
    names = dict(vars(doubles))
    exec(source.replace(old, new), names)
    return names[function.__name__]


IN_BATCH_NORM = [
    # what is changed, into what, in which gradients, and a part of the diagnosis
    ("3 * B", "2 * B", {"d2x"}, "2/3 times, in 3·dγⱼ"),
    ("3 * B", "B", {"d2x"}, "1/3 times"),
    ("(A - 3 * B * C / n)", "A", {"d2x"}, "missing, in 3·dγⱼ"),
    ("(A - 3", "(A + 3", {"d2x"}, "sign flipped, in 3·dγⱼ"),
    ("(A - 3", "(-3", {"d2x"}, "missing, in −γⱼ·(Σ ddx·dy)ⱼ"),
    ("(A - 3", "(-A - 3", {"d2x"}, "sign flipped"),
    ("(A - 3", "(A / 2 - 3", {"d2x"}, "1/2 times"),
    ("* xh + C * pv + B", "* xh + B", {"d2x"}, "missing, in dγⱼ·γⱼ·(Σ ddx)ⱼ"),
    ("+ C * pv", "- C * pv", {"d2x"}, "sign flipped"),
    ("+ C * pv", "+ C * pv / 2", {"d2x"}, "1/2 times"),
    (" + B * pg", "", {"d2x"}, "missing"),
    ("+ B * pg", "- B * pg", {"d2x"}, "sign flipped"),
    ("+ B * pg", "+ 2 * B * pg", {"d2x"}, "2 times"),
    (" + ddgamma / s * (pg - xh * C / n)", "", {"d2x"}, "ddγⱼ is ignored"),
    ("(pg - xh * C / n)", "pg", {"d2x"}, "missing, in −ddγⱼ·dγⱼ"),
    ("xh * C / n)", "xh * C / (n - 1))", {"d2x"}, "divided by m - 1"),
    ("+ ddgamma / s *", "- ddgamma / s *", {"d2x"}, "the sign of ddγⱼ is flipped"),
    ("+ ddgamma / s *", "+ ddgamma *", {"d2x"}, "a division by sⱼ is forgotten, in ddγⱼ"),
    ("(n * s**2)", "(n * s)", {"d2x"}, "a division by sⱼ is forgotten, in 7 of 10 terms"),
    ("(n * s**2)", "(n * s**3)", {"d2x"}, "a division by sⱼ once too often, in 7 of 10 terms"),
    ("(n * s**2)", "s**2", {"d2x"}, "a sum where a mean belongs, in 7 of 10 terms"),
    ("(n * s**2)", "((n - 1) * s**2)", {"d2x"}, "divided by m - 1, in 7 of 10 terms"),
    ("-gamma / (n", "-1 / (n", {"d2x"}, "gamma is forgotten"),
    ("-gamma / (n", "-(gamma**2) / (n", {"d2x"}, "γⱼ once too often, in 7 of 10 terms"),
    ("dx = -gamma", "dx = gamma", {"d2x"}, "the sign of ddxᵢⱼ is flipped"),
    ("gamma / s * (pv", "1 / s * (pv", {"ddy"}, "gamma is forgotten"),
    ("(pv - xh * B / n)", "pv", {"ddy"}, "missing, in −γⱼ·(Σ ddx·x̂)ⱼ·x̂ᵢⱼ"),
    ("(pv - xh * B / n)", "(pv - xh * B)", {"ddy"}, "a sum where a mean belongs"),
    (" + ddgamma * xh", "", {"ddy"}, "ddγⱼ is ignored"),
    (" + ddbeta", "", {"ddy"}, "ddβⱼ is ignored"),
    ("A - B * C / n", "A", {"d2gamma"}, "missing, in −dγⱼ"),
    ("A - B * C / n", "A + B * C / n", {"d2gamma"}, "sign flipped"),
    ("C / n) / s\n", "C / n) / s * gamma\n", {"d2gamma"}, "γⱼ once too often"),
    ("pv, pg = ddx - ddx.mean(axis=0)", "pv, pg = ddx", {"ddy", "d2x"}, "missing, in −γⱼ·(Σ ddx)ⱼ"),
    ("dy - dy.mean(axis=0)", "dy", {"d2x", "d2gamma"}, "missing, in −dβⱼ"),
    ("+ eps", "", {"ddy", "d2x", "d2gamma"}, "eps is forgotten"),
    ("+ eps", "+ 1e-5", {"ddy", "d2x", "d2gamma"}, "eps is 1e-05, whatever it was given"),
    ("var(axis=0)", "var(axis=0, ddof=1)", {"ddy", "d2x", "d2gamma"}, "the variance is over m - 1"),
    ("return ddy, dx, dgamma", "return ddy, dx / 2, dgamma", {"d2x"}, "0.5 times"),
    ("return ddy, dx, dgamma", "return -ddy, dx, dgamma", {"ddy"}, "wrong sign"),
    ("return ddy, dx, dgamma", "return ddy, 0 * dx, dgamma", {"d2x"}, "is zero"),
    ("return ddy, dx, dgamma", "return ddy, dx + 1e-9, dgamma", {"d2x"}, ""),
]  # fmt: skip


@pytest.mark.sampled(4)
@pytest.mark.parametrize(("old", "new", "wrong", "said"), IN_BATCH_NORM[::2])
def test_one_change_in_batch_norm_is_wrong_and_named(old, new, wrong, said):
    report = verify(broken(doubles.batch_norm, old, new))
    assert report.verdict == "wrong"
    assert report.layer == "batch-norm"
    assert {g.name for g in report.gradients if g.verdict == "wrong"} == wrong
    assert {d.gradient for d in report.diagnosis} == wrong
    assert any(said in d.text for d in report.diagnosis), [d.text for d in report.diagnosis]
    assert all(c.verdict == "right" for g in report.gradients for c in g.comparisons
               if c.first_witness == "symbolic")  # fmt: skip


ELSEWHERE = [
    (doubles.layer_norm, "3 * B", "2 * B", "2/3 times, in 3·(Σ ddx·x̂)ᵢ"),
    (doubles.layer_norm, " + C * (v - mean(v))", "", "missing"),
    (doubles.layer_norm, "B * (h - mean(h))\n", "B * h\n", "missing"),
    (doubles.layer_norm, " - xh * dot(ag, xh) / D", "", "missing, in −(Σ ddγ·dy·x̂)ᵢ"),
    (doubles.layer_norm, "(ag - mean(ag)", "(ag", "missing, in −(Σ ddγ·dy)ᵢ"),
    (doubles.layer_norm, "weight * w", "w", "gamma is forgotten"),
    (doubles.layer_norm, "(grad_output * w).sum(axis=0)", "(h * w).sum(axis=0)", "once too often"),
    (doubles.layer_norm, "(D * s**2)", "(D * s)", "is forgotten, in 7 of 10 terms"),
    (doubles.rms_norm_double_backward, "3 * B", "2 * B", "2/3 times"),
    (doubles.rms_norm_double_backward, " + B * h", "", "missing, in −(Σ ddx·x̂)ᵢ·dx̂ᵢⱼ"),
    (doubles.rms_norm_double_backward, " + a * xh", "", "ddγⱼ is ignored"),
    (doubles.group_norm, "3 * B", "2 * B", "2/3 times"),
    (doubles.group_norm, "-curved", "curved", "the sign of ddx"),
    (doubles.group_norm, "xh * B / D)", "xh * B / L)", "divided by L where K·L belongs"),
    (doubles.instance_norm, "- 3 * mean", "- 2 * mean", "2/3 times"),
    (doubles.instance_norm, "scale / s**2 *", "1 / s**2 *", "gamma is forgotten"),
    (doubles.instance_norm, " + a * along(dy)", "", "is ignored"),
    (doubles.weight_norm, "3 * B", "2 * B", "2/3 times"),
    (doubles.weight_norm, "/ r**2", "/ r", "is forgotten"),
    (doubles.weight_norm, " + a * unit", "", "is ignored"),
    (doubles.no_affine_double_backward, "3 * B", "2 * B", "2/3 times"),
    (doubles.published, "3 / M", "2 / M", "2/3 times"),
]


@pytest.mark.sampled(4, 1)
@pytest.mark.parametrize(("function", "old", "new", "said"), ELSEWHERE)
def test_one_change_in_another_layer_is_wrong_and_named(function, old, new, said):
    report = verify(broken(function, old, new))
    assert report.verdict == "wrong"
    assert any(said in d.text for d in report.diagnosis), [d.text for d in report.diagnosis]


def test_the_published_one_is_that_of_pytorch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, v, g = rng.standard_normal((3, 4, 2, 5, 3))
    gamma, a, b = rng.standard_normal((3, 2))
    mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
    ours = doubles.published(x, gamma, v, a, b, g, True, 0.1, mean, (var + 0.1) ** -0.5, None)
    inputs = [torch.tensor(t, requires_grad=True) for t in (x, gamma, 0 * gamma, g)]
    y = torch.nn.functional.batch_norm(inputs[0], None, None, *inputs[1:3], True, 0.1, 0.1)
    first = torch.autograd.grad(y, inputs[:3], inputs[3], create_graph=True)
    wrt = (inputs[0], inputs[1], inputs[3])
    theirs = torch.autograd.grad(first, wrt, [torch.tensor(t) for t in (v, a, b)])
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-11, atol=1e-12)


def first(dy, x, gamma, eps):
    """The backward pass of batch norm, open to complex numbers."""
    mu = x.mean(axis=0)
    s = np.sqrt(((x - mu) ** 2).mean(axis=0) + eps)
    xhat = (x - mu) / s
    dgamma, dbeta = (dy * xhat).sum(axis=0), dy.sum(axis=0)
    return gamma / s * (dy - dbeta / len(x) - xhat * dgamma / len(x)), dgamma, dbeta


def test_differences_are_of_your_own_backward_pass():
    report = verify(doubles.batch_norm, first=first)
    methods = {c.second_witness for g in report.gradients for c in g.comparisons}
    assert (report.verdict, methods) == ("right", {"symbolic", "complex step"})
    assert report.assumed.endswith("differences of first")
    assert assert_gradients(doubles.batch_norm, first=first).order == 2


def test_a_wrong_backward_pass_below_does_not_make_the_double_one_wrong():
    report = verify(doubles.batch_norm, first=broken_first)
    assert report.verdict == "right"
    assert [r.code for r in report.remarks] == ["first-differs"]


def broken_first(dy, x, gamma, eps):
    dx, dgamma, dbeta = first(dy, x, gamma, eps)
    return 2 * dx, dgamma, dbeta


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda made: made[0], "expected the gradients with respect to dy, x and gamma"),
        (lambda made: (*made, *made), "returned 6 values"),
        (lambda made: None, "returned None"),
        (lambda made: (), "returned 0 values"),
        (lambda made: ("a", "b", "c"), "expected the gradients"),
        (lambda made: (made[0], made[1].T, made[2]), "d2x (7, 3)"),
        (lambda made: (made[0], made[1].sum(axis=0), made[2]), "shapes (7, 3), (3,), (3,)"),
        (lambda made: 1 / 0, "raised ZeroDivisionError"),
    ],
)
def test_what_cannot_be_called(change, said):
    def double_backward(ddx, ddgamma, ddbeta, dy, x, gamma, eps):
        return change(doubles.batch_norm(ddx, ddgamma, ddbeta, dy, x, gamma, eps))

    report = verify(double_backward, layer="batch-norm")
    assert report.verdict == "cannot call"
    assert said in report.assumed
    assert report.exit_code == 2


@pytest.mark.parametrize(
    ("change", "verdict", "said"),
    [
        (lambda made: made[:2], "right", "d2gamma is not returned"),
        (lambda made: (*made, made[2]), "wrong", "no gradient depends on beta"),
        (lambda made: [p.astype(np.float32) for p in made], "inaccurate", "float32"),
        (lambda made: (made[0], made[1] * np.nan, made[2]), "wrong", "NaN or infinity"),
        (lambda made: (made[0], made[1].astype(int), made[2]), "wrong", "fractions are cut off"),
        (lambda made: (made[0], made[1], made[2][None]), "right", "d2gamma has shape (1, 3)"),
    ],
)
def test_odd_results(change, verdict, said):
    def double_backward(ddx, ddgamma, ddbeta, dy, x, gamma, eps):
        return change(doubles.batch_norm(ddx, ddgamma, ddbeta, dy, x, gamma, eps))

    report = verify(double_backward, layer="batch-norm")
    texts = [*(r.text for r in report.remarks), *(d.text for d in report.diagnosis)]
    assert report.verdict == verdict
    assert any(said in text for text in texts), texts


def test_squares_of_a_large_mean_are_lost_digits_and_no_mistake():
    raw = broken(doubles.batch_norm, "x.var(axis=0)", "(x * x).mean(axis=0) - x.mean(axis=0) ** 2")
    report = verify(raw)
    assert report.verdict == "inaccurate"
    assert all("mean 1e4" in d.text for d in report.diagnosis)


NAMES = {
    "ddx": ("ddx", "dd_x", "ggI", "ggx", "gg_input", "grad_grad_x", "grad_grad_input", "d2x", "v_x",
            "ct_dx", "grad_dx", "dx_bar", "ddv", "ddinput"),
    "ddgamma": ("ddgamma", "ggG", "gg_gamma", "grad_grad_scale", "ggw", "v_gamma", "ct_dgamma"),
    "ddbeta": ("ddbeta", "ggB", "ggbias", "grad_grad_offset", "v_beta", "dbeta_bar"),
    None: ("dx", "dy", "x", "gamma", "beta", "eps", "dout", "grad_output", "grad_input", "delta",
           "d_out", "db", "dgamma", "dvar", "ddof", "d", "data", "grad_gamma", "d_gamma", "dW",
           "bias", "input", "v", "a", "b", "g", "dldx", "grad_x"),
}  # fmt: skip


@pytest.mark.parametrize(("role", "name"), [(r, n) for r, names in NAMES.items() for n in names])
def test_names_of_arguments(role, name):
    assert double_role(name) == role


@pytest.mark.parametrize("name", [
    "double_backward", "batchnorm_double_backward", "backward_backward", "batchnorm_grad_grad",
    "second_backward", "bn_backward_backward", "layernorm_second_order_backward",
    "BatchNormDoubleBackward", "_BatchNormGradGrad", "bn_bwd_bwd", "doubleBackward",
])  # fmt: skip
def test_names_of_functions(name):
    assert is_double(name)


@pytest.mark.parametrize("name", [
    "backward", "batchnorm_backward", "batchnorm_backward_alt", "backward_pass", "grad", "vjp",
    "batchnorm_backward_2", "layernorm_fallback_backward", "test_double_backward",
    "check_grad_grad", "hessian_vector", "layernorm_forward",
])  # fmt: skip
def test_names_of_other_functions(name):
    assert not is_double(name)


def test_parameters_say_what_a_function_is():
    def plain(ggI, ggG, ggB, gO, input, gamma, eps): ...
    def helper(ddx, xhat): ...
    def backward(dy, x, gamma, beta, eps): ...
    def double_backward(dout, cache): ...

    assert not looks_double("double_backward", double_backward, {})  # of double precision?
    assert looks_double("plain", plain, {})
    assert not looks_double("helper", helper, {})
    assert not looks_double("backward", backward, {})


@pytest.fixture
def three(tmp_path):
    """A file with a forward, a backward and a double backward pass, with a cache."""
    path = tmp_path / "three.py"
    path.write_text(EXAMPLE.read_text(encoding="utf-8"), encoding="utf-8")
    return path


def test_both_pairs_of_a_file(three):
    reports = verify_all(str(three))
    assert [(r.target.rpartition(":")[2], r.verdict, r.order) for r in reports] == [
        ("batchnorm_backward", "right", 1), ("batchnorm_double_backward", "wrong", 2)
    ]  # fmt: skip
    (one,) = verify_all(f"{three}:batchnorm_double_backward")
    assert one.diagnosis == reports[1].diagnosis
    assert "2/3 times" in one.diagnosis[0].text
    assert one.assumed.endswith("differences of batchnorm_backward")
    assert {c.second_witness for c in one.gradients[0].comparisons} == {"symbolic", "complex step"}
    (other,) = verify_all(f"{three}:batchnorm_backward")
    assert (other.verdict, other.order) == ("right", 1)


def test_the_smallest_counterexample_is_one(three):
    (report,) = verify_all(f"{three}:batchnorm_double_backward")
    found = report.counterexample
    given = {n: np.array(v, float) for n, v in found.inputs.items() if n != "beta"}
    wanted = doubles.batch_norm(**given)[1]
    shown = np.vectorize(lambda text: eval(text))(np.array(found.right))
    np.testing.assert_allclose(shown, wanted, rtol=1e-12)
    assert not np.allclose(np.vectorize(lambda text: eval(text))(np.array(found.yours)), wanted)


def test_the_command_line(bncheck, three, tmp_path):
    done = bncheck("verify", three, "--json")
    record = json.loads(done.stdout)
    assert (done.returncode, record["exit_code"]) == (1, 1)
    assert [r["order"] for r in record["results"]] == [1, 2]
    failure = tmp_path / "failure.npz"
    name = f"{three}:batchnorm_double_backward"
    assert bncheck("verify", name, "--save-failure", failure).returncode == 1
    again = json.loads(bncheck("verify", name, "--inputs", failure, "--json").stdout)
    assert "your inputs" in again["results"][0]["trials"]
    assert {"ddx", "ddgamma", "ddbeta", "dy"} <= set(np.load(failure))


@pytest.mark.parametrize(
    ("parameters", "said"),
    [("a1, a2", "no parameter that bncheck knows as the cotangent of dx"),
     ("ddx, x", "as the upstream gradient"),
     ("ddx, dy, eps", "as the input"),
     ("ddx, dy, x, zigzag", "parameter 'zigzag'"),
     ("ddx, dy, cache", "no forward pass that would make it")],
)  # fmt: skip
def test_one_that_cannot_be_called_has_a_row_of_its_own(tmp_path, parameters, said):
    path = tmp_path / "bn.py"
    right = inspect.getsource(first)
    double = f"def bn_double_backward({parameters}):\n    return 0\n"
    path.write_text(f"import numpy as np\n\n{right}\n\n{double}", encoding="utf-8")
    path.write_text(path.read_text().replace("def first(", "def bn_backward("), encoding="utf-8")
    right, problem = verify_all(str(path))
    assert (right.verdict, problem.verdict) == ("right", "cannot call")
    assert said in problem.assumed
    with pytest.raises(CannotAsk, match=said.replace("(", r"\(")):
        verify_all(f"{path}:bn_double_backward")


class Layer:
    """An object that keeps what it needs from pass to pass."""

    def __init__(self, dim, eps=1e-5):
        self.gamma, self.beta, self.eps = np.ones(dim), np.zeros(dim), eps

    def forward(self, x):
        self.x = x
        return self.gamma * (x - x.mean(0)) / np.sqrt(x.var(0) + self.eps) + self.beta

    def backward(self, dy):
        self.dy = dy
        dx, self.dgamma, self.dbeta = first(dy, self.x, self.gamma, self.eps)
        return dx

    def double_backward(self, ddx, ddgamma, ddbeta):
        given = (ddx, ddgamma, ddbeta, self.dy, self.x, self.gamma, self.eps)
        return doubles.batch_norm(*given)


def test_a_class(tmp_path):
    parts = [inspect.getsource(t) for t in (doubles.batch_norm, first, Layer)]
    source = "import numpy as np\n\n\n" + "\n\n".join(parts).replace("doubles.", "")
    path = tmp_path / "layer.py"
    path.write_text(source.replace("def batch_norm(", "def _twice("), encoding="utf-8")
    path.write_text(path.read_text().replace("return batch_norm(", "return _twice("))
    for place in (path, f"{path}:Layer.double_backward"):
        *_, last = verify_all(str(place))
        assert (last.target, last.verdict) == (f"{path}:Layer.double_backward", "right"), str(last)


def test_a_layer_of_your_own():
    from bncheck.cli.files import program

    power = program("examples/power_norm.py:POWER_NORM", {})
    made = to_numpy(power, order=2)

    def double_backward(ddx, ddgamma, dy, x, gamma, eps, factor=1.0):
        _, cache = made.forward(x, gamma, eps)
        ddy, dx, dgamma = made.double_backward(ddx, ddgamma, dy, cache)
        return ddy, factor * dx, dgamma

    def halved_double_backward(ddx, ddgamma, dy, x, gamma, eps):
        return double_backward(ddx, ddgamma, dy, x, gamma, eps, 0.5)

    assert api.verify(double_backward, layer=power).verdict == "right"
    report = verify(halved_double_backward, layer=power)
    assert report.verdict == "wrong"
    assert "0.5 times" in report.diagnosis[0].text
