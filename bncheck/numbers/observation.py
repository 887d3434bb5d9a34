"""One trial as it went: what somebody's code was given, what it gave, and what is right."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bncheck.numbers.agreement import gap
from bncheck.telling.codes import Finding

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Trial:
    """Named inputs, the upstream gradient among them, by their names in the program.

    ``easy`` trials decide whether the mathematics is right; the others grade accuracy and look
    into corners. ``sizes``: values per group, and groups. ``differences``: whether finite
    differences are taken here too. ``shows_eps``: eps is as large as the variance, so that the
    output tells which it is. ``cancels``: the mean is so large that raw moments lose all digits.
    ``grace``: losing digits here is a remark, and no more, up to so many times the bound.
    ``may_fail``: code that refuses these inputs is not remarked upon. ``own``: these are inputs
    of the user's. ``parts``: the lengths of the parts of axes that the layout splits. ``memory``:
    how the arrays that the user's code gets lie in memory, or ``SECOND``. ``at_most``: a
    precision that is all that can be asked for here, if that of the arrays is not.
    """

    name: str
    values: dict[str, Any]
    easy: bool = True
    sizes: tuple[int, ...] = ()
    differences: bool = False
    shows_eps: bool = False
    cancels: bool = False
    grace: float = 0.0
    may_fail: bool = False
    own: bool = False
    parts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    memory: str = "plain"
    at_most: np.dtype[Any] | None = None

    @property
    def judged(self) -> np.dtype[Any]:
        """The precision at which this trial is judged: that of its arrays, or ``at_most``."""
        return self.dtype if self.at_most is None else self.at_most

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the widest array."""
        return max((v.dtype for v in self.values.values() if isinstance(v, np.ndarray)),
                   key=lambda dtype: dtype.itemsize)  # fmt: skip


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
    a forward pass; ``findings``: what was seen beside them; ``moves``: the code's own parameters
    ("gamma", "beta") that move its output, as far as that is known.
    """

    trial: Trial
    reference: Reference
    gradients: Mapping[str, Array]
    y: Array | None = None
    findings: tuple[Finding, ...] = ()
    moves: tuple[str, ...] = ()

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
