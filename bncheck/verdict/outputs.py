"""The output of the user's forward pass, and the types of the gradients, as they should be."""

from bncheck.numbers import layout
from bncheck.numbers.agreement import SINGLE, compare, distance
from bncheck.numbers.arithmetic import Array
from bncheck.numbers.observation import Reference
from bncheck.numbers.trials import Trial
from bncheck.subject.messages import Outcome
from bncheck.telling.report import Remark
from bncheck.verdict.bench import Case, remark


def is_output(case: Case, trial: Trial, outcome: Outcome, truth: Reference) -> bool:
    """Whether the forward pass does not depend on the batches before."""
    if outcome.y is None or not case.identity.known:
        return True
    at, program = case.identity.layout, case.found.forward
    y = layout.output_from_user(at, program, outcome.y, trial.values, trial.parts)
    return distance(y, truth.output) <= SINGLE


def check_output(case: Case, trial: Trial, outcome: Outcome, truth: Reference) -> None:
    """A remark where the output is far from the layer's."""
    if outcome.y is None:
        return
    at, program = case.identity.layout, case.found.forward
    y = layout.output_from_user(at, program, outcome.y, trial.values, trial.parts)
    made = compare(("yours", "symbolic"), y, truth.output, truth.output_allowed, trial.name)
    if made.verdict == "wrong" and trial.easy and made.of_bound > 1e6:
        text = f"the forward pass is not {case.found.forward.name} where {trial.name}"
        remark(case, Remark("forward-differs", text))


def check_type(case: Case, trial: Trial, gradients: dict[str, Array]) -> None:
    """A remark where a gradient is of another type than the inputs."""
    for name, made in gradients.items():
        if made.dtype != trial.dtype and trial.memory == "plain":
            text = f"gradients are {made.dtype} where the inputs are {trial.dtype}: {name}"
            remark(case, Remark("dtype-changed", text))
