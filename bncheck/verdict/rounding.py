"""Is a difference mathematics or rounding? Asked by computing with more digits, or with fewer."""

import numpy as np

from bncheck.identity.crossing import Bench
from bncheck.numbers.agreement import gap, within
from bncheck.numbers.observation import Observation
from bncheck.numbers.reference import precision, reference_at
from bncheck.subject.messages import SECOND
from bncheck.telling.errors import CannotAsk

LOST = 64.0
"""An error that shrinks by this factor in longer arithmetic is rounding, not mathematics."""


def only_rounds(bench: Bench, one: Observation, name: str) -> bool:
    """Whether digits are lost in a gradient that is off, and nothing else."""
    return _is_single(bench, one, name) or _shrinks(bench, one, name)


def _is_single(bench: Bench, one: Observation, name: str) -> bool:
    """Whether all values are float32 ones, or float16 ones, and right as such."""
    yours, right = one.gradients[name], one.reference.gradients[name]
    if not np.all(np.isfinite(yours)) or not np.any(yours):
        return False
    for short in (np.dtype(np.float32), np.dtype(np.float16)):
        if precision(one.trial.judged) >= precision(short):
            continue
        with np.errstate(over="ignore"):
            same = np.array_equal(yours, yours.astype(short))
        if same:
            allowed = reference_at(bench.reading.found, one.values, short).allowed[name]
            if within(yours, right, allowed):
                return True
    return False


def _shrinks(bench: Bench, one: Observation, name: str) -> bool:
    """Whether the error shrinks with the precision."""
    right = one.reference.gradients[name]
    before = float(gap(one.gradients[name], right).max(initial=0.0))
    for dtype in (np.longdouble, np.float64):
        if precision(np.dtype(dtype)) >= precision(one.trial.dtype):
            continue
        longer = {
            k: np.asarray(v, dtype) if isinstance(v, np.ndarray) else v
            for k, v in one.values.items()
        }
        memory = SECOND if one.trial.memory == SECOND else "plain"
        try:
            again = bench.run(one.trial, longer, memory).gradients.get(name)
        except CannotAsk:
            continue
        if again is not None and again.shape == right.shape:
            after = float(gap(again, right).max(initial=0.0))
            return bool(after * LOST < before) if np.isfinite(before) else np.isfinite(after)
    return False
