"""What an exception of the user's code says, whatever it is made of."""

import re
import traceback
from pathlib import Path

from bncheck.subject.names import likely_role, role
from bncheck.telling.errors import Refused

LONGEST = 400
"""Characters of a message that are shown."""

_HERE = str(Path(__file__).resolve().parent)


def described(error: BaseException) -> str:
    """An exception of the user's in one line that can be printed, however it is made."""
    kind = type(error).__name__
    text = _message(error)
    text = text if len(text) <= LONGEST else text[:LONGEST] + " ..."
    return f"{kind}: {text}" if text else kind


def refusal(error: BaseException, name: str, with_line: bool = True) -> Refused:
    """The exception as ``name``'s refusal; its message says the line of the user's code."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [f for f in frames if not f.filename.startswith(_HERE) and f.filename[:1] != "<"]
    last = theirs[-1] if theirs else None
    where = f" (line {last.lineno}: {last.line})" if last and with_line else ""
    if isinstance(error, SystemExit):
        said = f"called sys.exit({error.code!r})"
    else:
        said = f"raised {described(error)}"
    words = re.findall(r"[A-Za-z_]\w+", f"{_message(error)} {last.line if last else ''}")
    return Refused(
        f"{name} {said}{where}",
        kinds=frozenset(kind.__name__ for kind in type(error).__mro__),
        speaks_of=frozenset(r for w in words if (r := role(w) or likely_role(w))),
        file=last.filename if last else None,
        line=last.lineno if last else None,
    )


def _message(error: BaseException) -> str:
    try:
        return " ".join(str(error).split()).encode(errors="backslashreplace").decode()
    except BaseException as another:
        return f"its message cannot be shown: {type(another).__name__}"
