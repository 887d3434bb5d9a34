"""Right mathematics with digits lost; the table ``DIGITS`` is as that of ``corners``."""

import numpy as np

from tests.cases import ways as w


def short_types_in_half(dy, x, gamma, beta, eps):
    """Sums of anything shorter than double are gathered in float16."""
    wide = np.float64 if x.dtype == np.float64 else np.float16
    dx, dgamma, _ = w.staged(dy, x, gamma, beta, eps)
    return dx, dgamma, dy.sum(axis=0, dtype=wide).astype(x.dtype)


def forward_differences(dy, x, gamma, beta, eps, h=1e-6):
    """The gradient by differences, left in after debugging."""

    def loss(v):
        xhat = (v - v.mean(axis=0)) / np.sqrt(v.var(axis=0) + eps)
        return (dy * (gamma * xhat)).sum(axis=0)

    steps = h * np.eye(len(x))[:, :, None]
    dx = np.stack([(loss(x + step) - loss(x)) / h for step in steps])
    return dx, *w.staged(dy, x, gamma, beta, eps)[1:]


def raw_moments(dy, x, gamma, beta, eps):
    """E[x^2] - E[x]^2: digits are lost where the mean is large."""
    mu = x.mean(axis=0)
    sd = np.sqrt(np.maximum((x * x).mean(axis=0) - mu * mu, 0) + eps)
    xhat = (x - mu) / sd
    dgamma, dbeta = (dy * xhat).sum(axis=0), dy.sum(axis=0)
    return gamma / sd * (dy - dbeta / len(x) - xhat * dgamma / len(x)), dgamma, dbeta


DIGITS = (
    ("precision", short_types_in_half, {"dtype": np.float32}, None,
     "of float32, dbeta is gathered in float16"),
    ("precision", forward_differences, {}, None, "dx by differences has seven digits"),
    ("precision", raw_moments, {"mean": 1e6}, None, "cancellation in E[x^2] - E[x]^2"),
)  # fmt: skip
