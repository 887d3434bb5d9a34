"""From a verdict to its reason: which kind of failure it is, before the terms are looked at."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bncheck.calculus.derivation import Derivation
from bncheck.checking.diagnose import diagnose
from bncheck.checking.identify import Identity
from bncheck.checking.orders import reordered
from bncheck.checking.places import is_off
from bncheck.checking.results import Diagnosis, GradientResult, Remark
from bncheck.checking.terms import Seen

LARGEST = 1000
"""Entries of a gradient for which other orders are tried."""


def cause(
    found: Derivation,
    identity: Identity,
    seen: Sequence[Seen],
    result: GradientResult,
    shape: Remark | None,
) -> Diagnosis:
    """Why one gradient is wrong or inaccurate."""
    name = result.name
    if shape is not None:
        return Diagnosis("shape", name, shape.text)
    if result.verdict == "inaccurate":
        return _lost_digits(seen, result)
    easy = [s for s in seen if name in s.gradients and is_off(s, name).any()]
    worst = result.comparisons[0]
    if not easy:
        return Diagnosis("corner", name, f"right elsewhere, wrong where {worst.trial}")
    if any(not np.all(np.isfinite(np.asarray(s.gradients[name], float))) for s in easy):
        return Diagnosis("not-finite", name, f"NaN or infinity where {worst.trial}")
    whole = next(
        (s.gradients[name].dtype for s in easy if s.gradients[name].dtype.kind in "iu"), None
    )
    if whole is not None:
        return Diagnosis("integers", name, f"the result is {whole}: fractions are cut off")
    if all(map(_is_exchanged, easy)):
        return Diagnosis("exchanged", name, "dgamma and dbeta are exchanged")
    if not identity.known:
        return Diagnosis("not-own-gradient", name, "not the derivative of its own forward pass")
    usable = [s for s in easy if np.size(s.gradients[name]) <= LARGEST][:3]
    order = reordered(found, identity.layout, name, usable)
    if order:
        return Diagnosis("reordered", name, order)
    made = diagnose(found, name, [s for s in seen if name in s.gradients])
    if identity.ignored and made.code == "eps-other":
        text = "backward uses the eps that it is given, and the forward pass does not"
        return replace(made, code="eps-in-backward-only", text=text)
    return made


def _is_exchanged(one: Seen) -> bool:
    """Whether dgamma holds what dbeta should be, and dbeta what dgamma should be."""
    pairs = (("dgamma", "dbeta"), ("dbeta", "dgamma"))
    truth, allowed = one.reference.gradients, one.reference.allowed
    return all(
        a in one.gradients and b in truth and one.gradients[a].shape == truth[b].shape
        and bool(np.all(abs(one.gradients[a] - truth[b]) <= allowed[b]))
        for a, b in pairs
    )  # fmt: skip


def _lost_digits(seen: Sequence[Seen], result: GradientResult) -> Diagnosis:
    """Right mathematics, lost digits: in which input, how many, and what loses them."""
    name, worst = result.name, result.comparisons[0]
    digits = f"{max(0.0, 15.95 - np.log10(max(worst.ulps, 1.0))):.0f} digits are right"
    types = {str(s.gradients[name].dtype) for s in seen if name in s.gradients}
    if types & {"float32", "float16"}:
        why = f"the result is {' and '.join(sorted(types))}"
    elif all(is_off(s, name).any() for s in seen):
        why = "on every input: float32 or a rough constant inside?"
    elif worst.trial == "mean 1e4":
        why = "squares of a large mean cancel (raw moments, E[x^2] - mean^2?)"
    else:
        why = "terms that nearly cancel are subtracted"
    text = f"right mathematics, lost digits where {worst.trial}: {digits}; {why}"
    return Diagnosis("inaccurate", name, text)
