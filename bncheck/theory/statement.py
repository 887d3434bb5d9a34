"""A statement about a layer, as data: an equation or a bound, where it holds, and for what inputs.

Being data it can be printed, proved, tried on numbers, and spoiled by a test that wants to see it
refuted. Nothing in it says whether it is true; see ``judging``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sympy import Expr, S, Symbol
from sympy.core.relational import Relational

from bncheck.algebra.notation import Tensor, indices_of, name_of, tensor

Pairs = tuple[tuple[Expr, Expr], ...]


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


def marked(operand: Tensor, mark: str = "′") -> Tensor:
    """An operand's value in a run: ``dx′[i, j]`` for ``dx[i, j]``, positive where that is."""
    name, indices = name_of(operand) + mark, indices_of(operand)
    if indices:
        return tensor(name, positive=bool(operand.is_positive))[indices]
    return Symbol(name, real=True)


t, u = Symbol("t", real=True), Symbol("u", real=True)
"""The infinitesimals of derivatives."""
