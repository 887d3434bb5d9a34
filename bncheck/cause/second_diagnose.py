"""Why a second gradient is wrong: what is ignored, which term, by what factor; else where.

The double backward pass with another input comes first (gamma is 1: gamma is forgotten; ddgamma
is 0: it is ignored), then the terms, then another layer's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bncheck.algebra.layers import LAYERS, layer, options
from bncheck.algebra.notation import Total, name_of, size
from bncheck.algebra.program import Program
from bncheck.calculus.derivation import Derivation, normalised
from bncheck.cause.diagnose import ENOUGH, is_theirs, joined
from bncheck.cause.places import is_off, where
from bncheck.cause.second_terms import MOST_NAMED, Fitted, fitted, is_scaled
from bncheck.identity.assignment import BETA
from bncheck.identity.readings import USUAL_EPS
from bncheck.numbers.arithmetic import Array, evaluate
from bncheck.numbers.observation import Observation
from bncheck.numbers.reference import double_of
from bncheck.telling.report import Diagnosis
from bncheck.writers.unicode import equation, line

FITTED = 3
"""Trials to which factors are fitted: those with the most entries."""

Put = dict[str, Any]
"""Other values for some inputs: numbers, or the name of an input of the same shape."""

Change = tuple[str, str, Derivation, Put]
"""Code, text, a derivation and other inputs for it."""


def diagnose_second(found: Derivation, gradient: str, seen: Sequence[Observation]) -> Diagnosis:
    """What is wrong with one second gradient; ``seen``: all easy trials, the right ones too."""
    if gradient == BETA:
        return Diagnosis("not-zero", gradient, "no gradient depends on beta: it should be 0")
    off = [one for one in seen if is_off(one, gradient).any()]
    fine = [one for one in seen if not is_off(one, gradient).any()]
    formula = _formula(found, gradient)
    changed = _explained(_changes(found), gradient, off[:ENOUGH]) or _whole(gradient, off)
    largest = sorted(off, key=lambda one: one.gradients[gradient].size)[-FITTED:]
    fit = None if changed else fitted(found, gradient, largest[::-1])
    if changed is None and fit is None:
        changed = _explained(_others(found), gradient, off[:ENOUGH])
    if changed is not None:
        return Diagnosis(changed[0], gradient, changed[1], (), formula)
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
    text = joined(wrong)
    if len(wrong) > MOST_NAMED and len({t.reading for t in wrong}) == 1:
        text = f"{wrong[0].reading}, in {len(wrong)} of {len(fit.terms)} terms"
    return code, gradient, text


def _explained(
    changes: Iterator[Change], gradient: str, seen: Sequence[Observation]
) -> tuple[str, str] | None:
    """Code and text of the first change that gives the user's numbers on every trial."""
    for code, text, other, put in changes:
        if gradient in other.closed.tensors and all(
            is_theirs(_made(other, gradient, one, put), gradient, one) for one in seen
        ):
            return code, text
    return None


def _whole(gradient: str, seen: Sequence[Observation]) -> tuple[str, str] | None:
    for code, text, factor in (("sign", "has the wrong sign", -1.0), ("zero", "is zero", 0.0)):
        if all(is_theirs(factor * s.reference.gradients[gradient], gradient, s) for s in seen):
            return code, f"{gradient} {text}"
    return None


def _changes(found: Derivation) -> Iterator[Change]:
    """The same double backward pass with other inputs."""
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


def _others(found: Derivation) -> Iterator[Change]:
    """The same layer with another variance, throughout or in what is kept; and other layers."""
    mine = found.layer
    letters = "·".join(str(size(i)) for i in normalised(mine))
    for name in sorted(LAYERS, key=lambda name: name != mine.name):
        choices = options(name)
        affine = {"affine": "gamma" in mine.tensors} if "affine" in choices else {}
        for ddof in choices.get("ddof", (None,)):
            other = layer(name, **affine, **({} if ddof is None else {"ddof": ddof}))
            if other.steps == mine.steps or other.inputs != mine.inputs:
                continue
            if name != mine.name:
                text = f"it is the double backward pass of {other.title.lower()}"
                yield "other-layer", text, double_of(other, seen=False), {}
                continue
            over = f"{letters} - 1" if ddof else letters
            yield "ddof", f"the variance is over {over}", double_of(other, seen=False), {}
            yield (
                "ddof",
                f"the variance is over {over}, but not in what follows",
                _kept(found, other),
                {},
            )


def _kept(found: Derivation, other: Program) -> Derivation:
    """The forward values of another variance, in the same double backward pass."""
    theirs = {s.target: s for s in other.steps}
    steps = tuple(theirs.get(s.target, s) for s in found.forward.steps)
    return replace(found, forward=replace(found.forward, steps=steps))


def _made(found: Derivation, gradient: str, one: Observation, put: Put) -> Array:
    """The gradient that a derivation gives with other inputs."""
    values = {n: np.asarray(v) for n, v in one.values.items()}
    for name, value in put.items():
        old = values[name]
        values[name] = -old if value == "-" else np.full(old.shape, value, old.dtype)
    with np.errstate(all="ignore"):
        known = {n: b.value for n, b in evaluate(found.forward, values).items()}
        known |= {name_of(a): values[name_of(a)] for a in found.upstream}
        return evaluate(found.closed, known)[gradient].value
