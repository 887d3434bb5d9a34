"""Is it that gradient? Every observation held against the reference and against differences."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from bncheck.algebra.notation import name_of
from bncheck.algebra.spelling import plain
from bncheck.identity.crossing import Bench
from bncheck.numbers.agreement import REPRODUCED, alike, gap, largest, within
from bncheck.numbers.arithmetic import Array
from bncheck.numbers.differences import Differences
from bncheck.numbers.observation import Observation, Trial
from bncheck.numbers.reference import precision, reference_at
from bncheck.telling.codes import Finding, found
from bncheck.telling.errors import CannotAsk, Disagreement
from bncheck.telling.report import WORST_FIRST, Comparison, GradientResult, Verdict
from bncheck.verdict.observations import Failure, Record

LOST = 64.0
"""An error that shrinks by this factor in longer arithmetic is rounding, not mathematics."""

Made = dict[str, list[tuple[Trial, Comparison]]]
"""Comparisons by gradient, with the trial that each is of."""


@dataclass(frozen=True)
class Verdicts:
    """``results``: by gradient; ``findings``: what does not make a gradient wrong, each once;
    ``shapes``: by gradient, where the shape is not that of its operand; ``worst``: by
    gradient, the trial on which it is.
    """

    results: tuple[GradientResult, ...]
    findings: tuple[Finding, ...]
    shapes: Mapping[str, Finding]
    worst: Mapping[str, Trial]

    @property
    def wrong(self) -> tuple[GradientResult, ...]:
        """Those for which there is a cause to be found."""
        return tuple(g for g in self.results if g.verdict in ("wrong", "inaccurate"))


def judge(record: Record, averaged: bool = False) -> Verdicts:
    """The verdict on every gradient; ``averaged``: accept those divided by the batch size.

    Raises ``CannotAsk`` where the code fails before anything is wrong, or returns no gradient.
    """
    bench, derivation = record.bench, record.bench.reading.found
    made, findings = _all_compared(record, averaged)
    if not made:
        wanted = ", ".join(map(plain, derivation.wrt))
        raise CannotAsk(f"{bench.backward.name} returned no gradient of {wanted}")
    names = map(name_of, derivation.chain.outputs)
    findings += (found("not-returned", gradient=name) for name in names if name not in made)
    graded, lost = _graded(made)
    results = [result_of(name, pairs) for name, pairs in graded.items()]
    return Verdicts(
        tuple(result for result, _ in results),
        once([*bench.reading.findings, *record.findings, *findings, *lost]),
        {f.arguments["gradient"]: f for f in reversed(findings) if f.code == "shape"},
        {result.name: trial for result, trial in results},
    )


def _all_compared(record: Record, averaged: bool) -> tuple[Made, list[Finding]]:
    made: Made = {}
    findings: list[Finding] = []
    for one in record.made:
        if isinstance(one, Failure):
            if one.trial.easy and not any(c.verdict == "wrong" for _, c in _all(made)):
                raise one.refusal
            findings += _failed(one)
            continue
        if averaged:
            one, accepted = _not_averaged(record.bench, one)
            findings += accepted
        for name in one.reference.gradients:
            if name not in one.gradients:
                continue
            compared = [*_compared(record.bench, one, name, record.measured.get(one.trial))]
            findings += (c for c in compared if isinstance(c, Finding))
            pairs = made.setdefault(name, [])
            pairs += ((one.trial, c) for c in compared if isinstance(c, Comparison))
    return made, findings


def once(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The first of each code, of those that speak of something by name the first for each."""
    kept: dict[tuple[str, object], Finding] = {}
    for one in findings:
        about = one.arguments.get("gradient") or one.arguments.get("name")
        kept.setdefault((one.code, about), one)
    return tuple(kept.values())


def _all(made: Made) -> Iterator[tuple[Trial, Comparison]]:
    return (pair for pairs in made.values() for pair in pairs)


def _failed(failure: Failure) -> Iterator[Finding]:
    trial = failure.trial
    if trial.memory == "read-only":
        yield found("fails-on", "read-only", error=str(failure.refusal))
    elif trial.memory == "plain" and not trial.may_fail:
        yield found("fails-on", trial=trial.name, error=str(failure.refusal))


def _compared(
    bench: Bench, one: Observation, name: str, measured: Differences | None
) -> Iterator[Comparison | Finding]:
    """One gradient beside the reference, where the layer is known, and beside differences."""
    trial, truth, known = one.trial, one.reference, bench.reading.known
    yours, right, allowed = one.gradients[name], truth.gradients[name], truth.allowed[name]
    if yours.shape != right.shape:
        yield _misshapen(trial, right)
        yield found("shape", gradient=name, shape=yours.shape, expected=right.shape)
        return
    u, _ = precision(trial.judged)
    if known:
        made = compare(("yours", "symbolic"), yours, right, allowed, trial.name, u)
        if made.verdict == "wrong" and _only_rounds(bench, one, name):
            made = replace(made, verdict="inaccurate")
        yield made
    if measured is None or name not in measured.gradients:
        return
    slope, allowed = measured.gradients[name], allowed + measured.error[name]
    yield compare(("yours", measured.witness), yours, slope, allowed, trial.name, u)
    if known:
        between = compare(("symbolic", measured.witness), right, slope, allowed, trial.name, u)
        if between.verdict == "wrong" and measured.of_reference:
            raise _disagreement(bench, between)
        if between.verdict == "wrong" and bench.program.first:
            yield found("first-differs", first=bench.backward.first)
        yield between


def _misshapen(trial: Trial, right: Array) -> Comparison:
    nowhere = tuple(0 for _ in right.shape)
    return Comparison(
        "yours", "symbolic", np.inf, np.inf, nowhere, 0.0, 0.0, trial.name, "wrong"
    )  # fmt: skip


def _disagreement(bench: Bench, between: Comparison) -> Disagreement:
    """Symbolic gradient and differences of the reference agree, or bncheck is wrong."""
    return Disagreement(
        f"{bench.program.name}: the symbolic gradient and finite differences of the "
        f"reference differ at {list(between.at)}: {between.first:.17g} and "
        f"{between.second:.17g}. This is a defect of bncheck; please report it."
    )


def _not_averaged(bench: Bench, one: Observation) -> tuple[Observation, list[Finding]]:
    """With the sums of which parameter gradients are averages, where they are."""
    x = bench.inputs(one.trial)["x"]
    gradients, findings = dict(one.gradients), []
    for name, right in [*one.reference.gradients.items()][1:]:
        yours, allowed = gradients.get(name), one.reference.allowed[name]
        for count in dict.fromkeys((x.shape[0], x.size // max(1, right.size))):
            if yours is not None and within(yours * count, right, (1 + count) * allowed):
                findings.append(found("batch-average", gradient=name))
                gradients[name] = np.asarray(yours * count)
                break
    return replace(one, gradients=gradients), findings


def _graded(made: Made) -> tuple[Made, list[Finding]]:
    """Digits lost in short arithmetic are remarks; with inputs of the user's, so are all others.

    Where the user gives inputs, accuracy is graded on these.
    """
    own = any(trial.own for trial, _ in _all(made))
    graded: Made = {}
    lost: list[Finding] = []
    for name, pairs in made.items():
        graded[name] = []
        for trial, c in pairs:
            little = c.of_bound <= trial.grace
            if c.verdict == "inaccurate" and (little or (own and not trial.own)):
                lost.append(found("loses-digits", trial=trial.name))
                c = replace(c, verdict="right")
            graded[name].append((trial, c))
    return graded, lost


def result_of(name: str, made: list[tuple[Trial, Comparison]]) -> tuple[GradientResult, Trial]:
    """The worst comparison of each pair of witnesses, the verdict, and the trial of the first.

    Of two that are as bad, the one on an easy trial: its numbers are those to look at. Trials on
    which nothing can be said (one value, over m - 1) count only where there is no other.
    """
    made = [pair for pair in made if pair[1].verdict != "cannot tell"] or made
    worst: dict[tuple[str, str], tuple[Trial, Comparison]] = {}
    for trial, c in made:
        witnesses = c.first_witness, c.second_witness
        worst[witnesses] = max(worst.get(witnesses, (trial, c)), (trial, c), key=_badness)
    verdicts = {witnesses: c.verdict for witnesses, (_, c) in worst.items()}
    symbolic = [v for (_, second), v in verdicts.items() if second == "symbolic"]
    mine = [v for (first, _), v in verdicts.items() if first == "yours"]
    verdict = min(symbolic or mine, key=WORST_FIRST.index)
    comparisons = tuple(c for _, c in worst.values())
    return GradientResult(name, comparisons, verdict), next(iter(worst.values()))[0]


def _badness(pair: tuple[Trial, Comparison]) -> tuple[int, bool, float]:
    trial, c = pair
    return -WORST_FIRST.index(c.verdict), trial.easy, c.of_bound


def _only_rounds(bench: Bench, one: Observation, name: str) -> bool:
    """Whether digits are lost in a gradient that is off, and nothing else.

    Where nothing cancels, float32 has digits left: what keeps none of them is wrong in that type.
    """
    easy = one.trial.dtype == np.float32 and not (one.trial.own or one.trial.cancels)
    right = one.reference.gradients[name]
    if easy and not alike(one.gradients[name], right, REPRODUCED["e"]):
        return False
    return _is_single(bench, one, name) or _shrinks(bench, one, name)


def _is_single(bench: Bench, one: Observation, name: str) -> bool:
    """Whether all values are float32 ones, or float16 ones, and right as such."""
    yours, right = one.gradients[name], one.reference.gradients[name]
    if not np.all(np.isfinite(yours)) or not np.any(yours):
        return False
    for short in (np.dtype(np.float32), np.dtype(np.float16)):
        if precision(one.trial.judged) >= precision(short):
            continue
        with np.errstate(over="ignore"):
            same = np.array_equal(yours, yours.astype(short))
        if same:
            allowed = reference_at(bench.reading.found, one.values, short).allowed[name]
            if within(yours, right, allowed):
                return True
    return False


def _shrinks(bench: Bench, one: Observation, name: str) -> bool:
    """Whether the error shrinks with the precision."""
    right = one.reference.gradients[name]
    before = float(gap(one.gradients[name], right).max(initial=0.0))
    for dtype in (np.longdouble, np.float64):
        if precision(np.dtype(dtype)) >= precision(one.trial.dtype):
            continue
        longer = {
            k: np.asarray(v, dtype) if isinstance(v, np.ndarray) else v
            for k, v in one.values.items()
        }
        try:
            again = bench.run(one.trial, longer).gradients.get(name)
        except CannotAsk:
            continue
        if again is not None and again.shape == right.shape:
            after = float(gap(again, right).max(initial=0.0))
            return bool(after * LOST < before) if np.isfinite(before) else np.isfinite(after)
    return False


def compare(
    witnesses: tuple[str, str],
    first: Array,
    second: Array,
    allowed: Array,
    trial: str,
    roundoff: float = 2.0**-53,
) -> Comparison:
    """Two witnesses of one gradient: where they differ most, by how much, and whether they may.

    Entry by entry against what is allowed; both arrays have one shape. The verdict is ``right``
    within the bound, ``cannot tell`` where nothing can be said (the bound is not finite, both are
    not a number), else ``wrong``; whether it is rather ``inaccurate`` is for the caller to find
    out. ``roundoff``: of the dtype that is judged.
    """
    first, second = np.asarray(first), np.asarray(second)
    apart, limit = gap(first, second), np.asarray(allowed, np.float64)
    known = np.isfinite(limit) & np.isfinite(np.asarray(second, np.float64))
    with np.errstate(all="ignore"):
        ratio = np.where(apart == 0, 0.0, apart / limit)
    judged = np.where(known, ratio, -1.0)
    at = np.unravel_index(int(np.argmax(judged)), judged.shape) if judged.size else ()
    worst = float(judged[at]) if judged.size else 0.0
    return Comparison(
        first_witness=witnesses[0],
        second_witness=witnesses[1],
        ulps=_ulps(apart, second) * 2.0**-53 / roundoff,
        of_bound=max(worst, 0.0),
        at=tuple(int(i) for i in at),
        first=float(np.real(first[at])) if judged.size else 0.0,
        second=float(second[at]) if judged.size else 0.0,
        trial=trial,
        verdict=_verdict(worst, known),
    )


def _verdict(worst: float, known: Array) -> Verdict:
    if worst > 1.0:
        return "wrong"
    return "right" if np.any(known) or not known.size else "cannot tell"


def _ulps(apart: Array, truth: Array) -> float:
    """The largest difference in ULPs (float64) of the largest value: those near 0 are tiny."""
    finite = np.isfinite(np.asarray(truth, np.float64))
    if not finite.any():
        return 0.0
    worst = float(apart.max()) if finite.all() else np.inf
    return worst / float(np.spacing(largest(truth) or 1.0))
