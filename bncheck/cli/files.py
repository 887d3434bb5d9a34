"""What the command line reads and writes: programs, texts, arrays; files whole or not at all."""

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bncheck.telling.errors import CannotAsk

if TYPE_CHECKING:
    from bncheck.algebra.program import Program


def program(name: str, variant: dict[str, Any]) -> "Program":
    """A built-in layer by name, or somebody's own out of ``FILE.py:NAME``."""
    from bncheck.algebra.layers import layer

    if ".py" not in name:
        return layer(name, **variant)
    if variant:
        raise CannotAsk(f"{', '.join(variant)} is for built-in layers; {name} is your own program")
    from bncheck.cli.own import program as own

    return own(name)


def text_of(found: Any, form: str) -> str:
    """A derivation as a text of the format."""
    if form == "text":
        from bncheck.telling.terminal import plain_derivation
        from bncheck.writers.text import page

        return plain_derivation(page(found))
    if form == "numpy":
        from bncheck.writers.numpy_source import source

        return source(found)
    if form == "json":
        import json

        from bncheck.theory.checked import evidence
        from bncheck.writers.records import record

        return json.dumps(record(found, evidence(found)), indent=2, ensure_ascii=False) + "\n"
    if form in ("mermaid", "dot"):
        from bncheck.writers import graph

        return {"mermaid": graph.mermaid, "dot": graph.dot}[form](found.layer)
    from bncheck.theory.checked import evidence
    from bncheck.writers import html, latex

    forms = {
        "latex": latex.document, "fragment": latex.fragment, "markdown": latex.markdown,
        "html": html.html,
    }  # fmt: skip
    return forms[form](found, evidence(found))


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


def save_arrays(path: Path, named: dict[str, Any]) -> None:
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
