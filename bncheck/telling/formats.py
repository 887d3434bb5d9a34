"""Reports for other programs: JSON, Markdown, GitHub's annotations, JUnit's XML."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any
from xml.etree import ElementTree

from bncheck.telling import codes
from bncheck.telling.report import Cause, Report

SCHEMA = 1
"""The version of the JSON: it goes up where a field changes its meaning or disappears."""

FIELDS = (
    "target", "line", "order", "layer", "layout", "eps", "ddof", "verdict", "assumed", "running",
    "remarks", "gradients", "diagnosis", "counterexample", "trials", "notes",
)  # fmt: skip


def as_json(reports: Sequence[Report], strict: bool = False, error: str | None = None) -> str:
    """One object: ``schema``, ``exit_code``, ``error`` and ``results``, one for each pair.

    Numbers that JSON has not (infinity, NaN) are null.
    """
    codes = [report.code(strict) for report in reports]
    record = {
        "schema": SCHEMA,
        "exit_code": overall(codes) if error is None else 2,
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
        said = list(_said(r))
        if said:
            lines += ["", f"`{r.target}`", "", *(f"- {_cell(text)}" for text in said)]
    return "\n".join(lines) + "\n"


def as_github(reports: Sequence[Report], strict: bool = False) -> str:
    """Workflow commands that annotate each backward pass: where it goes wrong, or begins."""
    lines = []
    for r in reports:
        level = "error" if r.code(strict) else "warning" if r.remarks else "notice"
        text = "; ".join(_said(r)) or "right"
        line = next((d.line for d in r.diagnosis if d.line), r.line) or 1
        title = f"bncheck: {r.name} is {r.verdict}"
        lines.append(
            f"::{level} file={_property(r.file or r.target)},line={line},title={_property(title)}::"
            + _escaped(text)
        )
    return "\n".join(lines) + "\n"


def as_junit(reports: Sequence[Report], strict: bool = False) -> str:
    """A test suite with a test case for each backward pass."""
    codes = [report.code(strict) for report in reports]
    suite = ElementTree.Element(
        "testsuite", name="bncheck", tests=str(len(reports)),
        failures=str(codes.count(1)), errors=str(codes.count(2)),
    )  # fmt: skip
    for report, code in zip(reports, codes, strict=True):
        place = report.file or report.name
        case = ElementTree.SubElement(
            suite, "testcase", classname=place, name=report.name, file=place,
            line=str(report.line or 0),
        )  # fmt: skip
        if code:
            said = "; ".join(_said(report)) or report.verdict
            kind = {1: "failure", 2: "error"}[code]
            ElementTree.SubElement(case, kind, message=_xml(said), type=report.verdict).text = _xml(
                str(report)
            )
        elif report.remarks:
            ElementTree.SubElement(case, "system-out").text = _xml(str(report))
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def overall(codes: Sequence[int]) -> int:
    """The exit code of several: one wrong is wrong, else one that could not be asked."""
    return 1 if 1 in codes else max(codes, default=0)


def _record(report: Report) -> dict[str, Any]:
    whole = asdict(replace(report, remarks=(), diagnosis=()))
    whole["remarks"] = [{**codes.record(r), "text": r.text} for r in report.remarks]
    whole["diagnosis"] = [_cause_record(cause) for cause in report.diagnosis]
    return {name: _plain(whole[name]) for name in FIELDS}


def _cause_record(cause: Cause) -> dict[str, Any]:
    return {
        "gradient": cause.gradient,
        **codes.record(cause.finding),
        "limits": [codes.record(f) for f in cause.limits],
        "text": cause.text,
        "terms": [{**asdict(term), "reading": term.reading.text} for term in cause.terms],
        "formula": cause.formula,
        "line": cause.line,
        "line_text": cause.line_text,
        "place": [codes.record(f) for f in cause.place],
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
    wrong = [f"{d.gradient}: {d.text}" for d in report.diagnosis]
    if report.verdict == "cannot call":
        wrong.append(report.assumed)
    return [*wrong, *(remark.text for remark in report.remarks)]


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")


def _xml(text: str) -> str:
    """Without the control characters that XML has no way to write."""
    return "".join(c for c in text if c >= " " or c in "\t\n")
