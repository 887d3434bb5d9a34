"""The right answer, and how much rounding it may differ by.

No tolerance to tune: the bound is carried beside each value through forward pass and chain
rule, for one unit roundoff of the user's dtype per operation. The values themselves come from
the closed form in a longer type, and are believed only while the chain rule agrees.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bncheck.algebra.notation import name_of
from bncheck.calculus.derivation import Derivation
from bncheck.numbers.arithmetic import EXACT, Array, Bounded, evaluate
from bncheck.numbers.observation import Reference, Trial
from bncheck.telling.errors import Disagreement

SAFETY = 4.0
"""How many times the rounding bound is allowed: other orders of operations than ours."""


def reference_at(
    found: Derivation, values: Mapping[str, Any], dtype: np.dtype[Any] | None = None
) -> Reference:
    """The reference for inputs and upstream gradient by name; arrays by program axes.

    ``dtype``: the precision that is judged, float64 by default. Raises ``Disagreement`` where
    closed form and chain rule differ by more than their own rounding.
    """
    roundoff, smallest = precision(np.dtype(np.float64) if dtype is None else dtype)
    doubles = {name: np.asarray(value, np.float64) for name, value in values.items()}
    bounded = evaluate(found.forward, doubles, roundoff, smallest)
    bounded |= {name: Bounded(doubles[name], EXACT) for name in map(name_of, found.upstream)}
    chain = evaluate(found.chain, bounded, roundoff, smallest)
    lifted = {name: lift(value) for name, value in values.items()}
    forward = lifted | _values(evaluate(found.forward, lifted))
    closed = _values(evaluate(found.closed, forward))
    _agree(found, chain, closed, roundoff)
    outputs = [name_of(out) for out in found.chain.outputs]
    out = name_of(found.forward.outputs[0])
    floor = smallest * 16
    return Reference(
        known={**_values(chain), **forward, **closed},
        gradients={name: closed[name] for name in outputs},
        allowed={name: SAFETY * chain[name].error + floor for name in outputs},
        output=forward[out],
        output_allowed=SAFETY * bounded[out].error + floor,
    )


def truth_of(found: Derivation, trial: Trial) -> Reference:
    """The reference on a trial; on built-in trials, which return, it is kept."""
    return reference_at(found, trial.values, trial.judged) if trial.own else _kept(found, trial)


@lru_cache(128)
def _kept(found: Derivation, trial: Trial) -> Reference:
    return reference_at(found, trial.values, trial.judged)


def precision(dtype: np.dtype[Any]) -> tuple[float, float]:
    """Unit roundoff and smallest subnormal of a dtype; bfloat16 has 8 bits of float32's range."""
    if dtype.name == "bfloat16":
        return 2.0**-8, 2.0**-133
    found = np.finfo(dtype)
    return float(found.eps) / 2, float(found.smallest_subnormal)


def lift(value: Any) -> Array:
    """A number or array in a type that is longer than float64: longdouble, else mpmath's."""
    if np.finfo(np.longdouble).nmant > np.finfo(np.float64).nmant:
        return np.asarray(value).astype(np.longdouble)
    from mpmath import mpf

    exact: NDArray[Any] = np.vectorize(lambda v: mpf(float(v)), otypes=[object])(value)
    return exact


def _values(known: Mapping[str, Bounded]) -> dict[str, Array]:
    return {name: bounded.value for name, bounded in known.items()}


def _agree(
    found: Derivation, chain: Mapping[str, Bounded], closed: Mapping[str, Array], u: float
) -> None:
    for out in found.chain.outputs:
        one, other = chain[name_of(out)], closed[name_of(out)]
        # the chain rule was run in float64, for whose roundoff the bound holds as it is
        apart = abs(one.value - other) > one.error + np.finfo(float).tiny
        if np.any(apart & np.isfinite(one.error.astype(float))):
            raise Disagreement(
                f"{found.forward.name}: chain rule and closed form of {name_of(out)} differ by "
                f"more than rounding (u = {u:.1e}). This is a defect of bncheck; please report it."
            )
