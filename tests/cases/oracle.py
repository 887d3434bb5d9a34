"""The truth about a case, by other means than bncheck's: 80 digits, and a look at the contract.

The gradients are those of ``output`` by the formula written out by hand; ``test_cases.py`` holds
it against differences of ``output``. The bound on rounding is by norms: x - mu is off by
n*u*max|x| at most, which is e = n*u*max|x|/s beside s, and n + 8 operations add u each.
"""

from typing import Any

import mpmath
import numpy as np

DIGITS = 80
NAMES = ("dx", "dgamma", "dbeta")
ARRAYS = ("dy", "x", "gamma", "beta")


def output(x: list[Any], gamma: Any, beta: Any, eps: Any) -> list[Any]:
    """The forward pass of one feature in ``mpmath`` numbers."""
    mu = mpmath.fsum(x) / len(x)
    s = mpmath.sqrt(mpmath.fsum((v - mu) ** 2 for v in x) / len(x) + eps)
    return [gamma * (v - mu) / s + beta for v in x]


def feature(dy: list[Any], x: list[Any], gamma: Any, eps: Any, u: Any) -> tuple[list[Any], ...]:
    """dx, dgamma, dbeta of one feature, and how far rounding may move each of the three."""
    n = len(x)
    mu = mpmath.fsum(x) / n
    s = mpmath.sqrt(mpmath.fsum((v - mu) ** 2 for v in x) / n + eps)
    z = [(v - mu) / s for v in x]
    dbeta, dgamma = mpmath.fsum(dy), mpmath.fdot(dy, z)
    dx = [gamma / s * (g - dbeta / n - v * dgamma / n) for g, v in zip(dy, z, strict=True)]
    big, k = max(map(abs, dy)), 1 + max(map(abs, z))
    off = n * u * max(map(abs, x)) / s + (n + 8) * u
    slope = abs(gamma) / s
    bounds = [8 * slope * big * k * k * off, 8 * n * big * k * off, 2 * n * n * u * big]
    return [*dx, dgamma, dbeta], [*([bounds[0]] * n), *bounds[1:]]


def ratios(case_inputs: dict[str, Any], results: Any) -> dict[str, float]:
    """For each gradient the largest error over its bound; above 1 it is wrong."""
    dy, x, gamma = (np.asarray(case_inputs[k]) for k in ("dy", "x", "gamma"))
    shapes = dict(zip(NAMES, (x.shape, gamma.shape, gamma.shape), strict=True))
    arrays = {k: np.asarray(v) for k, v in zip(NAMES, results, strict=True)}
    found = {k: np.inf for k in NAMES if arrays[k].shape != shapes[k]}
    sizes = np.finfo(x.dtype)
    with mpmath.workdps(DIGITS):
        u, eps = _exact(sizes.eps) / 2, _exact(case_inputs["eps"])
        floor = 64 * _exact(sizes.smallest_subnormal)
        for j in range(x.shape[1]):
            truth, bound = feature(_list(dy[:, j]), _list(x[:, j]), _exact(gamma[j]), eps, u)
            parts = {"dx": slice(None, -2), "dgamma": slice(-2, -1), "dbeta": slice(-1, None)}
            for name, part in parts.items():
                if arrays[name].shape == shapes[name]:
                    yours = arrays[name].reshape(-1, x.shape[1])[:, j]
                    worst = _worst(yours, truth[part], [b + floor for b in bound[part]])
                    found[name] = max(found.get(name, 0.0), worst)
    return found


def breaches(make: Any, inputs: Any) -> set[str]:
    """What a callable does that the contract forbids."""
    with np.errstate(all="ignore"):
        results = make()(*inputs().values())
        if any(r is None for r in results):
            return {"missing"}
        return _unfit(inputs(), results) | _left_behind(make(), inputs) | _later(make, inputs)


def _unfit(given: dict[str, Any], results: Any) -> set[str]:
    shapes = [given[k].shape for k in ARRAYS[1:]]
    dtype = given["x"].dtype.newbyteorder("=")
    found = {"shape"} if [np.shape(r) for r in results] != shapes else set()
    return found | ({"dtype"} if any(r.dtype != dtype for r in results) else set())


def _left_behind(function: Any, inputs: Any) -> set[str]:
    """In the caller's arrays."""
    given, kept, found = inputs(), inputs(), set()
    results = function(*given.values())
    if not _same([given[k] for k in ARRAYS], [kept[k] for k in ARRAYS]):
        found.add("overwrites")
    if any(np.shares_memory(r, given[k]) for r in results for k in ARRAYS):
        found.add("aliases")
    for k in ARRAYS:
        kept[k].flags.writeable = False
    try:
        function(*kept.values())
    except ValueError:
        found.add("fails on read-only")
    return found


def _later(make: Any, inputs: Any) -> set[str]:
    """In later calls, or of earlier ones."""
    function, first, other = make(), inputs(), inputs()
    other["x"] = 1.5 * other["x"] + 1
    results = function(*first.values())
    kept = [np.array(r) for r in results]
    second = [np.array(r) for r in function(*copies(other).values())]
    found = set() if _same(results, kept) else {"buffer"}
    again, fresh = function(*inputs().values()), make()(*other.values())
    return found if _same(again, kept) and _same(second, fresh) else found | {"state"}


def copies(given: dict[str, Any]) -> dict[str, Any]:
    """The same inputs in arrays of their own."""
    return {k: v.copy(order="K") if isinstance(v, np.ndarray) else v for k, v in given.items()}


def _same(some: Any, others: Any) -> bool:
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(some, others, strict=True))


def _worst(yours: Any, truth: list[Any], bound: list[Any]) -> float:
    if not np.all(np.isfinite(yours)):
        return float("inf")
    pairs = zip(_list(yours), truth, bound, strict=True)
    return float(max(abs(y - t) / b for y, t, b in pairs))


def _list(values: Any) -> list[Any]:
    return [_exact(v) for v in values]


def _exact(value: Any) -> Any:
    """A NumPy number, longdouble or shorter, without rounding."""
    high = float(value)
    return mpmath.mpf(high) + mpmath.mpf(float(value - type(value)(high)))
