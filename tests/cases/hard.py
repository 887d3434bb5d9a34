"""Hard inputs: what a fixed tolerance, a fixed step or a careless comparison stumbles over."""

import numpy as np

from tests.cases.case import draw


def placed(name, value, where=..., **options):
    """Inputs with one array changed at a place; ``value``: what to put, or a function of all."""

    def inputs():
        drawn = draw(**options)
        drawn[name][where] = value(drawn) if callable(value) else value
        return drawn

    return inputs


def drawn(**options):
    return lambda: draw(**options)


def each(change, **options):
    """Every array of the inputs changed."""

    def inputs():
        return {k: change(v) if np.ndim(v) else v for k, v in draw(**options).items()}

    return inputs


def xhat(given):
    x = given["x"]
    return (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + given["eps"])


def y(given):
    return given["gamma"] * xhat(given) + given["beta"]


def softmax_minus_one_hot(given):
    """What comes back from a classifier that has learnt its rows."""
    scores = 20.0 * np.eye(*given["dy"].shape) + given["dy"]
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return (p - np.eye(*p.shape)) / len(p)


def rectified(given):
    """After a ReLU; the second unit is dead."""
    x = np.maximum(given["x"], 0)
    x[:, 1] = 0
    return x


def strided(a):
    wide = np.full((*a.shape[:-1], 3 * a.shape[-1]), np.nan, a.dtype)
    wide[..., 1::3] = a
    return wide[..., 1::3]


def reversed_(a):
    return np.flip(np.flip(a).copy())


def frozen(a):
    a.flags.writeable = False
    return a


def repeated(a):
    """One row, or one value, with stride 0."""
    return np.broadcast_to(a[:1], a.shape)


def big_endian(a):
    return a.astype(a.dtype.newbyteorder(">"))


def ordered(a):
    return np.asfortranarray(a)
