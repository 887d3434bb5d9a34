"""What each assigned value is, and what it should be by its name: ``dvar``, ``ivar``, ``N``."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bncheck.numbers.agreement import ROUNDING, negligible
from bncheck.numbers.arithmetic import Array
from bncheck.place.values import Multiple, RightValue, RightValues, fingerprint, is_same
from bncheck.subject.messages import Assigned
from bncheck.subject.names import gradient, role

_GRADIENT = re.compile(
    r"^(?:d_?l_?d_?|grad_?|delta_?|[dg]_?)(?P<a>.+)$|^(?P<b>.+?)_?(?:grad|gradient)\d*$",
    re.IGNORECASE,
)
SHORT = {"v": "var", "m": "mean", "s": "sd", "x": "x"}
"""What ``dv``, ``dm``, ``ds`` are the gradients of, where nothing else is called so."""

_STRICT = ("mean", "var", "sd", "rstd", "xhat", "centred", "eps")


@dataclass(frozen=True)
class Expected:
    """``name``: ``dvar`` or ``var``, as the program has it; ``values``: any of these is right.

    ``others``: what else may belong there where it is not.
    """

    name: str
    values: tuple[RightValue, ...]
    others: tuple[RightValue, ...] = ()

    @property
    def tried(self) -> tuple[RightValue, ...]:
        """What is put in its place, the likeliest first."""
        return (*self.values, *self.others)


@dataclass(frozen=True, eq=False)
class Sighting:
    """One assignment: all its values, or those that a loop ended with (``numbers``).

    ``match``: what the value is; ``wanted``: what its name says that it should be; ``changed``:
    a later line changes the same name, so that this one need not hold the whole.
    """

    made: Assigned
    value: Array
    numbers: tuple[int, ...]
    match: Multiple | None
    wanted: Expected | None
    changed: bool

    @property
    def right(self) -> bool:
        """Whether it is what its name says, or, for other names, something that is right."""
        if self.wanted is None:
            return self.match is not None
        if any(_are_nothing(self.value, self.wanted, right) for right in self.wanted.values):
            return True
        return self.match is not None and any(map(self.match.equals, self.wanted.values))

    @property
    def is_scalar(self) -> bool:
        """Whether it is a single number: a count, say."""
        return _is_scalar(self.made)


def sightings(right: RightValues, traced: Sequence[Assigned]) -> tuple[Sighting, ...]:
    """Everything that was assigned, but for what only starts a sum or an array to fill."""
    later = _later(traced)
    kept = [
        made for made, changed in zip(traced, later, strict=True)
        if not (changed and _is_start(made, traced))
    ]  # fmt: skip
    return tuple(_sightings(right, kept))


def _sightings(right: RightValues, traced: Sequence[Assigned]) -> Iterator[Sighting]:
    names = _forward_names(right, traced)
    for made, changed in zip(traced, _later(traced), strict=True):
        wanted = None if made.given else _expected(right, made, names, changed)
        if changed and wanted is not None and not _is_alike(made, wanted):
            wanted = None  # the name is not yet what it says: dvar before its sum
        seen = []
        views = [made.ends, tuple(range(len(made.values)))]
        for numbers in dict.fromkeys(views if _gathers(made) else views[::-1]):
            value = np.asarray(made.values[list(numbers)], float)
            value = value[0] if len(numbers) == 1 else value
            match = right.match(value, wanted.values if wanted else ())
            seen.append(Sighting(made, value, numbers, match, wanted, changed))
        yield next((one for one in seen if one.match is not None), seen[0])


def origin(seen: Sequence[Sighting], yours: Array, gradient: str) -> Sighting | None:
    """Where the gradient that was returned comes from: the first line that has it, and should not.

    Where all may have it under the names they have, it is the last.
    """
    whole = fingerprint(yours).size > 1
    same = [one for one in seen if is_same(one.value, yours)]
    there = [one for one in same if whole and not one.made.given]
    if there:
        own = [one for one in there if not one.made.returned] or there
        return next((one for one in there if not one.right), own[-1])
    named = [one for one in same if one.wanted is not None and one.wanted.name == gradient]
    return named[-1] if named else None


def source(seen: Sequence[Sighting], chosen: Sighting) -> Sighting:
    """Where a wrong value came from: a helper's line, say, that returned it."""
    whole = fingerprint(chosen.value).size > 1
    before = [
        one for one in seen[: seen.index(chosen)] if whole and is_same(one.value, chosen.value)
    ]
    if any(one.right and not one.made.returned for one in before):
        return chosen
    return next((one for one in before if not one.made.given), chosen)


def _are_nothing(value: Array, wanted: Expected, right: RightValue) -> bool:
    """Whether both are zero but for rounding, as the path to the mean through the variance is."""
    beside = wanted.values[0].value
    return negligible(value, beside, ROUNDING) and negligible(right.value, beside, ROUNDING)


def _later(traced: Sequence[Assigned]) -> list[bool]:
    """For each whether a later line gives a value to the same name."""
    own = [(made.name, made.function) for made in traced]
    return [not m.given and own[k] in own[k + 1 :] for k, m in enumerate(traced)]


def _is_start(made: Assigned, traced: Sequence[Assigned]) -> bool:
    """Whether it is the zero that a sum starts from, or an array that is filled later."""
    filled = any(o.source.startswith(f"{made.name}[") for o in traced if o is not made)
    return filled or not made.values.any()


def _is_alike(made: Assigned, wanted: Expected) -> bool:
    """Whether any value has as many distinct entries as the one that is wanted."""
    size = wanted.values[0].entries.size
    return size in (fingerprint(made.values).size, fingerprint(made.values[-1]).size)


def _gathers(made: Assigned) -> bool:
    """Whether the line goes on from the value that it finds: ``s += a``, ``s[i] = a``."""
    target, _, rest = made.source.partition("=")
    return target.strip() != made.name or bool(re.search(rf"\b{re.escape(made.name)}\b", rest))


def _is_scalar(made: Assigned) -> bool:
    return made.values.size == 1


def _forward_names(right: RightValues, traced: Sequence[Assigned]) -> dict[str, str]:
    """What the user calls the values of the forward pass: name to node."""
    names: dict[str, str] = {}
    for made in traced:
        value = np.asarray(made.values[-1], float)
        match = right.match(value, ()) if value.size > 1 else None
        if match is not None and match.factor == 1 and match.of.name in right.nodes:
            names.setdefault(made.name.removeprefix("self.").lower(), match.of.name)
    return names


def _expected(
    right: RightValues, made: Assigned, names: Mapping[str, str], changed: bool
) -> Expected | None:
    """What the name asks for, if it says anything; ``names``: the user's, of the forward pass.

    ``changed``: a later line adds to it, so that a part is right, too.
    """
    name = re.sub(r"\W+$", "", re.split(r"\.|\[['\"]", made.name)[-1])
    if made.returned:
        return None
    if _is_scalar(made):
        return _number(right, made, name)
    known = gradient(name)
    if known is not None and known in right.wholes:
        return _gradient(right, known, changed, numbered=False)
    node = right.roles.get(role(name) or "") if len(name) > 1 else None
    if node and role(name) in _STRICT and node in right.nodes:
        return Expected(node, (right.nodes[node],))
    found = _GRADIENT.match(name)
    inner = (found["a"] or found["b"]) if found else ""
    for stem in dict.fromkeys((inner, inner.rstrip("0123456789_"))):
        node = _node(right, stem, names)
        if node and "d" + node in right.wholes:
            return _gradient(right, "d" + node, changed, numbered=stem != inner)
    return None


def _node(right: RightValues, stem: str, names: Mapping[str, str]) -> str | None:
    """A value of the forward pass, by what the user calls it there, or by a usual name."""
    if stem.lower() in names:
        return names[stem.lower()]
    if stem in SHORT:
        return right.roles.get(SHORT[stem])
    return right.roles.get(role(stem) or "") if len(stem) > 1 else None


def _gradient(right: RightValues, name: str, changed: bool, numbered: bool) -> Expected:
    parts = right.parts.get(name, ()) if changed or numbered else ()
    sums = right.sums.get(name, ()) if changed else ()
    return Expected(name, (right.wholes[name], *parts, *sums))


def _number(right: RightValues, made: Assigned, name: str) -> Expected | None:
    """A count or eps: right by its name, or any other count may belong there."""
    value = float(made.values.flat[0])
    if role(name) == "eps" and "eps" in right.nodes:
        return Expected("eps", (right.nodes["eps"],))
    if not value.is_integer() or "," in made.source.partition("=")[0]:
        return None
    counts = _counts(right)
    if role(name) == "width" and value == right.width and value != counts[0]:
        return None
    first, *others = (RightValue("count", np.asarray(float(c))) for c in counts)
    return Expected("count", (first,), tuple(others))


def _counts(right: RightValues) -> list[int]:
    """Products of sizes; the number of values that are normalised together comes first."""
    counts = [1]
    for n in right.counts.values():
        counts += [c * n for c in counts]
    return list(dict.fromkeys((right.together, *counts[1:])))
