"""Running statistics and evaluation mode: which convention, and is it kept?

What the layer keeps is read by ``averages``; what evaluation mode gives is held against the
layer's own program with its statistics frozen at what is kept.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from bncheck.algebra.notation import name_of
from bncheck.algebra.program import Program
from bncheck.calculus.folding import frozen
from bncheck.identity.averages import Fit, fitted
from bncheck.numbers import layout
from bncheck.numbers.agreement import SINGLE, compare, near
from bncheck.numbers.arithmetic import Array, Bounded, evaluate
from bncheck.numbers.reference import SAFETY, precision
from bncheck.numbers.trials import Trial
from bncheck.subject.messages import BATCHES
from bncheck.telling.report import Remark
from bncheck.verdict.bench import Case, user_inputs

SIZES = (4, 7, 3, 5)
"""Values per feature in the batches: all different, so that m and m - 1 can be told apart."""
FEATURES = 5

Said = tuple[str, tuple[Remark, ...]]


def inferred(case: Case) -> Said:
    """One line on the convention, and what is wrong with it; nothing where nothing is kept.

    Never raises: it stands beside the verdict on the gradients.
    """
    try:
        return _inferred(case)
    except Exception:
        return "", ()  # code that cannot be run like this has its verdict all the same


def _inferred(case: Case) -> Said:
    program = case.found.forward
    if program.name != "batch-norm" or not case.identity.known or "mu" not in program.tensors:
        return "", ()
    batches = _batches(case)
    asked = user_inputs(case, batches[0].values, batches[0])
    for name, batch in zip(BATCHES, batches, strict=True):
        asked[name] = user_inputs(case, batch.values, batch)["x"]
    seen = case.subject.running(case.candidate.name, asked)
    if not seen:
        return "", ()
    states = [_read(case, batches[0], state) for state in seen["states"]]
    names = {n: seen["names"][n] for n in states[0] if all(n in state for state in states)}
    if not names:
        return "", ()
    frozen_ones = [n for n in names if all(np.array_equal(states[0][n], s[n]) for s in states)]
    if frozen_ones:
        called = " and ".join(names[n] for n in frozen_ones)
        text = f"{called}: never updated by a forward pass in training mode"
        return f"running statistics: {text}", (Remark("running-frozen", text),)
    fits = {n: fitted(names[n], n, [s[n] for s in states], batches) for n in names}
    if any(fit is None for fit in fits.values()):
        called = " and ".join(names[n] for n, fit in fits.items() if fit is None)
        text = f"{called}: not a old + b new of the batch's statistic, for any a and b"
        return f"running statistics: {text}", (Remark("running-unknown", text),)
    known = {n: fit for n, fit in fits.items() if fit is not None}
    line, remarks = _described(known, seen["momentum"])
    more, others = _evaluated(case, batches[-1], seen["evaluations"], known)
    return f"running statistics: {line}; {more}", (*remarks, *others)


def _batches(case: Case) -> list[Trial]:
    """Four batches of different sizes, with means and variances of their own."""
    rng = np.random.default_rng(20)
    program, at = case.found.forward, case.identity.layout
    eps = 0.125 if case.identity.eps is None else case.identity.eps
    made = []
    first, feature = (index.label.name for index in program.axes)
    shared: dict[str, Any] = {}
    for order, m in enumerate(SIZES):
        parts = layout.parts_of(at, {first: m, feature: FEATURES})
        m = int(np.prod(parts.get(first, m)))
        width = int(np.prod(parts.get(feature, FEATURES)))
        x = 1.5 - order + (1 + rng.random(width)) * rng.standard_normal((m, width))
        shared = shared or {
            name: rng.uniform(0.4, 0.9, width) for name in ("gamma", "beta")
            if name in program.tensors
        }  # fmt: skip
        values = {"x": x, "dy": np.ones_like(x), "eps": eps, **shared}
        made.append(Trial(f"batch {order + 1}", values, parts=parts))
    return made


def _read(case: Case, trial: Trial, state: Mapping[str, Any]) -> dict[str, Array]:
    """The running statistics in the program's axes; what is of another size is left out."""
    program, width = case.found.forward, trial.values["x"].shape[1]
    mean = program.tensors["mu"]
    return {
        name: layout.array_from_user(
            case.identity.layout, program, mean, value, (width,), trial.parts
        )
        for name, value in state.items()
        if value.size == width or value.size == 1
    }


def _described(fits: dict[str, Fit], momentum: float | None) -> Said:
    """The weights, which of them is the momentum, and what the variance is over."""
    texts = {n: _weights(fit) for n, fit in fits.items()}
    wrong = [n for n, fit in fits.items() if not fit.whole]
    remarks = tuple(
        Remark("running-weights", f"{fits[n].name} is {texts[n]}: the weights add up to "
               f"{sum(fits[n].weights[0]):.6g}, not 1") for n in wrong
    )  # fmt: skip
    said = [*dict.fromkeys(texts.values())]
    line = said[0]
    if len(said) > 1:
        line = ", ".join(f"{fits[n].name} {text}" for n, text in texts.items())
    line += _which(next(iter(fits.values())), momentum)
    if "running_var" in fits:
        line += f", {fits['running_var'].kind}"
    return line, remarks


def _weights(fit: Fit) -> str:
    first, second = (f"{a:.6g} old + {b:.6g} new" for a, b in fit.weights)
    if first == second:
        return first
    (_, one), (_, other) = fit.weights
    if near(1 / other - 1 / one, 1, SINGLE):
        return "the average of all batches"
    return f"{first}, then {second}"


def _which(fit: Fit, momentum: float | None) -> str:
    old, new = fit.weights[0]
    if momentum is None or fit.weights[0] != fit.weights[1] or near(old, new, SINGLE):
        return ""
    off = {"old": abs(old - momentum), "new": abs(new - momentum)}
    which = min(off, key=lambda name: off[name])
    return f" (momentum weighs the {which})" if near(off[which], 0, SINGLE) else ""


def _evaluated(
    case: Case, batch: Trial, evaluations: list[dict[str, Any]], fits: dict[str, Fit]
) -> Said:
    """What evaluation mode does; of several ways into it the one that is right, if any."""
    if not evaluations:
        return "no evaluation mode found", ()
    if len(fits) < 2:
        return "evaluation mode was not checked", ()
    candidates = list(_outputs(case, batch, fits))
    found: list[Said] = []
    for one in evaluations:
        same = all(
            np.array_equal(one["before"][n], one["after"].get(n)) for n in one["before"]
        )  # fmt: skip
        said = _read_off(case, batch, one["y"], candidates)
        if not same and not said[1]:
            text = "evaluation mode changes the running statistics"
            said = (f"{said[0]} and changes them", (Remark("evaluation-updates", text),))
        found.append(said)
    return min(found, key=lambda said: len(said[1]))


def _read_off(
    case: Case, batch: Trial, given: Array, candidates: list[tuple[str, bool, Bounded]]
) -> Said:
    program, at = case.found.forward, case.identity.layout
    y = layout.output_from_user(at, program, given, batch.values, batch.parts)
    for text, right, wanted in candidates:
        if y.shape != wanted.value.shape:
            break
        allowed = SAFETY * wanted.error
        if compare(("yours", text), y, wanted.value, allowed, batch.name).verdict == "right":
            remarks = () if right else (Remark("evaluation-differs", f"evaluation mode {text}"),)
            return f"evaluation mode {text}", remarks
    text = "is not the transform by the running statistics"
    return f"evaluation mode {text}", (Remark("evaluation-differs", f"evaluation mode {text}"),)


def _outputs(case: Case, batch: Trial, fits: dict[str, Fit]) -> Iterator[tuple[str, bool, Bounded]]:
    """What evaluation mode may be: in words, whether it is right, and its output."""
    program, values = case.found.forward, batch.values
    eps, spread = values["eps"], fits["running_var"].kept.astype(float)
    m = len(values["x"])
    u = precision(fits["running_var"].kept.dtype)[0] if spread.dtype.kind == "f" else 2.0**-53

    def output(step: str, value: Array, eps: float = eps) -> Bounded:
        known = {"mu": fits["running_mean"].kept.astype(float), step: value, "eps": eps}
        return _output(frozen(program, ("mu", step)), {**values, **known}, u)

    uses = "uses them"
    if fits["running_var"].step == "sd":
        for text, one in (("", spread), (", and eps beside the deviation", spread + eps)):
            yield uses + text, True, output("sd", one)
        yield f"{uses}, with eps under the root", True, output("var", spread**2)
    elif fits["running_var"].step == "sd squared":
        yield uses, True, output("sd", np.sqrt(spread))
        yield f"{uses} but adds eps once more", False, output("var", spread)
    else:
        yield uses, True, output("var", spread)
        yield f"{uses}, the variance times m/(m - 1)", True, output("var", spread * m / (m - 1))
        if eps:
            yield f"{uses} but leaves eps out", False, output("var", spread, 0.0)
        yield f"{uses} but divides by the variance", False, output("sd", spread)
        yield f"{uses} but divides by the variance", False, output("sd", spread + eps)
    text = "uses the statistics of the batch, not the running ones"
    yield text, False, _output(program, values, u)


def _output(program: Program, values: dict[str, Any], u: float) -> Bounded:
    return evaluate(program, values, u)[name_of(program.outputs[0])]
