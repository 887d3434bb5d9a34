"""Which layer is it that somebody's tests call? Asked of the numbers of those very calls."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bncheck.algebra.layers import LAYERS, layer, options
from bncheck.algebra.program import Program
from bncheck.calculus.derivation import Derivation
from bncheck.calculus.passes import derived_once
from bncheck.mutants.mistakes import recipe
from bncheck.mutants.recipe import Array, Recipe, reproduced
from bncheck.numbers.trials import USUAL_EPS


@dataclass(frozen=True)
class Call:
    """One call of the function: its inputs and the gradients that it returned, by role."""

    values: Mapping[str, Any]
    gradients: Mapping[str, Array]


@dataclass(frozen=True)
class Recognised:
    """The layer, its right gradients as text to run, and the calls that these reproduce."""

    found: Derivation
    right: Recipe
    calls: tuple[Call, ...]


def recognise(calls: Sequence[Call], asked: Program | None, hint: str | None) -> Recognised | None:
    """The first layer that reproduces most of the calls; None where none reproduces any.

    ``asked``: the layer, where it is known; ``hint``: the name of the one to try first.
    """
    best: Recognised | None = None
    for program in _programs(calls[0], asked, hint):
        found = derived_once(program, seen=True)
        for right in _recipes(found, calls[0]):
            same = tuple(c for c in calls if reproduced(right, c.values, c.gradients))
            if len(same) > (len(best.calls) if best else 0):
                best = Recognised(found, right, same)
            if len(same) == len(calls):
                return best
    return best


def _programs(call: Call, asked: Program | None, hint: str | None) -> Iterator[Program]:
    """What was asked for, in its variants where it is a layer of ours; else every layer."""
    if asked is not None and LAYERS.get(asked.name) != asked:
        yield asked
        return
    names = [asked.name] if asked else sorted(LAYERS, key=lambda name: name != hint)
    for name in names:
        choices = options(name)
        affine = {"affine": "gamma" in call.values} if "affine" in choices else {}
        for ddof in choices.get("ddof", (None,)):
            yield layer(name, **affine, **({} if ddof is None else {"ddof": ddof}))


def _recipes(found: Derivation, call: Call) -> Iterator[Recipe]:
    """Ways to call it: what to do with axes too many, and eps where it is not an argument."""
    plain = recipe(found)
    folds = ("last", "first") if np.ndim(call.values["x"]) > plain.axes else ("last",)
    missing = "eps" in plain.takes and "eps" not in call.values
    for fold in folds:
        for eps in USUAL_EPS if missing else (None,):
            yield replace(plain, fold=fold, defaults={} if eps is None else {"eps": eps})
