"""The user's file as text: Python source, or the code cells of a notebook."""

import ast
import io
import json
import tokenize
from pathlib import Path

from bncheck.telling.errors import CannotAsk

LARGEST = 5_000_000
"""Bytes of source that are read; hand-written code is far below."""


def text_of(path: Path) -> str:
    """Raises ``CannotAsk`` for what is no text, or too much of it."""
    if path.is_dir():
        raise CannotAsk(f"{path} is a directory; name a Python file in it")
    if not path.exists():
        raise CannotAsk(f"{path} does not exist; expected a Python file")
    if not path.is_file():
        raise CannotAsk(f"{path} is no regular file; expected a Python file")
    try:
        if path.stat().st_size > LARGEST:
            size = path.stat().st_size / 1e6
            raise CannotAsk(f"{path} has {size:.0f} MB; expected source code of at most 5 MB")
        data = path.read_bytes()
    except OSError as error:
        raise CannotAsk(f"{path} cannot be read: {error.strerror}") from None
    if b"\0" in data:
        raise CannotAsk(f"{path} is a binary file; expected Python source code")
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = data.decode(encoding)
    except (SyntaxError, UnicodeDecodeError, LookupError) as error:
        raise CannotAsk(f"{path} is not valid text: {error}; save it as UTF-8") from None
    if not text.strip():
        raise CannotAsk(f"{path} is empty; expected a backward pass to verify")
    return text


def code_of(text: str, path: Path) -> str:
    """The code cells of a notebook as one file; each error shows its line in that."""
    try:
        cells = json.loads(text)["cells"]
        parts = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError):
        raise CannotAsk(f"{path} is no notebook that bncheck can read: no cells") from None
    return "\n\n".join(part for part in map(_without_magic, parts) if part)


def _without_magic(cell: str) -> str:
    """A cell without shell and magic lines; one that still does not parse is left out."""
    lines = ("pass" if line.lstrip()[:1] in ("%", "!", "?") and not line[:1].isspace()
             else line for line in cell.splitlines())  # fmt: skip
    code = "\n".join(lines)
    try:
        ast.parse(code)
    except SyntaxError:
        return ""
    return code
