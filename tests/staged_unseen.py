"""More of them, written when the search for lines was done.

Of its first answers 52 of 72 were right. What these misses showed was mended then (buffers that
are filled later, names of widths, values by another count), so that they too are seen by now.
"""

SOURCES = {
    "vjp bn": """
import numpy as np

def bn_fwd(X, gamma, beta, eps=1e-3):
    sample_mean = np.mean(X, axis=0)
    sample_var = np.var(X, axis=0)
    denom = np.sqrt(sample_var + eps)
    x_centered = X - sample_mean
    normalized = x_centered / denom
    cache = (X, gamma, sample_mean, sample_var, denom, x_centered, normalized, eps)
    return gamma * normalized + beta, cache

def bn_bwd(dout, cache):
    X, gamma, sample_mean, sample_var, denom, x_centered, normalized, eps = cache
    num = X.shape[0]
    grad_beta = dout.sum(0)
    grad_gamma = np.einsum("ij,ij->j", dout, normalized)
    grad_norm = gamma * dout
    grad_denom = -(grad_norm * x_centered / denom ** 2).sum(0)
    grad_var = grad_denom / (2 * denom)
    grad_centered = grad_norm / denom + 2 * x_centered * grad_var / num
    grad_mean = -grad_centered.sum(0)
    grad_x = grad_centered + grad_mean / num
    return grad_x, grad_gamma, grad_beta
""",
    "class ln": """
import numpy as np

class LayerNorm:
    def __init__(self, d_model, eps=1e-6):
        self.gamma = np.ones(d_model)
        self.beta = np.zeros(d_model)
        self.eps = eps
        self.cache = {}

    def forward(self, x):
        mu = x.mean(-1, keepdims=True)
        xmu = x - mu
        var = (xmu ** 2).mean(-1, keepdims=True)
        ivar = 1.0 / np.sqrt(var + self.eps)
        xhat = xmu * ivar
        self.cache = {"xmu": xmu, "ivar": ivar, "xhat": xhat}
        return xhat * self.gamma + self.beta

    def backward(self, dout):
        xmu, ivar, xhat = self.cache["xmu"], self.cache["ivar"], self.cache["xhat"]
        D = dout.shape[-1]
        self.grad_gamma = (dout * xhat).sum(axis=0)
        self.grad_beta = dout.sum(axis=0)
        dxhat = dout * self.gamma
        divar = (dxhat * xmu).sum(-1, keepdims=True)
        dxmu = dxhat * ivar
        dvar = -0.5 * ivar ** 3 * divar
        dxmu += 2.0 / D * xmu * dvar
        dmu = -dxmu.sum(-1, keepdims=True)
        dx = dxmu + dmu / D
        return dx
""",
    "sum terms": """
import numpy as np

def batchnorm_forward(x, gamma, beta, bn_param):
    eps = bn_param.get("eps", 1e-5)
    mean = np.mean(x, 0)
    std = np.sqrt(np.var(x, 0) + eps)
    x_hat = (x - mean) / std
    return x_hat * gamma + beta, (x_hat, gamma, std)

def batchnorm_backward(dout, cache):
    x_hat, gamma, std = cache
    m, d = dout.shape
    dbeta = dout.sum(axis=0)
    dgamma = (x_hat * dout).sum(axis=0)
    first = m * dout
    second = dbeta
    third = x_hat * dgamma
    total = first - second - third
    scale = gamma / (m * std)
    dx = scale * total
    return dx, dgamma, dbeta
""",
    "vector loops": """
import numpy as np

def layernorm_forward(x, gamma, beta, eps):
    n, d = x.shape
    xhat = np.empty((n, d))
    sigma = np.empty(n)
    for i in range(n):
        row = x[i]
        mu = row.sum() / d
        sigma[i] = np.sqrt(((row - mu) ** 2).sum() / d + eps)
        xhat[i] = (row - mu) / sigma[i]
    return xhat * gamma + beta, (xhat, sigma, gamma)

def layernorm_backward(dout, cache):
    xhat, sigma, gamma = cache
    n, d = dout.shape
    dx = np.zeros((n, d))
    dgamma = np.zeros(d)
    dbeta = np.zeros(d)
    for i in range(n):
        dgamma += dout[i] * xhat[i]
        dbeta += dout[i]
        dxhat = dout[i] * gamma
        mean_dxhat = dxhat.sum() / d
        mean_prod = np.dot(dxhat, xhat[i]) / d
        dx[i] = (dxhat - mean_dxhat - xhat[i] * mean_prod) / sigma[i]
    return dx, dgamma, dbeta
""",
    "spatial reshape": """
import numpy as np

def batchnorm_forward(x, gamma, beta, eps):
    mu = x.mean(axis=0)
    xc = x - mu
    sigma = np.sqrt((xc * xc).mean(axis=0) + eps)
    xn = xc / sigma
    return gamma * xn + beta, (xc, sigma, xn, gamma)

def batchnorm_backward(dout, cache):
    xc, sigma, xn, gamma = cache
    n = dout.shape[0]
    dbeta = dout.sum(axis=0)
    dgamma = (dout * xn).sum(axis=0)
    dxn = dout * gamma
    dsigma = (dxn * xc).sum(axis=0) * (-1 / sigma ** 2)
    dvar = dsigma * (0.5 / sigma)
    dxc = dxn / sigma + dvar * 2 / n * xc
    dx = dxc - dxc.sum(axis=0) / n
    return dx, dgamma, dbeta

def spatial_batchnorm_forward(x, gamma, beta, eps):
    N, C, H, W = x.shape
    flat = x.transpose(0, 2, 3, 1).reshape(-1, C)
    out, cache = batchnorm_forward(flat, gamma, beta, eps)
    return out.reshape(N, H, W, C).transpose(0, 3, 1, 2), cache

def spatial_batchnorm_backward(dout, cache):
    N, C, H, W = dout.shape
    flat = dout.transpose(0, 2, 3, 1).reshape(-1, C)
    dflat, dgamma, dbeta = batchnorm_backward(flat, cache)
    dx = dflat.reshape(N, H, W, C).transpose(0, 3, 1, 2)
    return dx, dgamma, dbeta
""",
    "alone rms": """
import numpy as np

def rms_norm_backward(grad, x, gain, eps):
    dim = x.shape[-1]
    mean_square = (x * x).sum(axis=-1, keepdims=True) / dim
    inv_rms = (mean_square + eps) ** -0.5
    unit = x * inv_rms
    grad_gain = (grad * unit).sum(axis=0)
    grad_unit = grad * gain
    projection = (grad_unit * unit).sum(axis=-1, keepdims=True) / dim
    tangent = grad_unit - unit * projection
    grad_x = tangent * inv_rms
    return grad_x, grad_gain
""",
    "group alone": """
import numpy as np

def group_norm_forward(x, gamma, beta, num_groups, eps=1e-5):
    N, C, L = x.shape
    xg = x.reshape(N, num_groups, -1)
    mu = xg.mean(axis=2, keepdims=True)
    rstd = 1 / np.sqrt(xg.var(axis=2, keepdims=True) + eps)
    xhat = ((xg - mu) * rstd).reshape(N, C, L)
    return gamma[:, None] * xhat + beta[:, None], (xhat, rstd, gamma, num_groups)

def group_norm_backward(dout, cache):
    xhat, rstd, gamma, num_groups = cache
    N, C, L = dout.shape
    dgamma = (dout * xhat).sum(axis=(0, 2))
    dbeta = dout.sum(axis=(0, 2))
    dxhat = (dout * gamma[:, None]).reshape(N, num_groups, -1)
    xhat_g = xhat.reshape(N, num_groups, -1)
    size = dxhat.shape[2]
    m1 = dxhat.sum(axis=2, keepdims=True) / size
    m2 = (dxhat * xhat_g).sum(axis=2, keepdims=True) / size
    dxg = dxhat - m1
    dxg -= xhat_g * m2
    dxg *= rstd
    return dxg.reshape(N, C, L), dgamma, dbeta
""",
}

MISTAKES = {
    "vjp bn": (
        ("dout, normalized)", "dout, x_centered)"),
        ("gamma * dout", "gamma ** 2 * dout"),
        ("denom ** 2).sum", "denom).sum"),
        ("-(grad_norm", "(grad_norm"),
        ("(2 * denom)", "denom"),
        ("(2 * denom)", "(2 * sample_var)"),
        ("grad_norm / denom + 2", "grad_norm + 2"),
        ("+ 2 * x_c", "+ x_c"),
        ("grad_var / num", "grad_var / (num - 1)"),
        ("-grad_centered.sum(0)", "-grad_norm.sum(0)"),
        ("grad_centered + grad_mean / num", "grad_centered + grad_mean"),
        ("dout.sum(0)", "dout.sum(0) / num"),
        ("num = X.shape[0]", "num = X.shape[1]"),
    ),
    "class ln": (
        ("(dout * xhat).sum", "(dout * xmu).sum"),
        ("dxhat = dout * self.gamma", "dxhat = dout * self.beta"),
        ("divar = (dxhat * xmu)", "divar = (dout * xmu)"),
        ("dxmu = dxhat * ivar", "dxmu = dxhat / ivar"),
        ("-0.5 * ivar ** 3", "-0.5 * ivar ** 2"),
        ("-0.5 * ivar ** 3", "0.5 * ivar ** 3"),
        ("2.0 / D", "1.0 / D"),
        ("xmu * dvar", "xhat * dvar"),
        ("-dxmu.sum(-1", "-dxhat.sum(-1"),
        ("dxmu + dmu / D", "dxmu - dmu / D"),
        ("dout.shape[-1]", "dout.shape[0]"),
        ("self.grad_beta = dout.sum(axis=0)", "self.grad_beta = dout.mean(axis=0)"),
    ),
    "sum terms": (
        ("first = m * dout", "first = dout"),
        ("first = m * dout", "first = m * dout * gamma"),
        ("second = dbeta", "second = dbeta / m"),
        ("third = x_hat * dgamma", "third = x_hat * dbeta"),
        ("- third", "+ third"),
        ("scale = gamma / (m * std)", "scale = 1 / (m * std)"),
        ("(m * std)", "std"),
        ("(m * std)", "(d * std)"),
        ("(x_hat * dout).sum", "(x_hat + dout).sum"),
    ),
    "vector loops": (
        ("dout[i] * xhat[i]", "dout[i] * xhat[0]"),
        ("dbeta += dout[i]", "dbeta += dout[i] / n"),
        ("dxhat = dout[i] * gamma", "dxhat = dout[i]"),
        ("dxhat.sum() / d", "dxhat.sum() / n"),
        ("np.dot(dxhat, xhat[i]) / d", "np.dot(dout[i], xhat[i]) / d"),
        ("np.dot(dxhat, xhat[i]) / d", "np.dot(dxhat, xhat[i])"),
        ("- xhat[i] * mean_prod", "+ xhat[i] * mean_prod"),
        (") / sigma[i]\n    return dx", ") / sigma[i] ** 2\n    return dx"),
    ),
    "spatial reshape": (
        ("n = dout.shape[0]\n", "n = dout.shape[1]\n"),
        ("(dout * xn)", "(dout * xc)"),
        ("dxn = dout * gamma", "dxn = dout * sigma"),
        ("(-1 / sigma ** 2)", "(-1 / sigma)"),
        ("(0.5 / sigma)", "0.5"),
        ("dvar * 2 / n", "dvar / n"),
        ("dxn / sigma + dvar", "dxn + dvar"),
        ("dxc - dxc.sum(axis=0) / n", "dxc - dxc.sum(axis=0)"),
        ("dxc - dxc.sum(axis=0) / n", "dxc"),
    ),
    "alone rms": (
        ("keepdims=True) / dim\n    inv", "keepdims=True) / (dim - 1)\n    inv"),
        ("(mean_square + eps) ** -0.5", "mean_square ** -0.5"),
        ("(grad * unit)", "(grad * x)"),
        ("grad_unit = grad * gain", "grad_unit = grad"),
        ("(grad_unit * unit).sum", "(grad * unit).sum"),
        ("(grad_unit * unit).sum", "(grad_unit * x).sum"),
        (
            "projection = (grad_unit * unit).sum(axis=-1, keepdims=True) / dim",
            "projection = (grad_unit * unit).sum(axis=-1, keepdims=True)",
        ),
        ("grad_unit - unit", "grad_unit + unit"),
        ("unit * projection", "x * projection"),
        ("tangent * inv_rms", "tangent / inv_rms"),
        ("dim = x.shape[-1]", "dim = x.shape[0]"),
    ),
    "group alone": (
        ("(dout * xhat).sum", "(dout + xhat).sum"),
        ("dout.sum(axis=(0, 2))", "dout.sum(axis=(0, 2)) / N"),
        ("(dout * gamma[:, None])", "dout"),
        ("size = dxhat.shape[2]", "size = L"),
        ("size = dxhat.shape[2]", "size = N * L"),
        (
            "m1 = dxhat.sum(axis=2, keepdims=True) / size",
            "m1 = dxhat.sum(axis=2, keepdims=True) / L",
        ),
        ("(dxhat * xhat_g).sum", "(dxhat * dxhat).sum"),
        ("dxg = dxhat - m1", "dxg = dxhat + m1"),
        ("dxg -= xhat_g", "dxg += xhat_g"),
        ("dxg *= rstd", "dxg *= rstd ** 2"),
    ),
}  # fmt: skip
