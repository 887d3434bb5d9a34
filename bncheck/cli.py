"""The command line: what the user asked for, handed to the library; the only user of Typer.

Nothing heavy is imported before a command needs it: ``--help`` and ``--version`` are instant.
"""

import os
import sys
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bncheck import __version__
from bncheck.errors import BncheckError, CannotAsk

if TYPE_CHECKING:
    from bncheck.algebra.program import Program

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Is my hand-written normalization gradient right, and if not, where?",
)


class Format(StrEnum):
    """How a derivation is written."""

    text = "text"
    latex = "latex"
    fragment = "fragment"
    markdown = "markdown"
    numpy = "numpy"
    mermaid = "mermaid"
    dot = "dot"
    json = "json"


def _version(wanted: bool) -> None:
    if wanted:
        print(f"bncheck {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """Is my hand-written normalization gradient right, and if not, where?"""


@app.command()
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
    from bncheck.calculus.second import derived, modes

    direction, variant = modes(tuple(mode or ()))
    chosen = {"ddof": ddof, "affine": affine, "variance": variance, "mode": variant}
    program = _layer(layer, {k: v for k, v in chosen.items() if v is not None})
    names = tuple(name for given in wrt or () for name in given.split(","))
    found = derived(program, names, batch_size, order, direction)
    if form is Format.text and output is None:
        from bncheck import report
        from bncheck.writers.text import page

        report.derivation(page(found), report.console())
        return
    text = _written(found, form)
    if output is None:
        sys.stdout.write(text)
    else:
        _save(output, text)


@app.command()
def layers() -> None:
    """List the layers and their variants."""
    from bncheck import report
    from bncheck.layers import LAYERS, options
    from bncheck.writers.text import shapes

    def spelled(name: str) -> str:
        found = options(name).items()
        return ", ".join(f"{k}: {'/'.join(map(_word, v))}" for k, v in found) or "none"

    rows = [(name, shapes(program), spelled(name)) for name, program in LAYERS.items()]
    report.layers(rows, report.console())


@app.command()
def verify(
    target: Annotated[
        str | None,
        typer.Argument(help="FILE.py, FILE.py:name or package.module:name; without one, ours."),
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="Which layer it is, where bncheck should not find out.")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds that one call may take.")] = 30.0,
) -> None:
    """Compare a hand-written backward pass with the symbolic gradient and with differences."""
    from bncheck.checking.verification import references, verify_all

    asked = None if layer is None else _layer(layer, {})
    reports = verify_all(target, layer=asked, timeout=timeout) if target else references()
    from bncheck import report

    out = report.console()
    for one in reports if len(reports) <= 2 else [r for r in reports if r.exit_code][:2]:
        report.report(one, out)
    if len(reports) > 2:
        report.summary(reports, out)
    codes = {one.exit_code for one in reports}
    raise typer.Exit(1 if 1 in codes else max(codes))


def main() -> None:
    """Run the command line; every error is one message and an exit code, never a traceback."""
    try:
        app()
    except BncheckError as error:
        _complain(str(error))
        raise SystemExit(error.exit_code) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception as error:
        if os.environ.get("BNCHECK_DEBUG"):
            raise
        said = f"{type(error).__name__}: {error}"
        _complain(
            f"{said}. This is a defect of bncheck; BNCHECK_DEBUG=1 shows where. Please report it."
        )
        raise SystemExit(3) from None


def _layer(name: str, variant: dict[str, Any]) -> "Program":
    from bncheck.layers import layer

    if ".py" not in name:
        return layer(name, **variant)
    if variant:
        raise CannotAsk(f"{', '.join(variant)} is for built-in layers; {name} is your own program")
    from bncheck.own import program

    return program(name)


def _written(found: Any, form: Format) -> str:
    if form is Format.text:
        from bncheck.report import plain_derivation
        from bncheck.writers.text import page

        return plain_derivation(page(found))
    if form is Format.numpy:
        from bncheck.writers.numpy_source import source

        return source(found)
    if form is Format.json:
        import json

        from bncheck.writers.records import record

        return json.dumps(record(found), indent=2, ensure_ascii=False) + "\n"
    from bncheck.writers import graph, latex

    if form in (Format.mermaid, Format.dot):
        return {"mermaid": graph.mermaid, "dot": graph.dot}[form](found.layer)
    forms = {"latex": latex.document, "fragment": latex.fragment, "markdown": latex.markdown}
    return forms[form](found)


def _save(path: Path, text: str) -> None:
    """Write the file whole or not at all."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, prefix=f".{path.name}.", delete=False, encoding="utf-8"
        ) as file:
            file.write(text)
        os.chmod(file.name, 0o644)
        os.replace(file.name, path)
    except OSError as error:
        raise CannotAsk(f"{path} cannot be written: {error.strerror}") from None
    print(f"wrote {path}", file=sys.stderr)


def _word(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _complain(text: str) -> None:
    print(f"bncheck: {text}", file=sys.stderr)
