"""Every code of a remark, a cause or a refusal: its level, its sentences, an example.

A finding is a code with arguments until it is written out; nothing is decided by reading a
sentence. A row of ``CODES`` is all that a new one needs. ``code`` is stable; a code that is said in
several ways has a sentence for each ``form``.

A sentence is a ``str.format`` template. A part in ``[[...]]`` is left out where an argument that it
names is missing or empty: ``"eps is forgotten[[ in {where}]]"``. Several things are joined by what
stands after the colon, by default a comma: ``"{names: and } are ignored"``. A finding among the
arguments is written as its own sentence.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from string import Formatter
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

    @property
    def forms(self) -> tuple[str, ...]:
        """Those that it is said in; ``""`` where there is one sentence."""
        return ("",) if isinstance(self.sentences, str) else tuple(self.sentences)

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
    if _is_sentence(finding):
        return finding.form
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


def _is_sentence(finding: Finding) -> bool:
    """TEMPORARY: ``Finding(code, "a whole sentence")``, where a room has no codes yet.

    Whoever has turned the last ``Remark(code, text)`` and ``Diagnosis(code, gradient, text)`` into
    ``found(code, form, **arguments)`` removes this function and the two names in ``report``.
    """
    return finding.code not in CODES or (
        not finding.arguments and finding.form not in CODES[finding.code].forms
    )


# -- subject: loading and calling somebody's code ------------------------------------------------
_SUBJECT: dict[str, Code] = {
    "aliases-input": Code("remark", "{name} shares its memory with {source}"),
    "defined-twice": Code(
        "remark", "{name} is defined on lines {first} and {last}; the last one counts"
    ),
    "dx-shape": Code("remark", {
        "": "{name} has shape {shape!r}; x has {expected!r}",
        "double": "{name} has shape {shape!r}; expected {expected!r}",
    }),
    "input-overwritten": Code("remark", "the call overwrites its argument {names}"),
    "missing-import": Code("note", "line {line}: {name} is not there"),
    "not-checked": Code(
        "remark", "{count} values are returned; all but dx belong to parameters not found"
    ),
    "numpy-2": Code("remark", "np.{name} was removed from NumPy; bncheck supplied it"),
    "param-shape": Code("remark", {
        "": "{name} has shape {shape!r}; its parameter has {expected!r}",
        "double": "{name} has shape {shape!r}; expected {expected!r}",
    }),
    "return-order": Code("remark", {
        "": "returns ({order})",
        "parameters": "returns dbeta before dgamma",
    }),
    "reused-buffer": Code(
        "remark", "{name} is overwritten by the next call: it lives in a buffer used again"
    ),
    "state": Code("remark", {
        "": "{name} differs when the same call is made again: state, or chance",
        "stale":
            "{name} of a second batch in the same object is not that of a fresh one: it is stale",
        "output": "the output depends on the batches before: on running statistics?",
    }),
    "undefined": Code("note", "line {line}: {name} could not be defined: {error}"),
    "updates-parameters": Code(
        "remark", "backward updates the parameters; their gradients are read off the update"
    ),
}  # fmt: skip

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
