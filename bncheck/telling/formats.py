"""The forms of a verification: text, JSON, Markdown, GitHub's annotations, JUnit's XML, HTML.

``FORMS`` is what ``bncheck verify --format`` offers: a row is all that another one needs.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from bncheck.telling import codes
from bncheck.telling.report import Cause, Report
from bncheck.telling.sentences import CODES

SCHEMA = 1
"""The version of the JSON: it goes up where a field changes its meaning or disappears."""

FIELDS = (
    "target", "file", "name", "line", "order", "layer", "layout", "layouts", "eps", "ddof",
    "verdict", "assumed", "running", "remarks", "gradients", "diagnosis", "counterexample",
    "trials", "notes",
)  # fmt: skip


def as_text(reports: Sequence[Report], strict: bool = False) -> str:
    """For a person at the terminal, of its width and in its colours."""
    from bncheck.telling import terminal

    return terminal.drawn(terminal.verification, reports, strict)


def as_json(reports: Sequence[Report], strict: bool = False, error: str | None = None) -> str:
    """One object: ``schema``, ``exit_code``, ``error`` and ``results``, one for each pair.

    Numbers that JSON has not (infinity, NaN) are null.
    """
    record = {
        "schema": SCHEMA,
        "exit_code": overall(reports, strict) if error is None else 2,
        "strict": strict,
        "error": error,
        "results": [_record(report) for report in reports],
    }
    return json.dumps(record, indent=2, ensure_ascii=False) + "\n"


def as_markdown(reports: Sequence[Report], strict: bool = False) -> str:
    """A table, and what is to be said of those that are not plainly right."""
    lines = ["| backward pass | line | layer | layout | verdict |", "|---|---|---|---|---|"]
    for r in reports:
        cells = (f"`{r.target}`", r.line or "", r.layer or "", r.layout or "", f"**{r.verdict}**")
        lines.append("| " + " | ".join(_cell(c) for c in cells) + " |")
    for r in reports:
        said = _said(r)
        if said:
            lines += ["", f"`{r.target}`", "", *(f"- {_cell(text)}" for text in said)]
    return "\n".join(lines) + "\n"


def as_github(reports: Sequence[Report], strict: bool = False) -> str:
    """Workflow commands that annotate each backward pass: where it goes wrong, or begins."""
    lines = []
    for r in reports:
        level = "error" if r.code(strict) else "warning" if r.remarks else "notice"
        line = next((d.line for d in r.diagnosis if d.line), r.line) or 1
        place = {"file": r.file or r.target, "line": str(line)}
        about = place | {"title": f"bncheck: {r.name} is {r.headline}"}
        told = ",".join(f"{name}={_property(text)}" for name, text in about.items())
        lines.append(f"::{level} {told}::{_escaped('; '.join(_said(r)) or 'right')}")
    return "\n".join(lines) + "\n"


def as_junit(reports: Sequence[Report], strict: bool = False) -> str:
    """A test suite with a test case for each backward pass."""
    from xml.etree import ElementTree

    counts = [report.code(strict) for report in reports]
    suite = ElementTree.Element(
        "testsuite", name="bncheck", tests=str(len(reports)),
        failures=str(counts.count(1)), errors=str(counts.count(2) + counts.count(3)),
    )  # fmt: skip
    for report, code in zip(reports, counts, strict=True):
        place = report.file or report.name
        case = ElementTree.SubElement(
            suite, "testcase", classname=place, name=report.name, file=place,
            line=str(report.line or 0),
        )  # fmt: skip
        if code:
            said = _xml("; ".join(_said(report)) or report.verdict)
            kind = "failure" if code == 1 else "error"
            body = ElementTree.SubElement(case, kind, message=said, type=report.verdict)
            body.text = _xml(str(report))
        elif report.remarks:
            ElementTree.SubElement(case, "system-out").text = _xml(str(report))
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


FORMS: Mapping[str, Callable[[Sequence[Report], bool], str]] = {
    "text": as_text,
    "json": as_json,
    "markdown": as_markdown,
    "github": as_github,
    "junit": as_junit,
}
"""By name: the text of several reports; ``strict``: remarks count as failures."""


def as_html(report: Report) -> str:
    """A table for a notebook; the text is escaped."""
    from html import escape

    why = {part.label: part.text for part in report.parts if part.kind == "cause"}
    rows = "".join(
        f"<tr><td>{p.label}</td><td>{p.text}</td><td>{escape(why.get(p.label, ''))}</td></tr>"
        for p in report.parts
        if p.kind == "gradient"
    )
    head = f"<b>{escape(report.target)}: {report.verdict}</b>"
    return f"{head}<table><tr><th>gradient</th><th>verdict</th><th>why</th></tr>{rows}</table>"


def overall(reports: Sequence[Report], strict: bool = False) -> int:
    """The exit code of several: a defect of bncheck before one that is wrong, then one that could
    not be asked.
    """
    each = {report.code(strict) for report in reports}
    return next((code for code in (3, 1, 2) if code in each), 0)


def schema() -> dict[str, Any]:
    """The JSON schema of a finding in the JSON: every code with its level and its sentences."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"a finding of bncheck's JSON, version {SCHEMA}",
        "oneOf": [
            {
                "title": code.level,
                "description": "; or: ".join(code.template(form) for form in code.forms),
                "type": "object",
                "required": ["code", "form", "arguments"],
                "properties": {
                    "code": {"const": name},
                    "form": {"enum": [*code.forms]},
                    "arguments": {"type": "object"},
                    "text": {"type": "string"},
                },
            }
            for name, code in CODES.items()
        ],
    }


def _record(report: Report) -> dict[str, Any]:
    whole = asdict(replace(report, remarks=(), diagnosis=()))
    whole["remarks"] = [{**codes.record(r), "text": r.text} for r in report.remarks]
    whole["diagnosis"] = [_cause_record(cause) for cause in report.diagnosis]
    return {name: _plain(whole[name]) for name in FIELDS}


def _cause_record(cause: Cause) -> dict[str, Any]:
    return {
        "gradient": cause.gradient,
        **codes.record(cause.finding),
        "limits": [codes.record(limit) for limit in cause.limits],
        "text": cause.text,
        "terms": [{**asdict(term), "reading": term.reading.text} for term in cause.terms],
        "formula": cause.formula,
        "line": cause.line,
        "line_text": cause.line_text,
        "place": [codes.record(found) for found in cause.place],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _said(report: Report) -> list[str]:
    """What is wrong first, then why it cannot be called, then the remarks."""
    parts = [p for kind in ("cause", "refusal", "remark") for p in report.parts if p.kind == kind]
    return [part.text if part.kind == "remark" else str(part) for part in parts]


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")


def _xml(text: str) -> str:
    """Without the control characters that XML has no way to write."""
    return "".join(c for c in text if c >= " " or c in "\t\n")
