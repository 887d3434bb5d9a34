"""What a case is, its inputs, and how a wrong one is made: a right one with one edit.

The contract: ``backward(dy, x, gamma, beta, eps) -> (dx, dgamma, dbeta)`` in the shapes and the
dtype of x, gamma and beta; x and dy are (N, D), the variance is over N; nothing is remembered.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Backward = Callable[..., tuple[Any, Any, Any]]
Inputs = Callable[[], dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """``why``: what is wrong, or what is hard. ``expected``: "right", "wrong" or "remark".

    ``make`` gives a fresh callable, since some keep state; ``inputs`` fresh arrays dy, x,
    gamma, beta and the number eps. A wrong one is wrong on its inputs, a right one right.
    """

    name: str
    kind: str
    why: str
    expected: str
    make: Callable[[], Backward]
    inputs: Inputs


def draw(
    n: int = 7,
    d: int = 4,
    seed: int = 1,
    *,
    mean: Any = 1.5,
    std: Any = 2.0,
    eps: Any = 0.125,
    dtype: Any = np.float64,
) -> dict[str, Any]:
    """Inputs on which an ordinary mistake shows; ``mean``, ``std``: numbers, or one per feature."""
    rng = np.random.default_rng(seed)
    gamma = rng.uniform(0.4, 0.9, d) * np.where(np.arange(d) % 3 == 1, -2.0, 1.0)
    return {
        "dy": (0.25 + rng.standard_normal((n, d))).astype(dtype),
        "x": (mean + std * rng.standard_normal((n, d))).astype(dtype),
        "gamma": gamma.astype(dtype),
        "beta": rng.standard_normal(d).astype(dtype),
        "eps": eps,
    }


def edited(way: Backward, name: str, *pairs: tuple[str, str]) -> Backward:
    """The function with each first text, which is there exactly once, replaced by the second."""
    source = inspect.getsource(way)
    for old, new in pairs:
        if source.count(old) != 1:
            raise ValueError(f"{name}: {way.__name__} has {old!r} {source.count(old)} times")
        source = source.replace(old, new)
    space = dict(way.__globals__)
    exec(source, space)
    made: Backward = space[way.__name__]
    made.__name__ = name
    return made
