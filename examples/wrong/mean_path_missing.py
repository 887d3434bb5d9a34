"""The gradient through the batch mean is missing."""

import numpy as np


def batchnorm_forward(x, gamma, beta, bn_param):
    eps = bn_param.get("eps", 1e-5)
    mu = x.mean(axis=0)
    xmu = x - mu
    var = (xmu**2).mean(axis=0)
    std = np.sqrt(var + eps)
    xhat = xmu / std
    return gamma * xhat + beta, (x, xmu, var, std, xhat, gamma, eps)


def batchnorm_backward(dout, cache):
    x, xmu, var, std, xhat, gamma, eps = cache
    m = x.shape[0]
    dbeta = dout.sum(axis=0)
    dgamma = (dout * xhat).sum(axis=0)
    dxhat = dout * gamma
    dvar = (dxhat * xmu * -0.5 * std**-3).sum(axis=0)
    dmu = (-dxhat / std).sum(axis=0)
    dx = dxhat / std + dvar * 2 * xmu / m
    return dx, dgamma, dbeta
