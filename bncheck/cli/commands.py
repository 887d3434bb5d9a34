"""The commands: what each asks of the library, and what it writes; the only user of Typer.

What a command needs is imported when it runs, so that ``--help`` is quick.
"""

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bncheck import __version__
from bncheck.cli import files, options
from bncheck.telling import formats
from bncheck.telling.errors import CannotAsk
from bncheck.writers.formats import DERIVED, STATED

if TYPE_CHECKING:
    from bncheck.telling.report import Report

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Is my hand-written normalization gradient right, and if not, where?",
)


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
    layer: options.Layer = "batch-norm",
    batch_size: options.BatchSize = None,
    ddof: options.Ddof = None,
    affine: options.Affine = None,
    variance: options.Variance = None,
    mode: options.Modes = None,
    order: options.Order = 1,
    wrt: options.Wrt = None,
    form: options.DerivedForm = "text",
    output: options.Output = None,
) -> None:
    """Derive a layer's gradients, for every batch size or for one."""
    from bncheck.calculus.passes import derived, modes

    direction, running = modes(tuple(mode or ()))
    chosen = options.variant(ddof=ddof, affine=affine, variance=variance, mode=running)
    program = files.program(layer, chosen)
    names = tuple(name for given in wrt or () for name in given.split(","))
    found = derived(program, names, batch_size, order, direction)
    text = written(found, form, to_file=output is not None)
    if output is None:
        files.tell(text)
    else:
        files.save(output, text)


def written(found: Any, form: str, to_file: bool) -> str:
    """A derivation in a format; as text, for the terminal or as it stands in a file."""
    if form == "text" and not to_file:
        from bncheck.telling import terminal
        from bncheck.writers.text import page

        return terminal.drawn(terminal.derivation, page(found))
    chosen = DERIVED[form]
    if not chosen.checked:
        return chosen.write(found, None)
    from bncheck.theory.checked import evidence

    return chosen.write(found, evidence(found))


@app.command()
def layers() -> None:
    """List the layers and their variants."""
    from bncheck.algebra.layers import LAYERS
    from bncheck.algebra.layers import options as variants
    from bncheck.telling import terminal
    from bncheck.writers.text import shapes

    def spelled(name: str) -> str:
        found = variants(name).items()
        return ", ".join(f"{k}: {'/'.join(map(_word, v))}" for k, v in found) or "none"

    rows = [(name, shapes(program), spelled(name)) for name, program in LAYERS.items()]
    files.tell(terminal.drawn(terminal.listed, ("layer", "shapes", "variants"), rows))


def _word(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


@app.command()
@options.with_settings
def verify(
    target: options.Target = None,
    inputs: options.Inputs = None,
    strict: options.Strict = False,
    form: options.VerifiedForm = "text",
    as_json: options.AsJson = False,
    save_failure: options.SaveFailure = None,
    snippet: options.Snippet = None,
    layer: options.AskedLayer = None,
    name: options.Names = None,
    show_output: options.ShowOutput = False,
    **chosen: Any,
) -> None:
    """Compare a hand-written backward pass with the symbolic gradient and with differences."""
    form = "json" if as_json else form
    try:
        reports = _verified(
            target, layer, files.arrays(inputs), names=files.roles(name or []), **chosen
        )
    except CannotAsk as error:
        if form == "json":
            files.tell(formats.as_json([], strict, str(error)))
        raise
    files.tell(formats.FORMS[form](reports, strict))
    if show_output and reports:
        sys.stderr.write(reports[0].printed)
    if snippet is not None:
        files.save_snippet(reports, snippet)
    if save_failure is not None:
        files.save_failure(reports, save_failure)
    raise typer.Exit(formats.overall(reports, strict))


def _verified(
    target: str | None, layer: str | None, inputs: dict[str, Any], **chosen: Any
) -> "Sequence[Report]":
    """The reports on a target, or on the reference implementations where there is none."""
    from bncheck.subject.questions import FileSubject

    if target is None:
        from bncheck.verification import references

        return references()
    # the child loads the file while SymPy is still being imported here
    started = FileSubject(target, chosen["timeout"], chosen["names"], chosen["ordinary"])
    try:
        from bncheck.verification import verify_all

        program = None if layer is None else files.program(layer, {})
        return verify_all(started, layer=program, inputs=inputs, **chosen)
    finally:
        started.close()


@app.command()
def mutants(
    tests: options.Tests,
    replace: options.Replace,
    layer: options.AskedLayer = None,
    timeout: options.RunTimeout = 30.0,
    everything: options.Everything = False,
) -> None:
    """Run your tests on wrong backward passes: which mistakes would they miss?

    Each mistake stands in the place of your function while the tests run, in a process of its
    own; no file is changed.
    """
    from bncheck.mutants.tester import examine

    asked = None if layer is None else files.program(layer, {})
    found = examine(tests, replace, layer=asked, timeout=timeout)
    from bncheck.telling import terminal

    files.tell(terminal.drawn(terminal.examination, found, everything))
    raise typer.Exit(found.exit_code)


@app.command()
def identities(
    layer: options.Layer = "batch-norm",
    ddof: options.Ddof = None,
    affine: options.Affine = None,
    variance: options.Variance = None,
    mode: options.Mode = None,
    power: options.Power = False,
    seed: options.RationalSeed = 0,
    form: options.StatedForm = "text",
) -> None:
    """What holds for a layer's gradients: each statement proved, or exact on rationals."""
    from bncheck.calculus.passes import derived_once
    from bncheck.theory.family.laws import identities as stated
    from bncheck.theory.judging import judge_all
    from bncheck.theory.parts import words

    chosen = options.variant(ddof=ddof, affine=affine, variance=variance, mode=mode)
    program = files.program(layer, chosen)
    if power:
        _tell_power(program, seed, form)
        return
    parts = words(derived_once(program))
    found = judge_all(stated(parts), parts, seed)
    _tell(f"{program.title or program.name}: identities", found, form)


@app.command()
def theorems(
    about: options.About = "",
    seed: options.RationalSeed = 0,
    form: options.StatedForm = "text",
) -> None:
    """What is published about batch norm: proved, or refuted with its counterexample."""
    from bncheck.algebra.layers import layer
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


def _tell_power(program: Any, seed: int, form: str) -> None:
    """Write what identities catch, as text or JSON."""
    from bncheck.mutants import power

    if form not in ("text", "json"):
        raise CannotAsk(f"--power is written as text or json, not as {form}")
    found = power.measured(program, seed)
    if form == "json":
        record = power.as_record(found)
        files.tell(json.dumps(record, indent=2, ensure_ascii=False) + "\n")
        return
    from bncheck.telling.terminal import drawn, listed

    letters, rows = power.matrix(found)
    files.tell(
        drawn(listed, ("", "catch", "identity"), power.groups(found))
        + drawn(listed, (letters, f"{len(rows)} wrong backward passes"), rows)
        + f"together all of these: {'; '.join(found.enough)}\n"
    )


def _tell(title: str, found: Any, form: str) -> None:
    """Write what became of statements; exit code 3 where one is not what bncheck expects."""
    files.tell(STATED[form](title, found))
    if not all(one.as_expected for one in found):
        raise typer.Exit(3)
