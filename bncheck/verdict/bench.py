"""What is being judged, and what has been found so far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bncheck.calculus.derivation import Derivation
from bncheck.identity.by_outputs import Identity
from bncheck.numbers import layout
from bncheck.numbers.arithmetic import Array
from bncheck.numbers.inputs import statistics
from bncheck.numbers.observation import Observation
from bncheck.numbers.trials import Trial
from bncheck.subject.messages import Assigned, Backward, Replacement, Subject, Written
from bncheck.telling.report import Comparison, Remark

ELSEWHERE = 0.01
"""The eps that is handed to code whose forward pass ignores it, lest backward does not."""


@dataclass
class Case:
    """What is being judged, and what has been found so far.

    ``averaged``: whether parameter gradients divided by the batch size are accepted;
    ``swapped``: whether dgamma and dbeta turned out to come in the other order; ``order``: in
    which order a double backward pass turned out to return its gradients.
    """

    subject: Subject
    candidate: Backward
    found: Derivation
    identity: Identity
    averaged: bool = False
    swapped: bool = False
    order: tuple[str, ...] = ()
    comparisons: dict[str, list[Comparison]] = field(default_factory=dict)
    remarks: dict[str, Remark] = field(default_factory=dict)
    seen: list[Observation] = field(default_factory=list)
    method: str = ""


def user_inputs(case: Case, values: Any, trial: Trial) -> dict[str, Any]:
    """Values of the program as the user's code gets them."""
    program, at = case.found.forward, case.identity.layout
    given = layout.to_user(at, program, values, trial.parts)
    if case.identity.ignored and "eps" in given:
        given["eps"] = ELSEWHERE
    if case.candidate.statistics:
        given |= statistics(program, at, trial, values, case.candidate.statistics)
    return given


@dataclass(frozen=True)
class Retraced:
    """The code of a case, to be looked into line by line."""

    case: Case

    def traced(self, trial: Trial) -> Sequence[Assigned]:
        """Every value that a line gives to a name, as it lies in the user's axes."""
        case = self.case
        return case.subject.traced(case.candidate.name, user_inputs(case, trial.values, trial))

    def replaced(
        self, trial: Trial, tries: Sequence[Sequence[Replacement]]
    ) -> Sequence[Mapping[str, Array] | None]:
        """The gradients with other values in some places; None where the code fails."""
        case, inputs = self.case, user_inputs(self.case, trial.values, trial)
        made = case.subject.replaced(case.candidate.name, inputs, tries)
        return [None if one is None else self._read(trial, one) for one in made]

    def rewritten(self, trial: Trial, line: int, variable: str) -> Sequence[Written]:
        """What other ways to write a line would give."""
        case, inputs = self.case, user_inputs(self.case, trial.values, trial)
        return case.subject.rewritten(case.candidate.name, inputs, line, variable)

    def _read(self, trial: Trial, made: Mapping[str, Array]) -> Mapping[str, Array]:
        at, program = self.case.identity.layout, self.case.found.forward
        back = layout.from_user(at, program, made, trial.values, trial.parts)
        if self.case.swapped and {"dgamma", "dbeta"} <= back.keys():
            back |= {"dgamma": back["dbeta"], "dbeta": back["dgamma"]}
        return back


def remark(case: Case, said: Remark) -> None:
    """Note a remark, once for each thing that it begins with."""
    case.remarks.setdefault(f"{said.code} {said.text.split(' ')[0]}", said)


def assumed(case: Case) -> str:
    """How the code was called and read, in one line."""
    identity, program = case.identity, case.found.layer
    eps = "" if identity.eps is None else f", eps = {identity.eps:.6g}"
    ddof = "" if identity.ddof is None else f", ddof = {identity.ddof}"
    over = "" if not identity.layout.name else f" over {', '.join(layout.fields(identity.layout))}"
    layer = f"{program.title.lower() or program.name}{over}{ddof}{eps}"
    if not identity.known:
        return f"forward pass of no known layer (nearest: {layer}); {case.candidate.description}"
    order = f"; returns ({', '.join(case.order)})" if case.order else ""
    if case.found.order == 2 and case.method and "reference" not in case.method:
        order += f"; differences of {case.candidate.first}"
    return f"{layer}; {case.candidate.description}{order}"
