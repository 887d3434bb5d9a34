"""The command line: what the user asked for, handed to the library; the only user of Typer.

Nothing heavy is imported before a command needs it: ``--help`` and ``--version`` are instant.
"""

import gc
import os
import sys
from typing import Annotated

import typer

from bncheck import __version__
from bncheck.cli.deriving import derive, layers
from bncheck.cli.stating import identities, theorems
from bncheck.cli.verifying import mutants, verify
from bncheck.telling.errors import BncheckError

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


def main() -> None:
    """Run the command line; every error is one message and an exit code, never a traceback."""
    gc.set_threshold(100_000, 20, 20)  # a short life: collecting often costs a tenth of the time
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


def _complain(text: str) -> None:
    print(f"bncheck: {text}", file=sys.stderr)
