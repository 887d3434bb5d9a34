"""Staged backward passes as people write them, and mistakes in one line of each.

``SOURCES``: right files by name. ``MISTAKES``: for each, a piece of one line, and what stands there
instead; ``wrong`` writes the file with the comment ``# <-- here`` behind the line to mend.
"""

from tests import staged_unseen

HERE = "  # <-- here"

SOURCES = {
    "nine steps": """
import numpy as np

def batchnorm_forward(x, gamma, beta, eps):
    N, D = x.shape
    mu = 1. / N * np.sum(x, axis=0)
    xmu = x - mu
    sq = xmu ** 2
    var = 1. / N * np.sum(sq, axis=0)
    sqrtvar = np.sqrt(var + eps)
    ivar = 1. / sqrtvar
    xhat = xmu * ivar
    gammax = gamma * xhat
    out = gammax + beta
    cache = (xhat, gamma, xmu, ivar, sqrtvar, var, eps)
    return out, cache

def batchnorm_backward(dout, cache):
    xhat, gamma, xmu, ivar, sqrtvar, var, eps = cache
    N, D = dout.shape
    # step 9
    dbeta = np.sum(dout, axis=0)
    dgammax = dout
    # step 8
    dgamma = np.sum(dgammax * xhat, axis=0)
    dxhat = dgammax * gamma
    # step 7
    divar = np.sum(dxhat * xmu, axis=0)
    dxmu1 = dxhat * ivar
    # step 6
    dsqrtvar = -1. / (sqrtvar ** 2) * divar
    # step 5
    dvar = 0.5 * 1. / np.sqrt(var + eps) * dsqrtvar
    # step 4
    dsq = 1. / N * np.ones((N, D)) * dvar
    # step 3
    dxmu2 = 2 * xmu * dsq
    # step 2
    dx1 = (dxmu1 + dxmu2)
    dmu = -1 * np.sum(dxmu1 + dxmu2, axis=0)
    # step 1
    dx2 = 1. / N * np.ones((N, D)) * dmu
    # step 0
    dx = dx1 + dx2
    return dx, dgamma, dbeta
""",
    "paper": """
import numpy as np

def bn_forward(x, gamma, beta, eps=1e-5):
    mean = x.mean(axis=0)
    var = x.var(axis=0)
    x_norm = (x - mean) / np.sqrt(var + eps)
    out = gamma * x_norm + beta
    return out, {"x": x, "mean": mean, "var": var, "x_norm": x_norm, "gamma": gamma, "eps": eps}

def bn_backward(dout, cache):
    x, mean, var = cache["x"], cache["mean"], cache["var"]
    x_norm, gamma, eps = cache["x_norm"], cache["gamma"], cache["eps"]
    m = x.shape[0]
    dx_norm = dout * gamma
    dvar = np.sum(dx_norm * (x - mean) * -0.5 * (var + eps) ** (-1.5), axis=0)
    dmean = np.sum(dx_norm * -1 / np.sqrt(var + eps), axis=0)
    dmean = dmean + dvar * np.mean(-2 * (x - mean), axis=0)
    dx = dx_norm / np.sqrt(var + eps)
    dx += dvar * 2 * (x - mean) / m
    dx += dmean / m
    grads = {}
    grads["dx"] = dx
    grads["dgamma"] = np.sum(dout * x_norm, axis=0)
    grads["dbeta"] = np.sum(dout, axis=0)
    return grads
""",
    "layer class": """
import numpy as np

class BatchNormalization:
    def __init__(self, gamma, beta, epsilon=1e-5):
        self.gamma = gamma
        self.beta = beta
        self.epsilon = epsilon

    def forward(self, x):
        mu = x.mean(axis=0)
        self.xc = x - mu
        var = np.mean(self.xc ** 2, axis=0)
        self.std = np.sqrt(var + self.epsilon)
        self.xn = self.xc / self.std
        self.batch_size = x.shape[0]
        return self.gamma * self.xn + self.beta

    def backward(self, dout):
        self.dbeta = dout.sum(axis=0)
        self.dgamma = np.sum(self.xn * dout, axis=0)
        dxn = self.gamma * dout
        dxc = dxn / self.std
        dstd = -np.sum((dxn * self.xc) / (self.std * self.std), axis=0)
        dvar = 0.5 * dstd / self.std
        dxc += (2.0 / self.batch_size) * self.xc * dvar
        dmu = np.sum(dxc, axis=0)
        dx = dxc - dmu / self.batch_size
        return dx
""",
    "layer norm": """
import numpy as np

def layernorm_forward(x, gamma, beta, ln_param):
    eps = ln_param.get("eps", 1e-5)
    mu = np.mean(x, axis=1, keepdims=True)
    var = np.var(x, axis=1, keepdims=True)
    std = np.sqrt(var + eps)
    x_hat = (x - mu) / std
    out = gamma * x_hat + beta
    return out, (x_hat, gamma, mu, std, x)

def layernorm_backward(dout, cache):
    x_hat, gamma, mu, std, x = cache
    N, D = x.shape
    dgamma = np.sum(dout * x_hat, axis=0)
    dbeta = np.sum(dout, axis=0)
    dx_hat = dout * gamma
    inv_std = 1.0 / std
    dstd = np.sum(dx_hat * (x - mu), axis=1, keepdims=True) * -(inv_std ** 2)
    dvar = dstd * 0.5 * inv_std
    dx1 = dx_hat * inv_std
    dx2 = dvar * 2.0 * (x - mu) / D
    dmu = -np.sum(dx1 + dx2, axis=1, keepdims=True)
    dx3 = dmu / D
    dx = dx1 + dx2 + dx3
    return dx, dgamma, dbeta
""",
    "turned layer norm": """
import numpy as np

def layernorm_forward(x, gamma, beta, ln_param):
    eps = ln_param.get("eps", 1e-5)
    x_T = x.T
    sample_mean = np.mean(x_T, axis=0)
    sample_var = np.var(x_T, axis=0)
    x_norm_T = (x_T - sample_mean) / np.sqrt(sample_var + eps)
    x_norm = x_norm_T.T
    out = x_norm * gamma + beta
    cache = (x, x_norm, gamma, sample_mean, sample_var, eps)
    return out, cache

def layernorm_backward(dout, cache):
    x, x_norm, gamma, sample_mean, sample_var, eps = cache
    x_T = x.T
    dout_T = dout.T
    N = x_T.shape[0]
    dbeta = np.sum(dout, axis=0)
    dgamma = np.sum(x_norm * dout, axis=0)
    dx_norm = dout_T * gamma[:, np.newaxis]
    dv = ((x_T - sample_mean) * -0.5 * (sample_var + eps) ** -1.5 * dx_norm).sum(axis=0)
    dm = (dx_norm * -1 * (sample_var + eps) ** -0.5).sum(axis=0)
    dm += (dv * (x_T - sample_mean) * -2 / N).sum(axis=0)
    dx_T = dx_norm / (sample_var + eps) ** 0.5 + dv * 2 * (x_T - sample_mean) / N + dm / N
    dx = dx_T.T
    return dx, dgamma, dbeta
""",
    "loops": """
import numpy as np

def batchnorm_forward(x, gamma, beta, eps):
    N, D = x.shape
    xhat = np.zeros_like(x)
    mu = np.zeros(D)
    std = np.zeros(D)
    for j in range(D):
        mu[j] = x[:, j].sum() / N
        std[j] = np.sqrt(((x[:, j] - mu[j]) ** 2).sum() / N + eps)
        for i in range(N):
            xhat[i, j] = (x[i, j] - mu[j]) / std[j]
    return gamma * xhat + beta, (x, xhat, mu, std, gamma)

def batchnorm_backward(dout, cache):
    x, xhat, mu, std, gamma = cache
    N, D = x.shape
    dx = np.zeros_like(x)
    dgamma = np.zeros(D)
    dbeta = np.zeros(D)
    for j in range(D):
        dvar = 0.0
        dmu = 0.0
        for i in range(N):
            dbeta[j] += dout[i, j]
            dgamma[j] += dout[i, j] * xhat[i, j]
            dxhat = dout[i, j] * gamma[j]
            dvar += dxhat * (x[i, j] - mu[j]) * -0.5 / std[j] ** 3
            dmu += -dxhat / std[j]
        for i in range(N):
            dxhat = dout[i, j] * gamma[j]
            dx[i, j] = dxhat / std[j] + dvar * 2 * (x[i, j] - mu[j]) / N + dmu / N
    return dx, dgamma, dbeta
""",
    "group norm": """
import numpy as np

def spatial_groupnorm_forward(x, gamma, beta, G, gn_param):
    eps = gn_param.get("eps", 1e-5)
    N, C, H, W = x.shape
    x_group = x.reshape(N, G, C // G, H, W)
    mean = np.mean(x_group, axis=(2, 3, 4), keepdims=True)
    var = np.var(x_group, axis=(2, 3, 4), keepdims=True)
    x_groupnorm = (x_group - mean) / np.sqrt(var + eps)
    x_norm = x_groupnorm.reshape(N, C, H, W)
    out = gamma.reshape(1, C, 1, 1) * x_norm + beta.reshape(1, C, 1, 1)
    cache = (G, x, x_norm, mean, var, beta, gamma, eps)
    return out, cache

def spatial_groupnorm_backward(dout, cache):
    N, C, H, W = dout.shape
    G, x, x_norm, mean, var, beta, gamma, eps = cache
    dbeta = np.sum(dout, axis=(0, 2, 3))
    dgamma = np.sum(dout * x_norm, axis=(0, 2, 3))
    x_group = x.reshape((N, G, C // G, H, W))
    dx_norm = dout * gamma.reshape(1, C, 1, 1)
    dx_groupnorm = dx_norm.reshape((N, G, C // G, H, W))
    dvar = dx_groupnorm * -0.5 * (x_group - mean) * (var + eps) ** -1.5
    dvar = np.sum(dvar, axis=(2, 3, 4), keepdims=True)
    N_group = C // G * H * W
    dmean1 = np.sum(dx_groupnorm * -1.0 / np.sqrt(var + eps), axis=(2, 3, 4), keepdims=True)
    dmean2 = dvar * -2.0 / N_group * np.sum(x_group - mean, axis=(2, 3, 4), keepdims=True)
    dmean = dmean1 + dmean2
    dx_group1 = dx_groupnorm / np.sqrt(var + eps)
    dx_group2 = dvar * 2.0 / N_group * (x_group - mean)
    dx_group3 = dmean / N_group
    dx_group = dx_group1 + dx_group2 + dx_group3
    dx = dx_group.reshape((N, C, H, W))
    return dx, dgamma, dbeta
""",
    "spatial": """
import numpy as np

class BatchNorm2d:
    def __init__(self, num_features, eps=1e-5):
        self.gamma = np.ones(num_features)
        self.beta = np.zeros(num_features)
        self.eps = eps
        self.grads = {}

    def forward(self, x):
        self.x = x
        self.mean = x.mean(axis=(0, 2, 3), keepdims=True)
        self.var = x.var(axis=(0, 2, 3), keepdims=True)
        self.inv_std = 1 / np.sqrt(self.var + self.eps)
        self.x_hat = (x - self.mean) * self.inv_std
        return self.gamma[None, :, None, None] * self.x_hat + self.beta[None, :, None, None]

    def backward(self, grad_output):
        n, c, h, w = grad_output.shape
        count = n * h * w
        self.grads["gamma"] = (grad_output * self.x_hat).sum(axis=(0, 2, 3))
        self.grads["beta"] = grad_output.sum(axis=(0, 2, 3))
        grad_x_hat = grad_output * self.gamma[None, :, None, None]
        sum_grad = grad_x_hat.sum(axis=(0, 2, 3), keepdims=True)
        sum_grad_x_hat = (grad_x_hat * self.x_hat).sum(axis=(0, 2, 3), keepdims=True)
        inner = grad_x_hat - sum_grad / count - self.x_hat * sum_grad_x_hat / count
        grad_input = self.inv_std * inner
        return grad_input
""",
    "nameless": """
import numpy as np

def layer_norm_forward(x, w, b, eps=1e-5):
    m = x.mean(axis=1, keepdims=True)
    c = x - m
    s = np.sqrt((c * c).mean(axis=1, keepdims=True) + eps)
    h = c / s
    return w * h + b, (c, s, h, w)

def layer_norm_backward(dy, cache):
    c, s, h, w = cache
    t1 = dy * w
    t2 = t1.mean(axis=1, keepdims=True)
    t3 = t1 * h
    t4 = t3.mean(axis=1, keepdims=True)
    t5 = h * t4
    t6 = t1 - t2
    t7 = t6 - t5
    t8 = t7 / s
    p = dy * h
    q = p.sum(axis=0)
    r = dy.sum(axis=0)
    return t8, q, r
""",
    "alone": """
import numpy as np

def batchnorm_backward(dy, x, gamma, beta, eps):
    m = x.shape[0]
    mu = x.sum(axis=0) / m
    xmu = x - mu
    var = (xmu * xmu).sum(axis=0) / m
    istd = 1.0 / np.sqrt(var + eps)
    xhat = xmu * istd
    dbeta = dy.sum(axis=0)
    dgamma = (dy * xhat).sum(axis=0)
    dxhat = dy * gamma
    distd = (dxhat * xmu).sum(axis=0)
    dvar = distd * -0.5 * istd ** 3
    dmu = -(dxhat * istd).sum(axis=0)
    dx = dxhat * istd
    dx = dx + xmu * (2 * dvar / m)
    dx = dx + dmu / m
    return dx, dgamma, dbeta
""",
    "helpers": """
import numpy as np

def normalize(x, eps):
    centered = x - x.mean(axis=0)
    std = np.sqrt((centered ** 2).mean(axis=0) + eps)
    return centered, std

def grad_variance(dnorm, centered, std):
    total = np.sum(dnorm * centered, axis=0)
    return -0.5 * total / std ** 3

def grad_mean(dnorm, std):
    return -np.sum(dnorm / std, axis=0)

def batch_norm_forward(x, gamma, beta, eps):
    centered, std = normalize(x, eps)
    return gamma * centered / std + beta, (centered, std, gamma)

def batch_norm_backward(grad_out, cache):
    centered, std, gamma = cache
    batch = len(grad_out)
    normed = centered / std
    dnorm = grad_out * gamma
    gvar = grad_variance(dnorm, centered, std)
    gmean = grad_mean(dnorm, std)
    direct = dnorm / std
    through_var = gvar * 2 * centered / batch
    through_mean = gmean / batch
    grad_x = direct + through_var + through_mean
    return grad_x, (grad_out * normed).sum(axis=0), grad_out.sum(axis=0)
""",
    "rms": """
import numpy as np

def rmsnorm_forward(x, weight, eps=1e-6):
    ms = np.mean(x ** 2, axis=-1, keepdims=True)
    rrms = 1.0 / np.sqrt(ms + eps)
    normed = x * rrms
    return normed * weight, (x, rrms, normed, weight)

def rmsnorm_backward(dout, cache):
    x, rrms, normed, weight = cache
    dweight = (dout * normed).sum(axis=0)
    dnormed = dout * weight
    drrms = (dnormed * x).sum(axis=-1, keepdims=True)
    dms = drrms * -0.5 * rrms ** 3
    dx = dnormed * rrms
    dx += dms * 2 * x / x.shape[-1]
    return dx, dweight
""",
    "compact": """
import numpy as np

def batchnorm_forward(x, gamma, beta, bn_param):
    eps = bn_param.get("eps", 1e-5)
    mu = x.mean(axis=0)
    var = x.var(axis=0) + eps
    std = var ** 0.5
    z = (x - mu) / std
    return gamma * z + beta, (z, gamma, beta, mu, var, std)

def batchnorm_backward_alt(dout, cache):
    z, gamma, beta, mu, var, std = cache
    N = dout.shape[0]
    dbeta = dout.sum(axis=0)
    dgamma = np.sum(dout * z, axis=0)
    dfdz = dout * gamma
    dfdz_sum = np.sum(dfdz, axis=0)
    dx = dfdz - dfdz_sum / N - np.sum(dfdz * z, axis=0) * z / N
    dx /= std
    return dx, dgamma, dbeta
""",
    "evaluation of parts": """
import numpy as np

class LayerNorm:
    def __init__(self, dim, eps=1e-5):
        self.gamma = np.ones(dim)
        self.beta = np.zeros(dim)
        self.eps = eps

    def forward(self, x):
        self.mu = x.mean(axis=-1, keepdims=True)
        self.sigma = np.sqrt(x.var(axis=-1, keepdims=True) + self.eps)
        self.xhat = (x - self.mu) / self.sigma
        return self.gamma * self.xhat + self.beta

    def backward(self, dy):
        d = dy.shape[-1]
        self.dgamma = np.sum(dy * self.xhat, axis=0)
        self.dbeta = np.sum(dy, axis=0)
        g = dy * self.gamma
        a = np.sum(g, axis=-1, keepdims=True)
        b = np.sum(g * self.xhat, axis=-1, keepdims=True)
        return (d * g - a - self.xhat * b) / (d * self.sigma)
""",
    "instance": """
import numpy as np

def instancenorm_forward(x, gamma, beta, eps=1e-5):
    mean = x.mean(axis=(2, 3), keepdims=True)
    diff = x - mean
    var = (diff ** 2).mean(axis=(2, 3), keepdims=True)
    sigma = np.sqrt(var + eps)
    xhat = diff / sigma
    return gamma[None, :, None, None] * xhat + beta[None, :, None, None], (diff, sigma, xhat, gamma)

def instancenorm_backward(dout, cache):
    diff, sigma, xhat, gamma = cache
    n, c, h, w = dout.shape
    dx = np.empty_like(dout)
    for i in range(n):
        for k in range(c):
            dxhat = dout[i, k] * gamma[k]
            s = sigma[i, k, 0, 0]
            dsigma = -np.sum(dxhat * diff[i, k]) / s ** 2
            dvar = dsigma / (2 * s)
            ddiff = dxhat / s + 2 * diff[i, k] * dvar / (h * w)
            dmean = -ddiff.sum()
            dx[i, k] = ddiff + dmean / (h * w)
    dgamma = (dout * xhat).sum(axis=(0, 2, 3))
    dbeta = dout.sum(axis=(0, 2, 3))
    return dx, dgamma, dbeta
""",
    "torch names": """
import numpy as np

def native_layer_norm(input, weight, bias, eps=1e-5):
    mean = input.mean(-1, keepdims=True)
    rstd = 1 / np.sqrt(input.var(-1, keepdims=True) + eps)
    return (input - mean) * rstd * weight + bias, (input, mean, rstd, weight)

def native_layer_norm_backward(grad_out, cache):
    input, mean, rstd, weight = cache
    H = input.shape[-1]
    x_hat = (input - mean) * rstd
    grad_weight = (grad_out * x_hat).sum(0)
    grad_bias = grad_out.sum(0)
    grad_x_hat = grad_out * weight
    c1 = (grad_x_hat * x_hat).sum(-1, keepdims=True)
    c2 = grad_x_hat.sum(-1, keepdims=True)
    grad_input = rstd / H * (
        H * grad_x_hat
        - c2
        - x_hat * c1
    )
    return grad_input, grad_weight, grad_bias
""",
}

MISTAKES = {
    "nine steps": (
        ("dbeta = np.sum(dout, axis=0)", "dbeta = np.mean(dout, axis=0)"),
        ("dgammax = dout", "dgammax = dout * xhat"),
        ("dgammax * xhat, axis=0", "dgammax * xmu, axis=0"),
        ("dxhat = dgammax * gamma", "dxhat = dgammax"),
        ("dxhat * xmu, axis=0", "dxhat * xhat, axis=0"),
        ("dxmu1 = dxhat * ivar", "dxmu1 = dxhat * sqrtvar"),
        ("-1. / (sqrtvar ** 2) * divar", "1. / (sqrtvar ** 2) * divar"),
        ("-1. / (sqrtvar ** 2) * divar", "-1. / sqrtvar * divar"),
        ("0.5 * 1. / np.sqrt", "1. / np.sqrt"),
        ("np.sqrt(var + eps) * dsqrtvar", "np.sqrt(var) * dsqrtvar"),
        ("dsq = 1. / N", "dsq = 1. / (N - 1)"),
        ("dsq = 1. / N", "dsq = 1. / D"),
        ("dxmu2 = 2 * xmu * dsq", "dxmu2 = xmu * dsq"),
        ("dxmu2 = 2 * xmu * dsq", "dxmu2 = 2 * xhat * dsq"),
        ("dx1 = (dxmu1 + dxmu2)", "dx1 = (dxmu1 - dxmu2)"),
        ("dx1 = (dxmu1 + dxmu2)", "dx1 = dxmu1"),
        ("dmu = -1 * np.sum", "dmu = np.sum"),
        ("dx2 = 1. / N", "dx2 = 1. / D"),
        ("dx = dx1 + dx2", "dx = dx1 - dx2"),
        ("dx = dx1 + dx2", "dx = dx1"),
    ),
    "paper": (
        ("dx_norm = dout * gamma", "dx_norm = dout * x_norm"),
        ("* -0.5 * (var", "* 0.5 * (var"),
        ("** (-1.5)", "** (-0.5)"),
        ("(var + eps) ** (-1.5)", "var ** (-1.5)"),
        ("dmean = np.sum(dx_norm * -1", "dmean = np.sum(dx_norm * 1"),
        ("dx = dx_norm / np.sqrt(var + eps)", "dx = dx_norm / (var + eps)"),
        ("dx += dvar * 2", "dx += dvar"),
        ("dx += dvar * 2", "dx -= dvar * 2"),
        ("dx += dmean / m", "dx += dmean"),
        ("(dout * x_norm, axis=0)", "(dout * x, axis=0)"),
        ("np.sum(dout, axis=0)", "np.sum(dx_norm, axis=0)"),
        ("m = x.shape[0]", "m = x.shape[1]"),
    ),
    "layer class": (
        ("dout.sum(axis=0)", "dout.mean(axis=0)"),
        ("self.xn * dout", "self.xc * dout"),
        ("dxn = self.gamma * dout", "dxn = self.gamma * self.gamma * dout"),
        ("dxc = dxn / self.std", "dxc = dxn * self.std"),
        ("(self.std * self.std)", "self.std"),
        ("dstd = -np.sum", "dstd = np.sum"),
        ("0.5 * dstd", "2.0 * dstd"),
        ("(2.0 / self", "(1.0 / self"),
        ("* self.xc * dvar", "* self.xn * dvar"),
        ("dmu = np.sum(dxc, axis=0)", "dmu = np.mean(dxc, axis=0)"),
        ("dx = dxc - dmu", "dx = dxc - 2 * dmu"),
        ("self.batch_size = x.shape[0]", "self.batch_size = x.shape[0] - 1"),
    ),
    "layer norm": (
        ("(dout * x_hat, axis=0)", "(dout * x, axis=0)"),
        ("dx_hat = dout * gamma", "dx_hat = dout"),
        ("1.0 / std\n", "1.0 / std ** 2\n"),
        ("(dx_hat * (x - mu)", "(dx_hat * x_hat"),
        ("-(inv_std ** 2)", "-(inv_std ** 3)"),
        ("dstd * 0.5", "dstd * 2"),
        ("dx1 = dx_hat * inv_std", "dx1 = dout * inv_std"),
        ("(x - mu) / D", "(x - mu) / N"),
        ("dx2 = dvar * 2.0", "dx2 = dvar"),
        ("dmu = -np.sum(dx1 + dx2", "dmu = -np.sum(dx1 * dx2"),
        ("-np.sum(dx1 + dx2, axis=1, keepdims=True)", "np.sum(dx1 + dx2, axis=1, keepdims=True)"),
        ("dx3 = dmu / D", "dx3 = dmu / N"),
        ("dx1 + dx2 + dx3", "dx1 + dx2"),
    ),
    "turned layer norm": (
        ("dout_T * gamma[:, np.newaxis]", "dout_T"),
        ("* -0.5 * (sample_var", "* -1.0 * (sample_var"),
        ("** -1.5", "** -1.0"),
        ("(dx_norm * -1 *", "(dx_norm *"),
        ("dv * 2 *", "dv *"),
        ("+ dm / N", "- dm / N"),
        ("N = x_T.shape[0]", "N = x_T.shape[1]"),
        ("x_norm * dout, axis", "x_norm + dout, axis"),
    ),
    "loops": (
        ("dbeta[j] += dout[i, j]", "dbeta[j] += dout[i, j] * gamma[j]"),
        ("dout[i, j] * xhat[i, j]", "dout[i, j] * x[i, j]"),
        ("-0.5 / std[j] ** 3", "-0.5 / std[j] ** 2"),
        ("-0.5 / std[j] ** 3", "0.5 / std[j] ** 3"),
        ("dmu += -dxhat", "dmu += dxhat"),
        ("dmu += -dxhat / std[j]", "dmu += -dxhat"),
        ("dx[i, j] = dxhat / std[j]", "dx[i, j] = dxhat"),
        ("dvar * 2 *", "dvar *"),
        ("+ dmu / N", "+ dmu / D"),
    ),
    "group norm": (
        ("dout * gamma.reshape(1, C, 1, 1)", "dout"),
        ("* -0.5 *", "* 0.5 *"),
        ("** -1.5", "** -2.5"),
        ("N_group = C // G * H * W", "N_group = H * W"),
        ("N_group = C // G * H * W", "N_group = N * H * W"),
        ("dmean1 = np.sum(dx_groupnorm * -1.0", "dmean1 = np.sum(dx_groupnorm * 1.0"),
        ("dmean = dmean1 + dmean2", "dmean = dmean2"),
        ("dx_groupnorm / np.sqrt(var + eps)\n", "dx_groupnorm / np.sqrt(var)\n"),
        ("dx_group2 = dvar * 2.0", "dx_group2 = dvar"),
        ("dx_group3 = dmean / N_group", "dx_group3 = dmean / N"),
        ("dx_group1 + dx_group2 + dx_group3", "dx_group1 + dx_group3"),
        ("(dout * x_norm, axis", "(dout * x, axis"),
    ),
    "spatial": (
        ("count = n * h * w", "count = n"),
        ("count = n * h * w", "count = h * w"),
        ("(grad_output * self.x_hat)", "(grad_output * self.x)"),
        ('self.grads["beta"] = grad_output.sum', 'self.grads["beta"] = grad_output.mean'),
        ("grad_output * self.gamma[None, :, None, None]", "grad_output"),
        ("sum_grad = grad_x_hat.sum", "sum_grad = grad_output.sum"),
        ("(grad_x_hat * self.x_hat).sum", "(grad_x_hat * self.x).sum"),
        ("grad_x_hat - sum_grad / count", "grad_x_hat + sum_grad / count"),
        ("self.inv_std * inner", "inner"),
    ),
    "nameless": (
        ("t1 = dy * w", "t1 = dy * h"),
        ("t2 = t1.mean(axis=1", "t2 = t1.mean(axis=0"),
        ("t3 = t1 * h", "t3 = t1 * c"),
        ("t3 = t1 * h", "t3 = t1 + h"),
        ("t6 = t1 - t2", "t6 = t1 + t2"),
        ("t7 = t6 - t5", "t7 = t6 + t5"),
        ("t8 = t7 / s", "t8 = t7"),
        ("p = dy * h", "p = dy * c"),
        ("q = p.sum", "q = p.mean"),
        ("r = dy.sum", "r = t1.sum"),
    ),
    "alone": (
        ("mu = x.sum(axis=0) / m", "mu = x.sum(axis=0) / (m - 1)"),
        ("var = (xmu * xmu).sum(axis=0) / m", "var = (xmu * xmu).sum(axis=0) / (m - 1)"),
        ("np.sqrt(var + eps)", "np.sqrt(var)"),
        ("xhat = xmu * istd", "xhat = x * istd"),
        ("distd = (dxhat * xmu)", "distd = (dxhat * x)"),
        ("* -0.5 * istd ** 3", "* -0.5 * istd"),
        ("* -0.5 * istd", "* 0.5 * istd"),
        ("dmu = -(dxhat * istd)", "dmu = (dxhat * istd)"),
        ("dx = dxhat * istd", "dx = dxhat"),
        ("(2 * dvar / m)", "(2 * dvar)"),
        ("dx + dmu / m", "dx - dmu / m"),
    ),
    "helpers": (
        ("dnorm * centered, axis=0", "dnorm * centered / std, axis=0"),
        ("-0.5 * total / std ** 3", "-0.5 * total / std ** 2"),
        ("return -np.sum(dnorm / std", "return np.sum(dnorm / std"),
        ("dnorm = grad_out * gamma", "dnorm = grad_out"),
        ("direct = dnorm / std", "direct = dnorm"),
        ("gvar * 2 * centered", "gvar * centered"),
        ("through_mean = gmean / batch", "through_mean = gmean"),
        ("grad_out * normed", "grad_out * centered"),
    ),
    "rms": (
        ("(dout * normed)", "(dout * x)"),
        ("dnormed = dout * weight", "dnormed = dout"),
        ("drrms = (dnormed * x)", "drrms = (dnormed * normed)"),
        ("* -0.5 * rrms ** 3", "* -0.5 * rrms ** 2"),
        ("* -0.5 * rrms", "* 0.5 * rrms"),
        ("dx = dnormed * rrms", "dx = dnormed / rrms"),
        ("dx += dms * 2", "dx += dms"),
    ),
    "compact": (
        ("dout * z, axis=0", "dout * dout, axis=0"),
        ("dfdz = dout * gamma", "dfdz = dout"),
        ("dfdz_sum = np.sum(dfdz", "dfdz_sum = np.sum(dout"),
        ("np.sum(dfdz * z, axis=0) * z / N", "np.sum(dfdz * z, axis=0) * z"),
        ("dfdz - dfdz_sum", "dfdz + dfdz_sum"),
        ("dx /= std", "dx /= var"),
    ),
    "evaluation of parts": (
        ("dy * self.xhat, axis=0", "dy * self.mu, axis=0"),
        ("g = dy * self.gamma", "g = dy"),
        ("a = np.sum(g, axis=-1", "a = np.sum(dy, axis=-1"),
        ("b = np.sum(g * self.xhat", "b = np.sum(g * self.sigma"),
        ("(d * g - a", "(g - a"),
        ("- self.xhat * b)", "+ self.xhat * b)"),
    ),
    "instance": (
        ("dout[i, k] * gamma[k]", "dout[i, k]"),
        ("-np.sum(dxhat * diff[i, k]) / s ** 2", "-np.sum(dxhat * diff[i, k]) / s"),
        ("dsigma / (2 * s)", "dsigma / s"),
        ("+ 2 * diff[i, k] * dvar", "+ diff[i, k] * dvar"),
        ("dmean = -ddiff.sum()", "dmean = ddiff.sum()"),
        ("dx[i, k] = ddiff + dmean / (h * w)", "dx[i, k] = ddiff + dmean / h"),
        ("(dout * xhat).sum", "(dout * diff).sum"),
    ),
    "torch names": (
        ("H = input.shape[-1]", "H = input.shape[0]"),
        ("(input - mean) * rstd\n", "input * rstd\n"),
        ("grad_x_hat = grad_out * weight", "grad_x_hat = grad_out"),
        ("c1 = (grad_x_hat * x_hat)", "c1 = (grad_x_hat * input)"),
        ("c2 = grad_x_hat.sum", "c2 = grad_out.sum"),
    ),
}  # fmt: skip

SEEN = tuple(SOURCES)
"""The sources on which the search for lines was tried while it was written."""

SOURCES |= staged_unseen.SOURCES
MISTAKES |= staged_unseen.MISTAKES


def wrong(name: str, old: str, new: str) -> tuple[str, int]:
    """A file with one mistake, marked, and the number of the line that has it.

    The last place where the old piece stands is changed: backward passes come last.
    """
    source = SOURCES[name].lstrip("\n")
    before, found, after = source.rpartition(old)
    assert found, (name, old)
    lines = (before + new + after).splitlines()
    number = before.count("\n") + 1
    lines[number - 1] += HERE
    return "\n".join(lines) + "\n", number


def every_mistake() -> list[tuple[str, str, str]]:
    """Name of the source, old and new piece."""
    return [(name, *pair) for name, pairs in MISTAKES.items() for pair in pairs]
