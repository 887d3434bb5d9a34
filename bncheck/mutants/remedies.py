"""Which input would have shown a mistake? Found by trying: each candidate is computed.

Each is what the tests ask already with one thing changed, or two where one is not enough.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from bncheck.mutants.mistakes import Mistake, gradient_roles
from bncheck.mutants.recipe import apart, prepared, run, size
from bncheck.mutants.recognition import Recognised
from bncheck.mutants.variations import Values, Variation, variations
from bncheck.numbers.agreement import RECOMPUTED, SINGLE

CLEAR = 1e-6
"""The relative error that a test with a tolerance of its own would notice in any gradient."""


def remedy(known: Recognised, mistake: Mistake, tolerances: Mapping[str, float | None]) -> str:
    """What would have shown a mistake that the tests miss.

    ``tolerances``: the relative error that passes, by gradient; None where none fails.
    """
    names = {role: name for name, role in gradient_roles(known.found).items()}
    looked = {n: 10 * t for n, t in tolerances.items() if t is not None}
    own = {name: worst(known, mistake, name) for name in looked}
    if seen := [names[n] for n in looked if own[n] > looked[n]]:
        # an error of that size is noticed elsewhere: a property of the gradient is tested
        return f"a comparison of {' and '.join(seen)} entry by entry"
    limits = {name: (limit, limit * _largest(known, name)) for name, limit in looked.items()}
    base = prepared(known.right, min(known.calls, key=lambda c: np.size(c.values["x"])).values)
    closer = _tolerance(known, max(own.values(), default=0.0))
    tried = tuple(_several(variations(known)))
    for several in tried if looked else ():
        if several and _shows(known, mistake, base, several, limits):
            return " or ".join([_words(several), *closer])
    if closer:
        return closer[0]
    blind = [n for n in mistake.gradients if tolerances.get(n) is None]
    for several in tried:
        if _shows(known, mistake, base, several, dict.fromkeys(blind, (CLEAR, 0.0))):
            test = f"a test of {' and '.join(names[n] for n in blind)}"
            return f"{test}, at {_words(several)}" if several else test
    return "nothing that was tried"


def errors(
    known: Recognised, mistake: Mistake, values: Mapping[str, Any]
) -> dict[str, tuple[float, float]]:
    """The relative and absolute error of each gradient at an input; none where it cannot run."""
    try:
        _, right = run(known.right, values)
        _, wrong = run(mistake.recipe, values)
    except (KeyError, ValueError, TypeError, IndexError, ZeroDivisionError):
        return {}
    relative = {name: apart(wrong[name], right[name], values["dy"]) for name in right}
    return {n: (r, r * size(right[n], values["dy"])) for n, r in relative.items()}


def _several(tried: Sequence[Variation]) -> Iterator[tuple[Variation, ...]]:
    for count in range(4):
        yield from combinations(tried, count)


def _shows(
    known: Recognised,
    mistake: Mistake,
    base: Values,
    several: Sequence[Variation],
    limits: Mapping[str, tuple[float, float]],
) -> bool:
    """Whether an error is above a relative and an absolute limit: tests have either."""
    values = dict(base)
    for variation in several:
        values = variation.made(values)
    found = errors(known, mistake, values)
    return any(
        found[name][0] > relative and found[name][1] > absolute
        for name, (relative, absolute) in limits.items()
        if name in found
    )


def worst(known: Recognised, mistake: Mistake, gradient: str) -> float:
    """The largest relative error of a gradient on the tests' own inputs."""
    own = (errors(known, mistake, call.values) for call in known.calls)
    return max(found[gradient][0] if gradient in found else 0.0 for found in own)


def _largest(known: Recognised, gradient: str) -> float:
    """What the errors of a gradient were relative to when the tolerance was measured."""
    results = ((run(known.right, call.values)[1], call.values["dy"]) for call in known.calls)
    return max(size(right[gradient], dy) for right, dy in results)


def _tolerance(known: Recognised, error: float) -> tuple[str, ...]:
    """The tolerance at which the tests' own inputs would do, where they show it at all."""
    single = any(np.asarray(c.values["x"]).dtype.char in "ef" for c in known.calls)
    if error <= (SINGLE if single else RECOMPUTED):
        return ()
    return (f"a relative tolerance below {0.95 * error:.0e}".replace("e-0", "e-"),)


def _words(several: Sequence[Variation]) -> str:
    return " and ".join(variation.words for variation in several)
