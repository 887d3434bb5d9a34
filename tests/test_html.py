"""Oracles: the LaTeX document, read by other means, and differences of a forward pass in NumPy."""

import re
from collections import Counter
from unicodedata import lookup
from xml.etree import ElementTree

import numpy as np
import pytest

from bncheck.algebra.layers import LAYERS, layer, variants
from bncheck.algebra.notation import name_of
from bncheck.cli.files import program
from bncheck.theory.checked import evidence
from bncheck.writers.documents import contents, fragment, html, words_html
from bncheck.writers.formulas.mathml import mathml_of
from bncheck.writers.graph import edges, nodes
from bncheck.writers.jacobian_matrix import sampled
from tests.derivations import derived

EVERY = [(name, options) for name in LAYERS for options, _ in variants(name)]
CENTRED = [case for case in EVERY if case[1].get("variance") != "raw"]
WAYS = {"second": {"order": 2}, "forward": {"mode": "forward"}}

GREEK = ("gamma", "beta", "varepsilon", "mu", "sigma", "delta")
GLYPHS = {
    **{n: lookup(f"GREEK SMALL LETTER {n.removeprefix('var').upper()}") for n in GREEK},
    "ell": "ℓ", "partial": "∂", "nabla": "∇", "sum": "∑", "times": "×", "sqrt": "", "frac": "",
    "left": "", "right": "", "Bigl": "", "Bigr": "", "bigl": "", "bigr": "", "textstyle": "",
    "mathrm": "", "quad": "", "tanh": "tanh",
}  # fmt: skip


def letters(latex):
    """What one sees of a formula, in order: found by replacing, not by parsing."""
    text = latex.replace(r"\begin{pmatrix}", "(").replace(r"\end{pmatrix}", ")")
    accent = r"\\(hat|dot)\{([^{}]*)\}"
    while (short := re.sub(accent, _accented, text)) != text:
        text = short
    text = re.sub(r"\\\\|\\[,; ]", "", text)
    text = re.sub(r"\\([A-Za-z]+)", lambda word: GLYPHS[word[1]], text)
    return re.sub(r"[{}&\s_^]", "", text).replace("-", "−").replace("'", "′")


def _accented(found):
    return found[2] + {"hat": "ˆ", "dot": "˙"}[found[1]]


def shape(latex):
    """How many fractions, sums with bounds, roots, accents, scripts and matrix rows it has."""
    bounds = latex.count(r"\sum_")
    rows = sum(m.count(r"\\") + 1 for m in re.findall(r"\\begin\{pmatrix\}(.*?)\\end", latex))
    return Counter({
        "mfrac": latex.count(r"\frac"), "munderover": bounds, "msqrt": latex.count(r"\sqrt"),
        "mover": len(re.findall(r"\\(?:hat|dot)", latex)), "mtr": rows,
        "below": latex.count("_") - bounds, "above": latex.count("^") - bounds,
    })  # fmt: skip


def seen(element):
    """The letters of MathML."""
    return "".join("".join(m.itertext()) for m in element.iter(MATHML))


MATHML = "{http://www.w3.org/1999/xhtml}math"


def built(element):
    """The same counts as ``shape``, of MathML."""
    tags = Counter(e.tag.split("}")[-1] for e in element.iter())
    found = {t: tags[t] for t in ("mfrac", "munderover", "msqrt", "mover", "mtr")}
    below, above = tags["msub"] + tags["msubsup"], tags["msup"] + tags["msubsup"]
    return Counter({**found, "below": below, "above": above})


def complaints(page, found):
    """What a page lacks of the LaTeX document of the same derivation."""
    try:
        root = ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>"))
    except ElementTree.ParseError as error:
        return [f"no XML: {error}"]
    wrong = [f"fetches {a}" for e in root.iter() for a in fetched(e)]
    rows = [e for e in root.iter() if e.tag.endswith("}tr")]
    made = contents(found)
    lines = [r for b in made if b.kind in ("equation", "result") for r in b.lines]
    lines = [line.partition(" && ")[0] for line in lines]
    if len(rows) != len(lines):
        wrong.append(f"{len(rows)} equations for {len(lines)}")
    for row, line in zip(rows, lines, strict=False):
        formulas = ElementTree.Element("all")
        formulas.extend([c for c in row if c.get("class") in ("left", "right")])
        if seen(formulas) != letters(line):
            wrong.append(f"{seen(formulas)} for {letters(line)}")
        if built(formulas) != shape(line):
            wrong.append(f"{built(formulas)} for {shape(line)}")
    numbers = [e.text for e in root.iter() if e.get("class") == "number"]
    if numbers != [f"({k + 1})" for k in range(counted(fragment(found)))]:
        wrong.append(f"numbers {numbers}")
    words = [read(b.lines[0]) for b in made if b.kind == "text"]
    paragraphs = ["".join(e.itertext()) for e in root.iter() if e.tag.endswith("}p")]
    if paragraphs != words:
        wrong.append(f"{paragraphs} for {words}")
    return wrong


def read(text):
    """What one sees of a paragraph of the LaTeX document."""
    parts = text.split("$")
    return "".join(letters(p) if k % 2 else re.sub(r"\\(.)", r"\1", p) for k, p in enumerate(parts))


def fetched(element):
    """What an element would fetch: any address that is no place of the page."""
    asked = [v for k, v in element.attrib.items() if k.split("}")[-1] in ("src", "href", "data")]
    named = re.findall(
        r"url\((?!#)[^)]*\)|@import[^;]*", (element.text or "") + str(element.attrib)
    )
    return [a for a in asked if not a.startswith("#")] + named


def counted(latex):
    """The numbers that LaTeX gives."""
    aligned = re.findall(r"\\begin\{align\}\n(.*?)\n\\end\{align\}", latex, re.DOTALL)
    return latex.count(r"\begin{equation}") + sum(a.count(" \\\\\n") + 1 for a in aligned)


def _id(case):
    return "-".join(map(str, (case[0], *case[1].values())))


@pytest.mark.sampled(5)
@pytest.mark.parametrize("case", EVERY, ids=_id)
def test_the_page_holds_the_latex_document(case):
    found = derived(layer(case[0], **case[1]))
    assert complaints(html(found), found) == []


@pytest.mark.parametrize(
    ("way", "wanted"), [("second", "Put ∂S/∂xˆ back:"), ("forward", "Put xˆ˙ back:")]
)
def test_derivatives_in_prose_are_spelled_as_in_formulas(way, wanted):
    found = derived(layer("batch-norm", mode="evaluation"), **WAYS[way])
    assert wanted in re.sub(r"<[^>]*>", "", html(found))


@pytest.mark.sampled(5, 1)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CENTRED[::2], ids=_id)
def test_in_second_order_and_in_forward_mode_too(case, way):
    found = derived(layer(case[0], **case[1]), **WAYS[way])
    assert complaints(html(found), found) == []


@pytest.mark.parametrize("name", LAYERS)
def test_with_a_batch_size_too(name):
    found = derived(LAYERS[name], (), 2)
    assert complaints(html(found), found) == []


def test_somebody_s_own_layer():
    found = derived(program("examples/power_norm.py:POWER_NORM", {}))
    assert "power" in html(found)
    assert complaints(html(found), found) == []


@pytest.mark.parametrize(
    ("what", "by"),
    [
        (r'<tr id="equation-7">.*?</tr>\n?', ""),  # an equation is dropped
        (r"\(7\)", "(6)"),
        (r"<mi>γ</mi>", "<mi>β</mi>"),
        (r'<mo form="prefix">−</mo>', ""),
        (r"<msub>(<mi>s</mi><mrow><mi>j</mi></mrow>)</msub>", r"<mrow>\1</mrow>"),
        (r"<mfrac>", "<mrow>"),  # no XML any more
        (r"<mfrac>(<mn>1</mn><mi>m</mi>)</mfrac>", r"<mrow>\1</mrow>"),
        (r"<p>The normalised values sum to zero:</p>", ""),
        (r"<h1>", '<img src="https://example.org/x.png"/><h1>'),
        (r"<h1>", '<a href="http://example.org"/><h1>'),
        (r"body \{", "body { background: url(x.png);"),
    ],
)
def test_what_is_wrong_with_a_page_is_noticed(what, by):
    found = derived(LAYERS["batch-norm"])
    page = html(found)
    page = page.replace(r"<mrow><mn>1</mn></mrow>", "<mn>1</mn>")
    page = page.replace(r"<mrow><mi>m</mi></mrow>", "<mi>m</mi>")
    changed = re.sub(what, by, page, count=1, flags=re.DOTALL)
    assert complaints(page, found) == []
    assert changed != page
    assert complaints(changed, found)


@pytest.mark.parametrize("name", LAYERS)
def test_every_step_is_named_and_drawn(name):
    found = derived(LAYERS[name])
    page = html(found)
    picture = page[page.index("<svg") : page.index("</svg>")]
    assert picture.count("<rect") == len(nodes(found.forward))
    assert picture.count("marker-end") == len(edges(found.forward))
    for step in found.forward.steps:
        assert words_html(step.note.partition(" ")[0]) in page


def test_letters_and_signs_by_hand():
    def inside(latex):
        return mathml_of(latex).removeprefix("<math>").removesuffix("</math>")

    assert inside(r"-x") == '<mo form="prefix">−</mo><mi>x</mi>'
    assert inside(r"x - 1") == '<mi>x</mi><mo form="infix">−</mo><mn>1</mn>'
    assert inside(r"\sigma_{j}^2") == (
        "<msubsup><mi>σ</mi><mrow><mi>j</mi></mrow><mn>2</mn></msubsup>"
    )
    assert inside(r"\sum_{i=1}^{m} x").startswith("<munderover><mo>∑</mo>")
    assert inside(r"\sqrt[3]{x}") == "<mroot><mrow><mi>x</mi></mrow><mrow><mn>3</mn></mrow></mroot>"
    assert inside(r"\tanh{\left(x \right)}").startswith('<mi mathvariant="normal">tanh</mi>')
    assert inside(r"\mathrm{a\_b}") == '<mi mathvariant="normal">a_b</mi>'
    assert inside("a < b") == "<mi>a</mi><mo>&lt;</mo><mi>b</mi>"


@pytest.mark.parametrize("latex", ["x}", "{x", r"\left(x", r"x \right)", r"\begin{pmatrix} x"])
def test_brackets_that_do_not_match_are_refused(latex):
    with pytest.raises(ValueError, match=r"expected|closes|no end"):
        mathml_of(latex)


def _normed(x, gamma, beta, eps):
    """Layer norm or batch norm of one group, in NumPy; ``gamma`` of any size."""
    return gamma * (x - x.mean()) / np.sqrt(x.var() + eps) + beta


@pytest.mark.parametrize("name", ["batch-norm", "layer-norm"])
def test_the_heat_map_is_the_jacobian(name):
    """By differences; layer norm's is not symmetric, so rows are not columns."""
    at = sampled(derived(LAYERS[name], (), 4))
    given = {name_of(a): np.array([float(n) for n in numbers]) for a, numbers in at.given}
    x, step = given.pop("x"), 1e-6
    apart = [
        (_normed(x + step * e, **given) - _normed(x - step * e, **given)) / (2 * step)
        for e in np.eye(4)
    ]
    np.testing.assert_allclose(at.rows, np.transpose(apart), atol=1e-8)
    assert np.allclose(at.rows, np.transpose(at.rows)) == (name == "batch-norm")


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_has_a_heat_map(name):
    page = html(derived(LAYERS[name], (), 2))
    picture = page[page.rindex("<svg") :]
    rows = len(sampled(derived(LAYERS[name], (), 2)).rows)
    assert picture.count("<rect") == rows**2
    assert page.count("<svg") == 2


def test_the_heat_map_belongs_to_the_jacobian():
    page = html(derived(LAYERS["batch-norm"], (), 3, 2))
    assert page.count("<svg") == 2
    assert page.index("<h2>Jacobian") < page.rindex("<svg") < page.index("<h2>The loss along")


def test_without_a_batch_size_there_is_none():
    assert html(derived(LAYERS["batch-norm"])).count("<svg") == 1
    assert sampled(derived(LAYERS["batch-norm"], (), 17)) is None
    assert sampled(derived(LAYERS["batch-norm"], (), 3, 2)) is None


def whole(name):
    found = derived(LAYERS[name])
    return html(found, evidence(found))


def test_the_command_line_writes_it(bncheck, tmp_path):
    done = bncheck("derive", "rms-norm", "--format", "html", "-o", tmp_path / "page.html")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == whole("rms-norm")
