"""Each against values that a right version gave once, all but one without a look at dgamma."""

import norms
import numpy as np
import pytest
from norms import LayerNorm, groupnorm_backward, groupnorm_forward

RNG = np.random.default_rng(3)
FUNCTIONS = [norms.rms_backward]


def slope(f, a, upstream, way):
    h = 1e-5
    return ((f(a + h * way) - f(a - h * way)) * upstream).sum() / (2 * h)


def test_layer_norm_in_a_class():
    x, dout, way = RNG.standard_normal((3, 2, 3, 5))
    layer = LayerNorm(5, eps=0.1)
    layer.forward(x)
    dx = layer.backward(dout)
    assert dx.shape == x.shape
    assert abs((dx * way).sum() - slope(LayerNorm(5, eps=0.1).forward, x, dout, way)) < 1e-6


@pytest.mark.parametrize("backward", FUNCTIONS)
def test_rms_norm_in_single_precision(backward):
    x, dy, way = RNG.standard_normal((3, 4, 6)).astype(np.float32)
    gamma = np.linspace(0.5, 2, 6, dtype=np.float32)

    def forward(x):
        return gamma * x / np.sqrt((x * x).mean(-1, keepdims=True) + 0.1)

    got = backward(dy, x, gamma, eps=0.1)["dx"]
    assert got.dtype == np.float32
    wanted = slope(forward, x.astype(float), dy, way)
    assert abs((got * way).sum() - wanted) < 1e-3


def test_group_norm_on_images():
    x, dout, way = RNG.standard_normal((3, 2, 6, 2, 3))
    gamma, beta = RNG.standard_normal((2, 1, 6, 1, 1))
    _, cache = groupnorm_forward(x, gamma, beta, 2, {"eps": 0.1})
    dx, dgamma, dbeta = groupnorm_backward(dout, cache)
    assert dgamma.shape == dbeta.shape == gamma.shape
    arguments = {"x": x, "gamma": gamma, "beta": beta, "G": 2, "gn_param": {"eps": 0.1}}
    for name, got in (("x", dx), ("gamma", dgamma), ("beta", dbeta)):
        along = way if name == "x" else np.arange(6.0).reshape(1, 6, 1, 1)

        def forward(a, name=name):
            return groupnorm_forward(**{**arguments, name: a})[0]

        wanted = slope(forward, arguments[name], dout, along)
        assert abs((got * along).sum() - wanted) < 1e-6


def test_instance_norm_shape_only():
    x, dy = RNG.standard_normal((2, 2, 3, 4, 4))
    dx, dgamma, dbeta = norms.instancenorm_backward(dy, x, np.ones(3), np.zeros(3), 1e-5)
    assert dx.shape == x.shape
    assert dgamma.shape == dbeta.shape == (3,)


def test_weight_norm_is_orthogonal():
    from norms import weightnorm_backward

    v, dw = RNG.standard_normal((2, 3, 4))
    dv, _ = weightnorm_backward(dw, v, np.array([0.5, 2, 3]))
    np.testing.assert_allclose((dv * v).sum(1), 0, atol=1e-12)
