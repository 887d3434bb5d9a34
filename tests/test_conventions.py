"""Code in every calling convention, layout and array type, right and with one mistake each.

Oracle: which of the two it is was written into the code; each file is asked twice, once as it
is and once with ``GOOD`` replaced by ``BAD`` (the projection term twice), which has to be wrong.
"""

import importlib.util
import json

import pytest

from bncheck.telling.errors import CannotAsk
from bncheck.verification import verify, verify_all

GOOD, BAD = "1.0 * xhat", "2.0 * xhat"

STATIC = """
import numpy as np
class LayerNorm:
    @staticmethod
    def forward(x, w, b):
        mean = x.mean(-1, keepdims=True)
        rstd = (x.var(-1, keepdims=True) + 1e-5) ** -0.5
        return w * (x - mean) * rstd + b, (x, w, mean, rstd)
    @staticmethod
    def backward(dout, cache):
        x, w, mean, rstd = cache
        xhat = (x - mean) * rstd
        g = dout * w
        axes = tuple(range(dout.ndim - 1))
        dx = (g - g.mean(-1, keepdims=True)
              - 1.0 * xhat * (g * xhat).mean(-1, keepdims=True)) * rstd
        return dx, (dout * xhat).sum(axes), dout.sum(axes)
"""
WITH_STATISTICS = """
import numpy as np
def layernorm_backward(dy, x, gamma, mean, rstd):
    xhat = (x - mean[:, None]) * rstd[:, None]
    g = dy * gamma
    c1 = (g * xhat).mean(1, keepdims=True)
    dx = (g - g.mean(1, keepdims=True) - 1.0 * xhat * c1) * rstd[:, None]
    return dx, (dy * xhat).sum(0), dy.sum(0)
"""
FEATURES_FIRST = """
import numpy as np
def BatchNormBackPass(G, s, mu, v):
    sd = np.sqrt(v + 1e-5)[:, None]
    xhat = (s - mu[:, None]) / sd
    return (G - G.mean(1, keepdims=True) - 1.0 * xhat * (G * xhat).mean(1, keepdims=True)) / sd
"""
FORWARD_RETURNS_STATISTICS = """
import numpy as np
def forward(x, weight, bias, eps=1e-5):
    mean = x.mean(axis=-1, keepdims=True)
    rstd = 1 / np.sqrt(x.var(axis=-1, keepdims=True) + eps)
    return weight * (x - mean) * rstd + bias, mean, rstd
def backward(dy, x, weight, mean, rstd):
    xhat = (x - mean) * rstd
    g = dy * weight
    dx = (g - g.mean(-1, keepdims=True) - 1.0 * xhat * (g * xhat).mean(-1, keepdims=True)) * rstd
    return dx, (dy * xhat).sum(0), dy.sum(0)
"""
OBJECT = """
import numpy as np
class BatchNorm{base}:
    def __init__(self, num_features, eps=1e-5):
        self.eps = eps
        {made}
    def forward(self, x, train=False):
        if not train:
            return x
        {late}
        gamma, beta = {gamma}, {beta}
        self.std = np.sqrt(x.var(axis=0) + self.eps)
        self.xhat = (x - x.mean(axis=0)) / self.std
        return gamma * self.xhat + beta
    def backward(self, dLdBZ):
        xhat, gamma, m = self.xhat, {gamma}, len(dLdBZ)
        dgamma, dbeta = (dLdBZ * xhat).sum(axis=0), dLdBZ.sum(axis=0)
        dx = gamma / self.std * (dLdBZ - dbeta / m - 1.0 * xhat * dgamma / m)
        {kept}
        return {returned}
"""


def _object(made, gamma, beta, kept, returned="dx", late="pass", base=""):
    return OBJECT.format(
        made=made, gamma=gamma, beta=beta, kept=kept, returned=returned, late=late, base=base
    )


ATTRIBUTES = "self.BW = np.ones((1, num_features)); self.Bb = np.zeros((1, num_features))"
PLAIN = "self.gamma = np.ones(num_features); self.beta = np.zeros(num_features)"
DICTIONARY = PLAIN.replace("self.gamma", "gamma").replace("self.beta", "beta") + (
    "; self.params, self.grads = {'gamma': gamma, 'beta': beta}, {}"
)
PARAMETERS = "self.gamma = P(np.ones(num_features)); self.beta = P(np.zeros(num_features))"
OBJECTS = {
    "attributes (1, D)": _object(
        ATTRIBUTES, "self.BW", "self.Bb", "self.dLdBW = dgamma[None]; self.dLdBb = dbeta[None]"
    ),
    "dictionaries": _object(
        DICTIONARY, "self.params['gamma']", "self.params['beta']",
        "self.grads['gamma'] = dgamma; self.grads['beta'] = dbeta",
    ),
    "list": _object(PLAIN, "self.gamma", "self.beta", "self.grads = [dgamma, dbeta]"),
    "parameter objects": "class P:\n    def __init__(self, data):\n"
    "        self.data, self.grad = data, None\n" + _object(
        PARAMETERS, "self.gamma.data", "self.beta.data",
        "self.gamma.grad = dgamma; self.beta.grad = dbeta",
    ),
    "late parameters": _object(
        "self.gamma = self.beta = None", "self.gamma", "self.beta",
        "self.dgamma, self.dbeta = dgamma, dbeta",
        late="if self.gamma is None: self.gamma, self.beta = "
        "np.ones(x.shape[1]), np.zeros(x.shape[1])",
    ),
    "dictionary returned": _object(
        PLAIN, "self.gamma", "self.beta", "pass", "{'gamma': dgamma, 'beta': dbeta}, dx"
    ),
    "another order": _object(PLAIN, "self.gamma", "self.beta", "pass", "dgamma, dbeta, dx"),
    "beta before gamma": _object(PLAIN, "self.gamma", "self.beta", "pass", "dx, dbeta, dgamma"),
    "updated in place": _object(
        PLAIN + "; self.lr = 0.01", "self.gamma", "self.beta",
        "self.gamma = self.gamma - self.lr * dgamma; self.beta = self.beta - self.lr * dbeta",
    ),
}  # fmt: skip
OPTIMIZER = """
import copy
import numpy as np
class BatchNormalization:
    def __init__(self, momentum=0.99):
        self.eps = 0.01
    def set_input_shape(self, shape):
        self.input_shape = shape
    def initialize(self, optimizer):
        self.gamma, self.beta = np.ones(self.input_shape), np.zeros(self.input_shape)
        self.gamma_opt, self.beta_opt = copy.copy(optimizer), copy.copy(optimizer)
    def forward_pass(self, X, training=True):
        self.inv = 1 / np.sqrt(X.var(axis=0) + self.eps)
        self.xhat = (X - X.mean(axis=0)) * self.inv
        return self.gamma * self.xhat + self.beta
    def backward_pass(self, accum_grad):
        gamma, xhat, m = self.gamma, self.xhat, len(accum_grad)
        dgamma, dbeta = (accum_grad * xhat).sum(axis=0), accum_grad.sum(axis=0)
        self.gamma = self.gamma_opt.update(self.gamma, dgamma)
        self.beta = self.beta_opt.update(self.beta, dbeta)
        return gamma * self.inv * (accum_grad - dbeta / m - 1.0 * xhat * dgamma / m)
"""
SPATIAL = """
import numpy as np
def spatial_batchnorm_forward(x, gamma, beta, bn_param):
    N, C, H, W = x.shape
    flat = x.transpose(0, 2, 3, 1).reshape(-1, C)
    std = np.sqrt(flat.var(axis=0) + bn_param.get("eps", 1e-5))
    xhat = (flat - flat.mean(axis=0)) / std
    return (gamma * xhat + beta).reshape(N, H, W, C).transpose(0, 3, 1, 2), (xhat, std, gamma)
def spatial_batchnorm_backward(dout, cache):
    N, C, H, W = dout.shape
    xhat, std, gamma = cache
    dy = dout.transpose(0, 2, 3, 1).reshape(-1, C)
    m = len(dy)
    dgamma, dbeta = (dy * xhat).sum(axis=0), dy.sum(axis=0)
    dx = gamma / std * (dy - dbeta / m - 1.0 * xhat * dgamma / m)
    return dx.reshape(N, H, W, C).transpose(0, 3, 1, 2), dgamma, dbeta
"""
GROUPS = """
import numpy as np
def spatial_groupnorm_forward(x, gamma, beta, G, gn_param):
    N, C, H, W = x.shape
    grouped = x.reshape(N, G, -1)
    std = np.sqrt(grouped.var(axis=2, keepdims=True) + gn_param.get("eps", 1e-5))
    xhat = ((grouped - grouped.mean(axis=2, keepdims=True)) / std).reshape(x.shape)
    return gamma * xhat + beta, (xhat, std, gamma, G)
def spatial_groupnorm_backward(dout, cache):
    xhat, std, gamma, G = cache
    N, C, H, W = dout.shape
    dgamma = (dout * xhat).sum(axis=(0, 2, 3), keepdims=True)
    dbeta = dout.sum(axis=(0, 2, 3), keepdims=True)
    g, h = (dout * gamma).reshape(N, G, -1), xhat.reshape(N, G, -1)
    along = (g * h).mean(axis=2, keepdims=True)
    xhat = h
    dx = (g - g.mean(axis=2, keepdims=True) - 1.0 * xhat * along) / std
    return dx.reshape(dout.shape), dgamma.reshape(gamma.shape), dbeta.reshape(gamma.shape)
"""
CHANNELS_LAST = SPATIAL.replace("N, C, H, W =", "N, H, W, C =").replace(
    ".transpose(0, 2, 3, 1)", ""
).replace(".transpose(0, 3, 1, 2)", "")  # fmt: skip
TORCH_PAIR = STATIC.replace("import numpy as np", "import torch").replace(
    "x.var(-1, keepdims=True)", "x.var(-1, keepdim=True, unbiased=False)"
).replace("keepdims", "keepdim")  # fmt: skip
TORCH_FUNCTION = """
import torch
class BatchNormFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, input, gamma, beta, eps=1e-5):
        std = (input.var(0, unbiased=False) + eps).sqrt()
        xhat = (input - input.mean(0)) / std
        ctx.save_for_backward(xhat, std, gamma)
        return gamma * xhat + beta
    @staticmethod
    def backward(ctx, grad_output):
        xhat, std, gamma = ctx.saved_tensors
        dgamma, dbeta, m = (grad_output * xhat).sum(0), grad_output.sum(0), len(xhat)
        dx = gamma / std * (grad_output - dbeta / m - 1.0 * xhat * dgamma / m)
        return dx, dgamma, dbeta, None
"""
CASES = {
    "static methods": (STATIC, "layer-norm", "(N, D)"),
    "statistics given": (WITH_STATISTICS, "layer-norm", "(N, D)"),
    "features first, no affine": (FEATURES_FIRST, "batch-norm", "(D, N)"),
    "statistics returned": (FORWARD_RETURNS_STATISTICS, "layer-norm", "(N, D)"),
    **{name: ("import numpy as np\n" + code, "batch-norm", "(N, D)")
       for name, code in OBJECTS.items()},
    "optimizer": (OPTIMIZER, "batch-norm", "(N, D)"),
    "images": (SPATIAL, "batch-norm", "(N, C, H, W)"),
    "images, channels last": (CHANNELS_LAST, "batch-norm", "(N, H, W, C)"),
    "groups": (GROUPS, "group-norm", "(N, C, H, W)"),
}  # fmt: skip
needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="PyTorch is not installed"
)


def _verified(tmp_path, code, name="code.py", **options):
    path = tmp_path / name
    path.write_text(code)
    return verify(str(path), **options)


@pytest.mark.parametrize("case", CASES)
def test_right_code_is_right_and_wrong_code_is_wrong(tmp_path, case):
    code, layer, layout = CASES[case]
    report = _verified(tmp_path, code)
    assert (report.verdict, report.layer, report.layout) == ("right", layer, layout), str(report)
    assert code.count(GOOD) == 1
    wrong = _verified(tmp_path, code.replace(GOOD, BAD))
    assert (wrong.verdict, wrong.layer, wrong.layout) == ("wrong", layer, layout)
    assert [d.gradient for d in wrong.diagnosis] == ["dx"]


@needs_torch
@pytest.mark.parametrize("code", [TORCH_PAIR, TORCH_FUNCTION], ids=["pair", "Function"])
def test_tensors(tmp_path, code):
    assert _verified(tmp_path, code).verdict == "right"
    assert _verified(tmp_path, code.replace(GOOD, BAD)).verdict == "wrong"


@pytest.mark.parametrize(
    ("case", "remark"),
    [
        ("another order", "return-order"),
        ("beta before gamma", "return-order"),
        ("attributes (1, D)", None),
        ("updated in place", "updates-parameters"),
        ("optimizer", "updates-parameters"),
    ],
)
def test_what_is_unusual_is_remarked(tmp_path, case, remark):
    codes = {r.code for r in _verified(tmp_path, CASES[case][0]).remarks}
    assert codes >= ({remark} if remark else set())
    assert "dtype-changed" not in codes or remark == "updates-parameters"


def test_a_notebook_is_read_cell_by_cell(tmp_path):
    cells = [
        {"cell_type": "markdown", "source": ["# batch norm"]},
        {"cell_type": "code", "source": ["%matplotlib inline\n", "import numpy as np\n"]},
        {"cell_type": "code", "source": ["this cell does not parse"]},
        {"cell_type": "code", "source": SPATIAL.splitlines(keepends=True)},
    ]
    report = _verified(tmp_path, json.dumps({"cells": cells}), "book.ipynb")
    assert (report.verdict, report.layout) == ("right", "(N, C, H, W)")
    with pytest.raises(CannotAsk, match="no notebook"):
        _verified(tmp_path, "{}", "b.ipynb")


def test_what_the_user_says_is_not_guessed(tmp_path):
    odd = FEATURES_FIRST.replace("(G, s, mu, v)", "(up, thing, mu, v)").replace(
        "(s - mu", "(thing - mu"
    ).replace("G", "up").replace("BatchNormBackPass", "backward")  # fmt: skip
    said = {"up": "dy", "thing": "x"}
    told = {"names": said, "layout": "(D, N)", "layer": "batch-norm"}
    report = _verified(tmp_path, odd, **told, eps=1e-5)
    # the layer without its parameters: the code has none
    assert (report.verdict, report.layout) == ("right", "(D, N)")
    assert _verified(tmp_path, odd, **told, eps=0.5).verdict == "wrong"
    assert _verified(tmp_path, odd, names=said).verdict == "right"


def test_parameter_gradients_divided_by_the_batch_size_are_a_convention(tmp_path):
    code = CASES["list"][0].replace("[dgamma, dbeta]", "[dgamma / m, dbeta / m]")
    report = _verified(tmp_path, code)
    assert report.verdict == "wrong"
    assert {(d.gradient, d.code) for d in report.diagnosis} == {
        ("dgamma", "divided-by-count"), ("dbeta", "divided-by-count"),
    }  # fmt: skip
    accepted = _verified(tmp_path, code, averaged=True)
    assert accepted.verdict == "right"
    assert "batch-average" in {r.code for r in accepted.remarks}
    assert _verified(tmp_path, code.replace(GOOD, BAD), averaged=True).verdict == "wrong"


NEARLY = {
    "forward-eps-outside": ("np.sqrt(x.var(axis=0)) + eps", "(std - eps)"),
    "forward-eps-squared": ("np.sqrt(x.var(axis=0) + eps**2)", "std"),
}


@pytest.mark.parametrize("code", NEARLY)
def test_a_forward_that_is_nearly_a_layer_is_a_finding(tmp_path, code):
    """The backward pass is right for it: 1/std before, the root's own derivative inside."""
    std, inner = NEARLY[code]
    text = f"""
import numpy as np
def forward(x, gamma, beta, eps):
    std = {std}
    return gamma * (x - x.mean(axis=0)) / std + beta, (x, gamma, std, eps)
def backward(dy, cache):
    x, gamma, std, eps = cache
    xc, m = x - x.mean(axis=0), len(x)
    dxhat = dy * gamma
    dvar = -(dxhat * xc).sum(axis=0) / std**2 / (2 * {inner})
    dxc = dxhat / std + 2 * dvar * xc / m
    return dxc - dxc.mean(axis=0), (dy * xc / std).sum(axis=0), dy.sum(axis=0)
"""
    report = _verified(tmp_path, text)
    assert code in {r.code for r in report.remarks}
    assert report.verdict == "right"
    assert report.code(strict=True) == 1


@pytest.mark.parametrize(
    ("scale", "said"), [("1.0", "never divides"), ("x.std(axis=0)[0]", "by the same number")]
)
def test_a_forward_that_is_no_layer_is_described(tmp_path, scale, said):
    text = f"""
import numpy as np
def batchnorm_forward(x, gamma, beta):
    return gamma * (x - x.mean(axis=0)) / {scale} + beta, (x, gamma)
def batchnorm_backward(dy, cache):
    x, gamma = cache
    return dy * gamma, (dy * x).sum(axis=0), dy.sum(axis=0)
"""
    report = _verified(tmp_path, text)
    assert (report.verdict, report.layer) == ("wrong", None)
    assert any(said in r.text for r in report.remarks if r.code == "forward-unknown")


def test_eps_in_backward_and_not_in_forward(tmp_path):
    text = """
import numpy as np
def batchnorm_forward(x, gamma, beta, bn_param):
    eps, var = bn_param.get("eps", 1e-5), x.var(axis=0)
    xhat = (x - x.mean(axis=0)) / np.sqrt(var)
    return gamma * xhat + beta, (xhat, gamma, np.sqrt(var + eps))
def batchnorm_backward(dout, cache):
    xhat, gamma, std = cache
    m = len(xhat)
    dgamma, dbeta = (dout * xhat).sum(axis=0), dout.sum(axis=0)
    return gamma / std * (dout - dbeta / m - xhat * dgamma / m), dgamma, dbeta
"""
    report = _verified(tmp_path, text)
    assert (report.verdict, report.eps) == ("wrong", 0.0)
    assert "eps-ignored" in {r.code for r in report.remarks}
    assert (
        _verified(tmp_path, text.replace("np.sqrt(var + eps)", "np.sqrt(var)")).verdict == "right"
    )


def test_several_in_one_file_and_other_layers_left_alone(tmp_path):
    path = tmp_path / "layers.py"
    path.write_text(
        SPATIAL + GROUPS.replace("import numpy as np", "")
        + "def relu_forward(x):\n    return x, x\n"
        + "def relu_backward(dout, cache):\n    return dout\n"
    )  # fmt: skip
    reports = verify_all(str(path))
    assert [r.target.rpartition(":")[2] for r in reports] == [
        "spatial_batchnorm_backward", "spatial_groupnorm_backward",
    ]  # fmt: skip
    assert {r.verdict for r in reports} == {"right"}


def test_gradients_in_single_precision_are_inaccurate_not_wrong(tmp_path):
    code = CASES["list"][0].replace("[dgamma, dbeta]", "[dgamma.astype(np.float32), dbeta]")
    report = _verified(tmp_path, code)
    assert {g.name: g.verdict for g in report.gradients} == {
        "dx": "right", "dgamma": "inaccurate", "dbeta": "right",
    }  # fmt: skip
    assert "float32" in report.diagnosis[0].text
