"""Other conventions in which backward passes are written: a class, a function, a cache, a file."""

import functools

import numpy as np


def logged(function):
    @functools.wraps(function)
    def inner(*args, **kwargs):
        return function(*args, **kwargs)

    return inner


class LayerNorm:
    def __init__(self, size, eps=1e-5):
        self.params = {"gamma": np.linspace(0.5, 2, size)[None], "beta": np.zeros((1, size))}
        self.grads = {}
        self.eps = eps

    def forward(self, x):
        self.std = np.sqrt(x.var(-1, keepdims=True) + self.eps)
        self.xhat = (x - x.mean(-1, keepdims=True)) / self.std
        return self.params["gamma"] * self.xhat + self.params["beta"]

    def backward(self, dout):
        along = tuple(range(dout.ndim - 1))
        self.grads["gamma"] = (dout * self.xhat).sum(along).reshape(1, -1)
        self.grads["beta"] = dout.sum(along).reshape(1, -1)
        d = dout * self.params["gamma"]
        mean, along_xhat = (v.mean(-1, keepdims=True) for v in (d, d * self.xhat))
        return (d - mean - self.xhat * along_xhat) / self.std


@logged
def rms_backward(dy, x, gamma, *, eps=1e-6):
    rms = np.sqrt((x * x).mean(-1, keepdims=True) + eps)
    xhat = x / rms
    d = dy * gamma
    dx = (d - xhat * (d * xhat).mean(-1, keepdims=True)) / rms
    return {"dx": dx, "dgamma": (dy * xhat).sum(0)}


def groupnorm_forward(x, gamma, beta, G, gn_param):
    groups = x.reshape(len(x), G, -1)
    std = np.sqrt(groups.var(-1, keepdims=True) + gn_param.get("eps", 1e-5))
    xhat = ((groups - groups.mean(-1, keepdims=True)) / std).reshape(x.shape)
    return gamma * xhat + beta, (xhat, gamma, std, G)


def groupnorm_backward(dout, cache):
    xhat, gamma, std, G = cache
    dgamma = (dout * xhat).sum((0, 2, 3), keepdims=True)
    dbeta = dout.sum((0, 2, 3), keepdims=True)
    d = (dout * gamma).reshape(len(dout), G, -1)
    h = xhat.reshape(len(dout), G, -1)
    dx = (d - d.mean(-1, keepdims=True) - h * (d * h).mean(-1, keepdims=True)) / std
    return dx.reshape(dout.shape), dgamma, dbeta


def instancenorm_backward(dy, x, gamma, beta, eps):
    std = np.sqrt(x.var((2, 3), keepdims=True) + eps)
    xhat = (x - x.mean((2, 3), keepdims=True)) / std
    mean, along = (v.mean((2, 3), keepdims=True) for v in (dy, dy * xhat))
    dx = gamma[:, None, None] / std * (dy - mean - xhat * along)
    return dx, (dy * xhat).sum((0, 2, 3)), dy.sum((0, 2, 3))


def weightnorm_backward(dw, v, gamma):
    length = np.linalg.norm(v, axis=1, keepdims=True)
    direction = v / length
    dgamma = (dw * direction).sum(1)
    return gamma[:, None] / length * (dw - direction * dgamma[:, None]), dgamma
