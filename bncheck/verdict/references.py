"""Batch norm as people write it: what ``bncheck verify`` looks at when it is given nothing.

The staged form is that of Ioffe and Szegedy (2015), section 3; the closed form is the one-liner
that it comes down to.
"""

import numpy as np


def forward(x, gamma, beta, eps):  # type: ignore[no-untyped-def]
    """y: (N, D) of x: (N, D), and what the backward passes need."""
    mu = x.mean(axis=0)
    var = ((x - mu) ** 2).mean(axis=0)
    xhat = (x - mu) / np.sqrt(var + eps)
    return gamma * xhat + beta, (x, gamma, mu, var, xhat, eps)


def backward_staged(dy, cache):  # type: ignore[no-untyped-def]
    """The chain rule, step by step through xhat, variance and mean."""
    x, gamma, mu, var, xhat, eps = cache
    m = x.shape[0]
    dxhat = dy * gamma
    dvar = (dxhat * (x - mu) * -0.5 * (var + eps) ** -1.5).sum(axis=0)
    dmu = (-dxhat / np.sqrt(var + eps)).sum(axis=0) + dvar * (-2 * (x - mu)).mean(axis=0)
    dx = dxhat / np.sqrt(var + eps) + dvar * 2 * (x - mu) / m + dmu / m
    return dx, (dy * xhat).sum(axis=0), dy.sum(axis=0)


def backward_closed(dy, cache):  # type: ignore[no-untyped-def]
    """The closed form: the mean and the xhat component taken out of dy."""
    x, gamma, mu, var, xhat, eps = cache
    m = x.shape[0]
    dbeta = dy.sum(axis=0)
    dgamma = (dy * xhat).sum(axis=0)
    return gamma / np.sqrt(var + eps) * (dy - dbeta / m - xhat * dgamma / m), dgamma, dbeta
