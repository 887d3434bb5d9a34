"""What the command line reads and writes: programs, texts, arrays; files whole or not at all."""

import os
import runpy
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bncheck.telling.errors import BncheckError, CannotAsk

if TYPE_CHECKING:
    from bncheck.algebra.program import Program
    from bncheck.telling.report import Report


def program(name: str, variant: dict[str, Any]) -> "Program":
    """A built-in layer by name, or somebody's own out of ``FILE.py:NAME``."""
    from bncheck.algebra.layers import layer
    from bncheck.subject.messages import Target

    asked = Target.parse(name) if ":" in name or name.endswith(".py") else None
    if asked is None:
        return layer(name, **variant)
    if variant:
        raise CannotAsk(f"{', '.join(variant)} is for built-in layers; {name} is your own program")
    return _own(Path(asked.place), asked.name)


def _own(path: Path, name: str | None) -> "Program":
    """The program called ``name`` in a file that is imported as Python imports it, or its only one.

    Raises ``CannotAsk`` where the file does not import or holds no such program.
    """
    from bncheck.algebra.program import Program

    if not path.is_file():
        raise CannotAsk(f"{path} does not exist; expected FILE.py:NAME with a Program in it")
    try:
        own = {n: p for n, p in runpy.run_path(str(path)).items() if isinstance(p, Program)}
    except BncheckError as error:
        raise CannotAsk(f"{path}: {error}") from None
    except Exception as error:
        raise CannotAsk(f"{path} cannot be imported: {type(error).__name__}: {error}") from None
    if name is None and len(own) == 1:
        return next(iter(own.values()))
    if name not in own:
        there = ", ".join(own) or "none"
        raise CannotAsk(f"{path} has no Program called {name or ''!r}; its programs are: {there}")
    return own[name]


def arrays(path: Path | None) -> dict[str, Any]:
    """Arrays out of an .npz file; nothing in it is unpickled."""
    if path is None:
        return {}
    import zipfile

    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise CannotAsk(f"{path} does not exist; expected an .npz file of arrays") from None
    except (OSError, ValueError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise CannotAsk(f"{path} is no .npz file of plain arrays: {error}") from None
    if not found:
        raise CannotAsk(f"{path} holds no arrays; expected x, dy, gamma, beta, eps")
    return found


def roles(given: list[str]) -> dict[str, str]:
    """``["G=dy"]`` as a dictionary."""
    from bncheck.subject.names import SPELLINGS

    said = {}
    for text in given:
        parameter, _, known = text.partition("=")
        if known not in SPELLINGS or not parameter:
            roles = ", ".join(SPELLINGS)
            raise CannotAsk(f"--name {text}: expected PARAMETER=ROLE with a role of {roles}")
        said[parameter] = known
    return said


def tell(text: str) -> None:
    """Write to standard output; that nobody reads on, as after ``head``, changes nothing."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _save_arrays(path: Path, named: dict[str, Any]) -> None:
    """Write arrays by name as an .npz file."""
    import io

    import numpy as np

    data = io.BytesIO()
    np.savez(data, **named)
    save(path, data.getvalue())


def save(path: Path, content: str | bytes) -> None:
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


def save_snippet(reports: "Sequence[Report]", path: Path) -> None:
    """Write the first counterexample as a test."""
    found = [r.counterexample.snippet for r in reports if r.counterexample]
    save(path, found[0] if found else "# nothing is wrong\n")


def save_failure(reports: "Sequence[Report]", path: Path) -> None:
    """Write the inputs of the first failure, to be replayed."""
    failures = [r.failure for r in reports if r.failure is not None]
    if failures:
        _save_arrays(path, failures[0])
    else:
        print(f"nothing failed, and {path} was not written", file=sys.stderr)
