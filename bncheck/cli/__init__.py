"""WHAT WAS ASKED? The command line: what the user wants, handed to the library.

Nothing heavy is imported before a command needs it, and ``--version`` needs nothing at all.
"""

import gc
import os
import sys

from bncheck import __version__
from bncheck.telling.errors import BncheckError


def main() -> None:
    """Run the command line; every error is one message and an exit code, never a traceback."""
    if sys.argv[1:] == ["--version"]:
        print(f"bncheck {__version__}")
        return
    gc.set_threshold(100_000, 20, 20)  # a short life: collecting often costs a tenth of the time
    from bncheck.cli.commands import app

    try:
        app()
    except BncheckError as error:
        _complain(str(error))
        raise SystemExit(error.exit_code) from None
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
