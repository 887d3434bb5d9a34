"""Files as strangers write them: right ones in unusual conventions, and what to change in them.

``FILES``: name, source. ``EDITS``: name, what is there, what stands there now, the code of the
diagnosis. ``BODIES``: what else a backward pass may do, the exit code and a part of the message.
"""

FILES = {
    "einsum on three axes": """
class LayerNorm:
    def __init__(self, d_model, eps=1e-6):
        self.params = {"gamma": np.ones(d_model), "beta": np.zeros(d_model)}
        self.grads, self.eps = {}, eps
    def forward(self, x):
        mu = x.mean(-1, keepdims=True)
        rstd = 1.0 / np.sqrt(((x - mu) ** 2).mean(-1, keepdims=True) + self.eps)
        self.cache = (x - mu) * rstd, rstd
        return self.params["gamma"] * self.cache[0] + self.params["beta"]
    def backward(self, dout):
        xhat, rstd = self.cache
        self.grads["gamma"] = np.einsum("btd,btd->d", dout, xhat)
        self.grads["beta"] = np.einsum("btd->d", dout)
        g = dout * self.params["gamma"]
        mean = g.mean(-1, keepdims=True)
        return rstd * (g - mean - xhat * (g * xhat).mean(-1, keepdims=True))
""",
    "features first": """
def normalize(s, mu, v):
    return (s - mu) / np.sqrt(v + 1e-8)
def bn_backward(G, s, mu, v):
    n = s.shape[1]
    G1, G2 = G * (v + 1e-8) ** -0.5, G * (v + 1e-8) ** -1.5
    c = np.sum(G2 * (s - mu), axis=1, keepdims=True)
    return G1 - np.sum(G1, axis=1, keepdims=True) / n - (s - mu) * c / n
""",
    "closure": """
def batch_norm(x, gamma, beta, eps=1e-5):
    mu = x.mean(0, keepdims=True)
    sd = np.sqrt(((x - mu) ** 2).mean(0, keepdims=True) + eps)
    xhat = (x - mu) / sd
    def backward(dy):
        g = gamma * dy
        dx = (g - g.mean(0) - xhat * (g * xhat).mean(0)) / sd
        return dx, (dy * xhat).sum(0), dy.sum(0)
    return gamma * xhat + beta, backward
""",
    "weights": """
def weight_norm_forward(v, g):
    norm = np.linalg.norm(v, axis=1, keepdims=True)
    return g * v / norm, (v, g, norm)
def weight_norm_backward(dw, cache):
    v, g, norm = cache
    unit = v / norm
    dg = (dw * unit).sum(axis=1, keepdims=True)
    return g / norm * dw - g * dg / norm * unit, dg
""",
    "an optimizer of its own": """
class SGD:
    def __init__(self, lr):
        self.lr = lr
    def update(self, w, dw):
        return w - self.lr * dw
class BatchNormLayer:
    def __init__(self, n, lr=0.1):
        self.gamma, self.beta = np.ones((1, n)), np.zeros((1, n))
        self.opt, self.eps = SGD(lr), 1e-8
    def forward(self, X):
        self.sd = np.sqrt(X.var(0) + self.eps)
        self.xhat = (X - X.mean(0)) / self.sd
        return self.gamma * self.xhat + self.beta
    def backward(self, dout):
        g = dout * self.gamma
        dX = (g - g.mean(0) - self.xhat * (g * self.xhat).mean(0)) / self.sd
        self.gamma = self.opt.update(self.gamma, (dout * self.xhat).sum(0, keepdims=True))
        self.beta = self.opt.update(self.beta, dout.sum(0, keepdims=True))
        return dX
""",
    "slots": """
class BatchNorm:
    __slots__ = ("beta", "cache", "eps", "gamma")
    def __init__(self, dim, eps=1e-5):
        self.gamma, self.beta, self.eps = np.ones(dim), np.zeros(dim), eps
    def forward(self, x):
        sd = np.sqrt(x.var(0) + self.eps)
        self.cache = (x - x.mean(0)) / sd, sd
        return self.cache[0] * self.gamma + self.beta
    def backward(self, dy):
        xhat, sd = self.cache
        dx = self.gamma / sd * (dy - dy.mean(0) - xhat * (dy * xhat).mean(0))
        return dx, (dy * xhat).sum(0), dy.sum(0)
""",
    "a named tuple in another order": """
from collections import namedtuple
Gradients = namedtuple("Gradients", "dbeta dgamma dx")
EPS = np.finfo(np.float32).eps
def backward(dy, x, gamma, beta):
    sd = np.sqrt(x.var(0) + EPS)
    xhat = (x - x.mean(0)) / sd
    dx = gamma / sd * (dy - dy.mean(0) - xhat * (dy * xhat).mean(0))
    return Gradients(dx=dx, dgamma=(dy * xhat).sum(0), dbeta=dy.sum(0))
""",
    "a pair in a pair": """
import not_installed
@not_installed.jit(cache=True)
def backward(dy, x, gamma, beta, eps):
    sd = np.sqrt(x.var(0) + eps)
    xhat = (x - x.mean(0)) / sd
    dx = gamma / sd * (dy - dy.mean(0) - xhat * (dy * xhat).mean(0))
    return dx, ((dy * xhat).sum(0), dy.sum(0))
""",
    "parameters with all axes": """
class BatchNorm2D:
    def __init__(self, channels, epsilon=1e-5):
        self.weight, self.bias = np.ones((1, channels, 1, 1)), np.zeros((1, channels, 1, 1))
        self.epsilon = epsilon
    def forward(self, x):
        self.std = np.sqrt(x.var(axis=(0, 2, 3), keepdims=True) + self.epsilon)
        self.x_hat = (x - x.mean(axis=(0, 2, 3), keepdims=True)) / self.std
        return self.weight * self.x_hat + self.bias
    def backward(self, grad_output):
        axes = (0, 2, 3)
        n, c, h, w = grad_output.shape
        m = n * h * w
        self.grad_weight = np.sum(grad_output * self.x_hat, axis=axes, keepdims=True)
        self.grad_bias = np.sum(grad_output, axis=axes, keepdims=True)
        g = grad_output * self.weight
        a, b = (np.sum(v, axis=axes, keepdims=True) for v in (g, g * self.x_hat))
        return (g - a / m - self.x_hat * b / m) / self.std
""",
    "flattened images": """
def batchnorm_forward(x, gamma, beta, bn_param):
    ivar = 1 / np.sqrt(x.var(0) + bn_param.get("eps", 1e-5))
    xhat = (x - x.mean(0)) * ivar
    return gamma * xhat + beta, (xhat, gamma, ivar)
def spatial_batchnorm_forward(x, gamma, beta, bn_param):
    N, C, H, W = x.shape
    flat = x.transpose(0, 2, 3, 1).reshape(-1, C)
    out, cache = batchnorm_forward(flat, gamma, beta, bn_param)
    return out.reshape(N, H, W, C).transpose(0, 3, 1, 2), cache
def spatial_batchnorm_backward(dout, cache):
    xhat, gamma, ivar = cache
    N, C, H, W = dout.shape
    d = dout.transpose(0, 2, 3, 1).reshape(-1, C)
    dx = gamma * ivar * (d - d.mean(0) - xhat * (d * xhat).mean(0))
    return dx.reshape(N, H, W, C).transpose(0, 3, 1, 2), (d * xhat).sum(0), d.sum(0)
""",
}

EDITS = (
    ("einsum on three axes", "rstd * (g - mean", "rstd * (g - 2 * mean", "factor"),
    ("einsum on three axes", "g.mean(-1,", "g.mean((0, 1),", "axis"),
    ("einsum on three axes", "dout * self.params[\"gamma\"]\n", "dout\n", "gamma-missing"),
    ("features first", "keepdims=True) / n -", "keepdims=True) -", "sum-for-mean"),
    ("features first", "n = s.shape[1]", "n = s.shape[0]", "count-axis"),
    ("closure", "(g * xhat).mean(0)", "(dy * xhat).mean(0)", "operand"),
    ("weights", "(dw * unit)", "(dw * v)", "operand"),
    ("an optimizer of its own", "update(self.beta, dout", "update(self.beta, -dout", "sign"),
    ("slots", "/ sd * (dy", "/ sd**2 * (dy", None),
    ("a named tuple in another order", "dgamma=(dy * xhat).sum(0), dbeta=dy.sum(0)",
     "dbeta=(dy * xhat).sum(0), dgamma=dy.sum(0)", "exchanged"),
    ("parameters with all axes", "self.grad_weight = np.sum(grad_output * self.x_hat",
     "self.grad_weight = 0 * np.sum(grad_output * self.x_hat", "zero"),
    ("flattened images", "dx.reshape(N, H, W, C).transpose(0, 3, 1, 2), (d",
     "dx.reshape(N, C, H, W), (d", "reordered"),
    ("flattened images", "d = dout.transpose(0, 2, 3, 1).reshape", "d = dout.reshape", "reordered"),
)  # fmt: skip

RIGHT = "return _right(dy, x, gamma, eps)"
BODIES = {
    "a message that cannot be made": (
        "class E(Exception):\n        def __str__(self): raise ValueError\n    raise E", 2,
        "raised E: its message cannot be shown",
    ),
    "a long message": ("raise ValueError('x' * 10**7)", 2, "xxx ..."),
    "a message of several lines": ("raise ValueError('a\\nb')", 2, "ValueError: a b"),
    "a message that is no text": ("raise ValueError('\\ud800')", 2, "ValueError: \\ud800"),
    "garbage where replies go": (
        "\n    for k in range(3, 9):\n        try: os.write(k, b'garbage' * 9)"
        f"\n        except OSError: pass\n    {RIGHT}", 2, "closed its connection",
    ),
    "times": ("return np.zeros(x.shape, 'm8[s]'), gamma, gamma", 2, "an array of timedelta64"),
    "lists of several lengths": ("return [[1, 2], [3]], gamma, gamma", 2, "that is no array"),
    "a huge array": ("return np.zeros((3000, 3000)), gamma, gamma", 2, "shape (3000, 3000)"),
    "float16": ("return [a.astype('f2') for a in _right(dy, x, gamma, eps)]", 1, "is float16"),
}  # fmt: skip
