"""Batch norm's backward pass in the ways that people write it. All are right.

``tests/cases/edits.py`` makes the wrong ones of them: change a line here and look there.
"""

import numpy as np


def staged(dy, x, gamma, beta, eps):
    """The chain rule in the order of Ioffe and Szegedy (2015), section 3."""
    m = x.shape[0]
    mu = x.mean(axis=0)
    var = ((x - mu) ** 2).mean(axis=0)
    xhat = (x - mu) / np.sqrt(var + eps)
    dxhat = dy * gamma
    dvar = np.sum(dxhat * (x - mu) * -0.5 * (var + eps) ** -1.5, axis=0)
    dmu = np.sum(dxhat * -1.0 / np.sqrt(eps + var), axis=0)
    dmu = dmu + dvar * np.sum(-2.0 * (x - mu), axis=0) / m
    dx = dxhat / np.sqrt(var + eps + 0.0)
    dx = dx + dvar * 2.0 * (x - mu) / m
    dx = dx + dmu / m
    dgamma = np.sum(dy * xhat, axis=0)
    dbeta = np.sum(dy, axis=0)
    return dx, dgamma, dbeta


def nodes(dout, x, gamma, beta, eps):
    """Gate by gate through the computational graph, as in the course."""
    N = x.shape[0]
    xmu = x - 1.0 / N * np.sum(x, axis=0)
    var = 1.0 / N * np.sum(xmu**2, axis=0)
    sqrtvar = np.sqrt(var + eps)
    ivar = 1.0 / sqrtvar
    xhat = xmu * ivar
    dbeta = np.sum(dout, axis=0)
    dgamma = np.sum(dout * xhat, axis=0)
    dxhat = dout * gamma
    divar = np.sum(dxhat * xmu, axis=0)
    dxmu1 = dxhat * ivar
    dsqrtvar = -1.0 / sqrtvar**2 * divar
    dvar = 0.5 / np.sqrt(eps + var) * dsqrtvar
    dsq = 1.0 / N * np.ones_like(x) * dvar
    dxmu2 = 2.0 * xmu * dsq
    dx1 = dxmu1 + dxmu2
    dmu = -1.0 * np.sum(dx1, axis=0)
    dx2 = 1.0 / N * np.ones_like(xmu) * dmu
    return dx1 + dx2, dgamma, dbeta


def one_line(dout, X, gamma, beta, eps):
    """The sums gathered: N times dxhat minus two sums."""
    N = X.shape[0]
    sd = np.sqrt(np.var(X, axis=0) + eps)
    X_hat = (X - np.mean(X, axis=0)) / sd
    dX_hat = dout * gamma
    along = np.sum(dX_hat * X_hat, axis=0)
    dX = (1.0 / N) / sd * (N * dX_hat - np.sum(dX_hat, axis=0) - X_hat * along)
    return dX, np.sum(dout * X_hat, axis=0), np.sum(dout, axis=0)


def powers(dy, h, gamma, beta, eps):
    """Powers of var + eps, and no xhat."""
    N = h.shape[0]
    mu = h.sum(axis=0) / N
    var = ((h - mu) ** 2).sum(axis=0) / N
    dbeta = dy.sum(axis=0)
    dgamma = ((h - mu) * (var + eps) ** -0.5 * dy).sum(axis=0)
    dh = N * dy - dy.sum(axis=0)
    dh = dh - (h - mu) * (var + eps) ** (-1.0) * (dy * (h - mu)).sum(axis=0)
    dh = (1.0 / N) * gamma * (eps + var) ** (-1.0 / 2.0) * dh
    return dh, dgamma, dbeta


def loops(dy, x, gamma, beta, eps):
    """Feature by feature and row by row."""
    rows, features = x.shape
    dx, dgamma, dbeta = np.zeros_like(x), np.zeros_like(gamma), np.zeros_like(beta)
    for j in range(features):
        mean, var = 0.0, 0.0
        for i in range(rows):
            mean += x[i, j] / rows
        for i in range(rows):
            var += (x[i, j] - mean) ** 2 / rows
        sd = np.sqrt(var + eps)
        for i in range(len(dy)):
            dbeta[j] += dy[i, j]
            dgamma[j] += dy[i, j] * (x[i, j] - mean) / sd
        for i in range(rows):
            xhat = (x[i, j] - mean) / sd
            dx[i, j] = gamma[j] / sd * (dy[i, j] - dbeta[j] / rows - xhat * dgamma[j] / rows)
    return dx, dgamma, dbeta


def einsum(g, x, gamma, beta, eps):
    """Every sum an einsum."""
    n = len(x)
    c = x - np.einsum("nd->d", x) / n
    r = (np.einsum("nd,nd->d", c, c) / n + eps) ** -0.5
    z = np.einsum("nd,d->nd", c, r)
    dgamma = np.einsum("nd,nd->d", g, z)
    dbeta = np.einsum("nd->d", g)
    inner = g - dbeta / n - np.einsum("nd,d->nd", z, dgamma) / n
    return np.einsum("d,nd->nd", gamma * r, inner), dgamma, dbeta


def tensor(dy, x, gamma, beta, eps):
    """All the Jacobians at once, (N, N, D), times the upstream gradient."""
    N = x.shape[0]
    sd = np.sqrt(x.var(axis=0) + eps)
    xhat = (x - x.mean(axis=0)) / sd
    eye = np.eye(N, dtype=x.dtype)[:, :, None]
    J = eye - 1.0 / N - xhat[:, None, :] * xhat[None, :, :] / N
    J = gamma / sd * J
    return (J * dy[:, None, :]).sum(axis=0), (dy * xhat).sum(axis=0), dy.sum(axis=0)


def projector(dy, x, gamma, beta, eps):
    """Centring as a product with I - 11'/n."""
    n = x.shape[0]
    H = np.identity(n, x.dtype) - np.full((n, n), 1.0 / n, x.dtype)
    c = H @ x
    s = np.sqrt(np.einsum("ij,ij->j", c, c) / n + eps)
    z = c / s
    dgamma = np.diag(z.T @ dy)
    dx = gamma / s * (H @ dy - z * dgamma / n)
    return dx, dgamma, dy.sum(axis=0)


def features_first(dy, x, gamma, beta, eps):
    """In arrays (D, N), as in Matlab."""
    xt, dyt, n = x.T, dy.T, x.shape[0]
    mu = xt.mean(axis=1, keepdims=True)
    var = np.square(xt - mu).mean(axis=1, keepdims=True)
    xhat = (xt - mu) / np.sqrt(var + eps)
    dbeta = dyt.sum(axis=1)
    dgamma = (dyt * xhat).sum(axis=1)
    dxt = n * dyt - dbeta[:, None] - xhat * dgamma[:, None]
    dxt = gamma[:, None] / n / np.sqrt(eps + var) * dxt
    return dxt.T, dgamma, dbeta


def in_place(dy, x, gamma, beta, eps):
    """One work array of its own, updated where it lies."""
    n = len(x)
    w = x - x.mean(axis=0)
    r = np.square(w).mean(axis=0)
    r += eps
    np.sqrt(r, out=r)
    np.reciprocal(r, out=r)
    w *= r
    dbeta = dy.sum(axis=0)
    dgamma = np.multiply(dy, w).sum(axis=0)
    w *= dgamma / n
    np.subtract(dy, w, out=w)
    w -= dbeta / n
    w *= gamma * r
    return w, dgamma, dbeta


def gram_schmidt(dy, x, gamma, beta, eps):
    """Take the constant out of dy, then the part along xhat."""
    sd = np.sqrt(x.var(axis=0) + eps)
    xhat = (x - x.mean(axis=0)) / sd
    u = dy - dy.mean(axis=0)
    u = u - xhat * (u * xhat).mean(axis=0)
    return gamma / sd * u, (dy * xhat).sum(axis=0), dy.sum(axis=0)


def columns(dy, x, gamma, beta, eps):
    """A helper for one feature, and a list of its results."""

    def column(up, v, scale):
        centred = v - v.mean()
        inv = 1.0 / np.sqrt((centred @ centred) / v.size + eps)
        xhat = centred * inv
        dg, db = up @ xhat, up.sum()
        return scale * inv * (up - db / v.size - xhat * dg / v.size), dg, db

    parts = [column(dy[:, j], x[:, j], gamma[j]) for j in range(x.shape[1])]
    dx, dgamma, dbeta = zip(*parts, strict=True)
    return np.stack(dx, axis=1), np.array(dgamma), np.array(dbeta)


def blocks(dy, x, gamma, beta, eps, size=4):
    """Sums gathered over blocks of rows, as for data that does not fit."""
    n = x.shape[0]
    cuts = [slice(k, k + size) for k in range(0, n, size)]
    mu = sum(x[c].sum(axis=0) for c in cuts) / n
    var = sum(((x[c] - mu) ** 2).sum(axis=0) for c in cuts) / n
    r = 1.0 / np.sqrt(var + eps)
    dbeta = sum(dy[c].sum(axis=0) for c in cuts)
    dgamma = sum((dy[c] * (x[c] - mu) * r).sum(axis=0) for c in cuts)
    dx = np.empty_like(x)
    for c in cuts:
        dx[c] = gamma * r * (dy[c] - dbeta / n - (x[c] - mu) * r * dgamma / n)
    return dx, dgamma, dbeta
