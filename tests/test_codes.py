"""Every code that bncheck makes is a row of ``CODES``, and nothing is decided by a sentence.

Oracles: the source itself, by its syntax trees; and the same verifications with every sentence
replaced by its code.
"""

import ast
import json
import re
from functools import cache
from string import Formatter

import pytest

from bncheck.telling import codes
from bncheck.telling.codes import finding_of, found, record, written
from bncheck.telling.sentences import CODES, ROOTS
from bncheck.verification import verify_all
from tests.conftest import ROOT
from tests.staged import MISTAKES, SOURCES, wrong

FILES = {
    path: ast.parse(path.read_text("utf-8"))
    for path in sorted((ROOT / "bncheck").rglob("*.py"))
    if path.parent.name != "telling"
}


def _calls():
    """Every ``found(...)`` of the package: where, and the call."""
    for path, tree in FILES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "found":
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node


@cache
def _constants():
    """Every text that stands in the package, alone or as the beginning of one that is made."""
    nodes = (node for tree in FILES.values() for node in ast.walk(tree))
    return {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}


def _fields(template):
    """What a template cannot do without."""
    there, rest = set(), template
    while "[[" in rest:
        before, _, after = rest.partition("[[")
        there |= {name for _, name, _, _ in Formatter().parse(before) if name}
        rest = after.partition("]]")[2]
    return there | {name for _, name, _, _ in Formatter().parse(rest) if name}


def _literal(node):
    return node.value if isinstance(node, ast.Constant) else None


def test_every_code_that_is_made_is_a_row_and_gets_what_its_sentence_needs():
    made = list(_calls())
    assert len(made) > 60
    for place, call in made:
        code = _literal(call.args[0])
        forms = [_literal(arg) for arg in call.args[1:2]] or [""]
        if code is None:
            continue  # out of a table: the test below finds it there
        assert code in CODES, place
        if forms[0] is None or any(keyword.arg is None for keyword in call.keywords):
            continue  # made at run time, where ``found`` itself refuses
        assert forms[0] in CODES[code].forms, place
        given = {keyword.arg for keyword in call.keywords}
        missing = _fields(CODES[code].template(forms[0])) - given
        assert not missing, f"{place}: {code} {forms[0]} lacks {missing}"


@pytest.mark.parametrize("code", CODES)
def test_every_row_is_made_somewhere(code):
    texts = _constants()
    root, _, what = code.partition("-")  # f"{root}-{what}"
    assert code in texts or (root in (*ROOTS, "root") and {what, f"-{what}"} & texts)


@pytest.mark.parametrize("code", CODES)
def test_every_sentence_is_a_template(code):
    assert CODES[code].level in ("remark", "cause", "refusal", "note")
    for form in CODES[code].forms:
        template = CODES[code].template(form)
        assert template.count("[[") == template.count("]]")
        whole = template.replace("[[", "").replace("]]", "")
        values = {
            name: 1.5 if re.fullmatch(r"\.?\d*[efg]?", spec) else ("one", "two")
            for _, name, spec, _ in Formatter().parse(whole)
            if name
        }
        assert written(found(code, form, **values))


def test_a_finding_survives_the_way_to_another_process():
    inner = found("eps-missing", at="x")
    outer = found("two-changes", first=inner, second=found("exchanged"))
    assert finding_of(json.loads(json.dumps(record(outer)))) == outer
    assert str(outer) == "eps is forgotten in x; and dgamma and dbeta are exchanged"


def test_what_is_no_row_is_refused():
    with pytest.raises(KeyError):
        found("no-such-code")
    with pytest.raises(KeyError):
        found("eps-missing", "no-such-form")


def _core(reports):
    """What must not depend on how it is said."""
    return [
        (
            r.verdict, r.layer, r.layout, r.eps, r.ddof,
            [(g.name, g.verdict) for g in r.gradients],
            sorted(remark.code for remark in r.remarks),
            [(c.gradient, c.code, c.line, [t.reading.form for t in c.terms]) for c in r.diagnosis],
        )
        for r in reports
    ]  # fmt: skip


EXAMPLES = [*sorted((ROOT / "examples" / "wrong").glob("*.py")),
            *sorted((ROOT / "examples" / "right").glob("*.py"))]  # fmt: skip
STAGED = [(name, MISTAKES[name][len(name) % len(MISTAKES[name])]) for name in list(SOURCES)[:12]]


@pytest.fixture
def coded(monkeypatch):
    """The reports on a file as they are, and with every sentence replaced by its code."""

    def both(path):
        told = _core(verify_all(str(path)))
        with monkeypatch.context() as patched:
            patched.setattr(codes, "written", lambda finding: finding.code)
            return told, _core(verify_all(str(path)))

    return both


@pytest.mark.sampled(4)
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_no_example_is_decided_by_a_sentence(coded, path):
    told, in_codes = coded(path)
    assert in_codes == told


@pytest.mark.sampled(4, 1)
@pytest.mark.parametrize(("name", "mistake"), STAGED, ids=lambda part: str(part)[:20])
def test_no_staged_mistake_is_decided_by_a_sentence(coded, tmp_path, name, mistake):
    path = tmp_path / "staged.py"
    path.write_text(wrong(name, *mistake)[0])
    told, in_codes = coded(path)
    assert in_codes == told
