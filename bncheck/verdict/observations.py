"""What somebody's code gives on each trial, and what differences say there: nothing is judged."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from bncheck.algebra.notation import name_of
from bncheck.algebra.program import Program
from bncheck.identity.crossing import Bench, Values
from bncheck.numbers.agreement import SINGLE, distance, within
from bncheck.numbers.arithmetic import Array, evaluate
from bncheck.numbers.differences import Differences, measure
from bncheck.numbers.observation import Observation, Trial
from bncheck.numbers.reference import precision
from bncheck.subject.messages import SECOND
from bncheck.telling.codes import Finding, found
from bncheck.telling.errors import CannotAsk

FAR = 1e6
"""So many times the bound and the output is another layer's, not one that lost digits."""


@dataclass(frozen=True)
class Failure:
    """A trial on which the code failed."""

    trial: Trial
    refusal: CannotAsk


@dataclass(frozen=True)
class Record:
    """All trials as they went, in order.

    ``bench``: with the order of the gradients, which the first of them told; ``measured``: by
    trial; ``trials``: the names of all; ``findings``: what was seen besides.
    """

    bench: Bench
    made: tuple[Observation | Failure, ...]
    measured: Mapping[Trial, Differences]
    trials: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def hard(self) -> tuple[Observation, ...]:
        """Those of the others that lose no digits by themselves."""
        others = (o for o in self.made if isinstance(o, Observation) and not o.trial.easy)
        doubles = (o for o in others if o.trial.judged == np.float64 and not o.trial.cancels)
        return tuple(o for o in doubles if o.trial.memory == "plain")

    @property
    def easy(self) -> tuple[Observation, ...]:
        """Those on which the mathematics shows."""
        return tuple(o for o in self.made if isinstance(o, Observation) and o.trial.easy)


def observe(bench: Bench, trials: Sequence[Trial]) -> Record:
    """Run the code on every trial, and once more on the first.

    Raises ``CannotAsk`` where it fails on the first that shows the mathematics, or where there is
    nothing of which differences could be taken.
    """
    made: list[Observation | Failure] = []
    measured: dict[Trial, Differences] = {}
    findings: list[Finding] = []
    first = True
    for trial in trials:
        if trial.memory == SECOND and bench.backward.kind != "class":
            continue
        try:
            if first:
                bench, one = bench.first(trial)
            else:
                one = bench.run(trial)
        except CannotAsk as refusal:
            if trial.easy and first:
                raise
            made.append(Failure(trial, refusal))
            continue
        first = False
        findings += one.findings
        if trial.memory == SECOND and not _is_the_layers(bench, one):
            findings.append(found("state", "output"))
            continue
        made.append(one)
        if trial.differences:
            measured[trial] = _measured(bench, trial)
        findings += _beside(bench, one)
    others = {n: _moved(v) if isinstance(v, np.ndarray) else v for n, v in trials[0].values.items()}
    findings += bench.repeated(trials[0], others)
    names = tuple(trial.name for trial in trials)
    return Record(bench, tuple(made), measured, names, tuple(findings))


def _moved(value: Array) -> Array:
    """Other values: neither a shift nor a scaling, which a normalization does not see."""
    return np.asarray(1.0 + value * np.linspace(0.5, 1.5, value.size).reshape(value.shape))


def _is_the_layers(bench: Bench, one: Observation) -> bool:
    """Whether the output is the layer's, as far as there is one and it is known."""
    if one.y is None or not bench.reading.known:
        return True
    return distance(one.y, one.reference.output) <= SINGLE


def _beside(bench: Bench, one: Observation) -> Iterator[Finding]:
    """What is worth knowing of the output, and of the types of the gradients."""
    trial, truth = one.trial, one.reference
    looked = bench.reading.known and not bench.program.first and trial.easy
    if looked and one.y is not None and not within(one.y, truth.output, FAR * truth.output_allowed):
        yield found("forward-differs", layer=bench.program.name, trial=trial.name)
    for name, gradient in one.gradients.items():
        if gradient.dtype != trial.dtype and trial.memory == "plain":
            types = {"found": str(gradient.dtype), "given": str(trial.dtype)}
            yield found("dtype-changed", of=name, **types)


def _measured(bench: Bench, trial: Trial) -> Differences:
    """Differences of the user's own pass below, or of the reference's where there is none, or
    where it does not hand out all outputs of the layer.
    """
    derivation, program, known = bench.reading.found, bench.program, bench.reading.known
    try:
        below = partial(_below, bench, trial)
        return measure(below, derivation, trial.values, known, 2 * precision(trial.judged)[0])
    except (CannotAsk, KeyError) as refusal:
        if bench.backward.has_forward and not program.first and isinstance(refusal, CannotAsk):
            raise
        if program.first and not known:
            raise CannotAsk(
                f"{bench.backward.name}: its forward pass is of no layer that bncheck knows, and "
                "there is no backward pass of which differences could be taken"
            ) from None
    made = measure(partial(_reference, program), derivation, trial.values, known)
    return replace(made, of_reference=True)


def _below(bench: Bench, trial: Trial, many: Sequence[Values]) -> list[dict[str, Array]]:
    """The user's own forward pass; of a double backward pass the backward pass below.

    Raises ``CannotAsk`` where there is none.
    """
    if not (bench.backward.first if bench.program.first else bench.backward.has_forward):
        raise CannotAsk("there is no pass below")
    if bench.program.first:
        return bench.firsts(trial, many)
    out = name_of(bench.program.outputs[0])
    return [{out: y} for y in bench.outputs(trial, many)]


def _reference(program: Program, many: Sequence[Values]) -> list[dict[str, Array]]:
    return [{n: np.asarray(b.value) for n, b in evaluate(program, values).items()}
            for values in many]  # fmt: skip
