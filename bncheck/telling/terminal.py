"""What the terminal shows; the only module that knows Rich.

To a pipe everything is plain text of 100 columns without colour.
"""

import io
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console, Group
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from bncheck.telling.report import Cause, Comparison, GradientResult, Report

STYLES = {
    "right": "green",
    "inaccurate": "yellow",
    "wrong": "bold red",
    "cannot tell": "yellow",
    "cannot call": "yellow",
}
PIPE_WIDTH = 100
MOST_TERMS = 6
"""A longer sum is shown without the terms that are right."""


def console(stderr: bool = False) -> Console:
    """A console for standard output; plain and of a fixed width where that is a pipe."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else PIPE_WIDTH
    return Console(stderr=stderr, width=width, highlight=False, emoji=False, markup=False)


def _table(*columns: str) -> Table:
    """A table whose cells do not wrap and whose rules survive a pipe."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, no_wrap=True, overflow="fold")
    return table


def listed(columns: Sequence[str], rows: Iterable[Sequence[str]], out: Console) -> None:
    """Rows of text under their columns; the last column wraps."""
    table = _table(*columns)
    table.columns[-1].no_wrap = False
    for row in rows:
        table.add_row(*row)
    out.print(table)


def derivation(sections: Any, out: Console) -> None:
    """A derivation as ``writers.text`` lays it out: titled sections of rows or lines."""
    out.print(Text(sections.title, style="bold"))
    out.print(Text(sections.subtitle, style="dim"))
    for section in sections.parts:
        out.print()
        out.print(Text(section.title, style="bold cyan"))
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
            out.print(Text.assemble(f"  {row[0]}{gap}", (row[1], "dim")))
            continue
        indent = "  "
        if len(row) > 1:
            out.print(Text(f"  {row[1]}", "dim"))
            indent = "    "
        for line in broken(row[0], out.width - 8):
            out.print(Text(indent + line), soft_wrap=True)


def broken(formula: str, width: int) -> list[str]:
    """A formula in lines of at most ``width`` columns, broken before a term of the sum."""
    lines, rest = [], formula
    while cell_len(rest) > width:
        depth, places = 0, []
        for at, letter in enumerate(rest):
            depth += (letter in "([") - (letter in ")]")
            if (
                depth <= 1
                and rest[:at].strip()
                and rest[at : at + 3] in (" + ", " \N{MINUS SIGN} ", " = ", " ≤ ")
            ):
                places.append(at)
        fitting = [at for at in places if cell_len(rest[:at]) <= width]
        if not fitting:
            break
        lines.append(rest[: fitting[-1]])
        rest = "    " + rest[fitting[-1] + 1 :]
    return [*lines, rest]


def statements(rows: Any, out: Console) -> None:
    """Statements as ``writers.statements`` lays them out: how it is known, then what it says."""
    width = min(out.width, PIPE_WIDTH)
    for row in rows:
        style, known = "green" if row.good else "bold red", row.shown
        known += f", residual {row.residual}" if not row.numbers else ""
        gap = width - cell_len(row.name + known)
        title = Text.assemble((row.name, "bold"), " " * gap if gap > 1 else "\n  ")
        out.print(title.append(known, style), soft_wrap=True)
        lines = [(line, "", 2) for line in broken(row.formula, width - 2)]
        lines += [(line, "dim", 4) for c in row.where for line in broken(c, width - 4)]
        lines += [(text, "cyan", 4) for text in row.told]
        lines += [(row.numbers, style, 4)] if row.numbers else []
        padded = (Padding(Text(t, look), (0, 0, 0, n), expand=False) for t, look, n in lines)
        out.print(*padded, sep="\n")
    counted = {row.shown: sum(r.shown == row.shown for r in rows) for row in rows}
    told = ", ".join(f"{n} {shown}" for shown, n in counted.items())
    out.print(Text(f"\n{told}", "bold"))


def plain_derivation(page: Any) -> str:
    """The same as plain text of 100 columns, for a file."""
    out = Console(
        file=io.StringIO(), width=PIPE_WIDTH, highlight=False, no_color=True, markup=False
    )
    derivation(page, out)
    return str(out.file.getvalue())  # type: ignore[attr-defined]


def report(one: Report, out: Console) -> None:
    """One verification: verdict, table of witnesses, remarks, diagnosis; at most 25 lines."""
    out.print(_headline(one), soft_wrap=not out.is_terminal)
    if one.assumed:
        _prose(Text(one.assumed, style="dim"), out)
    if one.running:
        _prose(Text(one.running, style="dim"), out)
    if one.gradients:
        out.print(_witnesses(one.gradients, 3 if one.order == 2 and out.width < 85 else 5))
        if any("reference" in c.second_witness for g in one.gradients for c in g.comparisons):
            below = "forward" if one.order == 1 else "backward"
            out.print(Text(f"  * of the reference {below} pass: none was given", style="dim"))
    for remark in one.remarks[: 2 if one.diagnosis else 4]:
        _prose(Text.assemble(("remark  ", "cyan"), remark.text), out)
    for cause in one.diagnosis:
        out.print(_diagnosis(cause, one, out.width))
    if one.picture and len(one.diagnosis) < 3 and not any(cause.terms for cause in one.diagnosis):
        told, *rows = one.picture.lines
        _prose(Text.assemble(("where     ", "cyan"), told), out)
        for row in rows:
            _prose(Text(" " * 10 + row), out)
    if one.counterexample:
        _prose(Text.assemble(("smallest  ", "cyan"), one.counterexample.given), out)
        _prose(Text.assemble("          ", one.counterexample.found), out)


def _prose(text: Text, out: Console) -> None:
    """An indented sentence: wrapped in a terminal, on one line in a pipe."""
    if out.is_terminal:
        out.print(Padding(text, (0, 0, 0, 2)))
    else:
        out.print(Text.assemble("  ", text), soft_wrap=True)


def summary(reports: Sequence[Report], out: Console) -> None:
    """A row for each of several backward passes."""
    table = _table("backward pass", "line", "layer", "verdict", "why")
    table.columns[4].no_wrap = False
    for one in reports:
        why = "; ".join(f"{d.gradient}: {d.text}" for d in one.diagnosis[:2])
        table.add_row(
            one.name, str(one.line or ""), one.layer or "?",
            Text(one.verdict, style=STYLES[one.verdict]), why or "",
        )  # fmt: skip
    out.print(table)


def examination(found: Any, out: Console, all_of_them: bool = False) -> None:
    """What somebody's tests are worth, a ``checking.tester.Examination``.

    What they miss, by what would have shown it; what they catch only if ``all_of_them``.
    """
    missed = [f for f in found.findings if not f.caught]
    score = f"caught {found.caught} of {len(found.findings)}"
    style = STYLES["wrong" if missed else "right"]
    out.print(Text.assemble((score, style), ("  " + found.tests, "bold")), soft_wrap=True)
    told = f"{_counted(found.count, 'test')} of {found.replaced}, {found.layer}"
    if found.asked < found.calls:
        told += f"; {found.calls - found.asked} of {_counted(found.calls, 'call')} left as they are"
    _prose(Text(told, style="dim"), out)
    for remedy in dict.fromkeys(f.remedy for f in missed):
        title = Text.assemble(("missed", STYLES["wrong"]), f", would show with {remedy}")
        _mistakes(title, [f for f in missed if f.remedy == remedy], out)
    if all_of_them and found.caught:
        _mistakes(
            Text("caught", style=STYLES["right"]), [f for f in found.findings if f.caught], out
        )
    if found.tolerances:
        passing = ", ".join(_passing(name, t) for name, t in found.tolerances.items())
        out.print()
        _prose(Text(f"relative errors that pass: {passing}"), out)


def _mistakes(title: Text, findings: Sequence[Any], out: Console) -> None:
    """A titled table: the gradients that are wrong, and what was done to them."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for finding in findings:
        table.add_row("    " + ", ".join(finding.gradients), finding.text)
    out.print()
    _prose(title, out)
    out.print(table)


def _passing(name: str, tolerance: float | None) -> str:
    passes = "any" if tolerance is None else f"{tolerance:.0e}".replace("e-0", "e-")
    return f"{passes} in {name}"


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}" + ("" if number == 1 else "s")


def message(text: str, out: Console) -> None:
    """An error or a note, on one line where it fits."""
    out.print(Text.assemble(("bncheck: ", "bold"), text), soft_wrap=True)


def _headline(one: Report) -> Text:
    verdict = {"right": "right", "cannot call": "cannot be called"}.get(one.verdict, one.verdict)
    return Text.assemble(
        (f"{verdict}  ", STYLES[one.verdict]), (one.target, "bold"), f"  line {one.line or '?'}"
    )


def _witnesses(gradients: Sequence[GradientResult], digits: int) -> Table:
    table = _table("", "witnesses", "ULPs", "of bound", "at", "first", "second", "verdict")
    for column in (2, 3, 5, 6):
        table.columns[column].justify = "right"
    for gradient in gradients:
        for order, made in enumerate(gradient.comparisons):
            table.add_row(gradient.name if order == 0 else "", *_cells(made, digits))
    return table


def _cells(made: Comparison, digits: int) -> tuple[Any, ...]:
    return (
        f"{_name(made.first_witness)} / {_name(made.second_witness)}",
        _short(made.ulps),
        _short(made.of_bound),
        "[" + ", ".join(map(str, made.at)) + "]",
        f"{made.first:.{digits}g}",
        f"{made.second:.{digits}g}",
        Text(made.verdict, style=STYLES[made.verdict]),
    )


def _name(witness: str) -> str:
    """``complex step of the reference`` as ``complex*``: the note below says what that is."""
    star = "*" if witness.endswith("reference") else ""
    return witness.split()[0] + star


def _short(number: float) -> str:
    if number != number or number in (float("inf"), float("-inf")):
        return "∞"
    return (
        f"{number:.2g}" if number < 1e4 else f"{number:.0e}".replace("e+0", "e").replace("e+", "e")
    )


def _diagnosis(cause: Cause, one: Report, width: int) -> Group:
    lead = "is inaccurate" if cause.code == "inaccurate" else "is wrong"
    title = Text.assemble((f"  {cause.gradient} ", "bold red"), f"{lead}: {cause.text}")
    wrong = [t for t in cause.terms if not t.right]
    title = Text.assemble(title, f"\n    {cause.line_text}") if cause.line_text else title
    lines = [line for f in cause.formula.split("; ") if f for line in broken(f, width - 11)]
    right = [Text(("    right: ", " " * 11)[k > 0] + line) for k, line in enumerate(lines)]
    if not wrong or cause is not one.diagnosis[0]:
        return Group(title, *(right if cause is one.diagnosis[0] else []))
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for term in cause.terms if len(cause.terms) <= MOST_TERMS else wrong:
        style = "" if term.right else "red"
        table.add_row(
            f"    {term.formula}", f"{term.found:.4g} × found", f"{term.expected:.4g} × expected",
            Text(term.reading.text, style=style),
        )  # fmt: skip
    if len(cause.terms) > max(MOST_TERMS, len(wrong)):
        table.add_row(f"    {_counted(len(cause.terms) - len(wrong), 'other term')}", "", "", "ok")
    return Group(title, table, *right)
