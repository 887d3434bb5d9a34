"""One trial as it went: what somebody's code gave on it, beside what is right."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bncheck.numbers.agreement import gap
from bncheck.numbers.trials import Trial
from bncheck.telling.codes import Finding

Array = NDArray[Any]


@dataclass(frozen=True)
class Reference:
    """``known``: every value of the forward pass and of the backward pass, by name.

    ``gradients``: the right ones; ``allowed``: what rounding may move each entry by;
    ``output``, ``output_allowed``: the same of the forward pass.
    """

    known: dict[str, Array]
    gradients: dict[str, Array]
    allowed: dict[str, Array]
    output: Array
    output_allowed: Array


@dataclass(frozen=True, eq=False)
class Observation:
    """One trial as it went: the reference on it, and what somebody's code gave.

    ``gradients``: by the program's names and in its axes, as is ``y``, the output, where there is
    a forward pass; ``findings``: what was seen beside them.
    """

    trial: Trial
    reference: Reference
    gradients: Mapping[str, Array]
    y: Array | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def values(self) -> Mapping[str, Any]:
        """Inputs and upstream gradients, by their names in the program."""
        return self.trial.values

    @property
    def parts(self) -> Mapping[str, tuple[int, ...]]:
        """The lengths of the parts of axes that the layout splits."""
        return self.trial.parts

    def off(self, gradient: str) -> NDArray[np.bool_]:
        """Which entries are outside the bound; all of a gradient of another shape."""
        yours, right = self.gradients[gradient], self.reference.gradients[gradient]
        if yours.shape != right.shape:
            return np.ones(yours.shape, bool)
        return np.asarray(~(gap(yours, right) <= self.reference.allowed[gradient]))
