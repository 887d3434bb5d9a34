"""``verify`` and ``mutants``: what is asked about somebody's code."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bncheck.cli import files, options
from bncheck.telling import formats
from bncheck.telling.errors import CannotAsk

if TYPE_CHECKING:
    from bncheck.telling.report import Report


def verify(
    target: options.Target = None,
    inputs: options.Inputs = None,
    strict: options.Strict = False,
    form: options.VerifiedForm = "text",
    as_json: options.AsJson = False,
    save_failure: options.SaveFailure = None,
    snippet: options.Snippet = None,
    layer: options.AskedLayer = None,
    layout: options.AskedLayout = None,
    eps: options.Eps = None,
    ddof: options.Ddof = None,
    name: options.Names = None,
    batch_average: options.BatchAverage = False,
    ordinary: options.Ordinary = False,
    seed: options.Seed = 0,
    trials: options.Trials = 0,
    timeout: options.CallTimeout = 30.0,
    lines: options.Lines = True,
    show_output: options.ShowOutput = False,
) -> None:
    """Compare a hand-written backward pass with the symbolic gradient and with differences."""
    form = "json" if as_json else form
    try:
        reports = _verified(
            target, layer, files.arrays(inputs),
            timeout=timeout, names=files.roles(name or []), ordinary=ordinary, seed=seed,
            trials=trials, averaged=batch_average, lines=lines, layout=layout, eps=eps, ddof=ddof,
        )  # fmt: skip
    except CannotAsk as error:
        if form == "json":
            files.tell(formats.as_json([], strict, str(error)))
        raise
    files.tell(formats.FORMS[form](reports, strict))
    if show_output and reports:
        sys.stderr.write(reports[0].printed)
    if snippet is not None:
        _save_snippet(reports, snippet)
    if save_failure is not None:
        _save_failure(reports, save_failure)
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


def _save_snippet(reports: "Sequence[Report]", path: Path) -> None:
    found = [r.counterexample.snippet for r in reports if r.counterexample]
    files.save(path, found[0] if found else "# nothing is wrong\n")


def _save_failure(reports: "Sequence[Report]", path: Path) -> None:
    failures = [r.failure for r in reports if r.failure is not None]
    if failures:
        files.save_arrays(path, failures[0])
    else:
        print(f"nothing failed, and {path} was not written", file=sys.stderr)


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
