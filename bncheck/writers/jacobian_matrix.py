"""The Jacobian of one group as a matrix: its entries, or a picture of it in numbers.

The numbers are those of a batch of small fractions; a terminal shows them as shades, HTML as SVG.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sympy import Expr, Float, Mul, Rational, S, expand

from bncheck.algebra.notation import Tensor, count, indices_of, name_of, size
from bncheck.algebra.spelling import MINUS
from bncheck.calculus.derivation import Derivation, normalised
from bncheck.calculus.interpret import Place, evaluate, places
from bncheck.calculus.jacobians import explicit
from bncheck.calculus.unroll import sample
from bncheck.writers.graph import image, label

LARGEST = 6
"""Rows of the largest matrix whose entries are written out."""

LARGEST_PICTURE = 16
"""Rows of the largest one whose cells can still be told apart."""

SHADES = "░▒▓█"

CELL = 46
"""Pixels of a cell of the heat map."""

EPS = Rational(1, 100)
"""Small beside the variance of the batch, as it is in use."""


def has_sizes(found: Derivation) -> bool:
    """Whether the normalised axes have numbers for sizes, so that a matrix can be written."""
    return all(size(i).is_number for i in normalised(found.forward))


def group_size(found: Derivation) -> int:
    """The number of values that are normalised together, where sizes are numbers."""
    return int(count(normalised(found.forward)))


def matrix(found: Derivation, name: str) -> tuple[Expr, list[list[Expr]]]:
    """The explicit Jacobian of one group as a shared factor and what is left of the entries."""
    entries = explicit(found, name)
    factors = [set(Mul.make_args(e)) for e in entries]
    shared = Mul(*(f for f in set.intersection(*factors) if not f.is_Add))
    numbers = [abs(Mul(*(f.primitive()[0] for f in Mul.make_args(e)))) for e in entries]
    shared /= max((number.q for number in numbers), default=1)
    rows = [[expand(e / shared) for e in entries.row(r)] for r in range(entries.rows)]
    return shared, rows


@dataclass(frozen=True)
class Sampled:
    """``rows[p][q]`` is d output / d operand at the places p and q of one group.

    ``places``: where p and q run, along the normalised axes only. ``given``: every input with
    its numbers.
    """

    output: Tensor
    operand: Tensor
    places: tuple[Place, ...]
    given: tuple[tuple[Tensor, tuple[Expr, ...]], ...]
    rows: tuple[tuple[float, ...], ...]

    @property
    def largest(self) -> float:
        """The largest entry without its sign; 1 where all are 0."""
        return max(abs(value) for row in self.rows for value in row) or 1.0


def sampled(found: Derivation) -> Sampled | None:
    """The numbers, one run of the closed backward pass for each row.

    None where there is no such picture: sizes are symbols or too large, the derivation is of
    second order or in forward mode, or the output has not the shape of the first input.
    """
    if found.origin or found.mode == "forward" or not has_sizes(found):
        return None
    output, operand = found.forward.outputs[0], found.wrt[0]
    if indices_of(output) != indices_of(operand) or not 1 < group_size(found) <= LARGEST_PICTURE:
        return None
    one = {size(i): S.One for i in found.forward.axes if not size(i).is_number}
    forward, along = found.forward.specialised(one), normalised(found.forward)
    values = sample(forward)
    values |= {"eps": EPS} if "eps" in values else {}
    upstream = {name_of(a): values[name_of(a)] for a in found.upstream}
    known = evaluate(forward, _rounded(values)) | upstream
    indices = tuple(i.xreplace(one) for i in indices_of(output))
    group = list(places(indices))
    rows = tuple(_row(found, one, known, group, at) for at in group)
    kept = [k for k, i in enumerate(indices_of(output)) if i in along]
    shown = tuple(tuple(at[k] for k in kept) for at in group)
    given = tuple((a, _numbers(values[name_of(a)])) for a in forward.inputs)
    return Sampled(output, operand, shown, given, rows)


def _numbers(given: Any) -> tuple[Expr, ...]:
    """The numbers of one input in order."""
    return tuple(given.values()) if isinstance(given, Mapping) else (given,)


def _row(
    found: Derivation, one: dict[Any, Any], known: dict[str, Any], group: list[Place], hot: Place
) -> tuple[float, ...]:
    """How the output at one place depends on the operand: its gradient, dy being 1 there."""
    first, *others = map(name_of, found.upstream)
    asked = {name: dict.fromkeys(known[name], S.Zero) for name in others}
    asked[first] = {at: S.One if at == hot else S.Zero for at in group}
    got = evaluate(found.closed.specialised(one), known | asked)
    gradient = got[name_of(found.forward.gradient(found.wrt[0]))]
    return tuple(float(gradient[at]) for at in group)


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    """The same with 17 digits, which is quicker than roots of fractions."""
    return {
        name: {at: Float(number, 17) for at, number in given.items()}
        if isinstance(given, Mapping)
        else Float(given, 17)
        for name, given in values.items()
    }


def shades(at: Sampled) -> tuple[str, ...]:
    """A line of letters for each row, and one that says what the shades are."""
    rows = tuple(" ".join(_shade(value / at.largest) for value in row) for row in at.rows)
    steps = ", ".join(
        f"{shade} to {at.largest * (k + 1) / len(SHADES):.2g}" for k, shade in enumerate(SHADES)
    )
    return (*rows, f"of a batch of small fractions; {steps}")


def _shade(share: float) -> str:
    """A sign and a shade; ``share``: of the largest entry, from -1 to 1."""
    if share == 0:
        return " ·"
    return ("+" if share > 0 else MINUS) + SHADES[min(int(abs(share) * len(SHADES)), 3)]


def heat_map(at: Sampled) -> str:
    """A cell for every entry: red above 0, blue below, the stronger the larger."""
    left, top, count = 44, 34, len(at.rows)
    parts = []
    for p, row in enumerate(at.rows):
        middle = CELL * (p + 0.5)
        parts.append(label(at.output, at.places[p], left / 2, top + middle))
        parts.append(label(at.operand, at.places[p], left + middle, top / 2))
        parts += [
            _cell(v / at.largest, v, left + CELL * q, top + CELL * p) for q, v in enumerate(row)
        ]
    side = CELL * count
    return image(left + side + 8, top + side + 8, "The Jacobian as a heat map", *parts)


def _cell(share: float, value: float, x: float, y: float) -> str:
    shade = 0.06 * bool(value) + 0.64 * abs(share)
    colour = "--plus" if value > 0 else "--minus"
    text = f"{round(value, 2) + 0.0:.2f}".replace("-", MINUS)  # 0.00, never -0.00
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{CELL}" height="{CELL}" fill="var({colour})" '
        f'fill-opacity="{shade:.3f}" stroke="var(--paper)"/>'
        f'<text x="{x + CELL / 2:g}" y="{y + CELL / 2 + 4:g}" text-anchor="middle" '
        f'font-size="12" font-family="system-ui, sans-serif" fill="currentColor">{text}</text>'
    )
