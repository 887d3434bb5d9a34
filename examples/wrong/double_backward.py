"""Wrong: the double backward pass has 2 where 3 belongs, in the term along xhat twice."""

import numpy as np


def batchnorm_forward(x, gamma, beta, eps):
    mu = x.mean(axis=0)
    s = np.sqrt(((x - mu) ** 2).mean(axis=0) + eps)
    xhat = (x - mu) / s
    return gamma * xhat + beta, (xhat, gamma, s)


def batchnorm_backward(dy, cache):
    xhat, gamma, s = cache
    m = len(dy)
    dbeta, dgamma = dy.sum(axis=0), (dy * xhat).sum(axis=0)
    return gamma / s * (dy - dbeta / m - xhat * dgamma / m), dgamma, dbeta


def batchnorm_double_backward(ddx, ddgamma, ddbeta, dy, cache):
    xhat, gamma, s = cache
    m = len(dy)
    v, g = ddx - ddx.mean(axis=0), dy - dy.mean(axis=0)
    A, B, C = (v * g).sum(axis=0), (v * xhat).sum(axis=0), (g * xhat).sum(axis=0)
    ddy = gamma / s * (v - xhat * B / m) + ddgamma * xhat + ddbeta
    dgamma = (A - B * C / m) / s
    curved = (A - 2 * B * C / m) * xhat + C * v + B * g
    dx = ddgamma / s * (g - xhat * C / m) - gamma / (m * s**2) * curved
    return ddy, dx, dgamma
