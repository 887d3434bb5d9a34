"""Which arrays of an object are its parameters: they are moved, and the output answers.

Names rank what may be one; how the output is moved says which it is: gamma scales it, beta shifts
it, and what does not move it is none.
"""

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bncheck.numbers.agreement import RECOMPUTED, SINGLE, alike
from bncheck.subject.holders import Place, places

STEP = 0.5
"""How far an array is moved to see whether the output depends on it: exact in binary."""


@contextmanager
def drawn_alike() -> Iterator[None]:
    """Random parameters are the same for each object; the generators go on as they were."""
    torch: Any = sys.modules.get("torch")
    legacy: Any = np.random  # what the user's code draws from
    before = random.getstate(), legacy.get_state(), torch and torch.get_rng_state()
    random.seed(0)
    legacy.seed(0)
    if torch:
        torch.manual_seed(0)
    try:
        yield
    finally:
        random.setstate(before[0])
        legacy.set_state(before[1])
        if torch:
            torch.set_rng_state(before[2])


def moving(instance: Any, output: Callable[[], NDArray[Any]]) -> dict[str, str] | None:
    """Which arrays of an object move its output, by place: ``"gamma"`` or ``"beta"``.

    ``output``: its forward pass, called anew. None where it cannot be seen: where the output
    differs from call to call.
    """
    first = output()
    if not alike(output(), first, RECOMPUTED):
        return None
    found: dict[str, tuple[str, Place]] = {}
    for place in sorted(places(instance), key=lambda p: p.role is None):
        old = place.value.copy() if isinstance(place.value, np.ndarray) else place.value.clone()
        moved = []
        for times in (1, 2):
            with suppress(Exception):
                place.put(old + times * STEP)
                moved.append(output())
        place.put(old)
        means = _answer(first, moved, place.role)
        others = [other for known, other in found.values() if known == means]
        if means and all(other.value is place.value for other in others):
            found[place.name] = means, place
    return {name: means for name, (means, _) in found.items()}


def _answer(first: NDArray[Any], moved: Sequence[NDArray[Any]], named: str | None) -> str | None:
    """What an array is by which the output, at once and twice, was moved like this.

    Where it is neither shifted nor scaled, and moved all the same, it is what it is named.
    """
    if len(moved) < 2 or any(y.shape != first.shape for y in moved):
        return None
    once, twice = (np.asarray(y - first, float) for y in moved)
    if alike(once, np.full(once.shape, STEP), SINGLE):
        return "beta"
    both_signs = once.min(initial=0.0) < 0 < once.max(initial=0.0)
    if both_signs and alike(twice, 2 * once, SINGLE):
        return "gamma"
    return named if np.any(once) else None
