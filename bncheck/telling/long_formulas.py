"""A long formula in several lines: where each ends is decided in one place, for every format."""

from collections.abc import Callable


def in_lines(
    formula: str,
    widest: int,
    breaks: Callable[[str], list[tuple[int, int]]],
    width: Callable[[str], int] = len,
    least: int = 0,
    indent: str = "",
) -> list[str]:
    """The lines, none wider than ``widest`` but where a single term is.

    ``breaks`` gives the depth and the place of every space at which a line may end. It ends at the
    least deep one that leaves it wider than ``least``, and there as late as it can. ``indent``
    stands before every line but the first.
    """
    lines, rest = [], formula
    while width(rest) > widest and (places := breaks(rest)):
        wide = {at: width(rest[:at]) for _, at in places}
        fitting = [(depth, -at) for depth, at in places if wide[at] <= widest]
        good = [place for place in fitting if wide[-place[1]] > least]
        if good:
            at = -min(good)[1]
        else:
            at = -min(place for _, place in fitting) if fitting else min(wide)
        lines.append(rest[:at])
        rest = indent + rest[at + 1 :]
    return [*lines, rest]


def before_terms(*signs: str, deepest: int | None = None) -> Callable[[str], list[tuple[int, int]]]:
    """``breaks`` for a line of Unicode: before the signs, by how many brackets are open there.

    ``deepest``: no break inside of more brackets, and those that are left are as good as another.
    """

    def breaks(formula: str) -> list[tuple[int, int]]:
        depth, places = 0, []
        for at, letter in enumerate(formula):
            depth += (letter in "([") - (letter in ")]")
            if formula[at : at + 3] in signs and formula[:at].strip():
                if deepest is None:
                    places.append((depth, at))
                elif depth <= deepest:
                    places.append((0, at))
        return places

    return breaks
