"""Changes that no program has: one statistic for all groups, a masked upstream gradient, ...

Each is a backward pass whose inputs or statistics are other numbers; the programs stay.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from bncheck.algebra.notation import indices_of, name_of
from bncheck.algebra.program import Program
from bncheck.calculus.derivation import Derivation, normalised
from bncheck.cause.programs import is_statistic
from bncheck.numbers.arithmetic import Array, evaluate

Known = Mapping[str, Array]


@dataclass(frozen=True)
class Hold:
    """``values``: the forward pass and the upstream gradient as the user seems to have them."""

    code: str
    text: str
    values: Callable[[Known], dict[str, Array]]


def holds(found: Derivation) -> Iterator[Hold]:
    """Other statistics first, then other inputs."""
    forward = found.forward
    for step in forward.steps:
        if is_statistic(step, found):
            name, note = name_of(step.target), step.note.split(",")[0]
            for code, text, change in _STATISTICS:
                yield Hold(code, text.format(note or name), _held(forward, name, change))
    first, out = name_of(forward.inputs[0]), name_of(forward.outputs[0])
    for other in (out, first):
        for sign, word in ((1, "negative"), (-1, "positive")):
            text = f"no gradient where {other} is {word}: the mask of a ReLU is left in"
            yield Hold("masked", text, _masked(found, other, sign))
    yield from _rows(found)


_STATISTICS: tuple[tuple[str, str, Callable[[Array], Array]], ...] = (
    ("one-for-all", "one {} for all groups", lambda a: np.full_like(a, a.mean())),
    ("first-for-all", "the {} of the first group for all", lambda a: np.full_like(a, a.flat[0])),
    ("last-for-all", "the {} of the last group for all", lambda a: np.full_like(a, a.flat[-1])),
    ("statistic-left-out", "the {} is left at 0", np.zeros_like),
    ("statistic-left-out", "the {} is left at 1", np.ones_like),
)


def _held(
    forward: Program, name: str, change: Callable[[Array], Array]
) -> Callable[[Known], dict[str, Array]]:
    """The forward pass run again with one statistic held at other values."""

    def values(known: Known) -> dict[str, Array]:
        held = forward.tensors[name]
        at = forward.targets.index(held)
        inputs = (*forward.inputs, *forward.targets[: at + 1])
        rest = replace(forward, inputs=inputs, steps=forward.steps[at + 1 :], wrt=())
        given = {name_of(a): known[name_of(a)] for a in inputs}
        given[name] = change(np.asarray(known[name]))
        return {**known, **{n: b.value for n, b in evaluate(rest, given).items()}}

    return values


def _masked(found: Derivation, other: str, sign: int) -> Callable[[Known], dict[str, Array]]:
    upstream = name_of(found.upstream[0])

    def values(known: Known) -> dict[str, Array]:
        mask = sign * np.asarray(known[other]) > 0
        return {**known, upstream: known[upstream] * mask}

    return values


def _rows(found: Derivation) -> Iterator[Hold]:
    """A row of the upstream gradient that is not seen."""
    upstream = name_of(found.upstream[0])
    indices = indices_of(found.upstream[0])
    for index in normalised(found.forward):
        axis = indices.index(index)
        for place, word in ((-1, "last"), (0, "first")):

            def values(known: Known, axis: int = axis, place: int = place) -> dict[str, Array]:
                changed = np.array(known[upstream])
                np.moveaxis(changed, axis, 0)[place] = 0
                return {**known, upstream: changed}

            yield Hold("row-lost", f"the {word} row of the upstream gradient is not seen", values)
