"""Right numbers, at least once, and a broken contract: the caller's arrays, memory, shapes.

``CONTRACT``: what makes a fresh callable, the options of ``draw``, what is wrong.
"""

import numpy as np

from tests.cases import ways as w


def _plain(function):
    return lambda: function


@_plain
def scales_dy(dy, x, gamma, beta, eps):
    dgamma, dbeta = w.staged(dy, x, gamma, beta, eps)[1:]
    sd = np.sqrt(x.var(axis=0) + eps)
    xhat = (x - x.mean(axis=0)) / sd
    dy *= gamma
    return (dy - dy.mean(axis=0) - xhat * (dy * xhat).mean(axis=0)) / sd, dgamma, dbeta


@_plain
def centres_x(dy, x, gamma, beta, eps):
    x -= x.mean(axis=0)
    return w.projector(dy, x, gamma, beta, eps)


@_plain
def dx_in_x(dy, x, gamma, beta, eps):
    dx, dgamma, dbeta = w.one_line(dy, x, gamma, beta, eps)
    x[...] = dx
    return x, dgamma, dbeta


@_plain
def gamma_over_sd(dy, x, gamma, beta, eps):
    results = w.loops(dy, x, gamma, beta, eps)
    gamma /= np.sqrt(x.var(axis=0) + eps)
    return results


@_plain
def dbeta_in_beta(dy, x, gamma, beta, eps):
    dx, dgamma, dbeta = w.nodes(dy, x, gamma, beta, eps)
    np.copyto(beta, dbeta)
    return dx, dgamma, beta


@_plain
def dbeta_is_a_row_of_dy(dy, x, gamma, beta, eps):
    dx, dgamma, dbeta = w.nodes(dy, x, gamma, beta, eps)
    dy[0] = dbeta
    return dx, dgamma, dy[0]


@_plain
def sorts_rows(dy, x, gamma, beta, eps):
    results = w.powers(dy, x, gamma, beta, eps)
    x.sort(axis=0)
    return results


@_plain
def borrows_dy(dy, x, gamma, beta, eps):
    dy *= 2.0
    dx, dgamma, dbeta = w.gram_schmidt(dy, x, gamma, beta, eps)
    dy *= 0.5
    return dx / 2.0, dgamma / 2.0, dbeta / 2.0


@_plain
def keeps_dimensions(dy, x, gamma, beta, eps):
    dx, dgamma, dbeta = w.in_place(dy, x, gamma, beta, eps)
    return dx, dgamma, dbeta[np.newaxis]


@_plain
def columns_of_parameters(dy, x, gamma, beta, eps):
    dx, dgamma, dbeta = w.features_first(dy, x, gamma, beta, eps)
    return dx, dgamma[:, None], dbeta[:, None]


@_plain
def batch_axis_more(dy, x, gamma, beta, eps):
    dx, dgamma, dbeta = w.staged(dy, x, gamma, beta, eps)
    return dx[None], dgamma, dbeta


@_plain
def another_order(dy, x, gamma, beta, eps):
    dx, dgamma, dbeta = w.columns(dy, x, gamma, beta, eps)
    return dx, dbeta, dgamma


@_plain
def dbeta_none(dy, x, gamma, beta, eps):
    return *w.powers(dy, x, gamma, beta, eps)[:2], None


@_plain
def always_float64(dy, x, gamma, beta, eps):
    wide = (a.astype(np.float64) for a in (dy, x, gamma, beta))
    return w.gram_schmidt(*wide, eps)


@_plain
def always_float32(dy, x, gamma, beta, eps):
    narrow = (a.astype(np.float32) for a in (dy, x, gamma, beta))
    return w.gram_schmidt(*narrow, eps)


FLOAT32 = {"dtype": np.float32}
CONTRACT = (
    (scales_dy, {}, "dy is multiplied by gamma in place"),
    (centres_x, {}, "x is centred in place"),
    (dx_in_x, {}, "dx is written over x and returned"),
    (gamma_over_sd, {}, "gamma is divided by the deviation in place"),
    (dbeta_in_beta, {}, "dbeta is written over beta and returned"),
    (dbeta_is_a_row_of_dy, {}, "the first row of dy is overwritten, and returned as dbeta"),
    (sorts_rows, {}, "x is sorted in place when all is done"),
    (borrows_dy, {}, "dy is changed and changed back: read-only arrays fail"),
    (keeps_dimensions, {}, "dbeta is (1, D)"),
    (columns_of_parameters, {}, "dgamma and dbeta are (D, 1)"),
    (batch_axis_more, {}, "dx is (1, N, D)"),
    (another_order, {}, "returned as (dx, dbeta, dgamma)"),
    (dbeta_none, {}, "None is returned for dbeta"),
    (always_float64, FLOAT32, "float32 in, float64 out"),
    (always_float32, {}, "float64 in, float32 out"),
)
