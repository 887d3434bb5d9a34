"""The one crossing between our numbers and theirs: somebody's code, read as a layer's.

On this side are values by the program's names and in its axes, on the other arrays by role in the
user's axes. Whatever is asked of the code, its inputs are made here and its answers read here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from bncheck.algebra.program import Program
from bncheck.identity.assignment import (
    EXCHANGED,
    Order,
    Returned,
    misshapen,
    nearest,
    order_of,
    read,
    with_beta,
)
from bncheck.identity.readings import Reading
from bncheck.numbers import layout as layouts
from bncheck.numbers.arithmetic import Array
from bncheck.numbers.observation import Observation, Reference, Trial
from bncheck.numbers.reference import reference_at, truth_of
from bncheck.numbers.trials import statistics
from bncheck.subject.messages import (
    Assigned,
    Backward,
    Edit,
    Outcome,
    Replacement,
    Subject,
    is_place,
)
from bncheck.telling.codes import Finding, found
from bncheck.telling.errors import CannotAsk

ELSEWHERE = 0.01
"""The eps that is handed to code whose forward pass ignores it, lest backward does not."""

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Bench:
    """Somebody's code, and as which layer it is read.

    ``order``: in which order its gradients turned out to come; empty until the first run.
    """

    subject: Subject
    backward: Backward
    reading: Reading
    order: Order = field(default_factory=dict)

    @property
    def program(self) -> Program:
        """The program whose values go in."""
        return self.reading.forward

    def inputs(self, trial: Trial, values: Values | None = None) -> dict[str, Any]:
        """The values of a trial, or others of the same shapes, as the code gets them."""
        values = trial.values if values is None else values
        given = layouts.to_user(self.reading.layout, self.program, values, trial.parts)
        if self.reading.ignored and "eps" in given:
            given["eps"] = ELSEWHERE
        asked = self.backward.statistics
        if asked:
            given |= statistics(self.program, self.reading.layout, trial, values, asked)
        return given

    def run(
        self, trial: Trial, values: Values | None = None, memory: str | None = None
    ) -> Observation:
        """One forward and backward pass; with other values, or lying otherwise in memory.

        Raises ``CannotAsk`` where the code fails.
        """
        if values is None:
            truth = truth_of(self.reading.found, trial)
        else:
            trial = replace(trial, values=dict(values), at_most=trial.judged)
            truth = reference_at(self.reading.found, values, trial.judged)
        return self._observed(trial, self._called(trial, memory), truth)

    def first(self, trial: Trial) -> tuple["Bench", Observation]:
        """The first run, which tells in which order the gradients come; raises like ``run``."""
        outcome = self._called(trial)
        truth = truth_of(self.reading.found, trial)
        bench, findings = self, outcome.remarks
        if self.program.first or self.reading.known or any(map(is_place, outcome.gradients)):
            order = order_of(self._returned(trial, outcome.gradients), truth)
            if order == EXCHANGED and not (outcome.in_order and self.reading.known):
                order = {}
            bench = replace(self, order=order)
            if order == EXCHANGED:
                findings = (*findings, found("return-order", "parameters"))
        return bench, bench._observed(trial, replace(outcome, remarks=findings), truth)

    def outputs(self, trial: Trial, many: Sequence[Values]) -> list[Array]:
        """The outputs of the forward pass for several values."""
        asked = [self.inputs(trial, values) for values in many]
        outputs = self.subject.forward(self.backward.name, asked)
        return [self.output(trial, y) for y in outputs]

    def output(self, trial: Trial, y: Array) -> Array:
        """An output in the program's axes; as it is where it does not fit."""
        at, program = self.reading.layout, self.program
        return layouts.output_from_user(at, program, y, trial.values, trial.parts)

    def value(self, trial: Trial, name: str, array: Array, shape: tuple[int, ...]) -> Array:
        """An array that lies as a value of the program does, in the program's axes."""
        operand = self.program.tensors[name]
        at = self.reading.layout
        return layouts.array_from_user(at, self.program, operand, array, shape, trial.parts)

    def firsts(self, trial: Trial, many: Sequence[Values]) -> list[dict[str, Array]]:
        """The gradients of the backward pass below a double one, for several values."""
        asked = [self.inputs(trial, _all_complex(values)) for values in many]
        known = truth_of(self.reading.found, trial).known
        return [
            nearest(read(self._returned(trial, one, self.reading.program), {}), known)
            for one in self.subject.firsts(self.backward.name, asked)
        ]

    def runs(self, trial: Trial) -> bool:
        """Whether the backward pass runs at all."""
        try:
            self._called(trial)
        except CannotAsk:
            return False
        return True

    def repeated(self, trial: Trial, others: Values) -> tuple[Finding, ...]:
        """What changes where the code is called again, with other values between."""
        between = self.inputs(trial, others)
        return self.subject.repeated(self.backward.name, self.inputs(trial), between)

    def kept(self, batches: Mapping[str, Trial]) -> dict[str, Any] | None:
        """What the layer keeps from batch to batch; see ``subject/running.py``.

        ``batches``: by the names under which the code gets their x; the first gives all else.
        """
        first = next(iter(batches.values()))
        asked = {name: self.inputs(batch)["x"] for name, batch in batches.items()}
        return self.subject.running(self.backward.name, {**self.inputs(first), **asked})

    def traced(self, trial: Trial) -> list[Assigned]:
        """Every value that a line gives to a name, as it lies in the user's axes."""
        return self.subject.traced(self.backward.name, self.inputs(trial))

    def replaced(
        self, trial: Trial, tries: Sequence[Sequence[Replacement]]
    ) -> list[dict[str, Array] | None]:
        """The gradients with other values in some places; None where the code fails."""
        made = self.subject.replaced(self.backward.name, self.inputs(trial), tries)
        return [one and read(self._returned(trial, one), self.order) for one in made]

    def edits(self, trial: Trial, lines: Sequence[tuple[str, int]], far: bool) -> list[Edit]:
        """The edits of some lines of the code; see ``subject/rewriting.py``."""
        return self.subject.edits(self.backward.name, self.inputs(trial), lines, far)

    def edited(
        self, trial: Trial, tries: Sequence[Edit]
    ) -> list[tuple[dict[str, Array], Array | None] | None]:
        """Gradients and output with each edit; None where the code fails."""
        made = self.subject.edited(self.backward.name, self.inputs(trial), tries)
        return [None if one is None else self._crossed(trial, one) for one in made]

    def _crossed(self, trial: Trial, one: Outcome) -> tuple[dict[str, Array], Array | None]:
        y = None if one.y is None else self.output(trial, one.y)
        return read(self._returned(trial, one.gradients), self.order), y

    def _called(self, trial: Trial, memory: str | None = None) -> Outcome:
        inputs = self.inputs(trial)
        return self.subject.call(self.backward.name, inputs, memory or trial.memory)

    def _returned(
        self, trial: Trial, arrays: Mapping[str, Array], program: Program | None = None
    ) -> Returned:
        at = self.reading.layout
        return Returned(self.backward.name, program or self.program, at, trial, arrays)

    def _observed(self, trial: Trial, outcome: Outcome, truth: Reference) -> Observation:
        gradients, y = self._crossed(trial, outcome)
        returned = self._returned(trial, outcome.gradients)
        findings = (*outcome.remarks, *misshapen(returned, self.order))
        truth = with_beta(truth, gradients)
        return Observation(trial, truth, gradients, y, findings, outcome.moves)


def _all_complex(values: Values) -> dict[str, Any]:
    """Every array complex where one is: code may make its results as x is."""
    if not any(np.iscomplexobj(v) for v in values.values()):
        return dict(values)
    return {n: v.astype(complex) if isinstance(v, np.ndarray) else v for n, v in values.items()}
