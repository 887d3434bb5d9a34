"""Right double backward passes, in other words than those that bncheck emits.

In the notation of the literature: v, a, b the cotangents of dx, dgamma, dbeta, A = <v, Ph>,
B = <v, xhat>, C = <h, xhat>; ``published`` follows PyTorch's batchnorm_double_backward
(torch/csrc/autograd/FunctionsManual.cpp) in names, order of arguments and of results.
"""

import numpy as np


def batch_norm(ddx, ddgamma, ddbeta, dy, x, gamma, eps):
    n = len(x)
    s = np.sqrt(x.var(axis=0) + eps)
    xh = (x - x.mean(axis=0)) / s
    pv, pg = ddx - ddx.mean(axis=0), dy - dy.mean(axis=0)
    A, B, C = (ddx * pg).sum(axis=0), (ddx * xh).sum(axis=0), (dy * xh).sum(axis=0)
    ddy = gamma / s * (pv - xh * B / n) + ddgamma * xh + ddbeta
    dgamma = (A - B * C / n) / s
    curved = (A - 3 * B * C / n) * xh + C * pv + B * pg
    dx = -gamma / (n * s**2) * curved + ddgamma / s * (pg - xh * C / n)
    return ddy, dx, dgamma


def published(input, gamma, ggI, ggG, ggB, gO, training, eps, save_mean, save_invstd, output_mask):
    """Images, (N, C, H, W)."""
    M = input.size / input.shape[1]

    def total(t):
        return t.sum(axis=(0, 2, 3), keepdims=True)

    def shaped(t):
        return t.reshape(1, -1, 1, 1)

    gamma, mu, invstd = shaped(gamma), shaped(save_mean), shaped(save_invstd)
    in_mu = input - mu
    sigma2_neg_3_2 = invstd**3
    gO_sum, ggI_sum = total(gO), total(ggI)
    gOinmu_sum, ggIinmu_sum = total(gO * in_mu), total(ggI * in_mu)

    def first_back_grad_input(g, scale):
        return scale * invstd / M * (M * g - total(g) - in_mu * invstd**2 * total(g * in_mu))

    all_sub = ggI_sum * gO_sum / M - total(gO * ggI) + 3 / M * invstd**2 * gOinmu_sum * ggIinmu_sum
    gI_0 = in_mu * sigma2_neg_3_2 * all_sub / M
    gI_1 = ggIinmu_sum * sigma2_neg_3_2 / M * (gO_sum / M - gO)
    gI_2 = gOinmu_sum * sigma2_neg_3_2 / M * (ggI_sum / M - ggI)
    gI = gamma * (gI_0 + gI_1 + gI_2) + shaped(ggG) * first_back_grad_input(gO, 1.0)
    gG = total(ggI * first_back_grad_input(gO, 1.0)).ravel()
    ggO = first_back_grad_input(ggI, gamma) + shaped(ggG) * in_mu * invstd + shaped(ggB)
    return gI, gG, ggO


def layer_norm(grad_grad_input, grad_grad_weight, grad_grad_bias, grad_output, input, weight, eps):
    D = input.shape[-1]
    mean = lambda t: t.mean(axis=-1, keepdims=True)  # noqa: E731
    dot = lambda p, q: (p * q).sum(axis=-1, keepdims=True)  # noqa: E731
    s = np.sqrt(((input - mean(input)) ** 2).mean(axis=-1, keepdims=True) + eps)
    xh, h, v = (input - mean(input)) / s, weight * grad_output, grad_grad_input
    A, B, C = dot(v, h - mean(h)), dot(v, xh), dot(h, xh)
    w = (v - mean(v) - xh * B / D) / s
    ag = grad_grad_weight * grad_output
    curved = (A - 3 * B * C / D) * xh + C * (v - mean(v)) + B * (h - mean(h))
    dx = -curved / (D * s**2) + (ag - mean(ag) - xh * dot(ag, xh) / D) / s
    return weight * w + grad_grad_weight * xh + grad_grad_bias, dx, (grad_output * w).sum(axis=0)


def rms_norm_double_backward(v, a, g, x, gamma, eps):
    D = x.shape[-1]
    dot = lambda p, q: (p * q).sum(axis=-1, keepdims=True)  # noqa: E731
    s = np.sqrt((x**2).mean(axis=-1, keepdims=True) + eps)
    xh, h = x / s, gamma * g
    A, B, C = dot(v, h), dot(v, xh), dot(h, xh)
    w = (v - xh * B / D) / s
    dx = -((A - 3 * B * C / D) * xh + C * v + B * h) / (D * s**2)
    dx = dx + (a * g - xh * dot(a * g, xh) / D) / s
    return {"dx": dx, "ddy": gamma * w + a * xh, "dgamma": (g * w).sum(axis=0)}


def group_norm(ggx, gg_gamma, gg_beta, dy, x, gamma, G, eps):
    N, channels, L = x.shape
    D = channels // G * L
    rows = lambda t: np.broadcast_to(t, x.shape).reshape(N, G, D)  # noqa: E731
    mean = lambda t: t.mean(axis=2, keepdims=True)  # noqa: E731
    dot = lambda p, q: (p * q).sum(axis=2, keepdims=True)  # noqa: E731
    scale, a = gamma[:, None], gg_gamma[:, None]
    centred = rows(x) - mean(rows(x))
    s = np.sqrt(mean(centred**2) + eps)
    xh, h, v, ag = centred / s, rows(scale * dy), rows(ggx), rows(a * dy)
    A, B, C = dot(v, h - mean(h)), dot(v, xh), dot(h, xh)
    w = ((v - mean(v) - xh * B / D) / s).reshape(x.shape)
    curved = (A - 3 * B * C / D) * xh + C * (v - mean(v)) + B * (h - mean(h))
    dx = -curved / (D * s**2) + (ag - mean(ag) - xh * dot(ag, xh) / D) / s
    ddy = scale * w + a * xh.reshape(x.shape) + gg_beta[:, None]
    return ddy, dx.reshape(x.shape), (dy * w).sum(axis=(0, 2))


def instance_norm(ct_dx, ct_dgamma, ct_dbeta, dy, x, gamma, eps):
    """Of x: (N, C, L)."""
    scale, a, v = gamma[:, None], ct_dgamma[:, None], ct_dx
    mean = lambda t: t.mean(axis=-1, keepdims=True)  # noqa: E731
    s = np.sqrt(x.var(axis=-1, keepdims=True) + eps)
    xh = (x - mean(x)) / s

    def along(g):
        return (g - mean(g) - xh * mean(g * xh)) / s

    pv, pg = v - mean(v), dy - mean(dy)
    inner = mean(v * pg) - 3 * mean(v * xh) * mean(dy * xh)
    dx = -scale / s**2 * (inner * xh + mean(dy * xh) * pv + mean(v * xh) * pg) + a * along(dy)
    ddy = scale * along(v) + a * xh + ct_dbeta[:, None]
    return ddy, dx, (v * along(dy)).sum(axis=(0, 2))


def weight_norm(ddv, ddgamma, dw, v, gamma):
    r = np.sqrt((v**2).sum(axis=1, keepdims=True))
    unit, h, a = v / r, gamma[:, None] * dw, ddgamma[:, None]
    dot = lambda p, q: (p * q).sum(axis=1, keepdims=True)  # noqa: E731
    A, B, C = dot(ddv, h), dot(ddv, unit), dot(h, unit)
    w = (ddv - unit * B) / r
    dv = (
        -((A - 3 * B * C) * unit + C * ddv + B * h) / r**2 + (a * dw - unit * dot(a * dw, unit)) / r
    )
    return gamma[:, None] * w + a * unit, dv, (dw * w).sum(axis=1)


def no_affine_double_backward(v, dy, x, eps):
    """Batch norm; (ddy, dx)."""
    n, s = len(x), np.sqrt(x.var(0) + eps)
    xh = (x - x.mean(0)) / s
    pv, pg = v - v.mean(0), dy - dy.mean(0)
    B, C = (v * xh).sum(0), (dy * xh).sum(0)
    ddy = (pv - xh * B / n) / s
    return ddy, -(((v * pg).sum(0) - 3 * B * C / n) * xh + C * pv + B * pg) / (n * s**2)


def only_ddx(ddx, dy, x, gamma, eps):
    """Batch norm; nothing comes back from dgamma and dbeta."""
    ddy, dx, dgamma = batch_norm(ddx, 0 * gamma, 0 * gamma, dy, x, gamma, eps)
    return dgamma, ddy, dx


def own_eps(ddx, ddgamma, ddbeta, dy, x, gamma):
    """Batch norm with an eps of its own."""
    return batch_norm(ddx, ddgamma, ddbeta, dy, x, gamma, 1e-3)


def with_beta(ddx, ddgamma, ddbeta, dy, x, gamma, beta, eps):
    """Batch norm; the gradient with respect to beta is 0."""
    return *batch_norm(ddx, ddgamma, ddbeta, dy, x, gamma, eps), np.zeros_like(beta)


def unbiased(ddx, ddgamma, ddbeta, dy, x, gamma, eps):
    """Batch norm whose variance is over m - 1."""
    n = len(x) - 1
    s = np.sqrt(x.var(axis=0, ddof=1) + eps)
    xh = (x - x.mean(axis=0)) / s
    pv, pg = ddx - ddx.mean(axis=0), dy - dy.mean(axis=0)
    A, B, C = (ddx * pg).sum(axis=0), (ddx * xh).sum(axis=0), (dy * xh).sum(axis=0)
    ddy = gamma / s * (pv - xh * B / n) + ddgamma * xh + ddbeta
    curved = (A - 3 * B * C / n) * xh + C * pv + B * pg
    dx = -gamma / (n * s**2) * curved + ddgamma / s * (pg - xh * C / n)
    return ddy, dx, (A - B * C / n) / s


def in_loops(ddx, ddgamma, ddbeta, dy, x, gamma, eps):
    """Batch norm as for a machine without arrays: sums one by one, feature by feature."""
    ddy, dx, dgamma = np.zeros_like(x), np.zeros_like(x), np.zeros_like(gamma)
    m, features = x.shape
    for j in range(features):
        mu = var = A = B = C = sv = sg = x.dtype.type(0)
        for i in range(m):
            mu += x[i, j] / m
        for i in range(m):
            var += (x[i, j] - mu) ** 2 / m
        s = (var + x.dtype.type(eps)) ** 0.5
        for i in range(m):
            xh = (x[i, j] - mu) / s
            B, C = B + ddx[i, j] * xh, C + dy[i, j] * xh
            A += ddx[i, j] * dy[i, j]
            sv, sg = sv + ddx[i, j], sg + dy[i, j]
        A -= sv * sg / m
        for i in range(m):
            xh = (x[i, j] - mu) / s
            pv, pg = ddx[i, j] - sv / m, dy[i, j] - sg / m
            ddy[i, j] = gamma[j] / s * (pv - xh * B / m) + ddgamma[j] * xh + ddbeta[j]
            inner = (A - 3 * B * C / m) * xh + C * pv + B * pg
            dx[i, j] = ddgamma[j] / s * (pg - xh * C / m) - gamma[j] * inner / m / s / s
        dgamma[j] = (A - B * C / m) / s
    return ddy, dx, dgamma


def staged(ddx, ddgamma, ddbeta, dy, x, gamma, eps):
    """Batch norm: the chain rule through the staged backward pass, line by line backwards."""
    m = len(x)
    mu = x.mean(0)
    xmu = x - mu
    var = (xmu**2).mean(0)
    inv = 1 / np.sqrt(var + eps)
    xhat = xmu * inv
    dxhat = dy * gamma
    mean1, mean2 = dxhat.mean(0), (dxhat * xhat).mean(0)
    inner = dxhat - mean1 - xhat * mean2
    # dx is inner times inv; dgamma and dbeta are the sums of dy times xhat and of dy
    g_inner, g_inv = ddx * inv, (ddx * inner).sum(0)
    g_xhat = -g_inner * mean2 + ddgamma * dy
    g_mean1, g_mean2 = -g_inner.sum(0), -(g_inner * xhat).sum(0)
    g_dxhat = g_inner + g_mean1 / m + g_mean2 * xhat / m
    g_xhat += g_mean2 * dxhat / m
    ddy = g_dxhat * gamma + ddgamma * xhat + ddbeta
    g_gamma = (g_dxhat * dy).sum(0)
    g_xmu = g_xhat * inv
    g_inv += (g_xhat * xmu).sum(0)
    g_var = -0.5 * g_inv * inv**3
    g_xmu += 2 * g_var * xmu / m
    return ddy, g_xmu - g_xmu.mean(0), g_gamma


RIGHT = {
    "batch-norm": (
        batch_norm, published, no_affine_double_backward, only_ddx, own_eps, with_beta, unbiased,
        in_loops, staged,
    ),
    "layer-norm": (layer_norm,),
    "rms-norm": (rms_norm_double_backward,),
    "group-norm": (group_norm,),
    "instance-norm": (instance_norm,),
    "weight-norm": (weight_norm,),
}  # fmt: skip
"""By the layer that they are of."""
