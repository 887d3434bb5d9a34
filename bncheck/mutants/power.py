"""The power of identities: which wrong gradients each of them catches, on exact rationals.

An identity is put to wrong backward passes as to right ones: the gradients that stand in it come
from the mistake's program, and it catches the mistake where its two sides differ. What an identity
misses passes every test that is made of it alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from string import ascii_letters
from typing import Any

from bncheck.algebra.notation import Tensor, name_of, operands
from bncheck.algebra.program import Program
from bncheck.algebra.spelling import unmarked
from bncheck.calculus.passes import derived_once
from bncheck.mutants.mistakes import wrong_programs
from bncheck.theory.family.laws import checks
from bncheck.theory.instances import tried
from bncheck.theory.parts import Words, words
from bncheck.theory.statements import MATRIX, Statement


@dataclass(frozen=True)
class Power:
    """``mistakes``: gradients and text of each; ``caught``: their numbers, by identity."""

    mistakes: tuple[tuple[str, str], ...]
    caught: dict[str, frozenset[int]]

    @property
    def alike(self) -> dict[frozenset[int], tuple[str, ...]]:
        """The identities that catch the same mistakes, brought together; the strongest first."""
        groups: dict[frozenset[int], list[str]] = {}
        for name, numbers in self.caught.items():
            groups.setdefault(numbers, []).append(name)
        ranked = sorted(groups, key=len, reverse=True)
        return {numbers: tuple(groups[numbers]) for numbers in ranked}

    @property
    def enough(self) -> tuple[str, ...]:
        """A few identities that catch what all of them catch, the strongest first."""
        left = frozenset().union(*self.caught.values())
        chosen: list[str] = []
        while left:
            best = max(self.caught, key=lambda name: len(self.caught[name] & left))
            chosen.append(best)
            left -= self.caught[best]
        return tuple(chosen)


def measured(forward: Program, seed: int = 0) -> Power:
    """Every identity of a layer against every mistake.

    ``seed``: of the rationals on which both sides of an identity are computed.
    """
    layer = words(derived_once(forward))
    found = list(wrong_programs(layer.found))
    said = [one for one in checks(layer) if _is_test(one)]
    caught: dict[str, set[int]] = {one.name: set() for one in said}
    for number, (_, program, moved) in enumerate(found):
        wrong = _with(layer, program)
        for one in said:
            if moved & _read(one) and _catches(one, wrong, seed):
                caught[one.name].add(number)
    told = tuple((", ".join(sorted(moved, key=len)), change.text) for change, _, moved in found)
    return Power(told, {name: frozenset(numbers) for name, numbers in caught.items()})


def groups(found: Power) -> Iterator[tuple[str, str, str]]:
    """Rows: a letter, how many mistakes are caught, and the identities that catch just these."""
    for letter, (numbers, names) in zip(ascii_letters, found.alike.items(), strict=False):
        yield letter if numbers else "", str(len(numbers)), "; ".join(names)


def matrix(found: Power) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The letters, and for each mistake a row: which of them catch it, and what it is."""
    columns = [numbers for numbers in found.alike if numbers]
    rows = tuple(
        ("".join("×" if k in numbers else "·" for numbers in columns), f"{gradients}:  {text}")
        for k, (gradients, text) in enumerate(found.mistakes)
    )
    return ascii_letters[: len(columns)], rows


def as_record(found: Power) -> dict[str, Any]:
    """For JSON: the mistakes, and the numbers of those that each identity catches."""
    mistakes = [{"gradients": names, "text": text} for names, text in found.mistakes]
    caught = {name: sorted(numbers) for name, numbers in found.caught.items()}
    return {"mistakes": mistakes, "caught": caught, "enough": list(found.enough)}


def _is_test(said: Statement) -> bool:
    """Whether it can be put to a backward pass: it reads a gradient, and no matrix is made."""
    return said.holds and bool(_read(said)) and not said.left.free_symbols & MATRIX


def _catches(said: Statement, wrong: Words, seed: int) -> bool:
    """Whether the sides differ, or one has no value, on a batch of rationals."""
    try:
        return bool(tried(said, wrong, seed).apart != 0)
    except ZeroDivisionError:
        return True


def _with(layer: Words, program: Program) -> Words:
    """The layer with this backward program in the place of its own."""
    return replace(layer, found=replace(layer.found, closed=program, rewritings=()))


def _read(said: Statement) -> set[str]:
    """The names that a statement reads, without their marks."""
    return {unmarked(name_of(a))[0] for a in _operands(said)}


def _operands(said: Statement) -> Iterator[Tensor]:
    yield from operands(said.left)
    yield from operands(said.right)
    for run in said.runs:
        for _, value in run.changes:
            yield from operands(value)
