"""Why a second gradient is wrong: what is ignored, which term, by what factor; else where.

The double backward pass with another input comes first (gamma is 1: gamma is forgotten; ddgamma
is 0: it is ignored), then the terms, then another layer's.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np

from bncheck.algebra.notation import Total, name_of
from bncheck.algebra.program import Program
from bncheck.calculus.derivation import Derivation
from bncheck.checking.arithmetic import Array, evaluate
from bncheck.checking.diagnose import ENOUGH, is_theirs, joined
from bncheck.checking.identify import USUAL_EPS
from bncheck.checking.places import is_off, where
from bncheck.checking.reference import double_of
from bncheck.checking.results import Diagnosis
from bncheck.checking.second_reading import BETA
from bncheck.checking.second_terms import Fitted, fitted, is_scaled
from bncheck.checking.terms import Seen
from bncheck.errors import BncheckError
from bncheck.layers import LAYERS, layer, options
from bncheck.writers.unicode import equation, line

Put = dict[str, Any]
"""Other values for some inputs: numbers, or the name of an input of the same shape."""


def diagnose_second(found: Derivation, gradient: str, seen: Sequence[Seen]) -> Diagnosis:
    """What is wrong with one second gradient; ``seen``: all easy trials, the right ones too."""
    if gradient == BETA:
        return Diagnosis("not-zero", gradient, "no gradient depends on beta: it should be 0")
    off = [one for one in seen if is_off(one, gradient).any()]
    fine = [one for one in seen if not is_off(one, gradient).any()]
    formula = _formula(found, gradient)
    changed = _explained(found, gradient, off[:ENOUGH])
    if changed is not None:
        return Diagnosis(changed[0], gradient, changed[1], (), formula)
    largest = max(off, key=lambda one: one.gradients[gradient].size)
    fit = fitted(found, gradient, largest)
    if fit is None:
        text = f"no change of one kind explains it: {where(found, gradient, off, fine)}"
        return Diagnosis("unexplained", gradient, text, (), formula)
    return Diagnosis(*_said(gradient, fit), fit.terms, formula)


def _formula(found: Derivation, gradient: str) -> str:
    """The right formula, after those of what it is made of; sums say themselves what they are."""
    closed = found.closed
    target = closed.tensors[gradient]
    needed = closed.behind((target,))
    inner = [s for s in closed.steps if s.target in needed and s.target not in closed.outputs]
    steps = (*(s for s in inner if not isinstance(s.expr, Total)), closed.step(target))
    return "; ".join(map(equation, steps))


def _said(gradient: str, fit: Fitted) -> tuple[str, str, str]:
    """Code, gradient and text."""
    if fit.text:
        return fit.code, gradient, fit.text
    factor = is_scaled(fit)
    if factor is not None:
        return "factor", gradient, f"{gradient} is {factor:.9g} times the right value"
    wrong = [t for t in fit.terms if t.reading != "ok"]
    codes = {"sign flipped": "term-sign", "missing": "term-missing"}
    readings = {t.reading for t in wrong}
    code = codes.get(readings.pop(), "term-factor") if len(readings) == 1 else "term-factor"
    return code, gradient, joined(wrong)


def _explained(found: Derivation, gradient: str, seen: Sequence[Seen]) -> tuple[str, str] | None:
    """Code and text of the first change that gives the user's numbers on every trial."""
    for code, text, other, put in _changes(found):
        if gradient not in other.closed.tensors:
            continue
        if all(is_theirs(_made(other, gradient, one, put), gradient, one) for one in seen):
            return code, text
    for code, text, factor in (("sign", "has the wrong sign", -1.0), ("zero", "is zero", 0.0)):
        if all(is_theirs(factor * s.reference.gradients[gradient], gradient, s) for s in seen):
            return code, f"{gradient} {text}"
    return None


def _changes(found: Derivation) -> Iterator[tuple[str, str, Derivation, Put]]:
    """Code, text, a derivation and other inputs for it."""
    names = {name_of(a): a for a in (*found.forward.inputs, *found.upstream)}
    given = [name_of(a) for a in found.upstream]
    for name in given:
        yield "direction-ignored", f"{line(names[name])} is ignored", found, {name: 0.0}
    if len(given) > 2:
        both = f"{line(names[given[1]])} and {line(names[given[2]])} are ignored"
        yield "direction-ignored", both, found, dict.fromkeys(given[1:], 0.0)
    for name in given:
        yield "direction-sign", f"the sign of {line(names[name])} is flipped", found, {name: "-"}
    if "gamma" in names:
        yield "gamma-missing", "gamma is forgotten", found, {"gamma": 1.0}
    if "eps" in names:
        yield "eps-missing", "eps is forgotten", found, {"eps": 0.0}
        for eps in USUAL_EPS:
            yield "eps-other", f"eps is {eps:g}, whatever it was given", found, {"eps": eps}
    for text, other in _others(found.layer):
        yield "other-layer", text, other, {}


@cache
def _others(mine: Program) -> tuple[tuple[str, Derivation], ...]:
    """The same layer with another variance, and other layers of the same inputs."""
    made = []
    for name in sorted(LAYERS, key=lambda name: name != mine.name):
        choices = options(name)
        affine = {"affine": "gamma" in mine.tensors} if "affine" in choices else {}
        for ddof in choices.get("ddof", (None,)):
            other = layer(name, **affine, **({} if ddof is None else {"ddof": ddof}))
            if other.steps == mine.steps or other.inputs != mine.inputs:
                continue
            text = f"it is the double backward pass of {other.title.lower()}"
            if name == mine.name:
                text = f"the variance is over {'m - 1' if ddof else 'm'}"
            try:
                made.append((text, double_of(other)))
            except BncheckError:
                continue
    return tuple(made)


def _made(found: Derivation, gradient: str, one: Seen, put: Put) -> Array:
    """The gradient that a derivation gives with other inputs."""
    values = {n: np.asarray(v) for n, v in one.values.items()}
    for name, value in put.items():
        old = values[name]
        values[name] = -old if value == "-" else np.full(old.shape, value, old.dtype)
    with np.errstate(all="ignore"):
        known = {n: b.value for n, b in evaluate(found.forward, values).items()}
        known |= {name_of(a): values[name_of(a)] for a in found.upstream}
        return evaluate(found.closed, known)[gradient].value
