"""The parts of a layer that normalises, scales and shifts, found by their form.

``x = mu + sd*xhat`` and ``y = gamma*xhat + beta``: the statements about all of the family are
written in these words, and no name of a layer stands in them.
"""

from dataclasses import dataclass, fields, replace
from functools import cache

from sympy import Expr, Idx, Integer, Pow, S, Symbol, diff

from bncheck.algebra.notation import (
    Tensor,
    Total,
    count,
    distribute,
    gradient,
    indices_of,
    like,
    operands,
    size,
    tensor,
    total,
)
from bncheck.algebra.program import Program, Step
from bncheck.calculus.closed import inverse
from bncheck.calculus.derivation import Derivation, normalised
from bncheck.telling.errors import CannotAsk


@dataclass(frozen=True)
class Words:
    """``mean`` and ``shift`` are 0, ``scale`` is 1 where the layer has none of it.

    ``over``: the axes of one group; ``kept``: those that tell the groups apart. ``freedom``: what
    the squares are divided by, m or m - 1 (1 for weight norm, which takes no mean).
    """

    found: Derivation
    x: Tensor
    y: Tensor
    xhat: Tensor
    root: Tensor
    mean: Expr
    spread: Expr
    scale: Expr
    shift: Expr
    eps: Expr
    over: tuple[Idx, ...]
    freedom: Expr

    @property
    def forward(self) -> Program:
        """The layer."""
        return self.found.forward

    @property
    def steps(self) -> tuple[Step, ...]:
        """Those of the forward pass, of the closed form and of the chain rule; some twice."""
        found = self.found
        return (*found.forward.steps, *found.closed.steps, *found.chain.steps)

    @property
    def kept(self) -> tuple[Idx, ...]:
        """The axes that tell the groups apart."""
        return tuple(i for i in indices_of(self.x) if i not in self.over)

    @property
    def many(self) -> Expr:
        """The number of values in one group."""
        return count(self.over)

    @property
    def dy(self) -> Tensor:
        """The upstream gradient."""
        return gradient(self.y)

    @property
    def dx(self) -> Tensor:
        """The gradient of what is normalised."""
        return gradient(self.x)

    @property
    def centred(self) -> bool:
        """Whether a mean is subtracted."""
        return self.mean != 0

    @property
    def weight(self) -> Expr:
        """The scale where it varies inside a group; 1 where it leaves every sum over the group."""
        return self.scale if self.scale.has(*self.over) else S.One

    @property
    def length(self) -> Expr:
        """The sum of squares of the normalised values."""
        return self.freedom * (self.spread / self.root**2 if self.eps != 0 else 1)

    @property
    def outside(self) -> bool:
        """Whether eps is added to the root and not under it."""
        return self.eps != 0 and bool(self.forward.step(self.root).expr.is_Add)

    def project(self, body: Expr) -> Expr:
        """``body`` less its mean over the group; as it is where the layer takes no mean."""
        return body - total(body, self.over) / self.many if self.centred else body

    def sum(self, body: Expr) -> Expr:
        """The sum over one group, by its name where it is a gradient (``dgamma``)."""
        return self.named(total(body, self.over))

    def named(self, expr: Expr) -> Expr:
        """``expr`` with the sums that are gradients by their names."""
        steps = self.found.closed.steps
        names = {s.expr: s.target for s in steps if isinstance(s.expr, Total)}
        return expr.xreplace({e: a for e, a in names.items() if a in self.found.closed.outputs})

    def direction(self, name: str) -> Tensor:
        """A tensor of a new name and of the shape of x."""
        return like(name, self.x)

    def constant(self, name: str) -> Tensor:
        """A tensor of a new name with one number for each group."""
        return tensor(name)[self.kept] if self.kept else Symbol(name, real=True)


@cache
def words(found: Derivation) -> Words:
    """The parts of a layer, derived; raises ``CannotAsk`` where it does not normalise and scale."""
    forward = found.forward
    x, y = found.wrt[0], forward.outputs[0]
    value = inverse(forward).values.get(x, S.Zero)
    full = set(indices_of(x))
    hats = [a for a in operands(value) if set(indices_of(a)) == full]
    if len(hats) != 1:
        raise _not_of_the_family(forward)
    xhat = hats[0]
    root, written = diff(value, xhat), forward.step(y).expr
    scale = diff(written, xhat)
    if scale.has(xhat):
        raise _not_of_the_family(forward)
    spread, eps = _below(forward, root)
    over = normalised(forward)
    return Words(
        found, x, y, xhat, root, value - root * xhat, spread, scale,
        distribute(written - scale * xhat), eps, over, _freedom(forward, x, value, xhat, over),
    )  # fmt: skip


def specialised(layer: Words, sizes: dict[Symbol, int]) -> Words:
    """The same layer with numbers for its sizes; nothing is derived again."""
    put = {symbol: Integer(number) for symbol, number in sizes.items()}
    own = {field.name: getattr(layer, field.name) for field in fields(layer)}
    changed = {name: e.xreplace(put) for name, e in own.items() if isinstance(e, Expr)}
    over = tuple(i.xreplace(put) for i in layer.over)
    return replace(layer, found=layer.found.specialised(sizes), over=over, **changed)


def _below(forward: Program, root: Tensor) -> tuple[Expr, Expr]:
    """The statistic under the root, and the eps under the root or behind it, or 0."""
    expr = forward.step(root).expr
    inside = expr.base if isinstance(expr, Pow) and expr.exp == S.Half else expr
    scalars = [a for a in operands(inside) if not indices_of(a)]
    eps = scalars[0] if scalars else S.Zero
    spread = inside - eps if inside != expr else (inside - eps) ** 2
    return (spread if isinstance(spread, Tensor) else root**2 - eps), eps


def _freedom(forward: Program, x: Tensor, value: Expr, xhat: Tensor, over: tuple[Idx, ...]) -> Expr:
    """What the sum of squares is divided by, read off the statistic."""
    for step in forward.steps:
        rooted = isinstance(step.expr, Pow) and step.expr.exp == S.Half
        expr = step.expr.base if rooted else step.expr
        expr = distribute(expr.xreplace({x: value})) if expr.has(x) else S.Zero
        squares = Total(xhat**2, *over) if over else None
        if squares is not None and step.target != xhat and expr.has(squares):
            root = diff(value, xhat)
            return root**2 / diff(expr.xreplace({squares: Symbol("q")}), Symbol("q"))
    return count(over)


def sizes_of(forward: Program) -> set[Symbol]:
    """The symbols for the sizes of the axes."""
    return {s for i in forward.axes for s in size(i).free_symbols}


def _not_of_the_family(forward: Program) -> CannotAsk:
    return CannotAsk(
        f"{forward.name} does not normalise its first input and scale the result linearly; "
        "the identities are about layers that do"
    )
