"""Oracles: the emitted first order by complex step, PyTorch's double backward, and the formats."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

import bncheck
from bncheck.algebra.layers import LAYERS, layer, variants
from bncheck.algebra.notation import indices_of, name_of
from bncheck.calculus.passes import modes
from bncheck.telling.errors import CannotAsk
from bncheck.writers.blocks import derived_blocks, marker, writer
from bncheck.writers.documents import PREAMBLE, fragment, written
from bncheck.writers.formats import DERIVED
from bncheck.writers.formulas.latex import broken, width
from bncheck.writers.formulas.unicode import spelled
from bncheck.writers.text import page
from tests.conftest import ROOT
from tests.derivations import derived, double_backward, functions
from tests.test_latex import complaints
from tests.test_numpy_source import _inputs

EVERY = [(name, options) for name in LAYERS for options, _ in variants(name)]
SMALL = 1e-200


def _id(case):
    return case[0] + "".join(f"-{v}" for v in case[1].values())


def _normal(seed, *arrays):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=np.shape(a)) for a in arrays]


@pytest.mark.sampled(4)
@pytest.mark.parametrize("case", EVERY, ids=_id)
def test_jvp_is_the_complex_step_along_the_direction(case):
    program = layer(case[0], **case[1])
    made = functions(derived(program, mode="forward"))
    arrays, extra = _inputs(program)
    moving = len(program.wrt)
    along = _normal(2, *arrays[:moving])
    y, cache = made.forward(*arrays, *extra)
    ty = made.jvp(*along, cache)
    steps = [a + SMALL * 1j * d for a, d in zip(arrays, along, strict=False)]
    moved = made.forward(*steps, *arrays[moving:], *extra)[0].imag / SMALL
    assert ty.shape == y.shape
    np.testing.assert_allclose(ty, moved, rtol=0, atol=64 * np.spacing(abs(moved).max()))


@pytest.mark.sampled(6)
@pytest.mark.parametrize("case", EVERY, ids=_id)
def test_double_backward_is_the_complex_step_of_the_gradients(case):
    """The gradients of S along random directions, by moving the inputs of the emitted backward."""
    program = layer(case[0], **case[1])
    found = double_backward(derived(program))
    made = functions(found)
    arrays, extra = _inputs(program)
    y, cache = made.forward(*arrays, *extra)
    (dy,) = _normal(3, y)
    gradients = made.backward(dy, cache)
    along = _normal(4, *gradients)
    given = dict(zip(map(name_of, program.wrt), range(len(program.wrt)), strict=True))
    got = made.double_backward(*along, dy, cache)
    assert len(got) == len(found.wrt)
    for operand, gradient in zip(found.wrt, got, strict=True):
        at = given.get(name_of(operand))
        start = dy if at is None else arrays[at]
        (direction,) = _normal(5, start)
        step = start + SMALL * 1j * direction
        inputs = arrays if at is None else [*arrays[:at], step, *arrays[at + 1 :]]
        _, moved = made.forward(*inputs, *extra)
        shifted = made.backward(step if at is None else dy.astype(complex), moved)
        slope = sum((a * g).sum().imag for a, g in zip(along, shifted, strict=True)) / SMALL
        assert gradient.shape == start.shape
        np.testing.assert_allclose((gradient * direction).sum(), slope, rtol=1e-11)


@pytest.mark.sampled(6)
@pytest.mark.parametrize("case", EVERY, ids=_id)
def test_the_hessian_of_half_the_sum_of_cubes_is_the_complex_step_of_its_gradient(case):
    program = layer(case[0], **case[1])
    made = functions(double_backward(derived(program)))
    arrays, extra = _inputs(program)
    y, cache = made.forward(*arrays, *extra)
    moving = len(program.wrt)
    along = _normal(6, *arrays[:moving])
    got = made.hessian_vector(*along, 1.5 * y**2, lambda ty: 3 * y * ty, cache)
    steps = [a + SMALL * 1j * d for a, d in zip(arrays, along, strict=False)]
    out, moved = made.forward(*steps, *arrays[moving:], *extra)
    for hv, gradient in zip(got, made.backward(1.5 * out**2, moved), strict=True):
        slope = gradient.imag / SMALL
        np.testing.assert_allclose(hv, slope, rtol=0, atol=1e-12 * (1 + abs(slope).max()))


@pytest.mark.parametrize("name", ["batch-norm", "layer-norm", "group-norm", "instance-norm"])
def test_pytorch_has_the_same_double_backward(name):
    torch = pytest.importorskip("torch")
    from torch.nn import functional

    made = bncheck.to_numpy(name, order=2)
    arrays, extra = _inputs(LAYERS[name])
    y, cache = made.forward(*arrays, *extra)
    (dy,) = _normal(7, y)
    along = _normal(8, *arrays)
    x, gamma, beta, up = (torch.tensor(a, requires_grad=True) for a in (*arrays, dy))
    forms = {
        "batch-norm": lambda: functional.batch_norm(x, None, None, gamma, beta, True, eps=0.1),
        "layer-norm": lambda: functional.layer_norm(x, x.shape[1:], gamma, beta, 0.1),
        "group-norm": lambda: functional.group_norm(x, 2, gamma, beta, 0.1),
        "instance-norm": lambda: functional.instance_norm(
            x, weight=gamma, bias=beta, use_input_stats=True, eps=0.1
        ),
    }
    first = torch.autograd.grad(forms[name](), (x, gamma, beta), up, create_graph=True)
    weights = [torch.tensor(a) for a in along]
    theirs = torch.autograd.grad(first, (up, x, gamma), weights)
    for ours, other in zip(made.double_backward(*along, dy, cache), theirs, strict=True):
        np.testing.assert_allclose(ours, other.numpy(), rtol=0, atol=1e-11)


def test_shapes_are_checked_and_the_dtype_stays():
    made = bncheck.to_numpy("batch-norm", order=2)
    x, gamma, beta = (a.astype(np.float32) for a in _inputs(LAYERS["batch-norm"])[0])
    y, cache = made.forward(x, gamma, beta, 0.1)
    got = made.double_backward(x, gamma, beta, y, cache)
    assert {g.dtype for g in got} == {np.dtype(np.float32)}
    with pytest.raises(ValueError, match=r"ddgamma has shape \(5, 3\), expected \(3,\)"):
        made.double_backward(x, x, beta, y, cache)
    jvp = bncheck.to_numpy("batch-norm", mode="forward").jvp
    with pytest.raises(ValueError, match=r"tx has shape \(3,\), expected \(5, 3\)"):
        jvp(gamma, gamma, beta, cache)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("case", EVERY[::4], ids=_id)
def test_the_page_is_narrow_and_says_what_is_derived(case):
    second = page(double_backward(derived(layer(case[0], **case[1]))))
    assert "second order" in second.title
    titles = [part.title for part in second.parts]
    assert titles[0] == "Forward pass"
    assert "Double backward pass, in closed form" in titles
    rows = [row[0] for part in second.parts for row in part.rows]
    assert not [row for row in rows if len(row) > 100]
    assert any(row.startswith("S = ") for row in rows)
    moved = page(derived(layer(case[0], **case[1]), mode="forward"))
    assert moved.title.endswith("forward mode")
    assert "sum_" not in str(second) + str(moved)


def test_what_does_not_move_is_said_to_be_zero():
    rows = [row[0] for part in page(bncheck.derive(order=2)).parts for row in part.rows]
    assert "d²βⱼ = 0" in rows
    assert "by βⱼ: dβⱼ at d²yᵢⱼ for dyᵢⱼ" in rows


def test_names_are_spelled():
    assert [spelled(n) for n in ("tx", "d2gamma", "ddxhat", "d2dgamma", "d2sum_dxhat_xhat")] == [
        "ẋ", "d²γ", "ddx̂", "d²dγ", "d²(Σ dx̂·x̂)",
    ]  # fmt: skip
    assert [spelled(n) for n in ("tail", "d2", "ddd")] == ["tail", "d2", "ddd"]


def test_json_of_second_order_and_of_forward_mode(bncheck):
    second = json.loads(bncheck("derive", "rms-norm", "--order", "2", "--format", "json").stdout)
    assert (second["order"], second["mode"], second["layer"]) == (2, "reverse", "rms-norm")
    assert [a["name"] for a in second["given"]] == ["ddx", "ddgamma"]
    assert {s.get("check", "proved") for s in second["chain"]} == {"proved"}
    assert [a["name"] for a in second["results"]] == ["ddy", "d2x", "d2gamma"]
    assert second["normalised"] == ["j"]
    moved = json.loads(bncheck("derive", "--mode", "forward", "--format", "json").stdout)
    assert (moved["order"], moved["mode"]) == (1, "forward")
    assert [a["name"] for a in moved["given"]] == ["tx", "tgamma", "tbeta"]
    assert [a["shape"] for a in moved["results"]] == [["m", "D"]]


@pytest.mark.sampled(2, 1)
@pytest.mark.parametrize("form", DERIVED)
@pytest.mark.parametrize("asked", [["--order", "2"], ["--mode", "forward"]])
def test_every_format(bncheck, form, asked):
    done = bncheck("derive", "weight-norm", *asked, "--format", form, "-m", "3")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--order", "3"], "the order is 3; it can be 1 or 2"),
        (["--order", "2", "--mode", "forward"], "forward mode is of order 1"),
        (["--mode", "training,evaluation"], "mode is training and evaluation; it can be only one"),
        (["--mode", "sideways"], "mode is 'sideways'; it can be 'training', 'evaluation'"),
        (["rms-norm", "--mode", "evaluation"], "rms-norm has no variant 'mode'"),
        (["--order", "2", "--wrt", "delta"], "no input 'delta'"),
    ],
)
def test_what_cannot_be_asked(bncheck, arguments, said):
    done = bncheck("derive", *arguments)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())
    assert done.stdout == ""


def test_both_meanings_of_mode():
    assert modes(()) == ("reverse", None)
    assert modes(("evaluation,forward",)) == modes(("forward", "evaluation"))
    found = bncheck.derive(mode=("forward", "evaluation"))
    assert "running" in str(found.forward.inputs)
    assert found.mode == "forward"
    assert bncheck.derive(found).layer == found.layer
    with pytest.raises(CannotAsk, match="the order is 0"):
        derived(LAYERS["batch-norm"], order=0)
    assert indices_of(found.upstream[0])


@pytest.mark.sampled(6)
@pytest.mark.parametrize("part", range(6))
def test_every_layer_and_variant_compiles(tmp_path, part):
    """Second order and forward mode, in one document; nothing stands over the margin."""
    some = EVERY[part::6]
    found = [derived(layer(n, **o), order=2) for n, o in some]
    found += [derived(LAYERS[n], batch_size=3, order=2) for n in ("batch-norm", "group-norm")]
    second = [derived_blocks(f, writer(f.layer), marker(None)) for f in found]
    made = [written(blocks, f.layer) for blocks, f in zip(second, found, strict=True)]
    made += [fragment(derived(layer(n, **o), mode="forward")) for n, o in some]
    pages = "\n\\newpage\n".join(made)
    assert "sum_{" in pages
    assert "sum_dxhat" not in pages
    assert not re.search(r"\\mathrm\{[dt]", pages)
    text = PREAMBLE + "\\begin{document}\n" + pages + "\\end{document}\n"
    assert complaints(tmp_path, text) == []


def test_long_formulas_are_broken_outside_braces():
    term = r"\frac{a + b}{c} \left(x_{ij} - \mu_{j}\right)"
    text = broken(" + ".join([term] * 9))
    lines = text.split(r" \\ &\quad ")
    assert len(lines) > 1
    assert all(width(part) <= 56 for part in lines)
    assert all(part.count("{") == part.count("}") for part in lines)
    assert "left" not in text
    assert broken(term) == term


def test_the_example_says_what_of_pytorch_is_wrong(tmp_path):
    pytest.importorskip("torch")
    path = ROOT / "examples" / "torch_higher_order.py"

    def run(*first):
        place = {"PYTHONPATH": os.pathsep.join(map(str, (*first, ROOT)))}
        return subprocess.run(
            [sys.executable, path], capture_output=True, text=True, check=True, timeout=120,
            env={**os.environ, **place},
        ).stdout.splitlines()  # fmt: skip

    shown = run()
    assert shown[0].startswith("exact, bncheck's the same:  -1027/864, -5633/41472, ")
    assert [line.split()[-1] for line in shown[1:3]] == ["right", "right"]
    assert len(shown) == 6
    (tmp_path / "torch.py").write_text("raise ImportError")
    assert "PyTorch is not installed" in run(tmp_path)[1]
