"""The right backward passes: ``RIGHT``, each on inputs of its own on which checkers reject it."""

import numpy as np

from tests.cases import hard as h
from tests.cases import more_ways as m
from tests.cases import ways as w
from tests.cases.case import Case

SHORT, HALF = np.float32, np.float16
SCALES = np.array([1e-6, 1e-3, 1.0, 1e3, 1e6])
BITS = np.array([1e-12, -1e-4, 0.0, -1e5, 1e12])

ROWS = (
    # the mean
    ("mean", "mean 3e4", w.staged, h.drawn(mean=3e4), "the mean is 1e4 deviations"),
    ("mean", "mean 1e9", w.one_line, h.drawn(mean=1e9), "nine digits of x are its mean"),
    ("mean", "mean -1e13", w.loops, h.drawn(mean=-1e13, std=300.0), "x is mostly its mean"),
    ("mean", "means apart", w.einsum, h.drawn(d=5, mean=1 / SCALES), "means from 1e-6 to 1e6"),
    ("mean", "years", w.nodes, h.placed("x", lambda g: 2000.0 + np.arange(12)[:, None] % 7, n=12),
     "whole numbers around 2003"),
    ("mean", "pixels in float32", w.columns,
     h.placed("x", lambda g: np.arange(30).reshape(10, 3) * 8, n=10, d=3, dtype=SHORT),
     "grey values from 0 to 255"),
    ("mean", "two clusters", w.gram_schmidt,
     h.placed("x", lambda g: np.where(np.arange(10) % 2, 50.0, -50.0)[:, None] + 1e-5 * g["dy"],
              n=10), "xhat is 1 or -1 to seven digits: nothing is left of dx along it"),
    # the variance
    ("variance", "variance 1e-14", w.staged, h.drawn(std=1e-7, eps=1e-5), "far below eps"),
    ("variance", "variance 1e-20", w.powers, h.drawn(std=1e-10, mean=0.0, eps=1e-18),
     "1/sd is 1e9: a step of 1e-6 is huge"),
    ("variance", "variance 1e-200", w.einsum, h.drawn(std=1e-100, mean=0.0, eps=0.0),
     "dx is 1e100"),
    ("variance", "variance 1e280", w.features_first, h.drawn(std=1e140, mean=0.0),
     "dx is 1e-140: within any absolute tolerance"),
    ("variance", "subnormal x", w.gram_schmidt, h.drawn(std=1e-310, mean=0.0, eps=1e-5),
     "the variance underflows, and does not matter"),
    ("variance", "scales apart", w.in_place, h.drawn(n=9, d=5, std=SCALES, eps=1e-9),
     "standard deviations from 1e-6 to 1e6"),
    ("variance", "outlier", m.corrected, h.placed("x", 1e8, (3, 1)), "one value of 1e8 among ones"),
    ("variance", "constant feature", w.tensor, h.placed("x", 0.1, (..., 1), n=10, eps=1e-5),
     "ten times 0.1 is not 1"),
    ("variance", "all constant", w.projector, h.placed("x", -7.3, eps=1e-3), "nothing varies"),
    ("variance", "after a ReLU", w.staged, h.placed("x", h.rectified, n=9, mean=0.0, eps=1e-5),
     "many zeros, and a dead feature"),
    ("variance", "rows in two", w.loops, h.placed("x", lambda g: np.repeat(g["x"][::2], 2, 0), n=8),
     "every row is there twice"),
    # the shape
    ("shape", "one row", w.one_line, h.drawn(n=1, eps=1e-3), "dx is exactly zero"),
    ("shape", "one row, hardly any eps", m.halves, h.drawn(n=1, eps=1e-20), "1/sd is 1e10"),
    ("shape", "two rows", w.nodes, h.drawn(n=2), "xhat is 1 and -1, nearly"),
    ("shape", "two rows, eps 0", w.gram_schmidt, h.drawn(n=2, eps=0.0),
     "dx is exactly zero, and computed as a difference"),
    ("shape", "one feature", m.pullback, h.drawn(n=11, d=1), "D = 1"),
    ("shape", "one number", w.features_first, h.drawn(n=1, d=1), "N = D = 1"),
    ("shape", "tall", w.blocks, h.drawn(n=4096, d=8), "sums of 4096"),
    ("shape", "wide", w.in_place, h.drawn(n=3, d=512), "three rows"),
    ("shape", "square", m.wide_sums, h.drawn(n=16, d=16), "N = D"),
    # eps
    ("eps", "eps 0", w.columns, h.drawn(eps=0.0), "no eps"),
    ("eps", "eps 1000", m.complex_step, h.drawn(eps=1000.0), "eps is most of the denominator"),
    ("eps", "eps 1e-300", w.powers, h.drawn(eps=1e-300), "eps adds nothing"),
    ("eps", "eps a whole number", w.staged, h.drawn(eps=1), "eps is an int"),
    ("eps", "eps a float32", w.einsum, h.drawn(eps=np.float32(1e-3), std=0.05),
     "eps is a NumPy scalar of another type"),
    # gamma
    ("gamma", "gamma 0", w.tensor, h.placed("gamma", 0.0, 1), "dx of a feature is zero"),
    ("gamma", "gammas apart", w.staged, h.placed("gamma", BITS, d=5), "gamma from 1e-12 to 1e12"),
    ("gamma", "gamma 1e-250", w.nodes, h.placed("gamma", 1e-250), "dx is 1e-250"),
    # the upstream gradient
    ("dy", "dy 0", w.projector, h.placed("dy", 0.0), "nothing comes back"),
    ("dy", "dy constant", w.powers, h.placed("dy", lambda g: 3.7 * g["gamma"], n=13),
     "dx is exactly zero, and computed as a difference"),
    ("dy", "dy along xhat", w.gram_schmidt, h.placed("dy", h.xhat, n=13, eps=1e-10),
     "of dx only eps/sd**2 is left"),
    ("dy", "dy is y", m.halves, h.placed("dy", h.y, eps=1e-5), "the loss is half the square of y"),
    ("dy", "dy one-hot", w.loops, h.placed("dy", lambda g: g["dy"] == g["dy"][2, 1], n=9),
     "one entry comes back"),
    ("dy", "dy 1e12", m.corrected, h.placed("dy", lambda g: 1e12 * g["dy"]), "dx is 1e12"),
    ("dy", "dy 1e-200", w.one_line, h.placed("dy", lambda g: 1e-200 * g["dy"]),
     "dx is 1e-200: within any absolute tolerance"),
    ("dy", "dy subnormal", w.in_place, h.placed("dy", lambda g: 1e-310 * g["dy"], std=20.0),
     "dy has fewer digits than it should"),
    ("dy", "dy apart", w.blocks,
     h.placed("dy", lambda g: g["dy"] * 10.0 ** np.arange(-8, 9)[:, None], n=17),
     "rows of dy from 1e-8 to 1e8"),
    ("dy", "dy of a classifier", m.exact_sums, h.placed("dy", h.softmax_minus_one_hot, n=8, d=6),
     "entries from 1e-10 to 1e-9"),
    # the type
    ("type", "float32", w.staged, h.drawn(dtype=SHORT), "seven digits"),
    ("type", "float32, mean 100", w.loops, h.drawn(dtype=SHORT, mean=100.0, n=20), "five digits"),
    ("type", "float32, tall", m.streamed, h.drawn(dtype=SHORT, n=600, d=2),
     "600 additions one after another"),
    ("type", "float32, variance 1e-10", w.nodes, h.drawn(dtype=SHORT, std=1e-5, mean=0.0, eps=1e-5),
     "xhat is nearly zero"),
    ("type", "float16", w.one_line, h.drawn(dtype=HALF, n=6, eps=0.125), "three digits"),
    ("type", "float16, wide inside", m.mixed, h.drawn(dtype=HALF, n=64, eps=1e-3),
     "sums in double"),
    ("type", "float16, float32 inside", m.short_and_float32, h.drawn(dtype=HALF, n=20, eps=1e-3),
     "right for short types only"),
    ("type", "float16, small", w.gram_schmidt,
     h.placed("dy", lambda g: 1e-3 * g["dy"], dtype=HALF, n=5), "dx near the smallest float16"),
    ("type", "big-endian", w.einsum, h.each(h.big_endian), "as read from a file"),
    # the memory
    ("memory", "Fortran order", w.columns, h.each(h.ordered, n=8), "columns lie together"),
    ("memory", "every third", w.nodes, h.each(h.strided), "views with gaps of NaN"),
    ("memory", "backwards", m.pullback, h.each(h.reversed_), "negative strides"),
    ("memory", "read-only", w.in_place, h.each(h.frozen), "nothing may be written"),
    ("memory", "one row of dy for all", w.staged,
     lambda: {**h.draw(n=6), "dy": h.repeated(h.draw(n=6)["dy"])}, "stride 0"),
)  # fmt: skip

RIGHT = tuple(
    Case(name, kind, why, "right", lambda way=way: way, inputs)
    for kind, name, way, inputs, why in ROWS
)
