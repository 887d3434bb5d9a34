"""The loss is the sum of the outputs, so that the upstream gradient is 1 everywhere."""

import numpy as np
from batchnorm import batchnorm_backward, batchnorm_forward


def numerical_gradient(f, a, h=1e-5):
    grad = np.zeros_like(a)
    for place in np.ndindex(*a.shape):
        old = a[place]
        a[place] = old + h
        plus = f()
        a[place] = old - h
        minus = f()
        a[place] = old
        grad[place] = (plus - minus) / (2 * h)
    return grad


def test_gradients_of_the_sum():
    rng = np.random.default_rng(1)
    x = 3 * rng.standard_normal((6, 4)) + 5
    gamma = rng.standard_normal(4)
    beta = rng.standard_normal(4)

    def loss():
        return batchnorm_forward(x, gamma, beta)[0].sum()

    out, cache = batchnorm_forward(x, gamma, beta)
    dx, dgamma, dbeta = batchnorm_backward(np.ones_like(out), cache)
    np.testing.assert_allclose(dx, numerical_gradient(loss, x), atol=1e-6)
    np.testing.assert_allclose(dgamma, numerical_gradient(loss, gamma), atol=1e-6)
    np.testing.assert_allclose(dbeta, numerical_gradient(loss, beta), atol=1e-6)
