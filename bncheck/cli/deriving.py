"""``derive`` and ``layers``: what is asked of the calculus."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from bncheck.cli import files


class Format(StrEnum):
    """How a derivation is written."""

    text = "text"
    latex = "latex"
    fragment = "fragment"
    html = "html"
    markdown = "markdown"
    numpy = "numpy"
    mermaid = "mermaid"
    dot = "dot"
    json = "json"


def derive(
    layer: Annotated[
        str, typer.Argument(help="A layer's name, or FILE.py:NAME of a Program of your own.")
    ] = "batch-norm",
    batch_size: Annotated[
        int | None,
        typer.Option("-m", "--batch-size", help="How many values are normalised together."),
    ] = None,
    ddof: Annotated[int | None, typer.Option(help="0: variance over m; 1: over m - 1.")] = None,
    affine: Annotated[
        bool | None, typer.Option("--affine/--no-affine", help="With gamma and beta, or without.")
    ] = None,
    variance: Annotated[
        str | None, typer.Option(help="centred, or raw: mean of squares minus squared mean.")
    ] = None,
    mode: Annotated[
        list[str] | None,
        typer.Option(help="training, or evaluation; forward: how y moves. May be repeated."),
    ] = None,
    order: Annotated[
        int, typer.Option(help="1: gradients; 2: their gradients, the double backward pass.")
    ] = 1,
    wrt: Annotated[
        list[str] | None, typer.Option(help="Input to take the gradient of; may be repeated.")
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="What to write.")] = Format.text,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write to this file, not the terminal.")
    ] = None,
) -> None:
    """Derive a layer's gradients, for every batch size or for one."""
    from bncheck.calculus.passes import derived, modes

    direction, variant = modes(tuple(mode or ()))
    chosen = {"ddof": ddof, "affine": affine, "variance": variance, "mode": variant}
    program = files.program(layer, {k: v for k, v in chosen.items() if v is not None})
    names = tuple(name for given in wrt or () for name in given.split(","))
    found = derived(program, names, batch_size, order, direction)
    if form is Format.text and output is None:
        from bncheck.telling import terminal as report
        from bncheck.writers.text import page

        report.derivation(page(found), report.console())
        return
    text = files.text_of(found, form)
    if output is None:
        sys.stdout.write(text)
    else:
        files.save(output, text)


def layers() -> None:
    """List the layers and their variants."""
    from bncheck.algebra.layers import LAYERS, options
    from bncheck.telling import terminal as report
    from bncheck.writers.text import shapes

    def spelled(name: str) -> str:
        found = options(name).items()
        return ", ".join(f"{k}: {'/'.join(map(_word, v))}" for k, v in found) or "none"

    rows = [(name, shapes(program), spelled(name)) for name, program in LAYERS.items()]
    report.listed(("layer", "shapes", "variants"), rows, report.console())


def _word(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)
