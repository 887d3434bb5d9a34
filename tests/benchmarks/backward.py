"""The emitted backward pass of batch norm beside hand-written ones; ratios of one run.

    python tests/benchmarks/backward.py [REPETITIONS]

Every round calls all of them in a new order, and the fastest call of each counts. The limit of
the memory: dy and xhat are read twice, dx is written once, at the speed of a copy.
"""

import random
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bncheck.algebra.layers import LAYERS
from bncheck.calculus.passes import derived
from bncheck.writers.numpy_source import functions

Backward = Callable[[Any, dict[str, Any]], Any]


def textbook(dy: Any, cache: dict[str, Any]) -> Any:
    """The one-liner."""
    gamma, sd, xhat, m = cache["gamma"], cache["sd"], cache["xhat"], len(dy)
    dx = gamma / sd * (dy - dy.sum(0) / m - xhat * (dy * xhat).sum(0) / m)
    return dx, (dy * xhat).sum(0), dy.sum(0)


def staged(dy: Any, cache: dict[str, Any]) -> Any:
    """Step by step, as taught; x - mu is xhat*sd."""
    gamma, sd, xhat, m = cache["gamma"], cache["sd"], cache["xhat"], len(dy)
    xmu = xhat * sd
    dxhat = dy * gamma
    dvar = (dxhat * xmu * -0.5 * sd**-3).sum(0)
    dmu = (-dxhat / sd).sum(0) + dvar * (-2 * xmu).mean(0)
    return dxhat / sd + dvar * 2 * xmu / m + dmu / m, (dy * xhat).sum(0), dy.sum(0)


def einsum(dy: Any, cache: dict[str, Any]) -> Any:
    """Products fused into the reductions, result updated in place."""
    gamma, sd, xhat, m = cache["gamma"], cache["sd"], cache["xhat"], len(dy)
    dbeta, dgamma = np.einsum("ij->j", dy), np.einsum("ij,ij->j", dy, xhat)
    dx = xhat * (-dgamma / m)
    dx += dy
    dx -= dbeta / m
    dx *= gamma / sd
    return dx, dgamma, dbeta


def ones(dy: Any, cache: dict[str, Any]) -> Any:
    """The same, with a product with ones for the plain sum."""
    gamma, sd, xhat, m = cache["gamma"], cache["sd"], cache["xhat"], len(dy)
    dbeta, dgamma = np.ones(m, dy.dtype) @ dy, np.einsum("ij,ij->j", dy, xhat)
    dx = xhat * (-dgamma / m)
    dx += dy
    dx -= dbeta / m
    dx *= gamma / sd
    return dx, dgamma, dbeta


def main(repetitions: int) -> None:
    """Print a table of ratios for each shape and dtype."""
    emitted = functions(derived(LAYERS["batch-norm"]))
    by_hand: dict[str, Backward] = {"einsum": einsum, "ones": ones, "textbook": textbook,
                                    "staged": staged}  # fmt: skip
    for shape in ((64, 64), (1024, 256), (8192, 1024)):
        for dtype in (np.float32, np.float64):
            rng = np.random.default_rng(0)
            x, dy = (rng.normal(size=shape).astype(dtype) for _ in range(2))
            gamma = np.full(shape[1], 1.5, dtype)
            _, cache = emitted.forward(x, gamma, gamma, 1e-5)
            rounds = repetitions if x.size > 1e6 else 40 * repetitions
            best = _best({"emitted": emitted.backward, **by_hand}, dy, cache, rounds)
            best["memory"] = 2.5 * _best({"copy": _copy}, dy, cache, rounds)["copy"]
            hand = min(best[name] for name in by_hand)
            rest = ", ".join(f"{n} {t / best['emitted']:.2f}" for n, t in best.items())
            print(f"{shape!s:13} {dtype.__name__}: emitted / best by hand = "
                  f"{best['emitted'] / hand:.2f}; relative to emitted: {rest}")  # fmt: skip


def _copy(dy: Any, cache: dict[str, Any]) -> Any:
    target = cache.setdefault("_copy", np.empty_like(dy))
    np.copyto(target, dy)
    return target


def _best(
    ways: dict[str, Backward], dy: Any, cache: dict[str, Any], rounds: int
) -> dict[str, float]:
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name in random.sample(list(ways), len(ways)):
            start = time.perf_counter()
            ways[name](dy, cache)
            best[name] = min(best[name], time.perf_counter() - start)
    return best


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
