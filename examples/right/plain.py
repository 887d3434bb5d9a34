"""A lone backward pass, arguments in an order of its own: right."""

import numpy as np


def backward(x, dy, gamma, eps):
    mu = x.mean(axis=0)
    std = np.sqrt(x.var(axis=0) + eps)
    xhat = (x - mu) / std
    dgamma = (dy * xhat).sum(axis=0)
    dbeta = dy.sum(axis=0)
    dx = gamma / std * (dy - dbeta / len(x) - xhat * dgamma / len(x))
    return dx, dgamma, dbeta
