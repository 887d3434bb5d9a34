"""The published theorems about batch norm: what is true, under which conditions, what is not.

Each is a statement like those of ``identities``; claims that are false as printed are there with
``holds=False`` and a counterexample in exact numbers, and bncheck expects to see them refuted.
"""

from collections.abc import Iterator

from bncheck.algebra.program import Program
from bncheck.calculus.covariate_shift import covariate_shift
from bncheck.calculus.judging import Judgement, judge_all
from bncheck.calculus.lipschitz import lipschitz, minimax
from bncheck.calculus.reparameterisation import reparameterised, restored, weight_norm
from bncheck.calculus.statement import Statement
from bncheck.calculus.words import Words, words


def statements(layer: Words) -> tuple[Statement, ...]:
    """What is said about batch norm as a function of one batch."""
    themes = (lipschitz, minimax, reparameterised, restored)
    return tuple(said for theme in themes for said in theme(layer))


def theorems(batch: Program, weight: Program, seed: int = 0) -> Iterator[Judgement]:
    """Every theorem, judged: of batch norm, of weight norm, and of a network with batch norm."""
    yield from judge_all(statements(words(batch)), words(batch), seed)
    yield from judge_all(weight_norm(words(weight)), words(weight), seed)
    yield from covariate_shift(batch)
