"""A lone double backward pass of layer norm, in PyTorch's names and order of results: right."""

import numpy as np


def layer_norm_double_backward(input, gamma, ggI, ggG, ggB, gO, eps):
    D = input.shape[-1]

    def along(g):
        """What the backward pass does with a gradient, without gamma."""
        return (g - g.mean(-1, keepdims=True) - xhat * (g * xhat).mean(-1, keepdims=True)) / s

    centred = input - input.mean(-1, keepdims=True)
    s = np.sqrt((centred**2).mean(-1, keepdims=True) + eps)
    xhat = centred / s
    h, moved = gamma * gO, along(ggI)
    on_v, on_h = (ggI * xhat).sum(-1, keepdims=True), (h * xhat).sum(-1, keepdims=True)
    curved = (moved * h).sum(-1, keepdims=True) * xhat + on_h * moved + on_v * along(h)
    gI = along(ggG * gO) - curved / (D * s)
    return gI, (gO * moved).sum(axis=0), gamma * moved + ggG * xhat + ggB
