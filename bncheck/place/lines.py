"""The line where a backward pass first goes wrong.

A line is wrong where the value that it gives to a name is not right, and with the right value in
its place the gradient would be. So values are compared with those that bncheck derives
(``known``), and then put in (``mending``), and the user's own code computes on from there:
whatever convention it follows, only what mends the gradient is blamed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bncheck.numbers.arithmetic import Array
from bncheck.place.matching import Arrangement, Shelf, fingerprint, is_whole
from bncheck.place.mend import (
    AT_ONCE,
    Rerun,
    Search,
    Truth,
    is_mended,
    is_right,
    is_scalar,
    is_tried,
    put,
    that_matter,
)
from bncheck.place.recognise import Look, is_same, looks_at, origin, source
from bncheck.place.values import Library
from bncheck.subject.messages import Assigned, Replacement, Written
from bncheck.telling.errors import CannotAsk


@dataclass(frozen=True)
class Place:
    """A line of the user's, and what is wrong with it.

    ``mended``: how it would be right, where an edit or two make it so.
    """

    line: int
    text: str
    mended: str = ""


Rewrite = Callable[[int, str], Sequence[Written]]
"""Other ways to write a line that gives a name its value, and what they give."""


def first_wrong(
    library: Library,
    traced: Sequence[Assigned],
    gradient: str,
    yours: Mapping[str, Array],
    truth: Truth,
    rerun: Rerun,
    rewrite: Rewrite | None = None,
) -> Place | None:
    """The line to mend for one gradient; None where no line gives its value.

    ``yours``, ``truth``: the gradients as they are, and as they should be.
    """
    shelf = Shelf.of(library)
    looks = looks_at(library, shelf, traced)
    last = origin(looks, fingerprint(yours[gradient]), gradient)
    if last is None:
        return None
    arranged = Arrangement.learnt((look.value, look.match) for look in looks)
    kept = frozenset(n for n, t in truth.items() if n in yours and is_right(yours[n], *t))
    search = Search(library, shelf, looks, arranged, gradient, truth, kept, rerun)
    before = looks[: looks.index(last)]
    open_ = [look for look in before if not look.made.given and not look.made.returned]
    matter = that_matter(search, [look for look in open_ if is_tried(search, look)])
    unused = {look.wanted.name for look in open_ if look.wanted and look not in matter}
    matter = [
        look for look in matter if not (look.right and look.wanted and look.wanted.name in unused)
    ]  # it is the later line, which leaves one part out
    mending = next((look for look in matter if is_mended(search, look)), None)
    chosen = mending or _together(search, matter) or last
    blamed = source(looks, chosen)
    mended = _mended(search, blamed, yours[gradient], rewrite) if rewrite is not None else ""
    first = "" if mended or chosen is not last else _first(matter, last)
    return Place(blamed.made.line, _text(search, blamed, chosen, gradient) + first, mended)


def _first(matter: Sequence[Look], last: Look) -> str:
    """The first value that is not what its name says, where mending it alone is not enough."""
    for look in matter:
        if look.made.name == last.made.name:
            continue
        known = look.match is not None or look.wanted is None or is_scalar(look)
        if look is not last and not known and not look.right:
            return f"; {look.made.name} on line {look.made.line} is not right either"
    return ""


def _mended(search: Search, blamed: Look, yours: Array, rewrite: Rewrite) -> str:
    """The simplest way to write the line with which the gradient is right."""
    if len(blamed.numbers) != 1:
        return ""
    wanted = list(blamed.wanted.tried) if blamed.wanted is not None else []
    prints = [fingerprint(k.value) for k in wanted]
    if is_same(fingerprint(blamed.value), fingerprint(yours)):
        prints.append(fingerprint(search.right))
    try:
        written = rewrite(blamed.made.line, blamed.made.name)
    except CannotAsk:
        return ""  # the line is known without it
    ways = [
        w for w in written
        if any(is_same(fingerprint(w.value), p) for p in prints)
    ]  # fmt: skip
    tries = [put(blamed, np.asarray(w.value, float)) for w in ways[:AT_ONCE]]
    results = search.run(*tries) if tries else []
    return next(
        (w.text for w, r in zip(ways, results, strict=False) if search.mends(r)), ""
    )  # fmt: skip


def _together(search: Search, looks: Sequence[Look]) -> Look | None:
    """The first of several wrong lines that have to be mended together."""
    wrong = [look for look in looks if look.wanted is not None and not look.right]
    puts: list[Replacement] = []
    for look in wrong:
        assert look.wanted is not None
        puts += [
            r for v in search.arranged(look.wanted.values[0].value, look.value)[:1]
            for r in put(look, v)
        ]  # fmt: skip
    if len(wrong) > 1 and search.mends(search.run(puts)[0]):
        return wrong[0]
    return None


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
    if is_scalar(look) and values:
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
    return (gradients or before)[-1] if before else None
