"""Every code of a remark, a cause or a refusal: its level, its sentences, an example.

A finding is a code with arguments until it is written out; nothing is decided by reading a
sentence. A row of ``CODES`` is all that a new one needs. ``code`` is stable; a code that is said in
several ways has a sentence for each ``form``.

A sentence is a ``str.format`` template. A part in ``[[...]]`` is left out where an argument that it
names is missing or empty: ``"eps is forgotten[[ in {where}]]"``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Level = Literal["remark", "cause", "refusal", "note"]
"""What a finding does: a cause makes a gradient wrong or inaccurate, a remark fails under
``--strict``, a refusal says why there is no verdict, a note is only told."""


@dataclass(frozen=True)
class Example:
    """Where a code is met: ``right`` is a piece of a file, ``wrong`` what stands there instead.

    ``base``: the file of ``tests/codes`` that holds ``right`` exactly once.
    """

    base: str
    right: str
    wrong: str


@dataclass(frozen=True)
class Code:
    """``sentences``: a template, or one for each form; the first is the usual one."""

    level: Level
    sentences: str | Mapping[str, str]
    example: Example | None = None

    def template(self, form: str) -> str:
        """The template of a form; raises ``KeyError`` where there is none."""
        if isinstance(self.sentences, str):
            return {"": self.sentences}[form]
        return self.sentences[form]


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

    def __hash__(self) -> int:
        return hash((self.code, self.form, str(sorted(self.arguments.items()))))


def found(code: str, form: str = "", **arguments: Any) -> Finding:
    """A finding of a code that there is; raises ``KeyError`` for another, or another form."""
    CODES[code].template(form)
    return Finding(code, form, {n: v for n, v in arguments.items() if v is not None})


def written(finding: Finding) -> str:
    """The sentence of a finding."""
    template = CODES[finding.code].template(finding.form)

    def part(match: re.Match[str]) -> str:
        names = re.findall(r"\{(\w+)", match[1])
        there = all(finding.arguments.get(name) not in (None, "") for name in names)
        return match[1] if there else ""

    return re.sub(r"\[\[(.*?)\]\]", part, template).format(**finding.arguments)


# -- subject: loading and calling somebody's code ------------------------------------------------
_SUBJECT: dict[str, Code] = {}

# -- identity: which layer it is -----------------------------------------------------------------
_IDENTITY: dict[str, Code] = {}

# -- verdict: what was seen ----------------------------------------------------------------------
_VERDICT: dict[str, Code] = {}

# -- cause: why a gradient is wrong --------------------------------------------------------------
_CAUSE: dict[str, Code] = {}

# -- place: the line ------------------------------------------------------------------------------
_PLACE: dict[str, Code] = {}

CODES: dict[str, Code] = {**_SUBJECT, **_IDENTITY, **_VERDICT, **_CAUSE, **_PLACE}
"""All of them, by code."""
