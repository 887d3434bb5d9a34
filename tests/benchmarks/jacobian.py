"""The explicit Jacobian of batch norm beside SymPy's ``Matrix.jacobian``, in one run.

    python tests/benchmarks/jacobian.py [LARGEST_FOR_SYMPY]

SymPy's own is stopped at 12 values by default: it takes 9 s at 24, and over a minute at 32.
"""

import sys
import time

from sympy import Matrix, Rational, sqrt, symbols

from bncheck.algebra.layers import LAYERS
from bncheck.calculus.jacobians import explicit
from bncheck.calculus.passes import derived


def plain(m: int) -> float:
    """Seconds of ``Matrix.jacobian`` for one feature."""
    xs = symbols(f"x:{m}", real=True)
    gamma, eps = symbols("gamma epsilon", positive=True)
    mean = sum(xs) * Rational(1, m)
    deviation = sqrt(sum((x - mean) ** 2 for x in xs) * Rational(1, m) + eps)
    start = time.perf_counter()
    Matrix([gamma * (x - mean) / deviation for x in xs]).jacobian(xs)
    return time.perf_counter() - start


def ours(m: int) -> float:
    """Seconds of derivation and explicit matrix."""
    start = time.perf_counter()
    explicit(derived(LAYERS["batch-norm"], batch_size=m))
    return time.perf_counter() - start


if __name__ == "__main__":
    largest = int(sys.argv[1]) if len(sys.argv) > 1 else 12
    for m in (3, 6, 12, 24, 32, 64, 128, 256, 512):
        mine = ours(m)
        theirs = f"{plain(m):8.2f} s, ratio" if m <= largest else ""
        ratio = f"{float(theirs.split()[0]) / mine:7.1f}" if theirs else ""
        print(f"m = {m:3d}   ours {mine:7.2f} s   {theirs} {ratio}")
