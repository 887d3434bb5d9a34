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
_SUBJECT: dict[str, Code] = {}

# -- identity: which layer it is -----------------------------------------------------------------
_FORWARD = "the forward pass is {layer} with "
_IDENTITY: dict[str, Code] = {
    "forward-inaccurate": Code(
        "remark",
        "the forward pass is right to {digits:.0f} digits only (single precision?)",
    ),
    "eps-ignored": Code(
        "remark",
        "the forward pass makes no use of the eps that it is given; it has eps = {eps:.3g}",
    ),
    "forward-eps-outside": Code("remark", _FORWARD + "eps added to {root}, not under the root"),
    "forward-eps-twice": Code("remark", _FORWARD + "eps added twice: under the root and to it"),
    "forward-eps-squared": Code("remark", _FORWARD + "eps squared"),
    "forward-gamma-plus-1": Code("remark", _FORWARD + "1 + gamma where gamma stands"),
    "forward-unknown": Code(
        "remark",
        {
            "": "the forward pass is none that bncheck knows",
            "undivided": "the forward pass never divides by the standard deviation; it is no "
            "{layer}",
            "one-scale": "the forward pass divides every group by the same number, {scale:.4g}; "
            "it is no {layer}",
            "another-scale": "the forward pass is linear in x in every group, and yet no {layer}: "
            "another scale",
        },
    ),
    "other-layout": Code("remark", "not over {layout}: {why}"),
    "running-frozen": Code(
        "remark", "{names: and }: never updated by a forward pass in training mode"
    ),
    "running-unknown": Code(
        "remark", "{names: and }: not a old + b new of the batch's statistic, for any a and b"
    ),
    "running-weights": Code(
        "remark", "{name} is {weights}: the weights add up to {whole:.6g}, not 1"
    ),
    "evaluation-updates": Code("remark", "evaluation mode changes the running statistics"),
    "evaluation-differs": Code(
        "remark",
        {
            "uses": "evaluation mode uses them",
            "eps-beside": "evaluation mode uses them, and eps beside the deviation",
            "eps-under": "evaluation mode uses them, with eps under the root",
            "eps-again": "evaluation mode uses them but adds eps once more",
            "unbiased": "evaluation mode uses them, the variance times m/(m - 1)",
            "no-eps": "evaluation mode uses them but leaves eps out",
            "no-root": "evaluation mode uses them but divides by the variance",
            "batch": "evaluation mode uses the statistics of the batch, not the running ones",
            "unknown": "evaluation mode is not the transform by the running statistics",
        },
    ),
}

# -- verdict: what was seen ----------------------------------------------------------------------
_VERDICT: dict[str, Code] = {
    "fails-on": Code(
        "remark",
        {
            "": "fails where {trial}: {error}",
            "read-only": "fails on read-only arrays: {error}",
        },
    ),
    "state": Code(
        "remark",
        {"output": "the output depends on the batches before: on running statistics?"},
    ),
    "shape": Code("remark", "{gradient} has shape {shape!s}, expected {expected!s}"),
    "dx-shape": Code("remark", {"second": "{gradient} has shape {shape!s}; expected {expected!s}"}),
    "param-shape": Code("remark", {"second": "{gradient} has shape {shape!s}; expected {expected!s}"}),
    "return-order": Code("remark", {"exchanged": "returns dbeta before dgamma"}),
    "not-returned": Code("remark", "{gradient} is not returned and was not checked"),
    "dtype-changed": Code("remark", "gradients are {found} where the inputs are {given}: {of}"),
    "forward-differs": Code("remark", "the forward pass is not {layer} where {trial}"),
    "batch-average": Code("remark", "{gradient} is divided by the batch size, which was accepted"),
    "loses-digits": Code("remark", "digits are lost where {trial}"),
    "first-differs": Code("remark", "{first}, of which differences were taken, is another layer's"),
}

# -- cause: why a gradient is wrong --------------------------------------------------------------
_CAUSE: dict[str, Code] = {}

# -- place: the line ------------------------------------------------------------------------------
_PLACE: dict[str, Code] = {}

CODES: dict[str, Code] = {**_SUBJECT, **_IDENTITY, **_VERDICT, **_CAUSE, **_PLACE}
"""All of them, by code."""
