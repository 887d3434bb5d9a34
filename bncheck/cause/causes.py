"""From a verdict to its reason: which kind of failure it is, before the terms are looked at."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from bncheck.algebra.notation import Total, indices_of, like, name_of, size
from bncheck.algebra.program import Step
from bncheck.calculus.derivation import Derivation
from bncheck.cause.diagnose import diagnose
from bncheck.cause.order import reordered
from bncheck.cause.places import is_off
from bncheck.cause.second_diagnose import diagnose_second
from bncheck.identity.readings import Reading
from bncheck.numbers.agreement import ROUNDING, alike, within
from bncheck.numbers.arithmetic import evaluate
from bncheck.numbers.observation import Observation
from bncheck.place.matching import fingerprint
from bncheck.subject.messages import SECOND
from bncheck.telling.report import Cause, Diagnosis, GradientResult, Remark

LARGEST = 1000
"""Entries of a gradient for which other orders are tried."""


def cause(
    found: Derivation,
    identity: Reading,
    seen: Sequence[Observation],
    result: GradientResult,
    shape: Remark | None,
) -> Cause:
    """Why one gradient is wrong or inaccurate."""
    name = result.name
    if shape is not None:
        return Diagnosis("shape", name, shape.text + _summed(found, name, seen))
    if result.verdict == "inaccurate":
        return _lost_digits(seen, result)
    easy = [s for s in seen if name in s.gradients and is_off(s, name).any()]
    worst = result.comparisons[0]
    if not identity.known and not easy:
        text = "it is the gradient of {}, and not that of its own forward pass"
        title = found.forward.title.lower()
        return Diagnosis("not-own-gradient", name, text.format(title))
    if not easy and worst.trial == SECOND:
        text = "right for the first batch and wrong for the second: it uses what the layer keeps "
        text += "from batch to batch (running statistics?) where the batch's own belong"
        return Diagnosis("state", name, text)
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
    there = [s for s in seen if name in s.gradients]
    if found.order == 2:
        return diagnose_second(found, name, there)
    usable = [s for s in easy if np.size(s.gradients[name]) <= LARGEST][:3]
    order = reordered(found, identity.layout, name, usable)
    if order:
        return Diagnosis("reordered", name, order)
    made = diagnose(found, name, there)
    if identity.ignored and made.code == "eps-other":
        text = "backward uses the eps that it is given, and the forward pass does not"
        return replace(made, finding=Remark("eps-in-backward-only", text), limits=())
    return made


def _is_exchanged(one: Observation) -> bool:
    """Whether dgamma holds what dbeta should be, and dbeta what dgamma should be."""
    pairs = (("dgamma", "dbeta"), ("dbeta", "dgamma"))
    truth, allowed = one.reference.gradients, one.reference.allowed
    return all(
        a in one.gradients and b in truth and one.gradients[a].shape == truth[b].shape
        and within(one.gradients[a], truth[b], allowed[b])
        for a, b in pairs
    )  # fmt: skip


def _summed(found: Derivation, name: str, seen: Sequence[Observation]) -> str:
    """Over which axes a parameter's gradient is summed, where that gives the user's numbers."""
    step = found.closed.step(found.closed.tensors[name])
    if not isinstance(step.expr, Total) or not seen or name not in seen[0].gradients:
        return ""
    one, indices = seen[0], indices_of(found.upstream[0])
    whole = like(name, found.upstream[0])
    program = replace(
        found.closed, inputs=(*found.upstream, *found.forward.inputs, *found.forward.targets),
        steps=(Step(whole, step.expr.body),), outputs=(whole,), wrt=(),
    )  # fmt: skip
    known = {**one.values, **one.reference.known}
    given = {name_of(a): np.asarray(known[name_of(a)]) for a in program.inputs}
    single = np.asarray(evaluate(program, given)[name].value, float)
    theirs = fingerprint(one.gradients[name])
    for count in range(len(indices) + 1):
        for over in combinations(range(len(indices)), count):
            if alike(fingerprint(single.sum(axis=over)), theirs, ROUNDING):
                places = ", ".join(str(size(indices[k])) for k in over)
                right = ", ".join(str(size(i)) for i in step.expr.over)
                return f": it is summed over {places or 'nothing'} where {right} belongs"
    return ""


def _lost_digits(seen: Sequence[Observation], result: GradientResult) -> Diagnosis:
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
