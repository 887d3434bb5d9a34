"""A finding: a code with arguments until it is written out; no decision reads a sentence.

The codes and their sentences are the rows of ``sentences.CODES``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from string import Formatter
from typing import Any

from bncheck.telling.sentences import CODES


@dataclass(frozen=True)
class Finding:
    """A code with what its sentence needs: names, numbers, formulas; never a sentence of ours."""

    code: str
    form: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The sentence."""
        return written(self)

    def __str__(self) -> str:
        return written(self)

    def __hash__(self) -> int:
        return hash((self.code, self.form, str(sorted(self.arguments.items()))))


def found(code: str, form: str = "", **arguments: Any) -> Finding:
    """A finding of a code that there is; raises ``KeyError`` for another, or another form."""
    CODES[code].template(form)
    return Finding(code, form, {n: v for n, v in arguments.items() if v is not None})


class _Sentence(Formatter):
    """``str.format`` that joins several things."""

    def format_field(self, value: Any, format_spec: str) -> str:
        if isinstance(value, tuple | list):
            return (format_spec or ", ").join(map(str, value))
        return str(super().format_field(value, format_spec))


def written(finding: Finding) -> str:
    """The sentence of a finding."""
    template = CODES[finding.code].template(finding.form)

    def part(match: re.Match[str]) -> str:
        names = re.findall(r"\{(\w+)", match[1])
        there = all(finding.arguments.get(name) not in (None, "", (), []) for name in names)
        return match[1] if there else ""

    shown = re.sub(r"\[\[(.*?)\]\]", part, template)
    return _Sentence().vformat(shown, (), finding.arguments)


def record(finding: Finding) -> dict[str, Any]:
    """A finding as plain data, for JSON and between processes: ``finding_of`` reads it back."""
    return {
        "code": finding.code,
        "form": finding.form,
        "arguments": {name: _plain(value) for name, value in finding.arguments.items()},
    }


def finding_of(plain: Mapping[str, Any]) -> Finding:
    """The finding of a record, with the findings among its arguments."""
    arguments = {
        name: finding_of(value) if isinstance(value, Mapping) and "code" in value else value
        for name, value in plain["arguments"].items()
    }
    return Finding(plain["code"], plain["form"], arguments)


def _plain(value: Any) -> Any:
    """What JSON can write: findings as records, formulas as texts."""
    if isinstance(value, Finding):
        return record(value)
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
