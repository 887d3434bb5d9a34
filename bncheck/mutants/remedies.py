"""Which input would have shown a mistake? Found by trying: each candidate is computed.

Each is what the tests ask already with one thing changed, or two or three where one is not enough.
What all their inputs have in common is undone: a gamma of ones, one batch size, a small eps.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from bncheck.algebra.layers import AXES
from bncheck.algebra.notation import indices_of, name_of
from bncheck.calculus.derivation import normalised
from bncheck.mutants.mistakes import Mistake, gradient_roles, outer
from bncheck.mutants.recipe import apart, prepared, run, size
from bncheck.mutants.recognition import Recognised
from bncheck.numbers import layout
from bncheck.numbers.agreement import RECOMPUTED, SINGLE

CLEAR = 1e-6
"""The relative error that a test with a tolerance of its own would notice in any gradient."""

SEED = 19_937
"""Not one that people use: an upstream gradient equal to their x would be a special case."""

Values = dict[str, Any]


@dataclass(frozen=True)
class Variation:
    """Another input: in words, and how it is made from one that the tests use.

    ``undoes``: whether it undoes what all inputs of the tests have in common; else it is one more
    draw of what they vary already, a less likely cause.
    """

    words: str
    made: Callable[[Values], Values]
    undoes: bool = True


def remedy(known: Recognised, mistake: Mistake, tolerances: Mapping[str, float | None]) -> str:
    """What would have shown a mistake that the tests miss.

    ``tolerances``: the relative error that passes, by gradient; None where none fails.
    """
    names = {role: name for name, role in gradient_roles(known.found).items()}
    looked = {n: 10 * t for n, t in tolerances.items() if t is not None}
    own = {name: worst(known, mistake, name) for name in looked}
    if seen := [names[n] for n in looked if own[n] > looked[n]]:
        # an error of that size is noticed elsewhere: a property of the gradient is tested
        return f"a comparison of {' and '.join(seen)} entry by entry"
    limits = {name: (limit, limit * _largest(known, name)) for name, limit in looked.items()}
    base = prepared(known.right, min(known.calls, key=lambda c: np.size(c.values["x"])).values)
    closer = _tolerance(known, max(own.values(), default=0.0))
    tried = tuple(_several(variations(known)))
    for several in tried if looked else ():
        if several and _shows(known, mistake, base, several, limits):
            return " or ".join([_words(several), *closer])
    if closer:
        return closer[0]
    blind = [n for n in mistake.gradients if tolerances.get(n) is None]
    for several in tried:
        if _shows(known, mistake, base, several, dict.fromkeys(blind, (CLEAR, 0.0))):
            test = f"a test of {' and '.join(names[n] for n in blind)}"
            return f"{test}, at {_words(several)}" if several else test
    return "nothing that was tried"


def errors(
    known: Recognised, mistake: Mistake, values: Mapping[str, Any]
) -> dict[str, tuple[float, float]]:
    """The relative and absolute error of each gradient at an input; none where it cannot run."""
    try:
        _, right = run(known.right, values)
        _, wrong = run(mistake.recipe, values)
    except (KeyError, ValueError, TypeError, IndexError, ZeroDivisionError):
        return {}
    relative = {name: apart(wrong[name], right[name], values["dy"]) for name in right}
    return {n: (r, r * size(right[n], values["dy"])) for n, r in relative.items()}


def _several(tried: Sequence[Variation]) -> Iterator[tuple[Variation, ...]]:
    for count in range(4):
        yield from combinations(tried, count)


def _shows(
    known: Recognised,
    mistake: Mistake,
    base: Values,
    several: Sequence[Variation],
    limits: Mapping[str, tuple[float, float]],
) -> bool:
    """Whether an error is above a relative and an absolute limit: tests have either."""
    values = dict(base)
    for variation in several:
        values = variation.made(values)
    found = errors(known, mistake, values)
    return any(
        found[name][0] > relative and found[name][1] > absolute
        for name, (relative, absolute) in limits.items()
        if name in found
    )


def worst(known: Recognised, mistake: Mistake, gradient: str) -> float:
    """The largest relative error of a gradient on the tests' own inputs."""
    own = (errors(known, mistake, call.values) for call in known.calls)
    return max(found[gradient][0] if gradient in found else 0.0 for found in own)


def _largest(known: Recognised, gradient: str) -> float:
    """What the errors of a gradient were relative to when the tolerance was measured."""
    results = ((run(known.right, call.values)[1], call.values["dy"]) for call in known.calls)
    return max(size(right[gradient], dy) for right, dy in results)


def _tolerance(known: Recognised, error: float) -> tuple[str, ...]:
    """The tolerance at which the tests' own inputs would do, where they show it at all."""
    single = any(np.asarray(c.values["x"]).dtype.char in "ef" for c in known.calls)
    if error <= (SINGLE if single else RECOMPUTED):
        return ()
    return (f"a relative tolerance below {0.95 * error:.0e}".replace("e-0", "e-"),)


def _words(several: Sequence[Variation]) -> str:
    return " and ".join(variation.words for variation in several)


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
    return tuple(sorted(found, key=lambda variation: not variation.undoes))


def _upstream(known: Recognised, inputs: Sequence[Values]) -> Variation:
    program = known.found.forward
    along = tuple(k for k, run in enumerate(outer(program)) if set(run) & set(normalised(program)))
    words, undoes = "another upstream gradient", True
    if all(np.ptp(v["dy"]) == 0 for v in inputs):
        words = "an upstream gradient that is not constant"
    elif all(not np.any(np.ptp(v["dy"], axis=along)) for v in inputs):
        axis = " and ".join(AXES.get(i, str(i)) for i in normalised(program))
        words = f"an upstream gradient that differs along the {axis} axis"
    else:
        undoes = False

    def made(values: Values) -> Values:
        return {**values, "dy": 0.25 + _normal(np.shape(values["dy"]))}

    return Variation(words, made, undoes)


def _scales(name: str, usual: float, inputs: Sequence[Values]) -> list[Variation]:
    """Another gamma or beta: one number, and numbers that differ."""

    def all_are(value: float) -> bool:
        return all(np.all(v[name] == value) for v in inputs)

    one = next((f"{name} that is not {u:g}" for u in (usual, 1.0, 0.0) if all_are(u)), "")
    equal = all(bool(np.ptp(v[name]) == 0) for v in inputs)
    differing = f"{name} that differs between features" if equal else f"another {name}"

    def constant(values: Values) -> Values:
        return {**values, name: np.full(np.shape(values[name]), 1.75)}

    def spread(values: Values) -> Values:
        return {**values, name: np.resize([-0.6, 1.4, 2.1, 0.8, 1.7], np.shape(values[name]))}

    return [*([Variation(one, constant)] if one else []), Variation(differing, spread, equal)]


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
    centred = bool(abs(x.mean()) < 0.1 * x.std())
    unit = bool(abs(x.std() - 1) < 0.1)
    return [
        Variation(
            "an x whose mean is not 0" if centred else "an x with another mean",
            lambda v: {**v, "x": v["x"] + 1.5 * np.std(v["x"])},
            undoes=centred,
        ),
        Variation(
            "an x whose variance is not 1" if unit else "an x with another variance",
            lambda v: {**v, "x": 2.5 * v["x"]},
            undoes=unit,
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
