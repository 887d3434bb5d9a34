"""Oracle: lines of Unicode, JSON and public functions as somebody would write them down."""

import json

import pytest
from sympy import ImmutableDenseMatrix, sympify

import bncheck
from bncheck.algebra.layers import LAYERS, layer, variants
from bncheck.algebra.notation import indices_of
from bncheck.algebra.program import Step
from bncheck.algebra.spelling import plain
from bncheck.telling import terminal as drawing
from bncheck.telling.errors import CannotAsk
from bncheck.telling.report import Report
from bncheck.writers.formulas.unicode import equation, line
from bncheck.writers.reading import written
from bncheck.writers.records import record
from bncheck.writers.text import page
from tests.derivations import derived

LINES = {
    ("batch-norm", "xhat"): "x̂ᵢⱼ = (xᵢⱼ − μⱼ)/sⱼ",
    ("batch-norm", "dsd"): "dsⱼ = −1/sⱼ²·Σᵢ dx̂ᵢⱼ·(xᵢⱼ − μⱼ)",
    ("batch-norm", "dvar"): "dσ²ⱼ = dsⱼ/(2·sⱼ)",
    ("batch-norm", "dx"): "dxᵢⱼ = γⱼ/sⱼ·(dyᵢⱼ − dβⱼ/m − dγⱼ·x̂ᵢⱼ/m)",
    ("layer-norm", "dx"): "dxᵢⱼ = (dx̂ᵢⱼ − 1/D·Σⱼ′ dx̂ᵢⱼ′ − x̂ᵢⱼ/D·Σⱼ′ dx̂ᵢⱼ′·x̂ᵢⱼ′)/sᵢ",
    ("rms-norm", "rms"): "rᵢ = √(qᵢ + ε)",
    ("group-norm", "mu"): "μₙₕ = meanₖₗ(xₙₕₖₗ)",
    ("weight-norm", "dv"): "dvₒₚ = γₒ/rₒ·(dwₒₚ − dγₒ·v̂ₒₚ)",
}


@pytest.mark.parametrize("case", LINES)
def test_lines(case):
    name, value = case
    found = derived(LAYERS[name])
    steps = [*found.forward.steps, *found.chain.steps, *written(found, found.closed.steps)]
    made = [equation(s) for s in steps if str(s.target).startswith(f"{value}[")]
    assert LINES[case] in made


@pytest.mark.parametrize("name", LAYERS)
def test_no_line_starts_with_the_wrong_term_and_none_leaks_code(name):
    for options, program in variants(name):
        text = "\n".join(r[0] for part in page(derived(program)).parts for r in part.rows)
        assert "sum_" not in text, options
        assert "[" not in text.replace("[]", "")
        assert "−μ" not in text.replace(" − μ", "").replace("(−μ", "")


def test_reading_order_is_the_same_in_plain_text():
    t = LAYERS["batch-norm"].tensors
    assert plain(t["x"] - t["mu"]) == "x[i, j] - mu[j]"
    assert line(2 * t["mu"] - 2 * t["x"]) == "−2·(xᵢⱼ − μⱼ)"


def test_json_can_be_read_back():
    found = derived(layer("batch-norm", ddof=1), batch_size=3)
    data = json.loads(json.dumps(record(found)))
    assert data["schema"] == 1
    assert data["cache"] == ["gamma", "sd", "xhat"]
    assert [j["wrt"] for j in data["jacobians"]] == ["x", "gamma", "beta"]
    assert len(data["jacobians"][0]["matrix"]) == 3
    closed = {s["name"]: s["expr"] for s in data["closed"]}
    (step,) = (s for s in found.closed.steps if str(s.target).startswith("dx"))
    names = {n: t.base for n, t in (found.forward.tensors | found.closed.tensors).items()
             if indices_of(t)}  # fmt: skip
    spaces = {**names, **{str(i): i for i in found.forward.axes}}
    assert sympify(closed["dx"], spaces).expand() == step.expr.expand()


def test_the_surface():
    assert sorted(bncheck.__all__) == sorted(set(dir(bncheck)) - {"__version__"})
    assert all(getattr(bncheck, name) is not None for name in bncheck.__all__)
    with pytest.raises(AttributeError, match="no attribute 'derivative'"):
        bncheck.derivative  # noqa: B018


def test_the_public_functions():
    found = bncheck.derive("layer-norm", batch_size=2, wrt="x", ddof=1)
    assert found.forward.name == "layer-norm"
    assert [str(a) for a in found.chain.outputs] == ["dx[i, j]"]
    assert isinstance(bncheck.jacobian("batch-norm", batch_size=3), ImmutableDenseMatrix)
    assert "δ" in line(bncheck.jacobian("batch-norm", "gamma").entry)
    assert bncheck.to_latex(found, "fragment").startswith("\nInputs are")
    assert bncheck.to_latex("rms-norm").startswith(r"\documentclass")
    assert bncheck.to_graph("rms-norm", "dot").startswith("digraph")
    assert bncheck.to_graph(found).startswith("graph LR")
    assert bncheck.to_numpy(found).source.startswith('"""Layer norm')
    assert bncheck.derive(LAYERS["rms-norm"]).forward is LAYERS["rms-norm"]
    for call in (lambda: bncheck.to_latex("rms-norm", "pdf"), lambda: bncheck.derive("x"),
                 lambda: bncheck.derive(LAYERS["rms-norm"], ddof=1)):  # fmt: skip
        with pytest.raises(CannotAsk):
            call()


def test_a_notebook_shows_mathematics():
    found = bncheck.derive("batch-norm")
    for shown_ in (found, found.forward, bncheck.jacobian("batch-norm")):
        text = shown_._repr_latex_()
        assert text.startswith("$$")
        assert text.endswith("$$")
        assert "dx" not in text
    html = Report("<f>", "wrong")._repr_html_()
    assert html.startswith("<b>&lt;f&gt;: wrong")


def test_a_report_fits_eighty_columns(capsys):
    from rich.cells import cell_len
    from rich.console import Console

    from tests.mutants import WRONG

    made = bncheck.verify(WRONG["m - 1"][1], layer="batch-norm")
    out = Console(width=80, force_terminal=False, markup=False, highlight=False)
    drawing.report(made, out)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(cell_len, lines[2:])) <= 80
    assert len(lines) <= 25
    assert sum("×" in row for row in lines) == 3


@pytest.mark.parametrize("name", LAYERS)
def test_a_derivation_fits_eighty_columns(name, capsys):
    from rich.cells import cell_len
    from rich.console import Console

    drawing.derivation(page(derived(LAYERS[name])), Console(width=80))
    wide = [r for r in capsys.readouterr().out.splitlines() if cell_len(r) > 80]
    assert wide == []


def test_equations_of_steps_name_their_target():
    t = LAYERS["batch-norm"].tensors
    assert equation(Step(t["mu"], t["mu"] * 0)) == "μⱼ = 0"
