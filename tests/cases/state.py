"""Right numbers the first time, and results that depend on other calls, or on chance.

``STATE``: what makes a fresh callable, the options of ``draw``, what is wrong.
"""

import numpy as np

from tests.cases import ways as w


def buffers_by_shape():
    kept = {}

    def buffers_by_shape(dy, x, gamma, beta, eps):
        for k, value in enumerate(w.gram_schmidt(dy, x, gamma, beta, eps)):
            kept.setdefault((k, x.shape), np.empty_like(value))[...] = value
        return tuple(kept[k, x.shape] for k in range(3))

    return buffers_by_shape


def dgamma_in_a_workspace():
    room = np.zeros(4096)

    def dgamma_in_a_workspace(dy, x, gamma, beta, eps):
        dx, dgamma, dbeta = w.staged(dy, x, gamma, beta, eps)
        room[: dgamma.size] = dgamma
        return dx, room[: dgamma.size], dbeta

    return dgamma_in_a_workspace


def deviation_kept():
    kept = {}

    def deviation_kept(dy, x, gamma, beta, eps):
        sd = kept.setdefault((x.shape, eps), np.sqrt(x.var(axis=0) + eps))
        xhat = (x - x.mean(axis=0)) / sd
        dgamma, dbeta, n = (dy * xhat).sum(axis=0), dy.sum(axis=0), len(x)
        return gamma / sd * (dy - dbeta / n - xhat * dgamma / n), dgamma, dbeta

    return deviation_kept


def gradients_add_up():
    total = {}

    def gradients_add_up(dy, x, gamma, beta, eps):
        dx, dgamma, dbeta = w.einsum(dy, x, gamma, beta, eps)
        total[x.shape] = total.get(x.shape, 0) + dgamma
        return dx, total[x.shape].copy(), dbeta

    return gradients_add_up


def momentum():
    running = {}

    def momentum(dy, x, gamma, beta, eps):
        mean = running.get(x.shape, x.mean(axis=0))
        running[x.shape] = 0.9 * mean + 0.1 * x.mean(axis=0)
        dx, dgamma, dbeta = w.one_line(dy, x, gamma, beta, eps)
        return dx, dgamma + dbeta * (x.mean(axis=0) - mean), dbeta

    return momentum


def last_bit_by_chance():
    rng = np.random.default_rng(0)

    def last_bit_by_chance(dy, x, gamma, beta, eps):
        dx, dgamma, dbeta = w.staged(dy, x, gamma, beta, eps)
        return np.nextafter(dx, rng.choice([-np.inf, np.inf], dx.shape)), dgamma, dbeta

    return last_bit_by_chance


STATE = (
    (buffers_by_shape, {}, "all results live in buffers that the next call overwrites"),
    (dgamma_in_a_workspace, {}, "dgamma is a view of a workspace used again"),
    (deviation_kept, {}, "the deviation of the first batch of a shape serves all later ones"),
    (gradients_add_up, {}, "dgamma grows from call to call"),
    (momentum, {}, "dgamma is that of a running mean, which the first call sets"),
    (last_bit_by_chance, {}, "the last bit of dx is random"),
)
