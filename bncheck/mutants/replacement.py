"""What is put in the place of a backward pass's gradients while somebody's tests run.

Their own function is still called, for the structure of what it returns; the gradients in it are
exchanged where the right recipe reproduces them, that is, where the call is one that bncheck
understands.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from bncheck.mutants.recipe import Recipe, reproduced, run, size
from bncheck.subject.conventions.stand_ins import Change, Gradients

MOST_CALLS, MOST_NUMBERS = 24, 2_000_000


class Recorder:
    """Changes nothing, and keeps the first calls: what the tests ask of the function."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def __call__(self, values: Mapping[str, Any], theirs: Gradients) -> Gradients:
        """Keep the call if there is room."""
        held = sum(np.size(v) for call in self.calls for v in call["values"].values())
        if len(self.calls) < MOST_CALLS and held < MOST_NUMBERS:
            self.calls.append({"values": dict(values), "gradients": dict(theirs)})
        return theirs


def mutant(right: Recipe, wrong: Recipe) -> Change:
    """The gradients of another recipe, where ``right`` gives theirs."""

    def change(values: Mapping[str, Any], theirs: Gradients) -> Gradients:
        if not reproduced(right, values, theirs):
            return theirs
        _, found = run(wrong, values)
        return {**theirs, **{name: found[name] for name in found.keys() & theirs.keys()}}

    return change


def noise(right: Recipe, name: str, relative: float) -> Change:
    """One gradient with an error of a size relative to its largest entry, of either sign."""

    def change(values: Mapping[str, Any], theirs: Gradients) -> Gradients:
        if name not in theirs or not reproduced(right, values, theirs):
            return theirs
        signs = np.random.default_rng(0).choice([-1.0, 1.0], np.shape(theirs[name]))
        _, exact = run(right, values)  # theirs may be rounding where the gradient is 0
        error = relative * size(exact[name], values["dy"]) * signs
        return {**theirs, name: np.asarray(theirs[name], np.longdouble) + error}

    return change
