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
    mode: Annotated[str | None, typer.Option(help="training, or evaluation.")] = None,
    wrt: Annotated[
        list[str] | None, typer.Option(help="Input to take the gradient of; may be repeated.")
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="What to write.")] = Format.text,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write to this file, not the terminal.")
    ] = None,
) -> None:
    """Derive a layer's gradients, for every batch size or for one."""
    from bncheck.calculus.derivation import derivation

    chosen = {"ddof": ddof, "affine": affine, "variance": variance, "mode": mode}
    program = _layer(layer, {k: v for k, v in chosen.items() if v is not None})
    names = tuple(name for given in wrt or () for name in given.split(","))
    found = derivation(program, names, batch_size)
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


class Output(StrEnum):
    """How a verification is written."""

    text = "text"
    json = "json"
    markdown = "markdown"
    github = "github"
    junit = "junit"


@app.command()
def verify(
    target: Annotated[
        str | None,
        typer.Argument(
            help="FILE.py, FILE.ipynb, FILE.py:name or package.module:name; without one, ours."
        ),
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option(help="An .npz with x, gamma, beta, dy, eps of a real run, tried as well."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Remarks fail, too.")] = False,
    form: Annotated[Output, typer.Option("--format", help="What to write.")] = Output.text,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    save_failure: Annotated[
        Path | None,
        typer.Option(help="Write the inputs of the worst failure here, for --inputs."),
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="Which layer it is, where bncheck should not find out.")
    ] = None,
    layout: Annotated[
        str | None, typer.Option(help="Which layout, say NCHW, where it should not find out.")
    ] = None,
    eps: Annotated[float | None, typer.Option(help="The eps that the code has.")] = None,
    ddof: Annotated[int | None, typer.Option(help="0: variance over m; 1: over m - 1.")] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(help="PARAMETER=ROLE, say G=dy, where a name is unusual; may be repeated."),
    ] = None,
    batch_average: Annotated[
        bool,
        typer.Option("--batch-average", help="Accept dgamma and dbeta divided by the batch size."),
    ] = False,
    ordinary: Annotated[
        bool, typer.Option("--import", help="Import the file as Python does: run all of it.")
    ] = False,
    lines: Annotated[
        bool, typer.Option("--lines/--no-lines", help="Name the line that is wrong.")
    ] = True,
    seed: Annotated[int, typer.Option(help="Of the random inputs.")] = 0,
    trials: Annotated[int, typer.Option(min=0, help="Further inputs, of random sizes.")] = 0,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that one call may take.")] = 30.0,
    show_output: Annotated[
        bool, typer.Option("--show-output", help="Show what the code prints (on stderr).")
    ] = False,
) -> None:
    """Compare a hand-written backward pass with the symbolic gradient and with differences."""
    from bncheck.checking import formats
    from bncheck.checking.verification import references, verify_all

    chosen = Output.json if as_json else form
    try:
        reports = (
            verify_all(
                target,
                layer=None if layer is None else _layer(layer, {}),
                inputs=_inputs(inputs),
                timeout=timeout, seed=seed, trials=trials, names=_names(name or []),
                ordinary=ordinary, averaged=batch_average, layout=layout, eps=eps, ddof=ddof,
                lines=lines,
            )
            if target
            else references()
        )  # fmt: skip
    except CannotAsk as error:
        if chosen is Output.json:
            sys.stdout.write(formats.as_json([], strict, str(error)))
        raise
    _show(reports, chosen, strict)
    if show_output and reports:
        sys.stderr.write(reports[0].printed)
    if save_failure is not None:
        _save_failure(save_failure, [r.failure for r in reports if r.failure is not None])
    raise typer.Exit(formats.overall([r.code(strict) for r in reports]))


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
        return {"mermaid": graph.mermaid, "dot": graph.dot}[form](found.forward)
    forms = {"latex": latex.document, "fragment": latex.fragment, "markdown": latex.markdown}
    return forms[form](found)


def _show(reports: Any, form: Output, strict: bool) -> None:
    from bncheck import report
    from bncheck.checking import formats

    if form is not Output.text:
        sys.stdout.write(getattr(formats, f"as_{form}")(reports, strict))
        return
    out = report.console()
    for one in reports if len(reports) <= 2 else [r for r in reports if r.code(strict)][:2]:
        report.report(one, out)
    if len(reports) > 2:
        report.summary(reports, out)


def _inputs(path: Path | None) -> dict[str, Any]:
    """Arrays out of an .npz file; nothing in it is unpickled."""
    if path is None:
        return {}
    import zipfile

    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise CannotAsk(f"{path} does not exist; expected an .npz file of arrays") from None
    except (OSError, ValueError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise CannotAsk(f"{path} is no .npz file of plain arrays: {error}") from None


def _names(given: list[str]) -> dict[str, str]:
    """``["G=dy"]`` as a dictionary."""
    from bncheck.checking.names import SPELLINGS

    said = {}
    for text in given:
        parameter, _, known = text.partition("=")
        if known not in SPELLINGS or not parameter:
            roles = ", ".join(SPELLINGS)
            raise CannotAsk(f"--name {text}: expected PARAMETER=ROLE with a role of {roles}")
        said[parameter] = known
    return said


def _save_failure(path: Path, failures: list[dict[str, Any]]) -> None:
    if not failures:
        print(f"nothing failed, and {path} was not written", file=sys.stderr)
        return
    import io

    import numpy as np

    data = io.BytesIO()
    np.savez(data, **failures[0])
    _save(path, data.getvalue())


def _save(path: Path, content: str | bytes) -> None:
    """Write the file whole or not at all."""
    data = content.encode() if isinstance(content, str) else content
    try:
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            file.write(data)
        os.chmod(file.name, 0o644)
        os.replace(file.name, path)
    except OSError as error:
        raise CannotAsk(f"{path} cannot be written: {error.strerror}") from None
    print(f"wrote {path}", file=sys.stderr)


def _word(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _complain(text: str) -> None:
    print(f"bncheck: {text}", file=sys.stderr)
