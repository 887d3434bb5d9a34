"""Statements and what became of them: rows for the terminal, Markdown and LaTeX."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sympy import Expr, Idx, S

from bncheck.algebra.notation import carried, size
from bncheck.theory.statements import Judgement, Pairs, Statement
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
_MORE = {">=": ("≥", r"\ge"), ">": (">", ">")}
LONGEST = 24
"""Letters of an exact number in a table."""


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


def formula(said: Statement) -> str:
    """``left = right`` in Unicode."""
    return _pair((said.left, said.right), f" {said.relation} ")


def conditions(said: Statement) -> tuple[str, ...]:
    """What is assumed, what the marks mean, and which squares vanish, in Unicode."""
    told = [_pair(pair, " = ") for pair in said.given]
    told += [_pair((a.lhs, a.rhs), f" {_MORE[a.rel_op][0]} ") for a in said.needs]
    for run in said.runs:
        changed = ", ".join(_pair(pair, " → ") for pair in run.changes)
        told.append(f"{run.mark}: {changed or 'the batch twice'}")
    if said.slack != 0:
        told.append("right − left = " + line(said.slack, open_indices(said.slack)))
    return (*told, *(f"{line(s)}² = 0" for s in said.order))


def _example(said: Statement) -> str:
    """The numbers on which the statement is tried: ``x = (10, 4, 2, −4), γ = 2``."""
    assumed = {str(a) for a, _ in said.given}
    given = {name: number for name, number in said.at.items() if name not in assumed}
    return ", ".join(f"{spelled(name)} = {_numbers(v)}" for name, v in given.items())


def _numbers(given: Any) -> str:
    if isinstance(given, tuple):
        return f"({', '.join(map(_numbers, given))})"
    return line(S(given))


def _pair(pair: tuple[Expr, Expr], between: str) -> str:
    return between.join(line(e, open_indices(*pair)) for e in pair)


def latex_formula(said: Statement) -> str:
    """The same in LaTeX."""
    return _latex_pair((said.left, said.right), RELATIONS[said.relation])


def latex_conditions(said: Statement) -> tuple[str, ...]:
    """The same in LaTeX, each a formula."""

    def told(pairs: Pairs, between: str) -> str:
        return r",\ ".join(_latex_pair(pair, between) for pair in pairs)

    parts = [told((pair,), "=") for pair in said.given]
    parts += [told(((a.lhs, a.rhs),), _MORE[a.rel_op][1]) for a in said.needs]
    for run in said.runs:
        text = told(run.changes, r"\to") or r"\text{the batch twice}"
        parts.append(rf"{_primes(run.mark)}\colon\ {text}")
    if said.slack != 0:
        parts.append(rf"\text{{right}} - \text{{left}} = {_latex(said.slack)}")
    return (*parts, *(f"{_latex(s)}^2 = 0" for s in said.order))


def as_markdown(title: str, judgements: Sequence[Judgement]) -> str:
    """A table that GitHub renders."""
    lines = [f"# {title}", "", "| statement | formula | where | shown | residual |",
             "| --- | --- | --- | --- | --- |"]  # fmt: skip
    for one in judgements:
        said = one.statement
        told = [f"${c}$" for c in latex_conditions(said)] + ([_example(said)] if said.at else [])
        cells = [
            _titled(said),
            f"${latex_formula(said)}$",
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
        where = "; ".join(rf"\fitted{{{c}}}" for c in latex_conditions(said))
        how = label(_shown(one)) + (f"; where {where}" if where else "")
        if one.verdict == "refuted":
            how += f"; on the example {label(_residual(one))}"
        parts.append(rf"\textbf{{{label(_titled(said))}.}} {how}.")
        if said.note or said.at:
            parts.append(label("; ".join(t for t in (said.note, _example(said)) if t)))
        left, right = _latex(said.left, said.right), _latex(said.right, said.left)
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


def _latex(expr: Expr, *others: Expr) -> str:
    return latex_of(expr, open_indices(expr, *others))


def _latex_pair(pair: tuple[Expr, Expr], between: str) -> str:
    return f" {between} ".join(latex_of(e, open_indices(*pair)) for e in pair)


def _primes(mark: str) -> str:
    return "'" * {"′": 1, "″": 2, "‴": 3}[mark]
