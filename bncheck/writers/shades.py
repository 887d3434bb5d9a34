"""The Jacobian as a picture of letters, for a terminal: a sign and a shade for every entry."""

from bncheck.writers.sampled import Sampled
from bncheck.writers.unicode import MINUS

SHADES = "░▒▓█"


def shades(at: Sampled) -> tuple[str, ...]:
    """A line for each row, and one that says what the shades are; numbers as in the SVG."""
    largest = max(abs(value) for row in at.rows for value in row) or 1.0
    rows = tuple(" ".join(_cell(value / largest) for value in row) for row in at.rows)
    steps = ", ".join(
        f"{shade} to {largest * (k + 1) / len(SHADES):.2g}" for k, shade in enumerate(SHADES)
    )
    return (*rows, f"of a batch of small fractions; {steps}")


def _cell(share: float) -> str:
    """Two letters; ``share``: of the largest entry, from -1 to 1."""
    if share == 0:
        return " ·"
    return ("+" if share > 0 else MINUS) + SHADES[min(int(abs(share) * len(SHADES)), 3)]
