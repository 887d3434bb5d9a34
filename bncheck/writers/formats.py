"""The formats: a row for each way in which a derivation, or statements, can be written.

What a row needs is imported when it is asked for, so that the names are known without SymPy.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bncheck.calculus.derivation import Derivation
    from bncheck.theory.statements import Evidence, Judgement


Write = Callable[["Derivation", "Evidence | None"], str]


@dataclass(frozen=True)
class Format:
    """``write`` gives the text; ``checked``: whether it says how each equation is known."""

    write: Write
    checked: bool = False


def _text(found: "Derivation", known: "Evidence | None") -> str:
    from bncheck.telling.terminal import derivation, drawn
    from bncheck.writers.text import page

    return drawn(derivation, page(found), plain=True)


def _document(form: str) -> Write:
    def write(found: "Derivation", known: "Evidence | None") -> str:
        from bncheck.writers.documents import DOCUMENTS

        return DOCUMENTS[form](found, known)

    return write


def _numpy(found: "Derivation", known: "Evidence | None") -> str:
    from bncheck.writers.numpy_source import source

    return source(found)


def _graph(form: str) -> Write:
    def write(found: "Derivation", known: "Evidence | None") -> str:
        from bncheck.writers.graph import GRAPHS

        return GRAPHS[form](found.layer)

    return write


def _json(found: "Derivation", known: "Evidence | None") -> str:
    from bncheck.writers.records import as_json, record

    return as_json(record(found, known))


DERIVED = {
    "text": Format(_text),
    "latex": Format(_document("document"), checked=True),
    "fragment": Format(_document("fragment"), checked=True),
    "html": Format(_document("html"), checked=True),
    "markdown": Format(_document("markdown"), checked=True),
    "numpy": Format(_numpy),
    "mermaid": Format(_graph("mermaid")),
    "dot": Format(_graph("dot")),
    "json": Format(_json, checked=True),
}
"""What ``derive --format`` takes."""


def _rows(title: str, judged: "Sequence[Judgement]") -> str:
    from bncheck.telling.terminal import drawn, statements
    from bncheck.writers.statements import rows

    return drawn(statements, rows(judged))


def _stated(form: str) -> "Callable[[str, Sequence[Judgement]], str]":
    def write(title: str, judged: "Sequence[Judgement]") -> str:
        from bncheck.writers.statements import DOCUMENTS

        return DOCUMENTS[form](title, judged)

    return write


def _stated_json(title: str, judged: "Sequence[Judgement]") -> str:
    from bncheck.writers.records import as_json, judgement

    return as_json(list(map(judgement, judged)))


STATED = {
    "text": _rows, "json": _stated_json, "markdown": _stated("markdown"),
    "latex": _stated("latex"),
}  # fmt: skip
"""What ``identities --format`` and ``theorems --format`` take: of a title and what became of each
statement; as text for the terminal."""
