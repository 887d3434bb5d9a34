"""Oracles: pdflatex, which has to find no error and no overfull box; and formulas by hand."""

import re
import shutil
import subprocess

import pytest
from sympy import sqrt

from bncheck.algebra.layers import LAYERS, layer, variants
from bncheck.algebra.notation import indices_of
from bncheck.writers.blocks import Block
from bncheck.writers.documents import PREAMBLE, document, fragment, markdown, written
from bncheck.writers.formulas.latex import latex_of
from bncheck.writers.graph import dot, edges, mermaid, nodes, tikz
from tests.derivations import derived

EVERY = [(name, options, None) for name in LAYERS for options, _ in variants(name)]
SIZED = [("batch-norm", {}, 3), ("layer-norm", {}, 4), ("group-norm", {}, 2), ("rms-norm", {}, 9)]


def complaints(folder, text):
    """What pdflatex has against a document: errors, undefined references, overfull boxes."""
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")
    (folder / "page.tex").write_text(text, encoding="utf-8")
    for _ in range(2):
        subprocess.run(
            ["pdflatex", "-draftmode", "-interaction=nonstopmode", "page.tex"],
            cwd=folder,
            capture_output=True,
            timeout=300,
            check=False,
        )
        log = (folder / "page.log").read_text(errors="replace")
        if "undefined" not in log and "Rerun" not in log:  # no reference waits for the next run
            break
    return [r for r in log.splitlines() if re.search(r"^!|Overfull|undefined", r)]


def test_a_planted_error_and_a_planted_overfull_box_are_found(tmp_path):
    text = PREAMBLE + r"\begin{document}%s\end{document}"
    assert complaints(tmp_path, text % "fine") == []
    assert complaints(tmp_path, text % r"$\frac{1$")
    assert complaints(tmp_path, text % r"\noindent\rule{40cm}{1pt}")
    assert complaints(tmp_path, text % r"see \ref{nothing}")


@pytest.mark.sampled(4)
@pytest.mark.parametrize("part", range(4))
def test_every_layer_and_variant_compiles(tmp_path, part):
    """Each on its own page; the graph and the equations of each are in it."""
    some = (EVERY + SIZED)[part::4]
    pages = [fragment(derived(layer(n, **o), batch_size=m)) for n, o, m in some]
    text = PREAMBLE + "\\begin{document}\n" + "\n\\newpage\n".join(pages) + "\\end{document}\n"
    assert complaints(tmp_path, text) == []


def test_a_whole_document_compiles(tmp_path):
    assert complaints(tmp_path, document(derived(LAYERS["batch-norm"]))) == []


def test_a_user_s_own_names_compile(tmp_path):
    from bncheck.cli.files import program

    found = derived(program("examples/power_norm.py:POWER_NORM", {}))
    assert r"\mathrm{power}_{j}" in fragment(found)
    assert complaints(tmp_path, document(found)) == []


def test_the_golden_document(golden):
    golden("batch_norm.tex", document(derived(LAYERS["batch-norm"])))
    golden("layer_norm.md", markdown(derived(LAYERS["layer-norm"])))


def _lines(name):
    found = derived(LAYERS[name])
    return {
        str(s.target): latex_of(s.expr, indices_of(s.target), found.forward.tensors)
        for program in (found.forward, found.chain, found.closed)
        for s in program.steps
    }


def test_formulas_read_as_in_a_textbook():
    lines = _lines("batch-norm")
    assert lines["mu[j]"] == r"\frac{1}{m} \sum_{i=1}^{m} x_{ij}"
    assert lines["xhat[i, j]"] == r"\frac{x_{ij} - \mu_{j}}{s_{j}}"
    assert lines["dx[i, j]"] == (
        r"\frac{\gamma_{j}}{s_{j}} \left(\frac{\partial \ell}{\partial y_{ij}}"
        r" - \frac{1}{m} \frac{\partial \ell}{\partial \beta_{j}}"
        r" - \frac{\hat{x}_{ij}}{m} \frac{\partial \ell}{\partial \gamma_{j}}\right)"
    )


def test_one_over_something_stands_in_a_fraction():
    s, r = LAYERS["batch-norm"].tensors["sd"], LAYERS["rms-norm"].tensors["rms"]
    assert latex_of(1 / s - 1 / r) == r"\frac{1}{s_{j}} - \frac{1}{r_{i}}"
    assert latex_of(s**-2 + 1) == r"\frac{1}{s_{j}^{2}} + 1"
    assert latex_of(1 / sqrt(s)) == r"\frac{1}{\sqrt{s_{j}}}"


@pytest.mark.sampled(5)
@pytest.mark.parametrize("case", EVERY, ids=lambda c: "-".join(map(str, (c[0], *c[1].values()))))
def test_no_formula_starts_with_the_wrong_sign_or_a_bar(case):
    text = fragment(derived(layer(case[0], **case[1])))
    assert not re.search(r"-\s*\\mu[^&]*\+\s*x", text)
    assert "\\bar" not in text
    assert not re.search(r"\\frac\{\\frac", text)
    assert "sum_" not in re.sub(r"\\sum_", "", text)


def test_a_mean_over_two_axes_divides_by_the_product_of_their_sizes():
    text = fragment(derived(LAYERS["group-norm"], batch_size=2))
    assert r"\mu_{nh} &= \frac{1}{4} \sum_{k=1}^{2} \sum_{l=1}^{2} x_{nhkl}" in text
    assert r"\frac{1}{K \, L} \sum_{k=1}^{K}" in fragment(derived(LAYERS["group-norm"]))


def test_no_equation_is_lost_beside_one_of_several_lines():
    block = Block("equation", (r"a &= b \\ &\quad + c", "d &= e", "f &= g"))
    text = written([block], LAYERS["batch-norm"])
    assert all(line in text for line in block.lines)
    assert text.count("equation") == 6


def test_a_sum_inside_a_gradient_runs_over_another_letter():
    text = fragment(derived(LAYERS["layer-norm"]))
    closed = text[text.index("In closed form") :]
    assert r"\sum_{j'=1}^{D} \frac{\partial \ell}{\partial \hat{x}_{ij'}}" in closed


def test_markdown_has_balanced_mathematics_and_a_graph():
    text = markdown(derived(LAYERS["batch-norm"]))
    assert text.count("$$") % 2 == 0
    assert text.count("```mermaid") == 1
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == [
        "Forward pass", "Computation graph", "Backward pass by the chain rule", "Closed form",
        "Jacobian",
    ]  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_graphs_hold_every_value_and_every_use(name):
    forward = LAYERS[name]
    values = len(forward.inputs) + len(forward.steps)
    assert mermaid(forward).count("-->") == dot(forward).count("->") == len(edges(forward))
    assert tikz(forward).count(r"\draw[->]") == len(edges(forward))
    assert tikz(forward).count(r"\node[") == len(nodes(forward)) == values
    places = {(n.layer, n.row) for n in nodes(forward)}
    assert len(places) == values, "two nodes in one place"


def test_dot_is_accepted_by_graphviz_grammar():
    text = dot(LAYERS["batch-norm"])
    assert re.fullmatch(r'digraph "batch-norm" \{\n(    .*;\n)+\}\n', text)
    assert text.count('"') % 2 == 0
