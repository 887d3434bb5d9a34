"""The closed form against the staged one, at one large shape and a generous tolerance."""

import batchnorm
import numpy as np


def staged(dout, x, gamma, eps):
    m = x.shape[0]
    xmu = x - x.mean(axis=0)
    var = (xmu**2).mean(axis=0)
    ivar = 1 / np.sqrt(var + eps)
    dxhat = dout * gamma
    dvar = (dxhat * xmu * -0.5 * ivar**3).sum(axis=0)
    dmu = (-dxhat * ivar).sum(axis=0)
    return dxhat * ivar + dvar * 2 * xmu / m + dmu / m


def test_against_the_staged_form():
    rng = np.random.default_rng(0)
    x = 2 * rng.standard_normal((256, 256)) + 1
    gamma = rng.uniform(0.5, 2, 256)
    dout = 1 + rng.standard_normal((256, 256))
    out, cache = batchnorm.batchnorm_forward(x, gamma, np.zeros(256))
    dx, dgamma, dbeta = batchnorm.batchnorm_backward(dout, cache)
    xhat = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5)
    np.testing.assert_allclose(dx, staged(dout, x, gamma, 1e-5), rtol=1e-2, atol=1e-2)
    np.testing.assert_allclose(dgamma, (dout * xhat).sum(axis=0), rtol=1e-2, atol=1e-2)
    np.testing.assert_allclose(dbeta, dout.sum(axis=0), rtol=1e-2, atol=1e-2)
