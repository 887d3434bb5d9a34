"""What becomes of a statement: proved for every size, exact on rationals, or refuted by numbers."""

from collections.abc import Iterable
from dataclasses import replace

from bncheck.theory.instances import tried
from bncheck.theory.parts import Words
from bncheck.theory.proof import is_proved
from bncheck.theory.statements import Judgement, Statement


def judge(statement: Statement, layer: Words, seed: int = 0) -> Judgement:
    """Prove the statement, and try it on exact numbers whatever came of that.

    Numbers have the last word: a statement that is proved and fails on them is refuted.
    """
    trial = tried(statement, layer, seed)
    if trial.apart != 0:
        return Judgement(statement, "refuted", trial)
    proved = statement.general and is_proved(statement, layer)
    return Judgement(statement, "proved" if proved else "exact", trial)


def judge_all(
    statements: Iterable[Statement], layer: Words, seed: int = 0
) -> tuple[Judgement, ...]:
    """All of them, in order; what is a consequence of those that are proved is marked so."""
    known: dict[str, Judgement] = {}
    for statement in statements:
        made = judge(statement, layer, seed)
        before = [known[name].verdict for name in statement.follows if name in known]
        if made.verdict == "exact" and before and set(before) <= {"proved", "deduced"}:
            made = replace(made, verdict="deduced")
        known[statement.name] = made
    return tuple(known.values())
