"""Is a difference mathematics or rounding? Asked by computing with more digits, or with fewer."""

from typing import Any

import numpy as np

from bncheck.numbers.agreement import within
from bncheck.numbers.arithmetic import Array
from bncheck.numbers.reference import precision, reference_at
from bncheck.numbers.trials import Trial
from bncheck.subject.messages import SECOND
from bncheck.telling.errors import CannotAsk
from bncheck.verdict.bench import Case, user_inputs
from bncheck.verdict.witnesses import named_again

LOST = 64.0
"""An error that shrinks by this factor in longer arithmetic is rounding, not mathematics."""


def is_single(case: Case, trial: Trial, name: str, yours: Array, right: Array) -> bool:
    """Whether all values are float32 ones, or float16 ones, and right as such."""
    if not np.all(np.isfinite(yours)) or not np.any(yours):
        return False
    for short in (np.dtype(np.float32), np.dtype(np.float16)):
        if precision(trial.judged) >= precision(short):
            continue
        with np.errstate(over="ignore"):
            same = np.array_equal(yours, yours.astype(short))
        allowed = reference_at(case.found, trial.values, short).allowed[name] if same else 0.0
        if same and within(yours, right, allowed):
            return True
    return False


def is_rounding(case: Case, trial: Trial, name: str, yours: Array, right: Array) -> bool:
    """Whether the error shrinks with the precision: then digits are lost, and nothing else."""
    before = float(abs(yours - right).max())
    for dtype in (np.longdouble, np.float64):
        if precision(np.dtype(dtype)) >= precision(trial.dtype):
            continue
        longer = {
            k: np.asarray(v, dtype) if isinstance(v, np.ndarray) else v
            for k, v in trial.values.items()
        }
        again = _again(case, trial, name, longer)
        if again is not None and again.shape == right.shape:
            after = float(abs(again - right).max())
            return bool(after * LOST < before) if np.isfinite(before) else np.isfinite(after)
    return False


def _again(case: Case, trial: Trial, name: str, values: dict[str, Any]) -> Array | None:
    try:
        memory = SECOND if trial.memory == SECOND else "plain"
        outcome = case.subject.call(case.candidate.name, user_inputs(case, values, trial), memory)
        return named_again(case, trial, outcome.gradients).get(name)
    except CannotAsk:
        return None
