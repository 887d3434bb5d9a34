"""What the terminal shows; the only module that knows Rich.

Each function draws on a console; ``drawn`` gives what comes out as text, so that one place writes
to standard output. To a pipe everything is plain text of 100 columns without colour.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from bncheck.telling.long_formulas import before_terms, in_lines
from bncheck.telling.report import (
    Cause,
    Comparison,
    Examination,
    GradientResult,
    Mutant,
    Part,
    Report,
)

STYLES = {
    "right": "green",
    "inaccurate": "yellow",
    "wrong": "bold red",
    "cannot tell": "yellow",
    "cannot call": "yellow",
    "title": "bold",
    "section": "bold cyan",
    "label": "cyan",
    "aside": "dim",
    "off": "red",
    "plain": "",
}
"""A style for each verdict, and for each kind of text."""

PIPE_WIDTH = 100
MOST_TERMS = 6
"""A longer sum is shown without the terms that are right."""


def drawn(draw: Callable[..., None], *things: Any, plain: bool = False) -> str:
    """What a function of this module draws, for standard output; or ``plain``, for a file."""
    stream = None if plain else sys.stdout
    width = None if stream and stream.isatty() else PIPE_WIDTH
    out = Console(
        file=stream, width=width, highlight=False, emoji=False, markup=False,
        no_color=plain or None, force_terminal=False if plain else None,
    )  # fmt: skip
    with out.capture() as kept:
        draw(*things, out)
    return kept.get()


def verification(reports: Sequence[Report], strict: bool, out: Console) -> None:
    """The reports whole where there are two at most; else a table, after two that are not right."""
    for one in reports if len(reports) <= 2 else [r for r in reports if r.code(strict)][:2]:
        report(one, out)
    if len(reports) > 2:
        summary(reports, out)


def listed(columns: Sequence[str], rows: Iterable[Sequence[str]], out: Console) -> None:
    """Rows of text under their columns; the last column wraps."""
    table = _table(*columns)
    table.columns[-1].no_wrap = False
    for row in rows:
        table.add_row(*row)
    out.print(table)


def _table(*columns: str) -> Table:
    """A table whose cells do not wrap and whose rules survive a pipe."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, no_wrap=True, overflow="fold")
    return table


def _unruled() -> Table:
    return Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))


def derivation(sections: Any, out: Console) -> None:
    """A derivation as ``writers.text`` lays it out: titled sections of rows or lines."""
    out.print(Text(sections.title, STYLES["title"]))
    out.print(Text(sections.subtitle, STYLES["aside"]))
    for section in sections.parts:
        out.print()
        out.print(Text(section.title, STYLES["section"]))
        if section.framed:
            framed = [line for row in section.rows for line in broken(row[0], out.width - 4)]
            out.print(Panel.fit("\n".join(framed), box=box.ROUNDED))
            continue
        _rows(section.rows, out)


def _rows(rows: Sequence[tuple[str, ...]], out: Console) -> None:
    """Formulas with their notes beside them, or above them where the line is too short."""
    first = max(cell_len(row[0]) for row in rows)
    beside = max((cell_len(row[1]) for row in rows if len(row) > 1), default=0)
    for row in rows:
        if len(row) > 1 and first + beside + 5 <= out.width:
            gap = " " * (first - cell_len(row[0]) + 3)
            out.print(Text.assemble(f"  {row[0]}{gap}", (row[1], STYLES["aside"])))
            continue
        indent = "  "
        if len(row) > 1:
            out.print(Text(f"  {row[1]}", STYLES["aside"]))
            indent = "    "
        for line in broken(row[0], out.width - 8):
            out.print(Text(indent + line), soft_wrap=True)


def broken(formula: str, width: int) -> list[str]:
    """A formula in lines of at most ``width`` columns, broken before a term or a side of it."""
    return in_lines(formula, width, _BREAKS, cell_len, indent="    ")


_BREAKS = before_terms(" + ", " \N{MINUS SIGN} ", " = ", " ≤ ", deepest=1)


def statements(rows: Any, out: Console) -> None:
    """Statements as ``writers.statements`` lays them out: how it is known, then what it says."""
    width = min(out.width, PIPE_WIDTH)
    for row in rows:
        style, known = STYLES["right" if row.good else "wrong"], row.shown
        known += f", residual {row.residual}" if not row.numbers else ""
        gap = width - cell_len(row.name + known)
        title = Text.assemble((row.name, STYLES["title"]), " " * gap if gap > 1 else "\n  ")
        out.print(title.append(known, style), soft_wrap=True)
        lines = [(line, STYLES["plain"], 2) for line in broken(row.formula, width - 2)]
        lines += [(line, STYLES["aside"], 4) for c in row.where for line in broken(c, width - 4)]
        lines += [(text, STYLES["label"], 4) for text in row.told]
        lines += [(row.numbers, style, 4)] if row.numbers else []
        padded = (Padding(Text(t, look), (0, 0, 0, n), expand=False) for t, look, n in lines)
        out.print(*padded, sep="\n")
    counted = {row.shown: sum(r.shown == row.shown for r in rows) for row in rows}
    told = ", ".join(f"{n} {shown}" for shown, n in counted.items())
    out.print(Text(f"\n{told}", STYLES["title"]))


def report(one: Report, out: Console) -> None:
    """One verification: verdict, table of witnesses, remarks, causes; at most 25 lines."""
    verdict = {"cannot call": "cannot be called"}.get(one.verdict, one.headline)
    look = STYLES[one.verdict]
    title = Text.assemble((f"{verdict}  ", look), (one.target, STYLES["title"]))
    out.print(title.append(f"  line {one.line or '?'}"), soft_wrap=not out.is_terminal)
    for kind, parts in _by_kind(one):
        if kind in ("refusal", "how"):
            for part in parts:
                _prose(Text(part.text, STYLES["aside"]), out)
        elif kind == "gradient":
            _gradients([part.of for part in parts], one.order, out)
        elif kind == "cause":
            _causes([part.of for part in parts], out)
        else:
            for part in parts:
                _labelled(part, "remark  " if kind == "remark" else f"{part.label:<10}", out)


def _by_kind(one: Report) -> Iterable[tuple[str, list[Part]]]:
    """The parts, neighbours of one kind together; what 25 lines have no room for left out."""
    causes = one.diagnosis
    most = {"remark": 2 if causes else 4}
    if len(causes) >= 3 or any(cause.terms for cause in causes):
        most["where"] = 0
    for kind in dict.fromkeys(part.kind for part in one.parts):
        yield kind, [part for part in one.parts if part.kind == kind][: most.get(kind)]


def _labelled(part: Part, label: str, out: Console) -> None:
    _prose(Text.assemble((label, STYLES["label"]), part.text), out)
    for line in part.below:
        _prose(Text(" " * len(label) + line), out)


def _prose(text: Text, out: Console) -> None:
    """An indented sentence: wrapped in a terminal, on one line in a pipe."""
    if out.is_terminal:
        out.print(Padding(text, (0, 0, 0, 2)))
    else:
        out.print(Text.assemble("  ", text), soft_wrap=True)


def _gradients(results: Sequence[GradientResult], order: int, out: Console) -> None:
    """A row for each comparison; a note where the reference stands in for the user's pass."""
    table = _table("", "witnesses", "ULPs", "of bound", "at", "first", "second", "verdict")
    for column in (2, 3, 5, 6):
        table.columns[column].justify = "right"
    digits = 3 if order == 2 and out.width < 85 else 5
    compared = [made for one in results for made in one.comparisons]
    for one in results:
        for made in one.comparisons:
            table.add_row(one.name if made is one.comparisons[0] else "", *_cells(made, digits))
    out.print(table)
    if any(made.of_reference for made in compared):
        below = "forward" if order == 1 else "backward"
        out.print(Text(f"  * of the reference {below} pass: none was given", STYLES["aside"]))


def _cells(made: Comparison, digits: int) -> tuple[Any, ...]:
    second = made.second_witness.split()[0] + ("*" if made.of_reference else "")
    return (
        f"{made.first_witness.split()[0]} / {second}",
        _short(made.ulps),
        _short(made.of_bound),
        "[" + ", ".join(map(str, made.at)) + "]",
        f"{made.first:.{digits}g}",
        f"{made.second:.{digits}g}",
        Text(made.verdict, STYLES[made.verdict]),
    )


def _short(number: float) -> str:
    if number != number or number in (float("inf"), float("-inf")):
        return "∞"
    return (
        f"{number:.2g}" if number < 1e4 else f"{number:.0e}".replace("e+0", "e").replace("e+", "e")
    )


def _causes(causes: Sequence[Cause], out: Console) -> None:
    """Each cause with its line, which is told once; the terms of the first, its right formula."""
    told: dict[str, str] = {}
    for cause in causes:
        lead = "is inaccurate" if cause.code == "inaccurate" else "is wrong"
        name = f"  {cause.gradient} "
        place = cause.line_text
        again = f" (line {cause.line}, as for {told[place]})" if place in told else ""
        out.print(Text.assemble((name, STYLES["wrong"]), f"{lead}: {cause.text}{again}"))
        if place and not again:
            out.print(Padding(place, (0, 0, 0, 4), expand=False))
            told[place] = cause.gradient
        if cause is not causes[0]:
            continue
        if any(not term.right for term in cause.terms):
            out.print(_terms(cause))
        lines = [part for f in cause.formula.split("; ") if f for part in broken(f, out.width - 11)]
        for order, line in enumerate(lines):
            out.print(Text(("    right: ", " " * 11)[order > 0] + line))


def _terms(cause: Cause) -> Table:
    table, wrong = _unruled(), [t for t in cause.terms if not t.right]
    for term in cause.terms if len(cause.terms) <= MOST_TERMS else wrong:
        table.add_row(
            f"    {term.formula}", f"{term.found:.4g} × found", f"{term.expected:.4g} × expected",
            Text(term.reading.text, STYLES["plain" if term.right else "off"]),
        )  # fmt: skip
    if len(cause.terms) > max(MOST_TERMS, len(wrong)):
        table.add_row(f"    {_counted(len(cause.terms) - len(wrong), 'other term')}", "", "", "ok")
    return table


def summary(reports: Sequence[Report], out: Console) -> None:
    """A row for each of several backward passes."""
    table = _table("backward pass", "line", "layer", "verdict", "why")
    table.columns[4].no_wrap = False
    for one in reports:
        why = [str(part) for part in one.parts if part.kind == "cause"][:2]
        table.add_row(
            one.name, str(one.line or ""), one.layer or "?",
            Text(one.verdict, STYLES[one.verdict]), "; ".join(why),
        )  # fmt: skip
    out.print(table)


def examination(found: Examination, all_of_them: bool, out: Console) -> None:
    """What somebody's tests are worth: what they miss, by what would have shown it.

    What they catch only if ``all_of_them``.
    """
    missed = [m for m in found.mutants if not m.caught]
    score = f"caught {found.caught} of {len(found.mutants)}"
    style = STYLES["wrong" if missed else "right"]
    out.print(Text.assemble((score, style), ("  " + found.tests, STYLES["title"])), soft_wrap=True)
    told = f"{_counted(found.count, 'test')} of {found.replaced}, {found.layer}"
    if found.asked < found.calls:
        told += f"; {found.calls - found.asked} of {_counted(found.calls, 'call')} left as they are"
    _prose(Text(told, STYLES["aside"]), out)
    for remedy in dict.fromkeys(m.remedy for m in missed):
        title = Text.assemble(("missed", STYLES["wrong"]), f", would show with {remedy}")
        _mutants(title, [m for m in missed if m.remedy == remedy], out)
    if all_of_them and found.caught:
        _mutants(Text("caught", STYLES["right"]), [m for m in found.mutants if m.caught], out)
    if found.tolerances:
        passing = ", ".join(_passing(name, t) for name, t in found.tolerances.items())
        out.print()
        _prose(Text(f"relative errors that pass: {passing}"), out)


def _mutants(title: Text, several: Sequence[Mutant], out: Console) -> None:
    """A titled table: the gradients that are wrong, and what was done to them."""
    table = _unruled()
    for one in several:
        table.add_row("    " + ", ".join(one.gradients), one.text)
    out.print()
    _prose(title, out)
    out.print(table)


def _passing(name: str, tolerance: float | None) -> str:
    passes = "any" if tolerance is None else f"{tolerance:.0e}".replace("e-0", "e-")
    return f"{passes} in {name}"


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}" + ("" if number == 1 else "s")
