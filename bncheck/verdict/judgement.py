"""Is it that gradient? Every observation held against the reference and against differences."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from bncheck.algebra.notation import name_of
from bncheck.algebra.spelling import plain
from bncheck.identity.crossing import Bench
from bncheck.numbers.agreement import compare, result_of, within
from bncheck.numbers.arithmetic import Array
from bncheck.numbers.differences import Differences
from bncheck.numbers.observation import Observation, Trial
from bncheck.numbers.reference import precision
from bncheck.telling.codes import Finding, found
from bncheck.telling.errors import CannotAsk, Disagreement
from bncheck.telling.report import Comparison, GradientResult
from bncheck.verdict.observations import Failure, Record
from bncheck.verdict.rounding import only_rounds

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
        return tuple(filter(_is_wrong, self.results))


def judge(record: Record, averaged: bool = False) -> Verdicts:
    """The verdict on every gradient; ``averaged``: accept those divided by the batch size.

    Raises ``CannotAsk`` where the code fails before anything is wrong, or returns no gradient.
    """
    bench = record.bench
    made: Made = {}
    findings = [*bench.reading.findings, *record.findings]
    for one in record.made:
        if isinstance(one, Failure):
            if one.trial.easy and not any(c.verdict == "wrong" for _, c in _all(made)):
                raise one.refusal
            findings += _failed(one)
            continue
        if averaged:
            one, accepted = _not_averaged(bench, one)
            findings += accepted
        for name in one.reference.gradients:
            if name in one.gradients:
                compared = made.setdefault(name, [])
                for said in _compared(bench, one, name, record.measured.get(one.trial)):
                    if isinstance(said, Finding):
                        findings.append(said)
                    else:
                        compared.append((one.trial, said))
    names = [name_of(out) for out in bench.reading.found.chain.outputs]
    if not made:
        wanted = ", ".join(map(plain, bench.reading.found.wrt))
        raise CannotAsk(f"{bench.backward.name} returned no gradient of {wanted}")
    findings += (found("not-returned", gradient=n) for n in names if n not in made)
    made, lost = _graded(made)
    easy = {trial.name for trial, _ in _all(made) if trial.easy}
    results = tuple(result_of(n, [c for _, c in pairs], easy) for n, pairs in made.items())
    return Verdicts(
        results,
        once([*findings, *lost]),
        {f.arguments["gradient"]: f for f in reversed(findings) if f.code == "shape"},
        {g.name: _worst(g, made) for g in results},
    )


def once(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The first of each code, of those that speak of something by name the first for each."""
    kept: dict[tuple[str, object], Finding] = {}
    for one in findings:
        about = one.arguments.get("gradient") or one.arguments.get("name")
        if not one.arguments:  # a sentence that has no code yet
            about = one.form.partition(" ")[0]
        kept.setdefault((one.code, about), one)
    return tuple(kept.values())


def _is_wrong(result: GradientResult) -> bool:
    return result.verdict in ("wrong", "inaccurate")


def _all(made: Made) -> Iterator[tuple[Trial, Comparison]]:
    return (pair for pairs in made.values() for pair in pairs)


def _worst(result: GradientResult, made: Made) -> Trial:
    return next(t for t, _ in made[result.name] if t.name == result.comparisons[0].trial)


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
        if made.verdict == "wrong" and only_rounds(bench, one, name):
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
