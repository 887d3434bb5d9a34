"""The published theorems about batch norm: what is true, under which conditions, what is not.

Each is a statement like those of ``identities``; claims that are false as printed are there with
``holds=False`` and a counterexample in exact numbers, and bncheck expects to see them refuted.
"""

from collections.abc import Iterator

from bncheck.algebra.program import Program
from bncheck.theory.judging import Judgement, judge_all
from bncheck.theory.parts import Words, words
from bncheck.theory.published.covariate_shift import covariate_shift
from bncheck.theory.published.eps_outside import eps_outside, outside
from bncheck.theory.published.lipschitz import lipschitz, minimax, unbiased
from bncheck.theory.published.misprints import printed_graph, printed_lines
from bncheck.theory.published.reparameterisation import reparameterised, restored, weight_norm
from bncheck.theory.statement import Statement


def statements(layer: Words) -> tuple[Statement, ...]:
    """What is said about batch norm as a function of one batch."""
    themes = (printed_lines, lipschitz, minimax, reparameterised, restored)
    return tuple(said for theme in themes for said in theme(layer))


def theorems(
    batch: Program, raw: Program, over_less: Program, weight: Program, seed: int = 0
) -> Iterator[Judgement]:
    """Every theorem, judged: of batch norm, of its relatives, and of a network with it.

    ``raw``: batch norm with the variance from raw moments; ``over_less``: with the variance over
    m - 1; ``weight``: weight norm.
    """
    yield from judge_all(statements(words(batch)), words(batch), seed)
    for program, said in (
        (raw, printed_graph), (over_less, unbiased), (outside(batch), eps_outside),
        (weight, weight_norm),
    ):  # fmt: skip
        yield from judge_all(said(words(program)), words(program), seed)
    yield from covariate_shift(batch)
