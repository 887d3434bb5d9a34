"""``identities`` and ``theorems``: what holds, and what is said to hold."""

import json
import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

from bncheck.cli import files


class Told(StrEnum):
    """How identities and theorems are written."""

    text = "text"
    json = "json"
    markdown = "markdown"
    latex = "latex"


def identities(
    layer: Annotated[
        str, typer.Argument(help="A layer's name, or FILE.py:NAME of a Program of your own.")
    ] = "batch-norm",
    ddof: Annotated[int | None, typer.Option(help="0: variance over m; 1: over m - 1.")] = None,
    affine: Annotated[
        bool | None, typer.Option("--affine/--no-affine", help="With gamma and beta, or without.")
    ] = None,
    variance: Annotated[
        str | None, typer.Option(help="centred, or raw: mean of squares minus squared mean.")
    ] = None,
    mode: Annotated[str | None, typer.Option(help="training, or evaluation.")] = None,
    power: Annotated[
        bool, typer.Option("--power", help="Which wrong gradients each identity catches.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the random rationals.")] = 0,
    form: Annotated[Told, typer.Option("--format", help="What to write.")] = Told.text,
) -> None:
    """What holds for a layer's gradients: each statement proved, or exact on rationals."""
    from bncheck.calculus.passes import derived_once
    from bncheck.theory.family.laws import identities as stated
    from bncheck.theory.judging import judge_all
    from bncheck.theory.parts import words

    chosen = {"ddof": ddof, "affine": affine, "variance": variance, "mode": mode}
    program = files.program(layer, {k: v for k, v in chosen.items() if v is not None})
    if power:
        _tell_power(program, seed, form)
        return
    parts = words(derived_once(program))
    found = judge_all(stated(parts), parts, seed)
    _tell(f"{program.title or program.name}: identities", found, form)


def theorems(
    about: Annotated[
        str,
        typer.Argument(help="Only those with this text in what is told about them: 36, Deb."),
    ] = "",
    seed: Annotated[int, typer.Option(help="Of the random rationals.")] = 0,
    form: Annotated[Told, typer.Option("--format", help="What to write.")] = Told.text,
) -> None:
    """What is published about batch norm: proved, or refuted with its counterexample."""
    from bncheck.algebra.layers import layer
    from bncheck.telling.errors import CannotAsk
    from bncheck.theory.published.claims import theorems as stated

    batch, raw = layer("batch-norm"), layer("batch-norm", variance="raw")
    over_less, weight = layer("batch-norm", ddof=1), layer("weight-norm")
    every = tuple(stated(batch, raw, over_less, weight, seed))
    found = [a for a in every if is_about(a.statement, about)]
    if not found:
        raise CannotAsk(
            f"no theorem has {about!r} in what is told about it; bncheck theorems lists all"
        )
    _tell("Theorems about batch norm", found, form)


def is_about(said: Any, text: str) -> bool:
    """Whether a statement has the text in its name, in its source or in what is told about it."""
    return any(text in part for part in (said.name, said.printed, said.note))


def _tell_power(program: Any, seed: int, form: Told) -> None:
    """Write what identities catch, as text or JSON."""
    from bncheck.mutants.power import as_record, groups, matrix, power
    from bncheck.telling.errors import CannotAsk

    if form not in (Told.text, Told.json):
        raise CannotAsk(f"--power is written as text or json, not as {form}")
    found = power(program, seed)
    if form is Told.json:
        sys.stdout.write(json.dumps(as_record(found), indent=2, ensure_ascii=False) + "\n")
        return
    from bncheck.telling import terminal as report

    out, (letters, rows) = report.console(), matrix(found)
    report.listed(("", "catch", "identity"), groups(found), out)
    report.listed((letters, f"{len(rows)} wrong backward passes"), rows, out)
    print(f"together all of these: {'; '.join(found.enough)}")


def _tell(title: str, found: Any, form: Told) -> None:
    """Write what became of statements; exit code 3 where one is not what bncheck expects."""
    from bncheck.writers import statements

    if form is Told.text:
        from bncheck.telling import terminal as report

        report.statements(statements.rows(found), report.console())
    elif form is Told.json:
        sys.stdout.write(statements.as_json(found))
    else:
        written = {Told.markdown: statements.as_markdown, Told.latex: statements.as_latex}[form]
        sys.stdout.write(written(title, found))
    if not all(one.as_expected for one in found):
        raise typer.Exit(3)
