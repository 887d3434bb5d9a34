"""Mistakes that show somewhere only: an odd N, the 17th feature, m = 1, a constant feature.

``CORNERS``: kind, name, the function, the options of ``draw`` and a change to what it gives
under which the mistake shows, what is wrong.
"""

import numpy as np

from tests.cases import ways as w
from tests.cases.case import edited


def odd_rows_dropped(dy, x, gamma, beta, eps):
    """Rows in pairs."""
    dx, dgamma, _ = w.one_line(dy, x, gamma, beta, eps)
    pairs = len(dy) // 2
    return dx, dgamma, (dy[: 2 * pairs : 2] + dy[1 : 2 * pairs : 2]).sum(axis=0)


def sixteen_features(dy, x, gamma, beta, eps):
    """A tile of 16 features."""
    dx, dgamma, dbeta = w.staged(dy, x, gamma, beta, eps)
    dx[:, 16:] = 0
    return dx, dgamma, dbeta


def full_tiles(dy, x, gamma, beta, eps, tile=8):
    """The remainder after the last full tile of features has the statistics constant."""
    dx, dgamma, dbeta = w.gram_schmidt(dy, x, gamma, beta, eps)
    done = x.shape[1] // tile * tile
    rest = slice(done, None)
    dx[:, rest] = gamma[rest] / np.sqrt(x[:, rest].var(axis=0) + eps) * dy[:, rest]
    return dx, dgamma, dbeta


def thirty_two_rows(dy, x, gamma, beta, eps):
    """A work group of 32 rows, and no loop over groups."""
    dx, dgamma, _ = w.einsum(dy, x, gamma, beta, eps)
    return dx, dgamma, dy[:32].sum(axis=0)


def forty_features(dy, x, gamma, beta, eps):
    """A table of 40 features, used again from its start."""
    again = np.arange(gamma.size) % 40
    return w.powers(dy, x, gamma[again], beta, eps)


def square_is_transposed(dy, x, gamma, beta, eps):
    """The batch axis is guessed to be the one that gamma does not have."""
    if x.shape[1] == gamma.size and x.shape[0] != gamma.size:
        return w.staged(dy, x, gamma, beta, eps)
    dx, dgamma, dbeta = w.staged(dy.T, x.T, gamma, beta, eps)
    return dx.T, dgamma, dbeta


def batch_of_one(dy, x, gamma, beta, eps):
    """A special case for one row."""
    if len(x) == 1:
        return dy * gamma / np.sqrt(eps), 0.0 * gamma, dy[0].copy()
    return w.in_place(dy, x, gamma, beta, eps)


def batch_of_two(dy, x, gamma, beta, eps):
    """Bessel's correction for the smallest batch."""
    dx, dgamma, dbeta = w.powers(dy, x, gamma, beta, eps)
    return dx * (2.0 if len(x) == 2 else 1.0), dgamma, dbeta


def zeros_are_padding(dy, x, gamma, beta, eps):
    """Rows without gradient are taken for padding and not counted."""
    count = np.maximum((dy != 0).sum(axis=0), 1)
    sd = np.sqrt(x.var(axis=0) + eps)
    xhat = (x - x.mean(axis=0)) / sd
    dgamma, dbeta = (dy * xhat).sum(axis=0), dy.sum(axis=0)
    return gamma / sd * (dy - dbeta / count - xhat * dgamma / count), dgamma, dbeta


def dead_feature_is_silent(dy, x, gamma, beta, eps):
    """No gradient for a feature that does not vary."""
    dx, dgamma, dbeta = w.projector(dy, x, gamma, beta, eps)
    return np.where(x.var(axis=0) < 1e-12, 0.0, dx), dgamma, dbeta


def clipped_input(dy, x, gamma, beta, eps):
    return w.one_line(dy, np.clip(x, -100, 100), gamma, beta, eps)


def norm_clipped(dy, x, gamma, beta, eps):
    """Gradient clipping left in."""
    dx, dgamma, dbeta = w.columns(dy, x, gamma, beta, eps)
    norm = np.sqrt((dx * dx).sum())
    return dx * min(1.0, 10.0 / max(norm, 1e-300)), dgamma, dbeta


def leaky(dy, x, gamma, beta, eps):
    """The activation's derivative left in."""
    y = gamma * (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + eps) + beta
    return w.staged(np.where(y > 0, dy, 0.01 * dy), x, gamma, beta, eps)


def from_output(dy, x, gamma, beta, eps):
    """xhat from y, as where only the output is kept: nothing is left of it where gamma is 0."""
    xhat = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + eps)
    kept = gamma * xhat + beta
    dx, _, dbeta = w.staged(dy, x, gamma, beta, eps)
    with np.errstate(all="ignore"):
        return dx, (dy * (kept - beta) / gamma).sum(axis=0), dbeta


def single_feature(dy, x, gamma, beta, eps):
    """A scalar parameter is taken for none."""
    return w.powers(dy, x, gamma if gamma.size > 1 else np.ones_like(gamma), beta, eps)


def loss_scaled(dy, x, gamma, beta, eps):
    """dy is brought to 1 and back: 0/0 where nothing comes back."""
    size = abs(dy).max()
    with np.errstate(all="ignore"):
        dx, dgamma, dbeta = w.columns(dy / size, x, gamma, beta, eps)
        return dx * size, dgamma * size, dbeta * size


def ghost_batches(dy, x, gamma, beta, eps, size=4):
    """Statistics of blocks of rows, each for itself."""
    cuts = [slice(k, k + size) for k in range(0, len(x), size)]
    parts = [w.nodes(dy[c], x[c], gamma, beta, eps) for c in cuts]
    dx, dgamma, dbeta = zip(*parts, strict=True)
    return np.concatenate(dx), sum(dgamma), sum(dbeta)


def memory_order(dy, x, gamma, beta, eps):
    """Takes every array for one in C order."""
    flat = [a.ravel(order="K").reshape(x.shape) for a in (dy, x)]
    return w.staged(*flat, gamma, beta, eps)


def clipped_variance(dy, x, gamma, beta, eps):
    """A variance of at most 100, against overflow."""
    sd = np.sqrt(np.minimum(x.var(axis=0), 100.0) + eps)
    xhat = (x - x.mean(axis=0)) / sd
    dgamma, dbeta, n = (dy * xhat).sum(axis=0), dy.sum(axis=0), len(x)
    return gamma / sd * (dy - dbeta / n - xhat * dgamma / n), dgamma, dbeta


def rounded_where_short(dy, x, gamma, beta, eps):
    """float32 is kept to one decimal; float64 is left alone."""
    dx, dgamma, dbeta = w.staged(dy, x, gamma, beta, eps)
    return np.round(dx, 1) if dx.itemsize == 4 else dx, dgamma, dbeta


def scales_are_positive(dy, x, gamma, beta, eps):
    """dgamma by the size of gamma, as where its logarithm is learnt."""
    dx, dgamma, dbeta = w.one_line(dy, x, gamma, beta, eps)
    return dx, dgamma * np.sign(gamma), dbeta


def rows_by_features(dy, x, gamma, beta, eps):
    """The constant is taken out of the rows of dy, and not out of its columns."""
    sd = np.sqrt(x.var(axis=0) + eps)
    xhat = (x - x.mean(axis=0)) / sd
    u = dy - dy.mean(axis=1, keepdims=True)
    return (
        gamma / sd * (u - xhat * (dy * xhat).mean(axis=0)),
        (dy * xhat).sum(axis=0),
        dy.sum(axis=0),
    )


eps_at_least = edited(w.blocks, "eps_at_least", ("var + eps", "var + max(eps, 1e-7)"))


def _change(name, value, where=...):
    def change(inputs):
        inputs[name][where] = value

    return change


def _fortran(inputs):
    inputs.update({k: np.asfortranarray(v) for k, v in inputs.items() if np.ndim(v)})


CORNERS = (
    ("local", odd_rows_dropped, {"n": 9}, None, "dbeta lacks the last row of an odd batch"),
    ("local", sixteen_features, {"d": 19}, None, "dx is zero from the 17th feature on"),
    ("local", full_tiles, {"d": 11}, None, "constant statistics after the last full tile"),
    ("local", thirty_two_rows, {"n": 40}, None, "dbeta holds the first 32 rows only"),
    ("local", forty_features, {"d": 45}, None, "gamma is that of feature j - 40 from the 41st on"),
    ("local", square_is_transposed, {"n": 5, "d": 5}, None, "the wrong axis where N == D"),
    ("local", batch_of_one, {"n": 1}, None, "dx of a batch of one is not zero"),
    ("local", batch_of_two, {"n": 2}, None, "dx of a batch of two has a factor"),
    ("local", zeros_are_padding, {}, _change("dy", 0, (slice(0, 3), 1)),
     "entries of dy that are 0 are not counted"),
    ("local", dead_feature_is_silent, {}, _change("x", 0.5, (slice(None), 1)),
     "a constant feature gets no gradient"),
    ("local", clipped_input, {"mean": 101.0}, None, "x is clipped to 100"),
    ("local", norm_clipped, {"std": 0.1, "eps": 1e-5}, None, "dx is rescaled where it is long"),
    ("local", leaky, {}, None, "a leaky ReLU's derivative is left in"),
    ("local", from_output, {}, _change("gamma", 0, 2), "dgamma is NaN where gamma is 0"),
    ("local", single_feature, {"d": 1}, None, "gamma is forgotten where D = 1"),
    ("local", loss_scaled, {}, _change("dy", 0.0), "NaN where dy is 0"),
    ("axis", ghost_batches, {}, None, "statistics of four rows at a time"),
    ("eps", eps_at_least, {"eps": 0.0, "std": 1e-3}, None, "eps is never less than 1e-7"),
    ("local", clipped_variance, {"std": 40.0}, None, "the variance is clipped at 100"),
    ("precision", rounded_where_short, {"dtype": np.float32}, None, "dx of float32 is rounded"),
    ("gamma", scales_are_positive, {}, None, "dgamma has the sign of gamma as a factor"),
    ("axis", rows_by_features, {}, None, "the mean of dy is over the features"),
    ("local", memory_order, {}, _fortran, "arrays in Fortran order are read in another order"),
)  # fmt: skip
