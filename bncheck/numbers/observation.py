"""One trial as it went: what somebody's code gave on it, beside what is right."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bncheck.numbers.arithmetic import Array


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


@dataclass(frozen=True)
class Observation:
    """One trial as it went: the reference, the upstream gradient, the user's gradients.

    ``parts``: the lengths of the parts of axes that the layout splits.
    """

    values: Mapping[str, Any]
    reference: Reference
    gradients: Mapping[str, Array]
    parts: Mapping[str, tuple[int, ...]]
