"""Code without a forward pass: the layer, layout and eps whose gradients these are.

Of first or of second order alike: on one trial, the gradients beside those of each reading.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bncheck.algebra.notation import name_of
from bncheck.calculus.derivation import Derivation
from bncheck.calculus.passes import derived_once
from bncheck.identity.crossing import Bench
from bncheck.identity.readings import Reading, own_eps
from bncheck.identity.settings import Settings
from bncheck.numbers.agreement import SINGLE, distance
from bncheck.numbers.observation import Observation
from bncheck.numbers.reference import truth_of
from bncheck.numbers.trials import directed, draw
from bncheck.subject.messages import Backward, Subject
from bncheck.telling.errors import CannotAsk

Explained = Callable[[Derivation, Observation], int]
"""How far a layer's terms explain the gradients: 0 not, 1 with factors, 2 with plain ones."""


@dataclass(frozen=True)
class _Look:
    """A reading on one trial: how many gradients are near, and how near, and whether all are
    right.
    """

    reading: Reading
    seen: Observation
    near: tuple[int, float]
    right: bool


def recognise(
    subject: Subject,
    backward: Backward,
    space: Sequence[Reading],
    settings: Settings,
    explained: Explained,
) -> Reading:
    """The reading in which the code is right; else the one that explains its gradients best.

    Raises ``CannotAsk`` where the eps of a double backward pass would only be guessed.
    """
    double = backward.kind == "double"
    bench, eps = Bench(subject, backward, space[0]), own_eps(backward, settings)
    if settings.layer is not None and not double:  # as it was said, but for the eps
        looks = list(_looks(bench, (_with_eps(space[0], e) for e in eps if len(eps) > 1)))
        return looks[-1].reading if looks and looks[-1].right else space[0]
    looks = list(_looks(bench, (_with_eps(r, eps[0]) for r in space)))
    if looks and looks[-1].right:
        return looks[-1].reading
    if not double:
        looks = _likeliest(looks, explained)
    guesses: list[_Look] = []
    if len(eps) > 1:
        more = (_with_eps(one.reading, e) for one in looks for e in eps)
        guesses = list(_looks(bench, more, telling=double))
    if guesses and guesses[-1].right:
        return guesses[-1].reading
    if double:
        return _nearest(bench, guesses or looks, space, eps)
    plain = (one for one in guesses if explained(one.reading.found, one.seen) == 2)
    chosen = next((one.reading for one in (*plain, *looks)), None)
    return chosen or _with_eps(space[0], eps[0])


def _nearest(
    bench: Bench, looks: Sequence[_Look], space: Sequence[Reading], eps: Sequence[float | None]
) -> Reading:
    """Of a double backward pass: that with most gradients near, else that of the pass below."""
    best = max(looks, key=lambda one: one.near, default=None)
    if best is not None and best.near[0]:
        return best.reading
    below = _below(bench, [_with_eps(r, e) for r in space for e in eps])
    if below is None and looks and len(eps) > 1:
        raise CannotAsk(
            f"{bench.backward.name} takes no eps, and with none of the usual ones is any of its "
            "gradients that of a layer; say which eps it has with --eps"
        )
    return below or _with_eps(space[0], eps[0])


def _with_eps(reading: Reading, eps: float | None) -> Reading:
    return replace(reading, eps=eps if "eps" in reading.program.tensors else None)


def _likeliest(looks: Sequence[_Look], explained: Explained) -> list[_Look]:
    """The first of whose terms the numbers are made, else that with most gradients near."""
    if len(looks) > 1:
        made = (one for one in looks if explained(one.reading.found, one.seen))
        looks = [next(made, max(looks, key=lambda one: one.near[0]))]
    return list(looks)


def _looks(bench: Bench, space: Iterable[Reading], telling: bool = False) -> Iterator[_Look]:
    """Each reading in which the code runs, up to one in which it is right.

    ``telling``: on inputs that show which eps it has. Where a second gradient is right to some
    digits, which is no chance, other layers are not tried.
    """
    failed: set[tuple[object, ...]] = set()
    near = ""
    for reading in space:
        name, variant = reading.program.name, (reading.program, reading.layout)
        if variant in failed or near not in ("", name):
            continue  # with another eps it would fail again
        one = _look(bench, reading, telling)
        if one is None:
            failed.add(variant)
            continue
        yield one
        if one.right:
            return
        if one.near[0] and one.reading.found.order == 2:
            near = name


def _look(bench: Bench, reading: Reading, telling: bool) -> _Look | None:
    """None where it cannot be run."""
    double = bench.backward.kind == "double"
    program, at = reading.program, reading.layout
    found = derived_once(program, 2 if double else 1)
    reading = replace(reading, derivation=found)
    drawn = draw(program, reading.eps, layout=at)
    trial = next(trial for trial in drawn if trial.shows_eps or not telling)
    if double:
        rng = np.random.default_rng(2)
        trial = directed(found, at, bench.backward.takes, trial, rng)
    try:
        _, seen = replace(bench, reading=reading).first(trial)
    except CannotAsk:
        return None
    there = {n: right for n, right in seen.reference.gradients.items() if n in seen.gradients}
    if not there:
        return None
    apart = [distance(seen.gradients[n], right) for n, right in there.items()]
    near = [a for a in apart if a <= SINGLE]
    right = not any(seen.off(n).any() for n in there)
    return _Look(reading, seen, (len(near), -sum(near)), right)


def _below(bench: Bench, space: Iterable[Reading]) -> Reading | None:
    """The reading as which the user's own backward pass, below the double one, is right."""
    for reading in space if bench.backward.first else ():
        reading = replace(reading, derivation=derived_once(reading.program))
        trial = next(draw(reading.program, reading.eps, layout=reading.layout))
        try:
            (made,) = replace(bench, reading=reading).firsts(trial, [trial.values])
        except CannotAsk:
            continue
        name = "d" + name_of(reading.program.inputs[0])
        right = truth_of(reading.found, trial).gradients[name]
        if name in made and distance(made[name], right) <= SINGLE:
            return reading
    return None
