"""Statements about a layer, as data: equations and bounds, where they hold, what became of them.

Being data they can be printed, proved, tried on numbers, and spoiled by a test that wants to see
them refuted. Nothing here says whether one is true; see ``judging``. What a document knows of a
derivation is data too (``Evidence``); see ``checked``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sympy import Expr, Idx, Rational, S, Symbol
from sympy.core.relational import Relational

from bncheck.algebra.notation import Tensor, indices_of, name_of, operands, tensor
from bncheck.algebra.program import Line
from bncheck.algebra.spelling import unmarked

Pairs = tuple[tuple[Expr, Expr], ...]
Standing = Literal["proved", "deduced", "exact", "refuted"]
"""``proved``: for every size, by the algebra; ``deduced``: from what is proved; ``exact``: on
numbers alone; ``refuted``: by numbers."""


@dataclass(frozen=True)
class Run:
    """The layer at changed inputs; its values there have their usual names with ``mark`` behind.

    ``changes``: inputs with what stands in their place. ``copies``: how often the batch is
    repeated along the normalised axes.
    """

    mark: str
    changes: Pairs = ()
    copies: int = 1


@dataclass(frozen=True)
class Statement:
    """``left`` = ``right``, or ``left`` <= ``right``, wherever all of ``given`` holds.

    ``needs``: what is assumed besides, as inequalities (``m >= 3``, ``eps > 0``), for a reader;
    ``order``: infinitesimals; the statement is about their first powers (``t**2 = 0``), and so
    about derivatives. ``slack``: of a bound, what ``right - left`` is, written so that no term of
    it can be negative. ``at``: numbers by name on which it is tried, in place of random ones.
    ``general``: whether the prover is asked; it would not see a root cancel its square.
    ``follows``: the names of statements of which it is a consequence for every size, by linear
    algebra that the prover does not know.
    ``printed``: where a published text says it, for claims that are not ours; ``holds``: whether
    bncheck expects it to be true.
    """

    name: str
    left: Expr
    right: Expr
    given: Pairs = ()
    needs: tuple[Relational, ...] = ()
    runs: tuple[Run, ...] = ()
    order: tuple[Symbol, ...] = ()
    relation: Literal["=", "≤"] = "="
    slack: Expr = S.Zero
    at: Mapping[str, Any] = field(default_factory=dict, hash=False)
    general: bool = True
    follows: tuple[str, ...] = ()
    printed: str = ""
    holds: bool = True
    note: str = ""

    @property
    def expressions(self) -> Iterator[Expr]:
        """All that stands in it, conditions and changed inputs too."""
        yield from (self.left, self.right, self.slack)
        for pairs in (self.given, *(run.changes for run in self.runs)):
            for pair in pairs:
                yield from pair

    @property
    def names(self) -> set[tuple[str, str]]:
        """The names that it reads, each with the mark of its run."""
        return {unmarked(name_of(a)) for e in self.expressions for a in operands(e)}


@dataclass(frozen=True)
class Instance:
    """A statement on numbers: both sides where they differ most, their difference, the inputs.

    ``apart``: 0 where the statement held. ``values``: by name and place.
    """

    left: Expr
    right: Expr
    apart: Expr
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Judgement:
    """What became of a statement; ``form``: what both sides are, where a document shows it."""

    statement: Statement
    verdict: Standing
    trial: Instance
    form: Expr | None = None

    @property
    def as_expected(self) -> bool:
        """Whether what should hold holds, and what is told as false is false."""
        return self.statement.holds == (self.verdict != "refuted")

    @property
    def residual(self) -> Expr:
        """The largest difference of the two sides on numbers; 0 where the statement held."""
        return self.trial.apart


@dataclass(frozen=True)
class Evidence:
    """What a document says of a derivation besides its lines: how each is known, what follows.

    ``lines``: what became of every equation; ``hessian``: of the Hessian's, by input. ``rules``:
    what the proofs of the identities put for what; no identities where the sizes are numbers, or
    where the layer is of no family.
    """

    lines: Mapping[Line, Standing]
    hessian: Mapping[Tensor, Standing]
    rules: Pairs = ()
    identities: tuple[Judgement, ...] = ()

    @property
    def all_proved(self) -> bool:
        """Whether no line of the derivation is left with less than a proof."""
        return {*self.lines.values(), *self.hessian.values()} <= {"proved"}


def marked(operand: Tensor, mark: str = "′") -> Tensor:
    """An operand's value in a run: ``dx′[i, j]`` for ``dx[i, j]``, positive where that is."""
    name, indices = name_of(operand) + mark, indices_of(operand)
    if indices:
        return tensor(name, positive=bool(operand.is_positive))[indices]
    return Symbol(name, real=True)


t, u = Symbol("t", real=True), Symbol("u", real=True)
"""The infinitesimals of derivatives."""

TRACE, RANK, NORM, POLYNOMIAL = (
    Symbol(name, real=True) for name in ("trJ", "rankJ", "normJ", "detJ")
)
"""Of the Jacobian J of one group, a matrix; ``POLYNOMIAL`` is det(lam - s*J/gamma)."""
MATRIX = {TRACE, RANK, NORM, POLYNOMIAL}
lam = Symbol("lam", real=True)
K4: dict[str, Any] = {
    "x": (10, 4, 2, -4), "dy": (1, 2, -1, 3), "gamma": 2, "beta": Rational(1, 2), "eps": 11,
}  # fmt: skip
"""A batch with mean 3 and variance 25; with eps = 11, s = 6."""


def when_moved(
    name: str, operand: Tensor, direction: Expr, left: Expr, right: Expr, **more: Any
) -> Statement:
    """``left = right`` up to ``t**2`` where ``operand`` moves by ``t*direction``: a derivative."""
    run = Run("′", ((operand, operand + t * direction),))
    return Statement(name, left, right, runs=(run,), order=(t,), **more)


def place(index: Idx) -> Idx:
    """Another index over the same axis: the place to which a permutation carries ``index``."""
    return Idx(f"π{index.label}", (index.lower, index.upper))


def at_place(operand: Tensor, index: Idx) -> Tensor:
    """``x[πi, j]`` for ``x[i, j]``: the value that a permutation brings to the place i."""
    put = {index: place(index)}
    return operand.base[tuple(put.get(i, i) for i in indices_of(operand))]
