"""``verify`` and ``mutants``: what is asked about somebody's code."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from bncheck.cli import files
from bncheck.telling.errors import CannotAsk


class Output(StrEnum):
    """How a verification is written."""

    text = "text"
    json = "json"
    markdown = "markdown"
    github = "github"
    junit = "junit"


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
    snippet: Annotated[
        Path | None, typer.Option(help="Write the smallest counterexample here, as a test.")
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
    seed: Annotated[int, typer.Option(min=0, help="Of the random inputs.")] = 0,
    trials: Annotated[int, typer.Option(min=0, help="Further inputs, of random sizes.")] = 0,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that one call may take.")] = 30.0,
    lines: Annotated[
        bool, typer.Option("--lines/--no-lines", help="Name the line that is wrong.")
    ] = True,
    show_output: Annotated[
        bool, typer.Option("--show-output", help="Show what the code prints (on stderr).")
    ] = False,
) -> None:
    """Compare a hand-written backward pass with the symbolic gradient and with differences."""
    from bncheck.subject.questions import FileSubject
    from bncheck.telling import formats

    chosen = Output.json if as_json else form
    started: FileSubject | None = None
    try:
        given, names = files.arrays(inputs), files.roles(name or [])
        if target is not None:
            # the child loads the file while SymPy is still being imported here
            started = FileSubject(target, timeout, names, ordinary)
        from bncheck.verification import references, verify_all

        reports = (
            verify_all(
                started,
                layer=None if layer is None else files.program(layer, {}),
                inputs=given,
                timeout=timeout, seed=seed, trials=trials, names=names,
                ordinary=ordinary, averaged=batch_average, lines=lines,
                layout=layout, eps=eps, ddof=ddof,
            )
            if started is not None
            else references()
        )  # fmt: skip
    except CannotAsk as error:
        if chosen is Output.json:
            sys.stdout.write(formats.as_json([], strict, str(error)))
        raise
    finally:
        if started is not None:
            started.close()
    _show(reports, chosen, strict)
    if show_output and reports:
        sys.stderr.write(reports[0].printed)
    if snippet is not None:
        found = [r.counterexample.snippet for r in reports if r.counterexample]
        files.save(snippet, found[0] if found else "# nothing is wrong\n")
    if save_failure is not None:
        failures = [r.failure for r in reports if r.failure is not None]
        if failures:
            files.save_arrays(save_failure, failures[0])
        else:
            print(f"nothing failed, and {save_failure} was not written", file=sys.stderr)
    raise typer.Exit(formats.overall([r.code(strict) for r in reports]))


def mutants(
    tests: Annotated[
        str, typer.Argument(help="Your tests, as pytest takes them: test_file.py[::test_name].")
    ],
    replace: Annotated[
        str,
        typer.Option(help="The backward pass that they test: FILE.py:name or package.module:name."),
    ],
    layer: Annotated[
        str | None, typer.Option(help="Which layer it is, where bncheck should not find out.")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds for one run of the tests.")] = 30.0,
    everything: Annotated[
        bool, typer.Option("--all", help="List the mistakes that they catch as well.")
    ] = False,
) -> None:
    """Run your tests on wrong backward passes: which mistakes would they miss?

    Each mistake stands in the place of your function while the tests run, in a process of its
    own; no file is changed.
    """
    from bncheck.mutants.tester import examine

    asked = None if layer is None else files.program(layer, {})
    found = examine(tests, replace, layer=asked, timeout=timeout)
    from bncheck.telling import terminal as report

    report.examination(found, report.console(), everything)
    raise typer.Exit(found.exit_code)


def _show(reports: Any, form: Output, strict: bool) -> None:
    from bncheck.telling import formats
    from bncheck.telling import terminal as report

    if form is not Output.text:
        sys.stdout.write(getattr(formats, f"as_{form}")(reports, strict))
        return
    out = report.console()
    for one in reports if len(reports) <= 2 else [r for r in reports if r.code(strict)][:2]:
        report.report(one, out)
    if len(reports) > 2:
        report.summary(reports, out)
