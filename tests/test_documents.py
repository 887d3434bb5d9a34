"""Oracles: pdflatex, XML, and derivations that were broken on purpose, whose lines get a mark."""

import json
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from bncheck.algebra.layers import LAYERS, layer
from bncheck.algebra.program import Step
from bncheck.calculus.passes import derived
from bncheck.theory.checked import evidence, put, verdicts
from bncheck.theory.family.laws import identities
from bncheck.theory.parts import words
from bncheck.theory.statements import Evidence, Instance, Judgement
from bncheck.writers.blocks import writer
from bncheck.writers.documents import (
    PREAMBLE,
    contents,
    document,
    fragment,
    html,
    markdown,
    written,
)
from bncheck.writers.identities import identity_blocks
from bncheck.writers.jacobian_matrix import shades
from bncheck.writers.prose import title
from bncheck.writers.records import record
from tests import test_html
from tests.test_latex import complaints

SHAPES = [(name, {}) for name in LAYERS] + [
    ("batch-norm", {"mode": "evaluation"}), ("batch-norm", {"affine": False}),
    ("layer-norm", {"ddof": 1}), ("group-norm", {"ddof": 1, "variance": "raw"}),
    ("group-norm", {"affine": False, "variance": "raw"}),
]  # fmt: skip
"""The widest formulas of all; every one of the 43 variants compiles, but takes half a minute."""


@pytest.fixture(scope="module")
def second():
    """Batch norm of second order, with all that is known of it."""
    found = derived(LAYERS["batch-norm"], order=2)
    return found, evidence(found)


def unproved(forward):
    """The identities of a layer without the time that it takes to prove them."""
    parts = words(derived(forward, most=0))
    stated, nothing = identities(parts), Instance(0, 0, 0, {})
    judged = [Judgement(said, "proved" if said.holds else "refuted", nothing) for said in stated]
    return Evidence({}, {}, put(parts), tuple(judged))


def test_the_identities_of_every_layer_compile(tmp_path):
    made = []
    for name, options in SHAPES:
        forward = layer(name, **options)
        made.append(written(identity_blocks(unproved(forward), writer(forward)), forward))
    text = PREAMBLE + "\\begin{document}\n" + "\\newpage\n".join(made) + "\\end{document}\n"
    assert text.isascii()
    assert complaints(tmp_path, text) == []


def test_a_whole_document_of_second_order_compiles(tmp_path, second):
    found, known = second
    assert known.all_proved
    text = document(found, known)
    assert complaints(tmp_path, text) == []
    assert [h for h in re.findall(r"section\*\{(.*?)\}", text) if h != "Closed form"] == [
        "Forward pass", "Computation graph", "Backward pass by the chain rule", "Jacobian",
        "The loss along a direction", "Double backward pass by the chain rule",
        "Double backward pass in closed form", "Hessian of the loss", "Identities",
    ]  # fmt: skip
    log = (tmp_path / "page.aux").read_text()
    assert r"\gdef \@abspage@last" in log


def test_the_html_of_second_order_is_whole(second):
    found, known = second
    page = html(found, known)
    root = ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>"))
    assert [a for e in root.iter() for a in test_html.fetched(e)] == []
    assert "http" not in page.replace("http://www.w3.org/", "")
    numbers = [e.text for e in root.iter() if e.get("class") == "number"]
    assert numbers == [f"({k + 1})" for k in range(test_html.counted(fragment(found, known)))]
    unread = re.findall(r"\\[a-zA-Z|]+", re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL))
    assert unread == []


def test_markdown_of_second_order_has_balanced_mathematics(second):
    text = markdown(*second)
    assert text.count("$$") % 2 == 0
    assert "## Identities" in text
    inline = re.sub(r"\$\$.*?\$\$", "", text, flags=re.DOTALL)
    assert inline.count("$") % 2 == 0


def test_each_identity_has_its_equation_and_its_proof(second):
    _, known = second
    made = identity_blocks(known, writer(LAYERS["batch-norm"]))
    lines = [row for b in made if b.kind == "equation" for row in b.rows]
    assert len(lines) == len(known.identities)
    assert not any(mark for _, mark in lines)  # nothing is left without a proof
    names = [one.statement.name for one in known.identities]
    along = lines[names.index("dx along x̂")][0].split(r"\\ &")
    assert along[0].count(r"\sum") == 3  # the normal form has both parts of eps
    assert along[1] == r"= \frac{\varepsilon \, \gamma_{j}}{s_{j}^{3}} " + (
        r"\frac{\partial \ell}{\partial \gamma_{j}}"
    )


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("dx along x̂", r"$\partial \ell / \partial x$ along $\hat{x}$"),
        ("shift: dγ", r"shift: $\partial \ell / \partial \gamma$"),
        ("spectrum of sJ/γ", r"spectrum of $sJ$/$\gamma$"),
        ("rank of J, ε > 0", r"rank of $J$, $\varepsilon$ $>$ 0"),
        ("loss ½‖y‖²", r"loss $\frac{1}{2} \| y \| ^2$"),
        ("∂F/∂dy", r"$\partial F$/$\partial$($\partial \ell / \partial y$)"),
        ("σ² a function of x", r"$\sigma^2$ a function of $x$"),
        ("double backward: ∂F/∂x", r"double backward: $\partial F$/$\partial x$"),
    ],
)
def test_names_of_statements_are_set_as_mathematics(name, wanted):
    assert title(name) == wanted


def broken(name):
    """A derivation one of whose rewritings, and one of whose results, has another factor."""
    found = derived(LAYERS[name])
    lines, steps = list(found.rewritings), list(found.closed.steps)
    lines[2] = replace(lines[2], expr=2 * lines[2].expr)
    steps[-1] = Step(steps[-1].target, -steps[-1].expr, steps[-1].note)
    program = replace(found.closed, steps=tuple(steps))
    return found, replace(found, closed=program, rewritings=tuple(lines))


def test_a_broken_derivation_is_marked_in_every_format():
    good, bad = broken("weight-norm")
    writers = {"latex": fragment, "markdown": markdown, "html": html}
    right, known = (Evidence(verdicts(found), {}) for found in (good, bad))
    for form, write in writers.items():
        assert "refuted" not in write(good, right), form
        text = re.sub(r"\(refuted\)\.", "", write(bad, known))
        assert text.count("(refuted)") == 3, form  # the Jacobian is read off the closed form
    assert [b.marks for b in contents(bad, known) if b.kind == "result"] == [("", "refuted")]
    data = json.loads(json.dumps(record(bad, known)))
    assert [r["check"] for r in data["rewritings"]].count("refuted") == 1
    assert data["closed"][-1]["check"] == data["jacobians"][0]["check"] == "refuted"


def test_the_marks_compile(tmp_path):
    _, bad = broken("weight-norm")
    assert complaints(tmp_path, document(bad, Evidence(verdicts(bad), {}))) == []


def test_json_has_the_identities():
    found = derived(LAYERS["weight-norm"])
    data = record(found, evidence(found))
    assert {s["check"] for s in data["chain"]} == {"proved"}
    assert "sum of squares" not in {one["name"] for one in data["identities"]}
    assert {one["verdict"] for one in data["identities"]} == {"proved", "deduced"}
    assert "identities" not in record(found)


def test_shades_are_the_entries():
    at = replace(
        test_html.sampled(derived(LAYERS["batch-norm"], (), 2)), rows=((0.4, -0.1), (0.0, 0.2))
    )
    *rows, told = shades(at)
    assert rows == ["+█ −▒", " · +▓"]
    assert "░ to 0.1, ▒ to 0.2, ▓ to 0.3, █ to 0.4" in told


def test_a_large_jacobian_is_shown_in_shades(bncheck):
    shown = bncheck("derive", "batch-norm", "-m", "7").stdout.splitlines()
    at = next(k for k, line in enumerate(shown) if "7 × 7" in line)
    rows = [line.split() for line in shown[at + 1 : at + 8]]
    assert [len(row) for row in rows] == [7] * 7
    assert all(rows[p][q][0] == rows[q][p][0] for p in range(7) for q in range(7))
