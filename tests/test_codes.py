"""Every code that bncheck makes is a row of ``CODES``, and nothing is decided by a sentence.

Oracles: the source itself, by its syntax trees; the example that stands in each sentence; and the
same verifications with every sentence replaced by its code.
"""

import ast
import re
from contextlib import suppress
from string import Formatter

import pytest

from bncheck.subject.messages import decoded, encoded
from bncheck.telling.codes import CODES, ROOTS, Finding, found
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


TEXTS = {
    node.value
    for tree in FILES.values()
    for node in ast.walk(tree)
    if isinstance(node, ast.Constant) and isinstance(node.value, str)
}
"""Every text that stands in the package, alone or as the beginning of one that is made."""


def _example(template):
    """The arguments of the example that stands in a sentence: numbers, tuples, texts."""
    arguments, later = {}, set()
    for _, field, spec, _ in Formatter().parse(re.sub(r"\[\[|\]\]", "", template)):
        name, told, value = (field or "").partition("=")
        if not told:
            later |= {name} - {""}
        elif re.search("[efg]$", spec):
            arguments[name] = float(value)
        elif spec:  # joined
            arguments[name] = tuple(value.split("; " if ";" in spec else ", "))
        else:
            with suppress(ValueError, SyntaxError):
                value = ast.literal_eval(value)
            arguments[name] = value
    assert later <= arguments.keys(), f"no example of {later - arguments.keys()}"
    return arguments


def _needed(template):
    """What a sentence cannot do without."""
    return _example(re.sub(r"\[\[.*?\]\]", "", template)).keys()


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
        assert forms[0] in CODES[code].sentences, place
        given = {keyword.arg for keyword in call.keywords}
        missing = _needed(CODES[code].sentences[forms[0]]) - given
        assert not missing, f"{place}: {code} {forms[0]} lacks {missing}"


@pytest.mark.parametrize("code", CODES)
def test_every_row_is_made_somewhere(code):
    root, _, what = code.partition("-")  # f"{root}-{what}"
    assert code in TEXTS or (root in (*ROOTS, "root") and {what, f"-{what}"} & TEXTS)


@pytest.mark.parametrize("code", CODES)
def test_every_sentence_is_written_from_its_example(code):
    for form, template in CODES[code].sentences.items():
        example = _example(template)
        whole = found(code, form, **example).text
        assert not set("{}") & set(whole)
        assert "[[" not in whole
        for name, value in example.items():
            others = {float: 99.0, tuple: ("another",)}
            other = found(code, form, **example | {name: others.get(type(value), "another")})
            assert other.text != whole, f"{name} does not show"
        least = {name: example[name] for name in _needed(template)}
        assert len(found(code, form, **least).text) <= len(whole)


def test_an_example_that_is_missing_is_seen():
    with pytest.raises(AssertionError, match=r"no example of .'layer'"):
        _example("it is the gradient of {layer}")


def test_a_finding_survives_the_way_to_another_process():
    outer = found("two-changes", first=found("eps-missing", at="x"), second=found("exchanged"))
    assert decoded(encoded(outer)) == outer
    assert str(outer) == "eps is forgotten in x; and dgamma and dbeta are exchanged"


def test_what_is_no_row_is_refused():
    with pytest.raises(KeyError):
        found("no-such-code")
    with pytest.raises(KeyError):
        found("eps-missing", "no-such-form")


def _findings(report):
    """All that a report is made of."""
    yield from report.remarks
    for cause in report.diagnosis:
        yield from (cause.finding, *cause.limits, *cause.place)
        yield from (term.reading for term in cause.terms)


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


UNTOLD = {"column"}
"""Arguments of no sentence, for those who read the JSON."""

EXAMPLES = [*sorted((ROOT / "examples" / "wrong").glob("*.py")),
            *sorted((ROOT / "examples" / "right").glob("*.py"))]  # fmt: skip
STAGED = [(name, MISTAKES[name][len(name) % len(MISTAKES[name])]) for name in list(SOURCES)[:12]]


@pytest.fixture
def coded(monkeypatch):
    """The reports on a file as they are, and with every sentence replaced by its code.

    What is found has no argument of which its row has no example.
    """

    def both(path):
        reports = verify_all(str(path))
        for finding in (f for report in reports for f in _findings(report)):
            row = CODES[finding.code].sentences[finding.form]
            assert finding.arguments.keys() - UNTOLD <= _example(row).keys(), finding
        with monkeypatch.context() as patched:
            patched.setattr(Finding, "__str__", lambda finding: finding.code)
            return _core(reports), _core(verify_all(str(path)))

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
