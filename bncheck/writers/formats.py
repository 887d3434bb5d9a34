"""The formats: a row for each way in which a derivation, or statements, can be written.

What a row needs is imported when it is asked for, so that the names are known without SymPy.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bncheck.calculus.derivation import Derivation
    from bncheck.theory.statements import Evidence, Judgement


@dataclass(frozen=True)
class Format:
    """``write`` gives the text; ``checked``: whether it says how each equation is known."""

    write: "Callable[[Derivation, Evidence | None], str]"
    checked: bool = False


def _text(found: "Derivation", known: "Evidence | None") -> str:
    from bncheck.telling.terminal import derivation, drawn
    from bncheck.writers.text import page

    return drawn(derivation, page(found), plain=True)


def _latex(found: "Derivation", known: "Evidence | None") -> str:
    from bncheck.writers.documents import document

    return document(found, known)


def _fragment(found: "Derivation", known: "Evidence | None") -> str:
    from bncheck.writers.documents import fragment

    return fragment(found, known)


def _html(found: "Derivation", known: "Evidence | None") -> str:
    from bncheck.writers.documents import html

    return html(found, known)


def _markdown(found: "Derivation", known: "Evidence | None") -> str:
    from bncheck.writers.documents import markdown

    return markdown(found, known)


def _numpy(found: "Derivation", known: "Evidence | None") -> str:
    from bncheck.writers.numpy_source import source

    return source(found)


def _mermaid(found: "Derivation", known: "Evidence | None") -> str:
    from bncheck.writers.graph import mermaid

    return mermaid(found.layer)


def _dot(found: "Derivation", known: "Evidence | None") -> str:
    from bncheck.writers.graph import dot

    return dot(found.layer)


def _json(found: "Derivation", known: "Evidence | None") -> str:
    from bncheck.writers.records import as_json, record

    return as_json(record(found, known))


DERIVED = {
    "text": Format(_text),
    "latex": Format(_latex, checked=True),
    "fragment": Format(_fragment, checked=True),
    "html": Format(_html, checked=True),
    "markdown": Format(_markdown, checked=True),
    "numpy": Format(_numpy),
    "mermaid": Format(_mermaid),
    "dot": Format(_dot),
    "json": Format(_json, checked=True),
}
"""What ``derive --format`` takes."""


def _rows(title: str, judged: "Sequence[Judgement]") -> str:
    from bncheck.telling.terminal import drawn, statements
    from bncheck.writers.statements import rows

    return drawn(statements, rows(judged))


def _stated_json(title: str, judged: "Sequence[Judgement]") -> str:
    from bncheck.writers.records import as_json, judgement

    return as_json(list(map(judgement, judged)))


def _stated_markdown(title: str, judged: "Sequence[Judgement]") -> str:
    from bncheck.writers.statements import as_markdown

    return as_markdown(title, judged)


def _stated_latex(title: str, judged: "Sequence[Judgement]") -> str:
    from bncheck.writers.statements import as_latex

    return as_latex(title, judged)


STATED: "dict[str, Callable[[str, Sequence[Judgement]], str]]" = {
    "text": _rows, "json": _stated_json, "markdown": _stated_markdown, "latex": _stated_latex,
}  # fmt: skip
"""What ``identities --format`` and ``theorems --format`` take: of a title and what became of each
statement; as text for the terminal."""
