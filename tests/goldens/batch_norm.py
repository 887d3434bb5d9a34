"""Batch norm: forward, backward and Jacobian, derived by bncheck."""

import numpy as np


def _dtypes(*arrays):
    """The dtype of the results, and that of the sums: float16 is summed in float32."""
    dtype = np.result_type(*arrays)
    if dtype.char in "fdgFDG":
        return dtype, dtype
    return (dtype, np.dtype("f")) if dtype.char == "e" else (np.dtype("d"), np.dtype("d"))


def _checked(name, values, shape, dtype):
    """``values`` as an array of ``dtype``; raises ValueError unless it has ``shape``."""
    if values.shape != shape:
        raise ValueError(f"{name} has shape {values.shape}, expected {shape}")
    return np.asarray(values, dtype)


def forward(x, gamma, beta, eps):
    """Batch norm of x: (m, D), gamma: (D), beta: (D), eps: a number.

        mu[j] = Mean(x[i, j], i)
        var[j] = Mean((x[i, j] - mu[j])**2, i)
        sd[j] = sqrt(var[j] + eps)
        xhat[i, j] = (x[i, j] - mu[j])/sd[j]
        y[i, j] = gamma[j]*xhat[i, j] + beta[j]

    Returns (y, cache); y has the shape and dtype of x.
    """
    x = np.asarray(x)
    gamma = np.asarray(gamma)
    beta = np.asarray(beta)
    dtype, wide = _dtypes(x, gamma, beta)
    if x.ndim != 2:
        raise ValueError(f"x has shape {x.shape}, expected (m, D)")
    m, D = x.shape
    x = _checked("x", x, (m, D), wide)
    gamma = _checked("gamma", gamma, (D,), wide)
    beta = _checked("beta", beta, (D,), wide)
    mu = (np.ones(m, x.dtype) @ x)/m
    centred = x - mu
    var = np.einsum("ij,ij->j", centred, centred)/m
    sd = np.sqrt(var + eps)
    xhat = centred/sd
    y = xhat*gamma
    y += beta
    cache = {"gamma": gamma, "sd": sd, "xhat": xhat, "shape": (m, D)}
    return y.astype(dtype, copy=False), cache


def backward(dy, cache):
    """The gradients (dx, dgamma, dbeta) from the upstream gradient dy: (m, D).

        dgamma[j] = Total(dy[i, j]*xhat[i, j], i)
        dbeta[j] = Total(dy[i, j], i)
        dx[i, j] = (gamma[j]/sd[j])*(dy[i, j] - dbeta[j]/m - dgamma[j]*xhat[i, j]/m)
    """
    m, D = cache["shape"]
    dy = np.asarray(dy)
    dtype, wide = _dtypes(dy)
    dy = _checked("dy", dy, (m, D), wide)
    gamma = cache["gamma"]
    sd = cache["sd"]
    xhat = cache["xhat"]
    dgamma = np.einsum("ij,ij->j", dy, xhat)
    dbeta = np.ones(m, dy.dtype) @ dy
    dx = xhat*(-dgamma/m)
    dx += dy
    dx -= dbeta/m
    dx *= gamma/sd
    if dx.dtype != dtype:
        dx = dx.astype(dtype)
        dgamma = dgamma.astype(dtype)
        dbeta = dbeta.astype(dtype)
    return dx, dgamma, dbeta


def jacobian(x, gamma, beta, eps):
    """The Jacobian dy/dx, of shape y.shape + x.shape.

    entry of y[i, j] by x[i1, j1] = ((KroneckerDelta(i, i1) - 1/m - xhat[i, j]*xhat[i1,
            j]/m)*gamma[j]/sd[j])*KroneckerDelta(j, j1)
    """
    x = np.asarray(x)
    gamma = np.asarray(gamma)
    beta = np.asarray(beta)
    dtype, wide = _dtypes(x, gamma, beta)
    if x.ndim != 2:
        raise ValueError(f"x has shape {x.shape}, expected (m, D)")
    m, D = x.shape
    x = _checked("x", x, (m, D), wide)
    gamma = _checked("gamma", gamma, (D,), wide)
    beta = _checked("beta", beta, (D,), wide)
    mu = (np.ones(m, x.dtype) @ x)/m
    centred = x - mu
    var = np.einsum("ij,ij->j", centred, centred)/m
    sd = np.sqrt(var + eps)
    xhat = centred/sd
    entries = gamma[:, None, None]*np.eye(D)[:, None, :]*(np.eye(m)[:, None, :, None] - 1/m - xhat.transpose(1, 0)[:, :, None]*xhat[:, :, None, None]/m)/sd[:, None, None]
    return entries.reshape((m, D) + (m, D)).astype(dtype, copy=False)
