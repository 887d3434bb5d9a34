"""What the factor of a term means: the same reading has to hold on every trial."""

from collections.abc import Mapping, Sequence
from fractions import Fraction

from bncheck.algebra.notation import size
from bncheck.calculus.derivation import Derivation, normalised
from bncheck.cause.terms import SIGMAS, counts_of
from bncheck.numbers.agreement import RECOMPUTED, near
from bncheck.numbers.observation import Observation

LARGEST = 12
"""Of the denominators of fractions that are taken for meant."""


def known_factors(found: Derivation, one: Observation) -> dict[str, float]:
    """Factors that have a reading, by it, the likeliest first; counts are those of the trial."""
    counts = counts_of(found, one)
    group = [str(size(i)) for i in normalised(found.layer)]
    letters, whole = "·".join(group), 1.0
    for letter in group:
        whole *= counts[letter]
    known = {"ok": 1.0, "missing": 0.0, "sign flipped": -1.0}
    known[f"{letters} times: a sum where a mean belongs"] = whole
    known[f"1/{letters}: divided by {letters} once too often"] = 1 / whole
    if whole > 1:
        less = f"{letters} - 1" if len(group) == 1 else f"({letters} - 1)"
        known[f"{letters}/({letters} - 1): divided by {less}"] = whole / (whole - 1)
        known[f"({letters} - 1)/{letters}: divided by {letters} for {less}"] = (whole - 1) / whole
    others = {letter: n for letter, n in counts.items() if letter != letters}
    known |= {f"divided by {o} where {letters} belongs": whole / n for o, n in others.items()}
    known |= {f"{o} times": n for o, n in others.items()}
    known |= {f"1/{o} times": 1 / n for o, n in others.items()}
    return known


def read(
    factors: Sequence[tuple[float, float]], known: Sequence[Mapping[str, float]]
) -> tuple[str, float]:
    """The reading, and the factor on the first trial; of each trial factor and standard error."""
    for reading in known[0]:
        if all(_is(f, e, k[reading]) for (f, e), k in zip(factors, known, strict=True)
               if reading in k) and all(reading in k for k in known):  # fmt: skip
            return reading, known[0][reading]
    first = factors[0][0]
    plain = Fraction(first).limit_denominator(LARGEST)
    if all(_is(f, e, float(plain)) for f, e in factors):
        return f"{plain} times", float(plain)
    if all(_is(f, e, first) for f, e in factors):
        return f"{first:.6g} times", first
    return "another factor in each trial", first


def _is(factor: float, error: float, value: float) -> bool:
    return abs(factor - value) <= SIGMAS * error or near(value, factor, RECOMPUTED)
