"""The commands, brought together for Typer."""

from typing import Annotated

import typer

from bncheck import __version__
from bncheck.cli.deriving import derive, layers
from bncheck.cli.stating import identities, theorems
from bncheck.cli.verifying import mutants, verify

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


for command in (derive, layers, verify, mutants, identities, theorems):
    app.command()(command)
