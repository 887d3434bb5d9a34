"""Oracles: the complex step on the emitted forward pass, PyTorch's autograd, and exact numbers.

The emitted file is executed on its own, with NumPy alone.
"""

import subprocess
import sys

import numpy as np
import pytest

from bncheck.algebra.layers import LAYERS, layer, variants
from bncheck.algebra.notation import indices_of
from bncheck.writers.numpy_source import source
from tests.derivations import derived, functions

LENGTHS = {"i": 5, "j": 3, "n": 4, "l": 5, "h": 2, "k": 3, "o": 4, "p": 3}
EVERY = [(name, options) for name in LAYERS for options, _ in variants(name)]


def _id(case):
    return case[0] + "".join(f"-{v}" for v in case[1].values())


def _shape(operand):
    letters = [str(i.label) for i in indices_of(operand)]
    if "h" in letters:
        at = letters.index("h")
        sizes = [LENGTHS[c] for c in letters]
        return (*sizes[:at], sizes[at] * sizes[at + 1], *sizes[at + 2 :])
    return tuple(LENGTHS[c] for c in letters)


def _inputs(program, seed=0):
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=_shape(a)) for a in program.inputs if indices_of(a)]
    arrays = [
        abs(v) + 0.5 if a.is_positive else v for a, v in zip(program.inputs, arrays, strict=False)
    ]
    numbers = [0.1 for a in program.inputs if not indices_of(a)]
    return arrays, numbers + ([2] if program.joined else [])


@pytest.mark.sampled(3)
@pytest.mark.parametrize("case", EVERY, ids=_id)
def test_backward_and_jacobian_are_the_complex_step_of_the_forward(case):
    program = layer(case[0], **case[1])
    made = functions(derived(program))
    arrays, extra = _inputs(program)
    y, cache = made.forward(*arrays, *extra)
    dy = np.random.default_rng(1).normal(size=y.shape)
    gradients = made.backward(dy, cache)
    for order, gradient in enumerate(gradients):
        assert gradient.shape == arrays[order].shape
        slopes = np.empty(arrays[order].shape)
        for at in np.ndindex(slopes.shape):
            moved = [np.array(v, complex if k == order else float) for k, v in enumerate(arrays)]
            moved[order][at] += 1e-200j
            slopes[at] = (dy * made.forward(*moved, *extra)[0]).sum().imag / 1e-200
        few = 32 * np.spacing(abs(slopes).max())
        np.testing.assert_allclose(gradient, slopes, rtol=0, atol=few)
    jacobian = made.jacobian(*arrays, *extra)
    assert jacobian.shape == y.shape + arrays[0].shape
    through = np.tensordot(dy, jacobian, dy.ndim)
    np.testing.assert_allclose(through, gradients[0], rtol=0, atol=1e-13)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_the_dtype_of_the_input_is_the_dtype_of_the_result(dtype):
    made = functions(derived(LAYERS["batch-norm"]))
    x, gamma, beta = (v.astype(dtype) for v in _inputs(LAYERS["batch-norm"])[0])
    y, cache = made.forward(x, gamma, beta, 0.1)
    gradients = made.backward(x, cache)
    assert {a.dtype for a in (y, *gradients)} == {np.dtype(dtype)}


def test_float16_is_summed_in_float32():
    made = functions(derived(LAYERS["batch-norm"]))
    x = np.tile(np.array([[1.0], [3.0]], np.float16), (4096, 1))
    y, cache = made.forward(x, np.ones(1, np.float16), np.zeros(1, np.float16), 0.0)
    assert made.backward(np.ones_like(x), cache)[2] == 8192
    assert set(y.ravel().tolist()) == {-1.0, 1.0}


def test_integers_become_floats():
    made = functions(derived(LAYERS["batch-norm"]))
    y, _ = made.forward(np.arange(6).reshape(3, 2), np.ones(2), np.zeros(2), 0.1)
    assert y.dtype == np.float64


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((np.ones(3), np.ones(3), np.ones(3), 0.1), r"x has shape \(3,\), expected \(m, D\)"),
        (
            (np.ones((4, 3)), np.ones(4), np.ones(3), 0.1),
            r"gamma has shape \(4,\), expected \(3,\)",
        ),
    ],
)
def test_wrong_shapes_say_expected_and_got(arguments, said):
    made = functions(derived(LAYERS["batch-norm"]))
    with pytest.raises(ValueError, match=said):
        made.forward(*arguments)


def test_wrong_upstream_and_groups():
    made = functions(derived(LAYERS["group-norm"]))
    x = np.random.default_rng(0).normal(size=(2, 6, 4))
    _, cache = made.forward(x, np.ones(6), np.zeros(6), 0.1, 3)
    with pytest.raises(ValueError, match=r"dy has shape \(2, 6\), expected \(2, 6, 4\)"):
        made.backward(x[..., 0], cache)
    with pytest.raises(ValueError, match="C = 6 does not divide into G = 4"):
        made.forward(x, np.ones(6), np.zeros(6), 0.1, 4)


def test_the_file_needs_numpy_alone(tmp_path):
    path = tmp_path / "emitted.py"
    path.write_text(source(derived(LAYERS["layer-norm"], batch_size=3)))
    check = (
        "import sys, emitted, numpy as np; "
        "y, c = emitted.forward(np.eye(3), np.ones(3), np.zeros(3), .1); "
        "emitted.backward(y, c); "
        "assert not {'sympy', 'bncheck'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", check], cwd=tmp_path, check=True, timeout=60)


def test_a_program_of_one_size_checks_it():
    made = functions(derived(LAYERS["batch-norm"], batch_size=4))
    with pytest.raises(ValueError, match=r"expected \(4, 3\)"):
        made.forward(np.ones((5, 3)), np.ones(3), np.ones(3), 0.1)


def test_the_emitted_text(golden):
    golden("batch_norm.py", source(derived(LAYERS["batch-norm"])))
    golden("group_norm.py", source(derived(LAYERS["group-norm"])))


@pytest.mark.parametrize("name", ["batch-norm", "layer-norm", "group-norm", "instance-norm",
                                  "rms-norm", "weight-norm"])  # fmt: skip
def test_pytorch_agrees(name):
    torch = pytest.importorskip("torch")
    program = LAYERS[name]
    made = functions(derived(program))
    arrays, extra = _inputs(program)
    y, cache = made.forward(*arrays, *extra)
    dy = np.random.default_rng(2).normal(size=y.shape)
    leaves = [torch.tensor(v, requires_grad=True) for v in arrays]
    f = torch.nn.functional
    theirs = {
        "batch-norm": lambda x, g, b: f.batch_norm(x, None, None, g, b, True, 0, 0.1),
        "layer-norm": lambda x, g, b: f.layer_norm(x, g.shape, g, b, 0.1),
        "group-norm": lambda x, g, b: f.group_norm(x, 2, g, b, 0.1),
        "instance-norm": lambda x, g, b: f.instance_norm(x, None, None, g, b, True, 0, 0.1),
        "rms-norm": lambda x, g: f.rms_norm(x, g.shape, g, 0.1),
        "weight-norm": lambda v, g: torch._weight_norm(v, g[:, None], 0),
    }[name](*leaves)
    theirs.backward(torch.tensor(dy))
    np.testing.assert_allclose(y, theirs.detach().numpy(), rtol=0, atol=1e-13)
    for gradient, leaf in zip(made.backward(dy, cache), leaves, strict=True):
        np.testing.assert_allclose(gradient, leaf.grad.numpy(), rtol=0, atol=1e-12)
