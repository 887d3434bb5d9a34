"""Running statistics and evaluation mode: which convention, and is it kept?

What the layer keeps is ``a old + b new``, of which of the batch's statistics? Least squares for
each statistic that the layer's own programs compute; a fit counts where its residual is rounding.
Batches of different sizes tell a variance over m from one over m - 1. What evaluation mode gives
is held against the layer's own program with its statistics frozen at what is kept.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bncheck.algebra.layers import layer
from bncheck.algebra.notation import name_of
from bncheck.algebra.program import Program
from bncheck.calculus.folding import frozen
from bncheck.identity.crossing import Bench
from bncheck.numbers import layout as layouts
from bncheck.numbers.agreement import SINGLE, near, within
from bncheck.numbers.arithmetic import Array, Bounded, evaluate
from bncheck.numbers.observation import Trial
from bncheck.numbers.reference import SAFETY, precision
from bncheck.subject.messages import BATCHES
from bncheck.telling.codes import Finding, found

SIZES = (4, 7, 3, 5)
"""Values per feature in the batches: all different, so that m and m - 1 can be told apart."""
FEATURES = 5

Said = tuple[str, tuple[Finding, ...]]
"""A line on the convention, and what is wrong with it."""


def inferred(bench: Bench) -> Said:
    """One line on the convention, and what is wrong with it; nothing where nothing is kept.

    Never raises: it stands beside the verdict on the gradients.
    """
    try:
        return _inferred(bench)
    except Exception:
        return "", ()  # code that cannot be run like this has its verdict all the same


def _inferred(bench: Bench) -> Said:
    program = bench.program
    if program.name != "batch-norm" or not bench.reading.known or "mu" not in program.tensors:
        return "", ()
    batches = _batches(bench)
    seen = bench.kept(dict(zip(BATCHES, batches, strict=True)))
    if not seen:
        return "", ()
    states = [_read(bench, batches[0], state) for state in seen["states"]]
    names = {n: seen["names"][n] for n in states[0] if all(n in state for state in states)}
    if not names:
        return "", ()
    still = [n for n in names if all(np.array_equal(states[0][n], s[n]) for s in states)]
    if still:
        return _all_said(found("running-frozen", names=[names[n] for n in still]))
    fits = {n: fitted(names[n], n, [s[n] for s in states], batches) for n in names}
    unknown = [names[n] for n, fit in fits.items() if fit is None]
    if unknown:
        return _all_said(found("running-unknown", names=unknown))
    known = {n: fit for n, fit in fits.items() if fit is not None}
    line, findings = _described(known, seen["momentum"])
    mode, others = _evaluated(bench, batches[-1], seen["evaluations"], known)
    return f"running statistics: {line}; {mode}", (*findings, *others)


def _all_said(finding: Finding) -> Said:
    return f"running statistics: {finding.text}", (finding,)


def _batches(bench: Bench) -> list[Trial]:
    """Four batches of different sizes, with means and variances of their own."""
    rng = np.random.default_rng(20)
    program, at = bench.program, bench.reading.layout
    eps = 0.125 if bench.reading.eps is None else bench.reading.eps
    made = []
    first, feature = (index.label.name for index in program.axes)
    shared: dict[str, Any] = {}
    for order, m in enumerate(SIZES):
        parts = layouts.parts_of(at, {first: m, feature: FEATURES})
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


def _read(bench: Bench, trial: Trial, state: Mapping[str, Any]) -> dict[str, Array]:
    """The running statistics in the program's axes; what is of another size is left out."""
    width = trial.values["x"].shape[1]
    return {
        name: bench.value(trial, "mu", value, (width,))
        for name, value in state.items()
        if value.size == width or value.size == 1
    }


@dataclass(frozen=True)
class Mixture:
    """What a running statistic is made of: ``kind`` of the batch's statistic, and the weights.

    ``name``: what the user calls it; ``step``: the program's name for it; ``weights``: (old,
    new) for each of two batches, the same twice where they are fixed; ``whole``: whether old and
    new add up to 1; ``kept``: its value at the end.
    """

    name: str
    kind: str
    step: str
    weights: tuple[tuple[float, float], ...]
    whole: bool
    kept: Array


def fitted(called: str, name: str, states: list[Array], batches: list[Trial]) -> Mixture | None:
    """The statistic and the weights with which the states follow from one another."""
    u = precision(states[-1].dtype if states[-1].dtype.kind == "f" else np.dtype(float))[0]
    old, new = states[:2], states[1:]
    choices = []
    for (kind, step), stats in _statistics(name, batches[1:3], u):
        fixed = _solved(old, stats, new, u)
        if fixed is not None:
            weights, whole = fixed
            choices.append(Mixture(called, kind, step, (weights, weights), whole, states[-1]))
            continue
        each = [_solved([a], [s], [b], u) for a, s, b in zip(old, stats, new, strict=True)]
        if all(one is not None and one[1] for one in each):
            changing = tuple(one[0] for one in each if one is not None)
            choices.append(Mixture(called, kind, step, changing, True, states[-1]))
    return min(choices, key=lambda fit: not fit.whole, default=None)


def _statistics(
    name: str, batches: list[Trial], u: float
) -> Iterator[tuple[tuple[str, str], list[Bounded]]]:
    """What may be kept, said and by its name in the program, for each of the batches."""
    if name == "running_mean":
        yield ("mean", "mu"), [_known(0, b, b.values["eps"], u)["mu"] for b in batches]
        return
    for step, said in (("var", "variance"), ("sd", "standard deviation")):
        for ddof, over in enumerate(("m", "m - 1")):
            found = [_known(ddof, b, 0.0, u)[step] for b in batches]
            yield (f"{said} over {over}", step), found
    for ddof, over in enumerate(("m", "m - 1")):
        found = [_known(ddof, b, b.values["eps"], u)["sd"] for b in batches]
        yield (f"standard deviation with eps, over {over}", "sd"), found
        yield (f"variance with eps, over {over}", "sd squared"), [_squared(b, u) for b in found]


def _squared(known: Bounded, u: float) -> Bounded:
    return Bounded(known.value**2, 2 * abs(known.value) * known.error + u * known.value**2)


def _known(ddof: int, batch: Trial, eps: float, u: float) -> dict[str, Bounded]:
    program = layer("batch-norm", ddof=ddof, affine=False)
    return evaluate(program, {"x": batch.values["x"], "eps": eps}, u)


def _solved(
    old: list[Array], stats: list[Bounded], new: list[Array], u: float
) -> tuple[tuple[float, float], bool] | None:
    """(a, b) of new = a old + b stat, and whether a + b = 1; None where rounding forbids it."""
    before, after = (np.concatenate(values).astype(float) for values in (old, new))
    stat = np.concatenate([s.value for s in stats]).astype(float)
    error = np.concatenate([s.error for s in stats])
    matrix = np.column_stack([before, stat])
    a, b = np.linalg.lstsq(matrix, after, rcond=None)[0]
    rounding = 8 * u * (abs(a * before) + abs(b * stat)) + abs(b) * error
    allowed = SAFETY * float(np.linalg.norm(rounding))
    if not np.linalg.norm(matrix @ (a, b) - after) <= allowed:
        return None
    doubt = float(np.linalg.norm(np.linalg.pinv(matrix), 2)) * allowed
    return (float(a), float(b)), abs(a + b - 1) <= 2 * doubt + 4 * u


def _described(fits: dict[str, Mixture], momentum: float | None) -> Said:
    """The weights, which of them is the momentum, and what the variance is over."""
    texts = {n: _weights(fit) for n, fit in fits.items()}
    findings = tuple(
        found("running-weights", gradient=n, name=fit.name, weights=texts[n],
              whole=sum(fit.weights[0]))
        for n, fit in fits.items() if not fit.whole
    )  # fmt: skip
    said = [*dict.fromkeys(texts.values())]
    line = said[0]
    if len(said) > 1:
        line = ", ".join(f"{fits[n].name} {text}" for n, text in texts.items())
    line += _which(next(iter(fits.values())), momentum)
    if "running_var" in fits:
        line += f", {fits['running_var'].kind}"
    return line, findings


def _weights(fit: Mixture) -> str:
    first, second = (f"{a:.6g} old + {b:.6g} new" for a, b in fit.weights)
    if first == second:
        return first
    (_, one), (_, other) = fit.weights
    if near(1 / other - 1 / one, 1, SINGLE):
        return "the average of all batches"
    return f"{first}, then {second}"


def _which(fit: Mixture, momentum: float | None) -> str:
    old, new = fit.weights[0]
    if momentum is None or fit.weights[0] != fit.weights[1] or near(old, new, SINGLE):
        return ""
    off = {"old": abs(old - momentum), "new": abs(new - momentum)}
    which = min(off, key=lambda name: off[name])
    return f" (momentum weighs the {which})" if near(off[which], 0, SINGLE) else ""


def _evaluated(
    bench: Bench, batch: Trial, evaluations: Sequence[Mapping[str, Any]], fits: dict[str, Mixture]
) -> Said:
    """What evaluation mode does; of several ways into it the one that is right, if any."""
    if not evaluations:
        return "no evaluation mode found", ()
    if len(fits) < 2:
        return "evaluation mode was not checked", ()
    made: list[Said] = []
    for one in evaluations:
        before, after = one["before"], one["after"]
        still = all(np.array_equal(before[n], after.get(n)) for n in before)
        line, findings = _read_off(bench.output(batch, one["y"]), _outputs(bench, batch, fits))
        if not still and not findings:
            line, findings = f"{line} and changes them", (found("evaluation-updates"),)
        made.append((line, findings))
    return min(made, key=lambda said: len(said[1]))


def _read_off(y: Array, choices: Iterator[tuple[Finding, bool, Bounded]]) -> Said:
    for finding, right, wanted in choices:
        if y.shape != wanted.value.shape:
            break
        if within(y, wanted.value, SAFETY * wanted.error):
            return finding.text, () if right else (finding,)
    finding = found("evaluation-differs", "unknown")
    return finding.text, (finding,)


def _outputs(
    bench: Bench, batch: Trial, fits: dict[str, Mixture]
) -> Iterator[tuple[Finding, bool, Bounded]]:
    """What evaluation mode may be: as a finding, whether it is right, and its output."""
    program, values = bench.program, batch.values
    eps, spread = values["eps"], fits["running_var"].kept.astype(float)
    m = len(values["x"])
    u = precision(fits["running_var"].kept.dtype)[0] if spread.dtype.kind == "f" else 2.0**-53

    def output(step: str, value: Array, eps: float = eps) -> Bounded:
        known = {"mu": fits["running_mean"].kept.astype(float), step: value, "eps": eps}
        return _output(frozen(program, ("mu", step)), {**values, **known}, u)

    def uses(form: str = "uses") -> Finding:
        return found("evaluation-differs", form)

    if fits["running_var"].step == "sd":
        yield uses(), True, output("sd", spread)
        yield uses("eps-beside"), True, output("sd", spread + eps)
        yield uses("eps-under"), True, output("var", spread**2)
    elif fits["running_var"].step == "sd squared":
        yield uses(), True, output("sd", np.sqrt(spread))
        yield uses("eps-again"), False, output("var", spread)
    else:
        yield uses(), True, output("var", spread)
        yield uses("unbiased"), True, output("var", spread * m / (m - 1))
        if eps:
            yield uses("no-eps"), False, output("var", spread, 0.0)
        yield uses("no-root"), False, output("sd", spread)
        yield uses("no-root"), False, output("sd", spread + eps)
    yield uses("batch"), False, _output(program, values, u)


def _output(program: Program, values: Mapping[str, Any], u: float) -> Bounded:
    return evaluate(program, values, u)[name_of(program.outputs[0])]
