"""A layer of your own: every feature by the root of its mean square, nothing centred.

bncheck derive examples/power_norm.py:POWER_NORM
"""

from sympy import Symbol, sqrt

from bncheck.algebra.notation import Mean, axis, tensor
from bncheck.algebra.program import Program, Step

i, j = axis("i", "m"), axis("j", "D")
x, y, xhat, gamma = map(tensor, ("x", "y", "xhat", "gamma"))
power, root = tensor("power", positive=True), tensor("root", positive=True)
eps = Symbol("eps", nonnegative=True)

POWER_NORM = Program(
    name="power-norm",
    title="Power norm",
    axes=(i, j),
    inputs=(x[i, j], gamma[j], eps),
    steps=(
        Step(power[j], Mean(x[i, j] ** 2, i), "mean square of the feature"),
        Step(root[j], sqrt(power[j] + eps), "its root"),
        Step(xhat[i, j], x[i, j] / root[j], "normalised"),
        Step(y[i, j], gamma[j] * xhat[i, j], "scaled"),
    ),
    outputs=(y[i, j],),
    wrt=(x[i, j], gamma[j]),
)
