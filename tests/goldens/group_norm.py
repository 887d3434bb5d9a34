"""Group norm: forward, backward and Jacobian, derived by bncheck."""

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


def forward(x, gamma, beta, eps, G):
    """Group norm of x: (N, C, L), gamma: (C), beta: (C), eps: a number.

        mu[n, h] = Mean(x[n, h, k, l], k, l)
        var[n, h] = Mean((x[n, h, k, l] - mu[n, h])**2, k, l)
        sd[n, h] = sqrt(var[n, h] + eps)
        xhat[n, h, k, l] = (x[n, h, k, l] - mu[n, h])/sd[n, h]
        y[n, h, k, l] = gamma[h, k]*xhat[n, h, k, l] + beta[h, k]

    Returns (y, cache); y has the shape and dtype of x.
    """
    x = np.asarray(x)
    gamma = np.asarray(gamma)
    beta = np.asarray(beta)
    dtype, wide = _dtypes(x, gamma, beta)
    if x.ndim != 3:
        raise ValueError(f"x has shape {x.shape}, expected (N, C, L)")
    N, C, L = x.shape
    if C % G:
        raise ValueError(f"C = {C} does not divide into G = {G} equal parts")
    K = C // G
    x = _checked("x", x, (N, G*K, L), wide)
    gamma = _checked("gamma", gamma, (G*K,), wide)
    beta = _checked("beta", beta, (G*K,), wide)
    x = x.reshape(N, G, K, L)
    gamma = gamma.reshape(G, K)
    beta = beta.reshape(G, K)
    mu = np.add.reduce(x, axis=(2, 3))/(K*L)
    centred = x - mu[:, :, None, None]
    var = np.einsum("nhkl,nhkl->nh", centred, centred)/(K*L)
    sd = np.sqrt(var + eps)
    xhat = centred/sd[:, :, None, None]
    y = xhat*gamma[:, :, None]
    y += beta[:, :, None]
    cache = {"gamma": gamma, "sd": sd, "xhat": xhat, "shape": (N, G, K, L)}
    return y.reshape((N, G*K, L)).astype(dtype, copy=False), cache


def backward(dy, cache):
    """The gradients (dx, dgamma, dbeta) from the upstream gradient dy: (N, C, L).

        dxhat[n, h, k, l] = dy[n, h, k, l]*gamma[h, k]
        dgamma[h, k] = Total(dy[n, h, k, l]*xhat[n, h, k, l], l, n)
        dbeta[h, k] = Total(dy[n, h, k, l], l, n)
        sum_dxhat_xhat[n, h] = Total(dxhat[n, h, k, l]*xhat[n, h, k, l], k, l)
        sum_dxhat[n, h] = Total(dxhat[n, h, k, l], k, l)
        dx[n, h, k, l] = (dxhat[n, h, k, l] - sum_dxhat[n, h]/(K*L) - sum_dxhat_xhat[n,
            h]*xhat[n, h, k, l]/(K*L))/sd[n, h]
    """
    N, G, K, L = cache["shape"]
    dy = np.asarray(dy)
    dtype, wide = _dtypes(dy)
    dy = _checked("dy", dy, (N, G*K, L), wide)
    dy = dy.reshape(N, G, K, L)
    gamma = cache["gamma"]
    sd = cache["sd"]
    xhat = cache["xhat"]
    dxhat = dy*gamma[:, :, None]
    dgamma = np.einsum("nhkl,nhkl->hk", dy, xhat)
    dbeta = np.add.reduce(dy, axis=(0, 3))
    sum_dxhat_xhat = np.einsum("nhkl,nhkl->nh", dxhat, xhat)
    sum_dxhat = np.add.reduce(dxhat, axis=(2, 3))
    dx = xhat*(-sum_dxhat_xhat[:, :, None, None]/(K*L))
    dx += dxhat
    dx -= sum_dxhat[:, :, None, None]/(K*L)
    dx /= sd[:, :, None, None]
    dx = dx.reshape((N, G*K, L))
    dgamma = dgamma.reshape((G*K,))
    dbeta = dbeta.reshape((G*K,))
    if dx.dtype != dtype:
        dx = dx.astype(dtype)
        dgamma = dgamma.astype(dtype)
        dbeta = dbeta.astype(dtype)
    return dx, dgamma, dbeta


def jacobian(x, gamma, beta, eps, G):
    """The Jacobian dy/dx, of shape y.shape + x.shape.

    entry of y[n, h, k, l] by x[n1, h1, k1, l1] = ((KroneckerDelta(k, k1)*KroneckerDelta(l,
            l1) - 1/(K*L) - xhat[n, h, k, l]*xhat[n, h, k1, l1]/(K*L))*gamma[h, k]/sd[n,
            h])*KroneckerDelta(h, h1)*KroneckerDelta(n, n1)
    """
    x = np.asarray(x)
    gamma = np.asarray(gamma)
    beta = np.asarray(beta)
    dtype, wide = _dtypes(x, gamma, beta)
    if x.ndim != 3:
        raise ValueError(f"x has shape {x.shape}, expected (N, C, L)")
    N, C, L = x.shape
    if C % G:
        raise ValueError(f"C = {C} does not divide into G = {G} equal parts")
    K = C // G
    x = _checked("x", x, (N, G*K, L), wide)
    gamma = _checked("gamma", gamma, (G*K,), wide)
    beta = _checked("beta", beta, (G*K,), wide)
    x = x.reshape(N, G, K, L)
    gamma = gamma.reshape(G, K)
    beta = beta.reshape(G, K)
    mu = np.add.reduce(x, axis=(2, 3))/(K*L)
    centred = x - mu[:, :, None, None]
    var = np.einsum("nhkl,nhkl->nh", centred, centred)/(K*L)
    sd = np.sqrt(var + eps)
    xhat = centred/sd[:, :, None, None]
    entries = gamma[:, :, None, None, None, None, None]*np.eye(G)[:, None, None, None, :, None, None]*np.eye(N)[:, None, None, None, :, None, None, None]*(np.eye(K)[:, None, None, None, :, None]*np.eye(L)[:, None, None, None, :] - 1/(K*L) - xhat[:, :, :, :, None, None, None, None]*xhat[:, :, None, None, None, None, :, :]/(K*L))/sd[:, :, None, None, None, None, None, None]
    return entries.reshape((N, G*K, L) + (N, G*K, L)).astype(dtype, copy=False)
