"""Inputs that somebody's tests might have used: theirs with one thing changed.

What all their inputs have in common is undone: a gamma of ones, one batch size, a small eps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bncheck.algebra.layers import AXES
from bncheck.algebra.notation import indices_of, name_of
from bncheck.calculus.derivation import normalised
from bncheck.mutants.mistakes import outer
from bncheck.mutants.recipe import prepared
from bncheck.mutants.recognition import Recognised
from bncheck.numbers import layout

SEED = 19_937
"""Not one that people use: an upstream gradient equal to their x would be a special case."""

Values = dict[str, Any]


@dataclass(frozen=True)
class Variation:
    """Another input: in words, and how it is made from one that the tests use."""

    words: str
    made: Callable[[Values], Values]


def variations(known: Recognised) -> tuple[Variation, ...]:
    """What the inputs of the tests have in common, undone: one thing at a time."""
    inputs = [prepared(known.right, call.values) for call in known.calls]
    found = [_upstream(known, inputs)]
    if "gamma" in inputs[0]:
        found += _scales("gamma", 1.0, inputs)
    if "beta" in inputs[0]:
        found += _scales("beta", 0.0, inputs)
    if "eps" in inputs[0]:
        settable = all("eps" in call.values for call in known.calls)
        found.append(_near_eps(inputs, settable))
    found += [*_lengths(known, inputs), *_location(inputs)]
    # what their inputs have in common is the likelier cause than one more draw
    return tuple(sorted(found, key=lambda v: "another" in v.words))


def _upstream(known: Recognised, inputs: Sequence[Values]) -> Variation:
    program = known.found.forward
    along = tuple(k for k, run in enumerate(outer(program)) if set(run) & set(normalised(program)))
    words = "another upstream gradient"
    if all(np.ptp(v["dy"]) == 0 for v in inputs):
        words = "an upstream gradient that is not constant"
    elif all(not np.any(np.ptp(v["dy"], axis=along)) for v in inputs):
        axis = " and ".join(AXES.get(i, str(i)) for i in normalised(program))
        words = f"an upstream gradient that differs along the {axis} axis"

    def made(values: Values) -> Values:
        return {**values, "dy": 0.25 + _normal(np.shape(values["dy"]))}

    return Variation(words, made)


def _scales(name: str, usual: float, inputs: Sequence[Values]) -> list[Variation]:
    """Another gamma or beta: one number, and numbers that differ."""

    def all_are(value: float) -> bool:
        return all(np.all(v[name] == value) for v in inputs)

    one = next((f"{name} that is not {u:g}" for u in (usual, 1.0, 0.0) if all_are(u)), "")
    equal = all(np.ptp(v[name]) == 0 for v in inputs)
    differing = f"{name} that differs between features" if equal else f"another {name}"

    def constant(values: Values) -> Values:
        return {**values, name: np.full(np.shape(values[name]), 1.75)}

    def spread(values: Values) -> Values:
        return {**values, name: np.resize([-0.6, 1.4, 2.1, 0.8, 1.7], np.shape(values[name]))}

    return [*([Variation(one, constant)] if one else []), Variation(differing, spread)]


def _near_eps(inputs: Sequence[Values], settable: bool) -> Variation:
    """The variance near eps: by another eps, or by another x where eps is not an argument."""
    if settable:

        def larger(values: Values) -> Values:
            return {**values, "eps": float(np.var(values["x"])) / 2}

        return Variation("an eps that is not small beside the variance", larger)

    def smaller(values: Values) -> Values:
        x = values["x"]
        return {**values, "x": x * np.sqrt(values["eps"] / np.var(x))}

    return Variation(f"an x whose variance is near eps = {inputs[0]['eps']:.0e}", smaller)


def _location(inputs: Sequence[Values]) -> list[Variation]:
    x = np.concatenate([np.ravel(v["x"]) for v in inputs])
    centred = abs(x.mean()) < 0.1 * x.std()
    unit = abs(x.std() - 1) < 0.1
    return [
        Variation(
            "an x whose mean is not 0" if centred else "an x with another mean",
            lambda v: {**v, "x": v["x"] + 1.5 * np.std(v["x"])},
        ),
        Variation(
            "an x whose variance is not 1" if unit else "an x with another variance",
            lambda v: {**v, "x": 2.5 * v["x"]},
        ),
    ]


def _lengths(known: Recognised, inputs: Sequence[Values]) -> list[Variation]:
    """Another length of each axis: a short one, and a longer one."""
    program = known.found.forward
    found = []
    for at, axis in enumerate(outer(program)):
        own = sorted({np.shape(v["x"])[at] for v in inputs})
        groups = int(inputs[0].get("groups", 1)) if len(axis) > 1 else 1
        word = "channel" if len(axis) > 1 else AXES.get(axis[0], str(axis[0]))
        for length in (3 * groups, groups * (2 * max(own) // groups + 1)):
            if length in own:
                continue
            what = f"a batch of {length}" if word == "batch" else f"{length} {word}s"
            found.append(Variation(f"{what} (not {_list(own)})", _resized(known, at, length)))
    return found


def _resized(known: Recognised, at: int, length: int) -> Callable[[Values], Values]:
    """Every array with that axis taken to a length: cut, or gone through again."""
    program = known.found.forward
    axis = set(outer(program)[at])
    named = layout.role_names(program)
    along = {named[name_of(a)]: a for a in program.inputs if name_of(a) in named}

    def made(values: Values) -> Values:
        new = dict(values)
        for name, operand in along.items():
            if name in new and axis <= set(indices_of(operand)):
                place = at if name == "x" else 0
                new[name] = _taken(new[name], length, place, vary=name == "x")
        new["dy"] = _taken(new["dy"], length, at, vary=False)
        return new

    return made


def _taken(array: Any, length: int, at: int, vary: bool) -> Any:
    array = np.asarray(array)
    old = array.shape[at]
    longer = np.take(array, range(length), axis=at, mode="wrap").astype(float)
    if vary and length > old:  # repeated values would be a special case of their own
        where = (slice(None),) * at + (slice(old, None),)
        longer[where] += np.std(array) * _normal(longer[where].shape)
    return longer


def _normal(shape: tuple[int, ...]) -> Any:
    return np.random.default_rng(SEED).standard_normal(shape)


def _list(lengths: Sequence[int]) -> str:
    return " or ".join(map(str, lengths)) if len(lengths) < 4 else f"{lengths[0]} to {lengths[-1]}"
