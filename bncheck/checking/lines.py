"""The line where a backward pass first goes wrong.

A line is wrong where the value that it gives to a name is not right, and with the right value in
its place the gradient would be. So values are compared with those that bncheck derives
(``known``), and then put in, and the user's own code computes on from there: whatever convention
it follows, only what mends the gradient is blamed.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bncheck.checking.arithmetic import Array
from bncheck.checking.expected import Expected, expected
from bncheck.checking.known import Known, Library
from bncheck.checking.matching import CLOSE, HEAVY, Arrangement, Match, Shelf, fingerprint, is_whole
from bncheck.checking.tracing import Assigned, Replacement

Rerun = Callable[[Sequence[Sequence[Replacement]]], Sequence[Mapping[str, Array] | None]]
"""The gradients by name, in the program's axes, with other values in some places."""

Truth = Mapping[str, tuple[Array, Array]]
"""Gradients by name: what is right, and what rounding allows."""

NOISE = 1e-12
"""What is smaller than this beside what it adds to is nothing."""

AT_ONCE = 400
"""How many values are tried in one place at most."""


@dataclass(frozen=True)
class Place:
    """A line of the user's, and what is wrong with it."""

    line: int
    text: str


@dataclass(frozen=True, eq=False)
class Look:
    """One assignment as it is looked at: all its values, or those that a loop ended with."""

    made: Assigned
    value: Array
    numbers: tuple[int, ...]
    match: Match | None
    wanted: Expected | None

    @property
    def right(self) -> bool:
        """Whether it is what its name says, or, for other names, something that is right."""
        if self.wanted is None:
            return self.match is not None
        if any(_is_nothing(self.value, self.wanted, known) for known in self.wanted.values):
            return True
        return self.match is not None and any(
            self.match.equals(known) for known in self.wanted.values
        )


def _is_nothing(value: Array, wanted: Expected, known: Known) -> bool:
    """Whether both are zero but for rounding, as the path to the mean through the variance is."""
    small = NOISE * abs(wanted.values[0].value).max()
    return bool(np.all(abs(value) <= small) and np.all(abs(known.value) <= small))


@dataclass(frozen=True)
class Search:
    """What a search has to go by: see ``first_wrong``."""

    library: Library
    shelf: Shelf
    looks: tuple[Look, ...]
    arranged: Arrangement
    gradient: str
    truth: Truth
    kept: frozenset[str]
    again: Rerun

    @property
    def right(self) -> Array:
        """The gradient in question as it should be."""
        return np.asarray(self.truth[self.gradient][0], float)

    def run(self, *tries: Sequence[Replacement]) -> list[Array | None]:
        """The gradient in question; None where the try fails, or spoils another gradient."""
        results = self.again(tries) if tries else ()
        return [None if r is None or self._spoils(r) else r.get(self.gradient) for r in results]

    @property
    def upstream(self) -> str:
        """The upstream gradient, ``dy``."""
        return "d" + self.library.roles["dy"]

    def is_upstream(self, name: str) -> bool:
        """Whether a variable is called after what holds the upstream gradient: ``dout_T``."""
        holder = next(
            look.made.name for look in self.looks
            if look.made.given and look.match and look.match.known.name == self.upstream
        )  # fmt: skip
        return holder in name

    def mends(self, result: Array | None) -> bool:
        """Whether a gradient is the right one."""
        return result is not None and is_right(result, *self.truth[self.gradient])

    def _spoils(self, result: Mapping[str, Array]) -> bool:
        return not all(n in result and is_right(result[n], *self.truth[n]) for n in self.kept)


def is_right(yours: Array, right: Array, allowed: Array) -> bool:
    """Whether a gradient is the right one, but for rounding."""
    if yours.shape != right.shape:
        return False
    scale = float(abs(right).max(initial=0))
    return bool(np.all(abs(yours - right) <= 64 * allowed + 1e-10 * scale))


def first_wrong(
    library: Library,
    traced: Sequence[Assigned],
    gradient: str,
    yours: Mapping[str, Array],
    truth: Truth,
    rerun: Rerun,
) -> Place | None:
    """The line to mend for one gradient; None where no line gives its value.

    ``yours``, ``truth``: the gradients as they are, and as they should be.
    """
    shelf = Shelf.of(library)
    looks = tuple(_looks(library, shelf, traced))
    last = _origin(looks, fingerprint(yours[gradient]), gradient)
    if last is None:
        return None
    arranged = Arrangement.learnt((look.value, look.match) for look in looks)
    kept = frozenset(n for n, t in truth.items() if n in yours and is_right(yours[n], *t))
    search = Search(library, shelf, looks, arranged, gradient, truth, kept, rerun)
    before = looks[: looks.index(last)]
    open_ = [look for look in before if not look.made.given and not look.made.returned]
    matter = _that_matter(search, [look for look in open_ if _is_tried(search, look)])
    unused = {look.wanted.name for look in open_ if look.wanted and look not in matter}
    matter = [
        look for look in matter if not (look.right and look.wanted and look.wanted.name in unused)
    ]  # it is the later line, which leaves one part out
    chosen = next((look for look in matter if _mended(search, look)), None)
    chosen = chosen or _together(search, matter) or last
    blamed = _source(looks, chosen)
    return Place(blamed.made.line, _text(search, blamed, chosen, gradient))


def _looks(library: Library, shelf: Shelf, traced: Sequence[Assigned]) -> Iterator[Look]:
    names = _forward_names(shelf, traced)
    for made in traced:
        wanted = None if made.given else expected(library, made, names, _again(made, traced))
        looked = []
        views = [made.ends, tuple(range(len(made.values)))]
        for numbers in dict.fromkeys(views if _gathers(made) else views[::-1]):
            value = np.asarray(made.values[list(numbers)], float)
            value = value[0] if len(numbers) == 1 else value
            match = shelf.match(value, wanted.values if wanted else ())
            looked.append(Look(made, value, numbers, match, wanted))
        yield next((look for look in looked if look.match is not None), looked[0])


def _gathers(made: Assigned) -> bool:
    """Whether the line goes on from the value that it finds: ``s += a``, ``s[i] = a``."""
    target, _, rest = made.text.partition("=")
    return target.strip() != made.name or bool(re.search(rf"\b{re.escape(made.name)}\b", rest))


def _forward_names(shelf: Shelf, traced: Sequence[Assigned]) -> dict[str, str]:
    """What the user calls the values of the forward pass: name to node."""
    names: dict[str, str] = {}
    for made in traced:
        value = np.asarray(made.values[-1], float)
        match = shelf.match(value, ()) if value.size > 1 else None
        if match is not None and match.factor == 1 and match.known.name in shelf.nodes:
            names.setdefault(made.name.removeprefix("self.").lower(), match.known.name)
    return names


def _again(made: Assigned, traced: Sequence[Assigned]) -> bool:
    """Whether a later line changes the same name: then this one need not hold the whole."""
    later = traced[list(traced).index(made) + 1 :] if not made.given else ()
    return any((o.name, o.function) == (made.name, made.function) for o in later)


def _origin(looks: Sequence[Look], yours: Array, gradient: str) -> Look | None:
    """Where the gradient that was returned comes from: the first line that has it, and should not.

    Where all may have it under the names they have, it is the last.
    """
    there = [
        look for look in looks
        if not look.made.given and yours.size > 1 and _same(fingerprint(look.value), yours)
    ]  # fmt: skip
    if there:
        own = [look for look in there if not look.made.returned] or there
        return next((look for look in there if not look.right), own[-1])
    named = [
        look for look in looks
        if look.wanted is not None and look.wanted.name == gradient
        and _same(fingerprint(look.value), yours)
    ]  # fmt: skip
    return named[-1] if named else None


def _same(one: Array, other: Array) -> bool:
    if one.shape != other.shape:
        return False
    return bool(np.all(abs(one - other) <= 1e-12 * (abs(one).max() + abs(other).max())))


def _is_tried(search: Search, look: Look) -> bool:
    """Whether a line is looked into: it is not right, or right only as a part or by itself."""
    if not np.all(np.isfinite(look.value)) or _is_start(search, look):
        return False
    if look.wanted is not None:
        return not look.right or (len(look.wanted.values) > 1 and not _is_changed(search, look))
    if look.match is not None:
        if look.match.known.name == search.upstream and search.is_upstream(look.made.name):
            return False
        return look.match.factor != 1 or look.match.known.name not in search.library.nodes
    return not _is_scalar(look) and float(abs(look.value).max()) > NOISE * abs(search.right).max()


def _is_start(search: Search, look: Look) -> bool:
    """Whether it is the zero that a sum starts from, or an array that is filled later."""
    filled = f"{look.made.name}["
    return _is_changed(search, look) and (
        not look.value.any()
        or any(o.made.text.startswith(filled) for o in search.looks if o is not look)
    )


def _is_changed(search: Search, look: Look) -> bool:
    """Whether a later line changes the same name."""
    later = search.looks[search.looks.index(look) + 1 :]
    own = look.made.name, look.made.function
    return any((o.made.name, o.made.function) == own for o in later)


def _is_scalar(look: Look) -> bool:
    return look.made.values[0].size == 1 and len(look.made.values) == 1


def _put(look: Look, value: Array) -> list[Replacement]:
    """The value in this line's place, every time that the line runs."""
    several = value.reshape(len(look.numbers), *look.made.values.shape[1:])
    return [
        Replacement(look.made.line, look.made.name, number, np.asarray(one))
        for number, one in zip(look.numbers, several, strict=True)
    ]


def _that_matter(search: Search, looks: Sequence[Look]) -> list[Look]:
    """Those on which the gradient depends."""
    still, *moved = search.again([[], *(_put(look, _moved(look)) for look in looks)])
    name = search.gradient
    if still is None:
        return []
    return [
        look for look, result in zip(looks, moved, strict=True)
        if result is None or result[name].shape != still[name].shape
        or not np.allclose(result[name], still[name], rtol=1e-9, atol=0, equal_nan=True)
    ]  # fmt: skip


def _moved(look: Look) -> Array:
    if look.made.values.dtype.kind in "iu":
        return look.value + 1
    return look.value * 1.375 + 0.0625


def _mended(search: Search, look: Look) -> bool:
    """Whether a right value in this place makes the gradient right."""
    if look.wanted is not None:
        tried = look.wanted.tried[look.right :]  # a part that is right is not the whole
        values = [v for k in tried for v in search.arranged(k.value, look.value)]
        if any(map(search.mends, search.run(*(_put(look, v) for v in values)))):
            return True
    if look.right and look.wanted is not None or _is_scalar(look):
        return False
    if look.match is not None and look.wanted is not None:
        return _is_multiple(search, look, turned=True)  # a right value, called something else
    if look.match is None and _is_multiple(search, look):
        return True
    return _is_another(search, look)


def _is_multiple(search: Search, look: Look, turned: bool = False) -> bool:
    """Whether some number times this value makes the gradient right.

    ``turned``: and is then what its name says, but for the sign.
    """
    base, moved = search.run([], _put(look, 2 * look.value))
    if base is None or moved is None or base.shape != moved.shape:
        return False
    factor = _solved(search, 2 * base - moved, moved - base)
    if factor is None:
        return False
    if turned and look.wanted is not None:
        now = search.shelf.multiple(look.value, look.wanted.values[0])
        if now is None or abs(abs(factor * now) - 1) > CLOSE:
            return False
    return search.mends(search.run(_put(look, factor * look.value))[0])


def _is_another(search: Search, look: Look) -> bool:
    """Whether another right value does, or a plain multiple of one.

    Where the value is a right one by itself, only those that are as simple, or that it is a
    multiple of: else it is a later line that makes the wrong use of it.
    """
    known = search.shelf.of_size(fingerprint(look.value).size)
    if look.match is not None:
        known = [k for k in known if _is_likely(search, look, k)]
    factors = {1.0, look.match.factor if look.match else 1.0}
    values = [
        f * v for k in known for v in search.arranged(k.value, look.value) for f in factors
    ][:AT_ONCE]  # fmt: skip
    none, *results = search.run(*(_put(look, v) for v in (0 * look.value, *values)))
    for value, result in zip(values, results, strict=True):
        if search.mends(result):
            return True
        if look.match is not None or none is None or result is None or none.shape != result.shape:
            continue
        factor = _solved(search, none, result - none)
        if factor is not None and search.shelf.is_plain(factor):
            return search.mends(search.run(_put(look, factor * value))[0])
    return False


def _is_likely(search: Search, look: Look, known: Known) -> bool:
    factor = search.shelf.multiple(look.value, known)
    if factor is not None:
        return bool(known.name) and abs(abs(factor) - 1) > CLOSE
    weight = search.shelf.weight(known.value)
    return weight < HEAVY and weight <= search.shelf.weight(look.value)


def _solved(search: Search, base: Array, slope: Array) -> float | None:
    """The number t for which ``base + t*slope`` is the right gradient."""
    base, slope = np.asarray(base, float), np.asarray(slope, float)
    wanted = np.asarray(search.right, float) - base
    square = float((slope * slope).sum())
    if not np.isfinite(square) or square == 0 or not np.all(np.isfinite(wanted)):
        return None
    factor = float((slope * wanted).sum()) / square
    left = abs(wanted - factor * slope).max()
    return factor if left <= 1e-8 * abs(search.right).max() else None


def _together(search: Search, looks: Sequence[Look]) -> Look | None:
    """The first of several wrong lines that have to be mended together."""
    wrong = [look for look in looks if look.wanted is not None and not look.right]
    puts: list[Replacement] = []
    for look in wrong:
        assert look.wanted is not None
        puts += [
            r for v in search.arranged(look.wanted.values[0].value, look.value)[:1]
            for r in _put(look, v)
        ]  # fmt: skip
    if len(wrong) > 1 and search.mends(search.run(puts)[0]):
        return wrong[0]
    return None


def _source(looks: Sequence[Look], chosen: Look) -> Look:
    """Where a wrong value came from: a helper's line, say, that returned it."""
    wrong = fingerprint(chosen.value)
    before = [
        look for look in looks[: looks.index(chosen)]
        if wrong.size > 1 and _same(fingerprint(look.value), wrong)
    ]  # fmt: skip
    if any(look.right and not look.made.returned for look in before):
        return chosen
    return next((look for look in before if not look.made.given), chosen)


def _text(search: Search, blamed: Look, chosen: Look, gradient: str) -> str:
    name = gradient if chosen.made.returned else chosen.made.name
    before = _last_right(search, blamed)
    tail = f"; {before.made.name} on line {before.made.line} is right" if before else ""
    return f"line {blamed.made.line}, {name}: {_wrong(search, chosen, gradient)}{tail}"


def _wrong(search: Search, look: Look, gradient: str) -> str:
    """How the value differs from the one that belongs there."""
    values = look.wanted.values if look.wanted is not None else ()
    if not values and gradient in search.library.wholes:
        values = (search.library.wholes[gradient],)
    if _is_scalar(look) and values:
        return f"{look.value:.6g} where {float(values[0].value.flat[0]):.6g} belongs"
    for known in values:
        factor = search.shelf.multiple(look.value, known)
        if factor == 1:
            return "not the whole of it"
        if factor is not None:
            return f"{search.shelf.spelled(factor)} x the right value"
    return "not the right value"


def _last_right(search: Search, blamed: Look) -> Look | None:
    """The last line before it, of the same function, that gives a gradient its right value."""
    where = search.looks.index(blamed)
    before = [
        look for look in search.looks[:where]
        if look.right and look.wanted is not None and not look.made.given
        and look.made.function == blamed.made.function and look.made.line != blamed.made.line
        and is_whole(look.value)
    ]  # fmt: skip
    gradients = [look for look in before if look.wanted and look.wanted.name[:1] == "d"]
    return (gradients or before or [None])[-1]
