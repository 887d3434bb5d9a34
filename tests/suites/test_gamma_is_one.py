"""Scale and shift as they are initialised: ones and zeros."""

import numpy as np
import pytest
from batchnorm import batchnorm_backward, batchnorm_forward

EPS = 0.1


def numerical_gradient(f, a, dout, h=1e-5):
    grad = np.zeros_like(a)
    for place in np.ndindex(*a.shape):
        step = np.zeros_like(a)
        step[place] = h
        grad[place] = ((f(a + step) - f(a - step)) * dout).sum() / (2 * h)
    return grad


def rel_error(a, b):
    return np.max(np.abs(a - b) / np.maximum(1e-8, np.abs(a) + np.abs(b)))


@pytest.fixture
def batch():
    rng = np.random.default_rng(231)
    x = 5 * rng.standard_normal((4, 5)) + 12
    return x, np.ones(5), np.zeros(5), rng.standard_normal((4, 5))


def test_dx(batch):
    x, gamma, beta, dout = batch
    _, cache = batchnorm_forward(x, gamma, beta, EPS)
    dx, _, _ = batchnorm_backward(dout, cache)
    numerical = numerical_gradient(lambda a: batchnorm_forward(a, gamma, beta, EPS)[0], x, dout)
    assert rel_error(dx, numerical) < 1e-6


@pytest.mark.parametrize("which", [1, 2])
def test_parameters(batch, which):
    x, gamma, beta, dout = batch
    arguments = [x, gamma, beta]

    def f(a):
        changed = list(arguments)
        changed[which] = a
        return batchnorm_forward(*changed, EPS)[0]

    _, cache = batchnorm_forward(x, gamma, beta, EPS)
    got = batchnorm_backward(dout, cache)[which]
    assert rel_error(got, numerical_gradient(f, arguments[which], dout)) < 1e-6
