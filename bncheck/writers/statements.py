"""Statements and what became of them: rows for the terminal, Markdown and LaTeX."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sympy import Expr, Idx, S

from bncheck.algebra.notation import carried, size
from bncheck.theory.statements import Judgement, Statement
from bncheck.writers.formulas.latex import latex_of
from bncheck.writers.formulas.unicode import line, spelled
from bncheck.writers.prose import label

PREAMBLE = r"""\documentclass[11pt,a4paper]{article}
\usepackage[T1]{fontenc}
\usepackage[margin=15mm,landscape]{geometry}
\usepackage{amsmath,graphicx}
\allowdisplaybreaks
\setlength{\parindent}{0pt}
\raggedright
\newsavebox{\formula}
\newcommand{\fitted}[1]{\sbox{\formula}{$\displaystyle #1$}%
\ifdim\wd\formula>0.9\linewidth\resizebox{0.9\linewidth}{!}{\usebox{\formula}}%
\else\usebox{\formula}\fi}
\newcommand{\said}[2]{\sbox{\formula}{$\displaystyle #1 #2$}\begin{equation}%
\ifdim\wd\formula>0.9\linewidth
\begin{aligned}&\fitted{#1}\\&\fitted{{}#2}\end{aligned}\else\usebox{\formula}\fi\end{equation}}
"""
"""A formula that is too wide for a line stands in two, and those are made to fit the page."""

RELATIONS = {"=": "=", "≤": r"\le"}

LONGEST = 24
"""Letters of an exact number in a table."""


@dataclass(frozen=True)
class Notation:
    """How statements are written: their formulas, and the signs and words between those."""

    write: Callable[[Expr, tuple[Idx, ...]], str]
    signs: Mapping[str, str]

    def pair(self, pair: tuple[Expr, Expr], sign: str) -> str:
        """Two formulas with a sign between them."""
        return f" {self.signs[sign]} ".join(self.write(e, open_indices(*pair)) for e in pair)

    def alone(self, expr: Expr) -> str:
        """One formula."""
        return self.write(expr, open_indices(expr))


_RUNS = ("′", "″", "‴")
UNICODE = Notation(line, {
    "=": "=", "≤": "≤", ">=": "≥", ">": ">", "→": "→", ",": ", ", ":": ": ", "²": "²",
    "apart": "right − left", "twice": "the batch twice", **{mark: mark for mark in _RUNS},
})  # fmt: skip
LATEX = Notation(latex_of, {
    **RELATIONS, ">=": r"\ge", ">": ">", "→": r"\to", ",": r",\ ", ":": r"\colon\ ", "²": "^2",
    "apart": r"\text{right} - \text{left}", "twice": r"\text{the batch twice}",
    **{mark: "'" * n for n, mark in enumerate(_RUNS, 1)},
})  # fmt: skip


def formula(said: Statement, by: Notation = UNICODE) -> str:
    """``left = right``."""
    return by.pair((said.left, said.right), said.relation)


def conditions(said: Statement, by: Notation = UNICODE) -> tuple[str, ...]:
    """What is assumed, what the marks mean, and which squares vanish, each a formula."""
    told = [by.pair(pair, "=") for pair in said.given]
    told += [by.pair((a.lhs, a.rhs), a.rel_op) for a in said.needs]
    for run in said.runs:
        changed = by.signs[","].join(by.pair(pair, "→") for pair in run.changes)
        told.append(by.signs[run.mark] + by.signs[":"] + (changed or by.signs["twice"]))
    if said.slack != 0:
        told.append(f"{by.signs['apart']} = {by.alone(said.slack)}")
    return (*told, *(f"{by.alone(s)}{by.signs['²']} = 0" for s in said.order))


@dataclass(frozen=True)
class Row:
    """One statement in Unicode: its name, the formula, where it holds, how that is known.

    ``told``: words about it; ``numbers``: of a false claim, both sides at the counterexample.
    """

    name: str
    formula: str
    where: tuple[str, ...]
    shown: str
    residual: str
    good: bool
    told: tuple[str, ...]
    numbers: str


def rows(judgements: Sequence[Judgement]) -> tuple[Row, ...]:
    """What the terminal shows."""
    return tuple(
        Row(
            one.statement.name,
            formula(one.statement),
            conditions(one.statement),
            _shown(one),
            _residual(one),
            one.as_expected,
            tuple(text for text in _told(one.statement) if text),
            f"on numbers: {_residual(one)}" if one.verdict == "refuted" else "",
        )
        for one in judgements
    )


def _told(said: Statement) -> tuple[str, ...]:
    """Where it is published, what to know about it, and the numbers on which it is tried."""
    after = said.follows and f"from {', '.join(said.follows)}"
    return (said.printed and f"after {said.printed}", after or "", said.note, _example(said))


def _example(said: Statement) -> str:
    """The numbers on which the statement is tried: ``x = (10, 4, 2, −4), γ = 2``."""
    assumed = {str(a) for a, _ in said.given}
    given = {name: number for name, number in said.at.items() if name not in assumed}
    return ", ".join(f"{spelled(name)} = {_numbers(v)}" for name, v in given.items())


def _numbers(given: Any) -> str:
    if isinstance(given, tuple):
        return f"({', '.join(map(_numbers, given))})"
    return line(S(given))


def as_markdown(title: str, judgements: Sequence[Judgement]) -> str:
    """A table that GitHub renders."""
    lines = [f"# {title}", "", "| statement | formula | where | shown | residual |",
             "| --- | --- | --- | --- | --- |"]  # fmt: skip
    for one in judgements:
        said = one.statement
        told = [f"${c}$" for c in conditions(said, LATEX)] + ([_example(said)] if said.at else [])
        cells = [
            _titled(said),
            f"${formula(said, LATEX)}$",
            ", ".join(told),
            _shown(one),
            _residual(one),
        ]
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def as_latex(title: str, judgements: Sequence[Judgement]) -> str:
    """A document with a numbered equation for each statement."""
    parts = [PREAMBLE + rf"\title{{{label(title)}}}" + "\n" + r"\date{}", r"\begin{document}",
             r"\maketitle"]  # fmt: skip
    for one in judgements:
        said = one.statement
        where = "; ".join(rf"\fitted{{{c}}}" for c in conditions(said, LATEX))
        how = label(_shown(one)) + (f"; where {where}" if where else "")
        if one.verdict == "refuted":
            how += f"; on the example {label(_residual(one))}"
        parts.append(rf"\textbf{{{label(_titled(said))}.}} {how}.")
        if said.note or said.at:
            parts.append(label("; ".join(t for t in (said.note, _example(said)) if t)))
        free = open_indices(said.left, said.right)
        left, right = (latex_of(side, free) for side in (said.left, said.right))
        parts.append(rf"\said{{{left}}}{{{RELATIONS[said.relation]} {right}}}")
    return "\n\n".join([*parts, r"\end{document}"]) + "\n"


def _shown(one: Judgement) -> str:
    if one.verdict == "proved":
        sizes = [b for a, b in one.statement.given if a.is_Symbol and a.is_integer]
        return "proved" if sizes else "proved for every size"
    if one.verdict == "deduced":
        return "deduced for every size"
    if one.verdict == "exact":
        return "exact on rationals"
    return "false, as told" if one.as_expected else "REFUTED"


def _residual(one: Judgement) -> str:
    if one.verdict != "refuted":
        return line(one.residual)
    left, right = _number(one.trial.left), _number(one.trial.right)
    return f"{left} {'>' if one.statement.relation == '≤' else '≠'} {right}"


def _number(exact: Expr) -> str:
    """The number as it is, or five digits of it where it is long (JSON has all of it)."""
    text = line(exact)
    return text if len(text) <= LONGEST or exact.free_symbols else f"{exact.evalf(5)}…"


def _titled(said: Statement) -> str:
    return f"{said.name} ({said.printed})" if said.printed else said.name


def open_indices(*exprs: Expr) -> tuple[Idx, ...]:
    """The indices of a statement that no sum binds."""
    found = {i for e in exprs for i in carried(e) if size(i).free_symbols}
    return tuple(sorted(found, key=str))
