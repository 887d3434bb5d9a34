"""Backward passes written by hand, right and wrong, in the way people write them.

Each wrong one differs from a right one by one mistake; ``code`` is what the diagnosis has to say.
They share nothing with bncheck's own programs.
"""

import numpy as np


def _batch(x, eps):
    mu = x.mean(axis=0)
    xmu = x - mu
    var = (xmu * xmu).mean(axis=0)
    std = np.sqrt(var + eps)
    return len(x), mu, xmu, var, std, xmu / std


def batch_closed(dy, x, gamma, beta, eps, *, mean=1.0, along=1.0, outer=None):
    """Closed form; ``mean`` and ``along`` scale the two paths, ``outer`` replaces 1/std."""
    m, mu, xmu, var, std, xhat = _batch(x, eps)
    dbeta, dgamma = dy.sum(axis=0), (dy * xhat).sum(axis=0)
    scale = gamma / std if outer is None else outer(gamma, var, std, eps)
    return scale * (dy - mean * dbeta / m - along * xhat * dgamma / m), dgamma, dbeta


def batch_staged(dy, x, gamma, beta, eps, *, dvar=1.0, dmu=1.0, count=None):
    """Staged form; ``dvar`` and ``dmu`` scale the gradients of the statistics."""
    m, mu, xmu, var, std, xhat = _batch(x, eps)
    k = m if count is None else count(m, x.shape[1])
    dxhat = dy * gamma
    gvar = dvar * (dxhat * xmu * -0.5 * std**-3).sum(axis=0)
    gmu = dmu * (-dxhat / std).sum(axis=0)
    dx = dxhat / std + gvar * 2 * xmu / k + gmu / m
    return dx, (dy * xhat).sum(axis=0), dy.sum(axis=0)


def layer_closed(dy, x, gamma, beta, eps, *, mean=1.0, along=1.0, gamma_in=True):
    """Layer norm over the features, closed form."""
    xmu = x - x.mean(axis=1, keepdims=True)
    std = np.sqrt((xmu * xmu).mean(axis=1, keepdims=True) + eps)
    xhat = xmu / std
    dxhat = dy * gamma if gamma_in else dy
    first = mean * dxhat.mean(axis=1, keepdims=True)
    second = along * xhat * (dxhat * xhat).mean(axis=1, keepdims=True)
    return (dxhat - first - second) / std, (dy * xhat).sum(axis=0), dy.sum(axis=0)


def rms_closed(dy, x, gamma, eps, *, along=1.0, gamma_in=True):
    """RMS norm, closed form."""
    rms = np.sqrt((x * x).mean(axis=1, keepdims=True) + eps)
    xhat = x / rms
    dxhat = dy * gamma if gamma_in else dy
    dx = (dxhat - along * xhat * (dxhat * xhat).mean(axis=1, keepdims=True)) / rms
    return dx, (dy * xhat).sum(axis=0)


def _with(function, **options):
    """The function with some of its keyword options set, and the signature it had."""
    import inspect

    parameters = [p for p in inspect.signature(function).parameters.values()
                  if p.kind is not p.KEYWORD_ONLY]  # fmt: skip

    def changed(*args, **kwargs):
        return function(*args, **kwargs, **options)

    changed.__name__ = function.__name__
    changed.__signature__ = inspect.Signature(parameters)
    return changed


def _scaled(which, factor):
    def backward(dy, x, gamma, beta, eps):
        parts = list(batch_closed(dy, x, gamma, beta, eps))
        parts[which] = parts[which] * factor(len(x))
        return tuple(parts)

    return backward


def batch_eps_forgotten(dy, x, gamma, beta, eps):
    return batch_closed(dy, x, gamma, beta, 0.0)


def batch_dgamma_from_x(dy, x, gamma, beta, eps):
    dx, _, dbeta = batch_closed(dy, x, gamma, beta, eps)
    return dx, (dy * x).sum(axis=0), dbeta


def batch_dgamma_from_xmu(dy, x, gamma, beta, eps):
    dx, _, dbeta = batch_closed(dy, x, gamma, beta, eps)
    return dx, (dy * (x - x.mean(axis=0))).sum(axis=0), dbeta


def batch_dbeta_times_gamma(dy, x, gamma, beta, eps):
    dx, dgamma, dbeta = batch_closed(dy, x, gamma, beta, eps)
    return dx, dgamma, dbeta * gamma


def batch_statistics_constant(dy, x, gamma, beta, eps):
    m, mu, xmu, var, std, xhat = _batch(x, eps)
    return dy * gamma / std, (dy * xhat).sum(axis=0), dy.sum(axis=0)


RIGHT = {
    "batch closed": ("batch-norm", batch_closed),
    "batch staged": ("batch-norm", batch_staged),
    "layer closed": ("layer-norm", layer_closed),
    "rms closed": ("rms-norm", rms_closed),
}

WRONG = {
    # the layer, the function, the gradient that is wrong, what the diagnosis has to say
    "mean path missing": ("batch-norm", _with(batch_closed, mean=0.0), "dx", "path-missing"),
    "variance path missing": ("batch-norm", _with(batch_closed, along=0.0), "dx", "path-missing"),
    "staged mean path missing": ("batch-norm", _with(batch_staged, dmu=0.0), "dx", "path-missing"),
    "both paths missing": ("batch-norm", batch_statistics_constant, "dx", "paths-missing"),
    "variance sign": ("batch-norm", _with(batch_closed, along=-1.0), "dx", "path-sign"),
    "mean sign": ("batch-norm", _with(batch_closed, mean=-1.0), "dx", "path-sign"),
    "variance half": ("batch-norm", _with(batch_staged, dvar=0.5), "dx", "factor"),
    "variance twice": ("batch-norm", _with(batch_closed, along=2.0), "dx", "factor"),
    "m - 1": (
        "batch-norm", _with(batch_staged, count=lambda m, d: m - 1), "dx", "count-minus-1",
    ),
    "D for m": ("batch-norm", _with(batch_staged, count=lambda m, d: d), "dx", "count-axis"),
    "sum for mean": (
        "batch-norm", _with(batch_staged, count=lambda m, d: 1), "dx", "sum-for-mean",
    ),
    "gamma forgotten": (
        "batch-norm", _with(batch_closed, outer=lambda g, v, s, e: 1 / s), "dx", "gamma-missing",
    ),
    "gamma twice": (
        "batch-norm", _with(batch_closed, outer=lambda g, v, s, e: g * g / s), "dx", "gamma-twice",
    ),
    "eps forgotten": ("batch-norm", batch_eps_forgotten, "dx", "eps-missing"),
    "eps forgotten outside": (
        "batch-norm", _with(batch_closed, outer=lambda g, v, s, e: g / np.sqrt(v)), "dx",
        "eps-missing",
    ),
    "variance for deviation": (
        "batch-norm", _with(batch_closed, outer=lambda g, v, s, e: g / (v + e)), "dx",
        "variance-for-sd",
    ),
    "multiplied by deviation": (
        "batch-norm", _with(batch_closed, outer=lambda g, v, s, e: g * s), "dx", "sd-multiplied",
    ),
    "dgamma from x": ("batch-norm", batch_dgamma_from_x, "dgamma", "operand"),
    "dgamma from x - mu": ("batch-norm", batch_dgamma_from_xmu, "dgamma", "operand"),
    "dbeta times gamma": ("batch-norm", batch_dbeta_times_gamma, "dbeta", "gamma-extra"),
    "dx sign": ("batch-norm", _scaled(0, lambda m: -1), "dx", "sign"),
    "dx over m": ("batch-norm", _scaled(0, lambda m: 1 / m), "dx", "mean-of-mean"),
    "dgamma over m": ("batch-norm", _scaled(1, lambda m: 1 / m), "dgamma", "divided-by-count"),
    "dbeta zero": ("batch-norm", _scaled(2, lambda m: 0), "dbeta", "zero"),
    "layer mean path": ("layer-norm", _with(layer_closed, mean=0.0), "dx", "path-missing"),
    "layer variance path": ("layer-norm", _with(layer_closed, along=0.0), "dx", "path-missing"),
    "layer variance sign": ("layer-norm", _with(layer_closed, along=-1.0), "dx", "path-sign"),
    "layer gamma": ("layer-norm", _with(layer_closed, gamma_in=False), "dx", "gamma-missing"),
    "rms path": ("rms-norm", _with(rms_closed, along=0.0), "dx", "path-missing"),
    "rms half": ("rms-norm", _with(rms_closed, along=0.5), "dx", "factor"),
    "rms gamma": ("rms-norm", _with(rms_closed, gamma_in=False), "dx", "gamma-missing"),
}  # fmt: skip
