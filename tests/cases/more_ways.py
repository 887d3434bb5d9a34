"""Further right ways of writing it: other arithmetic, other orders of summation, other rules."""

import math

import numpy as np


def exact_sums(dy, x, gamma, beta, eps):
    """Python numbers and math.fsum."""
    n, results = len(x), []
    for g, v, scale in zip(dy.T.tolist(), x.T.tolist(), gamma.tolist(), strict=True):
        mu = math.fsum(v) / n
        r = 1.0 / math.sqrt(math.fsum((a - mu) ** 2 for a in v) / n + eps)
        z = [(a - mu) * r for a in v]
        db, dg = math.fsum(g), math.fsum(a * b for a, b in zip(g, z, strict=True))
        dx = [scale * r * (a - db / n - b * dg / n) for a, b in zip(g, z, strict=True)]
        results.append((dx, dg, db))
    dx, dgamma, dbeta = (np.array(part, x.dtype) for part in zip(*results, strict=True))
    return dx.T, dgamma, dbeta


def complex_step(dy, x, gamma, beta, eps):
    """Row by row from the forward pass itself: no formula, and no digits lost."""

    def y(v):
        c = v - v.sum(axis=0) / len(v)
        return gamma * c / np.sqrt((c * c).sum(axis=0) / len(v) + eps) + beta

    h = 1e-30
    dx = np.empty_like(x)
    for i in range(len(x)):
        moved = x + np.zeros((), x.dtype) * 1j
        moved[i] += 1j * h
        dx[i] = (dy * y(moved)).sum(axis=0).imag / h
    xhat = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + eps)
    return dx, (dy * xhat).sum(axis=0), dy.sum(axis=0)


def pullback(dy, x, gamma, beta, eps):
    """Closures: each operation gives its value and what takes gradients back through it."""

    def mean(v):
        return v.mean(axis=0), lambda g: np.broadcast_to(g / len(v), v.shape)

    def scale(v, a):
        return v * a, lambda g: (g * a, (g * v).sum(axis=0))

    mu, back_mu = mean(x)
    centred = x - mu
    var, back_var = mean(centred * centred)
    r = (var + eps) ** -0.5
    xhat, back_xhat = scale(centred, r)
    _, back_y = scale(xhat, gamma)
    dxhat, dgamma = back_y(dy)
    dcentred, dr = back_xhat(dxhat)
    dcentred = dcentred + 2.0 * centred * back_var(-0.5 * r**3 * dr)
    return dcentred - back_mu(dcentred.sum(axis=0)), dgamma, dy.sum(axis=0)


def wide_sums(dy, x, gamma, beta, eps):
    """Long double accumulators, results in the type of x."""
    n, wide = len(x), {"axis": 0, "dtype": np.longdouble}
    c = x - x.sum(**wide) / n
    r = 1 / np.sqrt((c * c).sum(**wide) / n + eps)
    z = c * r
    dgamma, dbeta = (dy * z).sum(**wide), dy.sum(**wide)
    dx = gamma * r * (dy - dbeta / n - z * dgamma / n)
    return tuple(a.astype(x.dtype) for a in (dx, dgamma, dbeta))


def mixed(dy, x, gamma, beta, eps):
    """Short storage, double inside, as a fused kernel with wide registers."""
    up, v, g = (a.astype(np.float64) for a in (dy, x, gamma))
    c = v - v.mean(axis=0)
    r = 1.0 / np.sqrt((c * c).mean(axis=0) + float(eps))
    dbeta, dgamma = up.sum(axis=0), (up * c).sum(axis=0) * r
    dx = g * r * (up - dbeta / len(v) - c * r * dgamma / len(v))
    return dx.astype(x.dtype), dgamma.astype(x.dtype), dbeta.astype(x.dtype)


def short_and_float32(dy, x, gamma, beta, eps):
    """Short storage, float32 inside, as kernels for float16 and bfloat16 are."""
    up, v, g = (a.astype(np.float32) for a in (dy, x, gamma))
    r = 1.0 / np.sqrt(v.var(axis=0) + np.float32(eps))
    z = (v - v.mean(axis=0)) * r
    dbeta, dgamma = up.sum(axis=0), (up * z).sum(axis=0)
    dx = g * r * (up - dbeta / len(v) - z * dgamma / len(v))
    return dx.astype(x.dtype), dgamma.astype(x.dtype), dbeta.astype(x.dtype)


def halves(dy, x, gamma, beta, eps):
    """Sums by halving the rows."""

    def total(v):
        return v[0] if len(v) == 1 else total(v[: len(v) // 2]) + total(v[len(v) // 2 :])

    n = len(x)
    c = x - total(x) / n
    sd = np.sqrt(total(c * c) / n + eps)
    z = c / sd
    dgamma, dbeta = total(dy * z), total(dy) + np.zeros_like(beta)
    return gamma / sd * (dy - dbeta / n - z * (dgamma / n)), dgamma, dbeta


def corrected(dy, x, gamma, beta, eps):
    """The two-pass variance with its correction, and no root of a negative number."""
    n = x.shape[0]
    c = x - x.mean(axis=0)
    c = c - c.mean(axis=0)
    var = np.add.reduce(c**2, axis=0) / n
    r = np.reciprocal(np.sqrt(np.maximum(var, 0) + eps))
    z = np.multiply(c, r)
    dgamma, dbeta = np.add.reduce(dy * z, axis=0), np.add.reduce(dy, axis=0)
    a = gamma * r
    return a * dy - a * (dgamma / n) * z - a * (dbeta / n), dgamma, dbeta


def streamed(dy, x, gamma, beta, eps):
    """One row after another: mean and sum of squares brought up to date."""
    mean, squares = np.zeros_like(gamma), np.zeros_like(gamma)
    for count, row in enumerate(x, start=1):
        off = row - mean
        mean = mean + off / count
        squares = squares + off * off * (count - 1) / count
    n = len(x)
    sd = np.sqrt(squares / n + eps)
    dgamma, dbeta = np.zeros_like(gamma), np.zeros_like(beta)
    for up, row in zip(dy, x, strict=True):
        dgamma, dbeta = dgamma + up * (row - mean) / sd, dbeta + up
    rows = [gamma / sd * (up - dbeta / n - (row - mean) / sd * dgamma / n)
            for up, row in zip(dy, x, strict=True)]  # fmt: skip
    return np.stack(rows), dgamma, dbeta
