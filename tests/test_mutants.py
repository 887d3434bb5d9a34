"""Three test files as people write them miss what theory says they must; and what is advised
to their authors is tried here, by editing a copy of the file and asking again.
"""

import importlib.util
import inspect
import shutil
from pathlib import Path

import numpy as np
import pytest

from bncheck.algebra.layers import LAYERS
from bncheck.calculus.passes import derived
from bncheck.mutants.forks import Recorder
from bncheck.mutants.mistakes import mistakes_in, recipe
from bncheck.mutants.recipe import apart, reproduced, run
from bncheck.mutants.tester import examine
from bncheck.numbers import layout
from bncheck.numbers.trials import draw
from bncheck.subject.conventions import convention_of, from_callables
from bncheck.subject.conventions.implementations import Implementation
from bncheck.telling.errors import CannotAsk
from tests.mutants import batch_closed, layer_closed, rms_closed

SUITES = Path(__file__).parent / "suites"
BATCH = SUITES / "batchnorm.py"

DX, DGAMMA, DBETA = ("dx",), ("dgamma",), ("dbeta",)

# dy = 1: then dbeta = m and dgamma = sum(xhat) = 0, so that dx = gamma/sd*(1 - 1 - 0) = 0. Whatever
# stands in front of that 0, or is multiplied by sum(xhat), does not show:
MISSED_WITH_ONES = {
    # the term along xhat, whatever its factor
    (DX, "the path through the variance is missing"),
    (DX, "the sign of the path through the variance is flipped"),
    (DX, "divided by m - 1 where m belongs, in −dγⱼ·γⱼ·x̂ᵢⱼ/(m·sⱼ)"),
    (DX, "a sum where a mean belongs, in −dγⱼ·γⱼ·x̂ᵢⱼ/(m·sⱼ)"),
    (DX, "divided by D where m belongs, in −dγⱼ·γⱼ·x̂ᵢⱼ/(m·sⱼ)"),
    (DX, "the term −dγⱼ·γⱼ·x̂ᵢⱼ/(m·sⱼ) is taken twice"),
    (DX, "the term −dγⱼ·γⱼ·x̂ᵢⱼ/(m·sⱼ) is taken half"),
    (DX, "xᵢⱼ stands where xhat belongs"),  # where dgamma is still right
    # the factor gamma/sd
    (DX, "gamma is forgotten"),
    (DX, "gamma is counted twice"),
    (DX, "beta stands where gamma belongs"),
    (DX, "sd**2 stands where sd belongs: the root is missing"),
    (DX, "the division by sd is missing"),
    (DX, "multiplied by sd, not divided"),
    (DX, "eps is forgotten"),
    ((*DX, *DGAMMA), "eps is forgotten"),
    (DGAMMA, "eps is forgotten, in dgamma"),
    # the whole gradient, where it is 0
    (DX, "dx has the wrong sign"),
    (DX, "dx is divided by m"),
    (DX, "dx is multiplied by m"),
    (DX, "dx is zero"),
    (DGAMMA, "gamma*dy stands where dy belongs, in dgamma"),
    (DGAMMA, "dgamma has the wrong sign"),
    (DGAMMA, "dgamma is divided by m"),
    (DGAMMA, "dgamma is multiplied by m"),
    (DGAMMA, "dgamma is zero"),
}

# gamma = 1 and beta = 0: a factor of gamma more or less does not show, beta for gamma does
MISSED_WITH_GAMMA_ONE = {
    (DX, "gamma is forgotten"),
    (DX, "gamma is counted twice"),
    ((*DX, *DGAMMA, *DBETA), "gamma*dy stands where dy belongs"),
    (DX, "gamma*dy stands where dy belongs"),
    (DGAMMA, "gamma*dy stands where dy belongs, in dgamma"),
    (DBETA, "gamma*dy stands where dy belongs, in dbeta"),
}

# m = D = 256: D for m is no mistake; m - 1 for m changes a mean by 1/255 of itself, and eps = 1e-5
# a variance of 4 by 3e-6 of itself, both below one in a hundred
MISSED_WITH_ONE_SHAPE = {
    (DX, "divided by D where m belongs, in −dβⱼ·γⱼ/(m·sⱼ)"),
    (DX, "divided by D where m belongs, in −dγⱼ·γⱼ·x̂ᵢⱼ/(m·sⱼ)"),
    (DX, "divided by m - 1 where m belongs, in −dβⱼ·γⱼ/(m·sⱼ)"),
    (DX, "divided by m - 1 where m belongs, in −dγⱼ·γⱼ·x̂ᵢⱼ/(m·sⱼ)"),
    ((*DX, *DGAMMA), "eps is forgotten"),
    (DX, "eps is forgotten"),
    (DGAMMA, "eps is forgotten, in dgamma"),
}


def asked(tests, name, **options):
    return examine(str(tests), f"{tests.parent / name}", **options)


def missed(found):
    return {(f.gradients, f.text) for f in found.mutants if not f.caught}


def remedies(found):
    return {f.remedy for f in found.mutants if not f.caught}


@pytest.fixture
def folder(tmp_path):
    """A copy of the suites, to edit."""
    shutil.copytree(SUITES, tmp_path, dirs_exist_ok=True)
    return tmp_path


def edited(path, *changes):
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    return path


def test_an_upstream_gradient_of_ones(folder):
    found = asked(folder / "test_ones.py", "batchnorm.py")
    assert missed(found) == MISSED_WITH_ONES
    plain = "an upstream gradient that is not constant"
    assert remedies(found) == {plain}
    # taken at its word
    path = edited(
        folder / "test_ones.py",
        ("np.ones_like(out)", "upstream"),
        ("gamma, beta)[0].sum()", "gamma, beta)[0].ravel() @ upstream.ravel()"),
        ("    def loss", "    upstream = rng.standard_normal((6, 4))\n\n    def loss"),
    )
    assert missed(asked(path, "batchnorm.py")) == set()


def test_gamma_of_ones(folder):
    found = asked(folder / "test_gamma_is_one.py", "batchnorm.py")
    assert missed(found) == MISSED_WITH_GAMMA_ONE
    assert remedies(found) == {"gamma that is not 1"}
    path = edited(folder / "test_gamma_is_one.py", ("np.ones(5)", "np.full(5, 1.75)"))
    found = asked(path, "batchnorm.py")
    assert missed(found) == set()
    assert found.exit_code == 0
    assert found.tolerances == {}  # nothing was missed: nothing was asked


def test_one_shape_and_a_generous_tolerance(folder):
    path = folder / "test_one_shape.py"
    found = asked(path, "batchnorm.py")
    assert missed(found) == MISSED_WITH_ONE_SHAPE
    assert found.exit_code == 1
    advice = {f.text: f.remedy for f in found.mutants if not f.caught}
    for text, remedy in advice.items():
        assert remedy.startswith("an eps that is not small" if "eps" in text else "a batch of 3")
    assert not any("tolerance" in r for text, r in advice.items() if "by D" in text)
    assert all(1e-4 <= t < 1e-2 for t in found.tolerances.values())
    # a batch of 3 shows the counts, and a tolerance of 1e-9 all but D for m
    shape = [("(256, 256)", "(3, 256)")]
    assert missed(asked(edited(path, *shape), "batchnorm.py")) == {
        one for one in MISSED_WITH_ONE_SHAPE if "eps" in one[1]
    }
    finer = [("rtol=1e-2, atol=1e-2", "rtol=1e-9"), ("(3, 256)", "(256, 256)")]
    assert missed(asked(edited(path, *finer), "batchnorm.py")) == {
        one for one in MISSED_WITH_ONE_SHAPE if "divided by D" in one[1]
    }


@pytest.mark.parametrize(
    ("test", "name", "layer", "unseen"),
    [
        ("test_layer_norm_in_a_class", "LayerNorm", "layer-norm", {"dgamma", "dbeta"}),
        ("test_rms_norm_in_single_precision", "rms_backward", "rms-norm", {"dgamma"}),
        ("test_group_norm_on_images", "groupnorm_backward", "group-norm", set()),
        ("test_weight_norm_is_orthogonal", "weightnorm_backward", "weight-norm", {"dgamma"}),
        (
            "test_instance_norm_shape_only",
            "instancenorm_backward",
            "instance-norm",
            {"dx", "dgamma", "dbeta"},
        ),
    ],
)
def test_every_layer_in_its_own_convention(test, name, layer, unseen):
    """A gradient that no test compares is missed whatever is done to it, and the others are not."""
    found = examine(f"{SUITES / 'test_norms.py'}::{test}", f"{SUITES / 'norms.py'}:{name}")
    assert (found.layer, found.count) == (layer, 1)
    assert found.asked == found.calls == 1
    for finding in found.mutants:
        if layer != "weight-norm" or finding.gradients == DGAMMA:
            assert finding.caught == (not set(finding.gradients) <= unseen), finding
    if unseen:
        assert {n for n, t in found.tolerances.items() if t is None} == unseen
    if layer == "weight-norm":  # a property of dv is tested; scaling dv keeps it
        scaled = next(f for f in found.mutants if f.code == "gamma-missing")
        assert scaled.remedy == "a comparison of dv entry by entry"


def test_functions_and_tests_in_one_file_without_a_forward_pass(folder):
    path = folder / "test_all_in_one.py"
    path.write_text(
        "import numpy as np\n"
        f"{inspect.getsource(importlib_loaded(BATCH).batchnorm_forward)}\n"
        "def backward(dy, x, gamma, eps=1e-5):\n"
        "    y, (xhat, _, std) = batchnorm_forward(x, gamma, 0, eps)\n"
        "    dx = gamma / std * (dy - dy.mean(0) - xhat * (dy * xhat).mean(0))\n"
        "    return dx, (dy * xhat).sum(0), dy.sum(0)\n"
        "def test_sums_to_zero():\n"
        "    x, dy = np.random.default_rng(0).standard_normal((2, 5, 3))\n"
        "    dx, dgamma, dbeta = backward(dy, x, np.array([1.5, -2, 3]))\n"
        "    assert np.allclose(dx.sum(0), 0) and dx.any()\n"
        "    assert np.allclose(dbeta, dy.sum(0))\n"
    )
    found = asked(path, f"{path.name}:backward")
    texts = {text for gradients, text in missed(found) if gradients == DX}
    assert "the path through the variance is missing" in texts
    assert "dx has the wrong sign" in texts
    assert "the path through the batch mean is missing" not in texts
    assert "dx is zero" not in texts
    assert all(f.caught for f in found.mutants if f.gradients == DBETA)


def test_tensors_in_single_precision_whose_gradient_is_0_but_for_rounding(folder):
    pytest.importorskip("torch")
    path = folder / "test_tensors.py"
    path.write_text(
        "import torch\n"
        "def backward(grad_output, x, weight, bias, eps):\n"
        "    std = (x.var(0, unbiased=False) + eps).sqrt()\n"
        "    xhat, m = (x - x.mean(0)) / std, len(x)\n"
        "    g, b = (grad_output * xhat).sum(0), grad_output.sum(0)\n"
        "    return weight / std * (grad_output - b / m - xhat * g / m), g, b\n"
        "def test_it():\n"
        "    torch.manual_seed(0)\n"
        "    x, w, b = torch.randn(6, 4) + 1, 2 + torch.rand(4), torch.rand(4)\n"
        "    for t in (x, w, b):\n"
        "        t.requires_grad = True\n"
        "    torch.nn.functional.batch_norm(x, None, None, w, b, True).sum().backward()\n"
        "    for got, t in zip(backward(torch.ones(6, 4), x, w, b, 1e-5), (x, w, b)):\n"
        "        assert got.dtype == torch.float32\n"
        "        assert torch.allclose(got, t.grad, atol=1e-5)\n"
    )
    found = asked(path, "test_tensors.py:backward")
    assert missed(found) == MISSED_WITH_ONES
    plain = "an upstream gradient that is not constant"
    for finding in found.mutants:
        assert finding.caught or finding.remedy.startswith(plain)
        assert finding.remedy in ("", plain) or "eps" in finding.text  # 1e-5 is the tolerance too
    assert all(1e-7 < t < 1e-4 for t in found.tolerances.values())


CLOSED = """import numpy as np
def _closed(x, gamma, eps, dy):
    sd = np.sqrt(x.var(0) + eps)
    xhat = (x - x.mean(0)) / sd
    dx = gamma / sd * (dy - dy.mean(0) - xhat * (dy * xhat).mean(0))
    return gamma * xhat, dx, (dy * xhat).sum(0), dy.sum(0)
"""
NUMBERS = """
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, 5, 3))
    gamma, beta = np.array([1.5, -2, 3]), np.zeros(3)
"""
CHECKED = """
    want = _closed(x, gamma, 1e-5, dy)[1:]
    assert all(np.allclose(a, b) for a, b in zip(got, want))
"""
CONVENTIONS = {
    "methods with other names": (
        "Norm",
        f"""{CLOSED}
class Norm:
    def __init__(self, gamma, beta, eps):
        self.gamma, self.beta, self.eps = gamma, beta, eps
    def fprop(self, x):
        self.x = x
        return _closed(x, self.gamma, self.eps, x)[0] + self.beta
    def bprop(self, dout):
        return _closed(self.x, self.gamma, self.eps, dout)[1:]
def test_it():{NUMBERS}
    layer = Norm(gamma, beta, 1e-5)
    layer.fprop(x)
    got = layer.bprop(dy)
{CHECKED}""",
    ),
    "slots and a call": (
        "Norm",
        f"""{CLOSED}
class Norm:
    __slots__ = ("gamma", "beta", "x")
    def __init__(self, gamma, beta):
        self.gamma, self.beta = gamma, beta
    def __call__(self, x):
        self.x = x
        return _closed(x, self.gamma, 1e-5, x)[0] + self.beta
    def backward(self, dout):
        return _closed(self.x, self.gamma, 1e-5, dout)[1:]
def test_it():{NUMBERS}
    layer = Norm(gamma, beta)
    layer(x)
    got = layer.backward(dy)
{CHECKED}""",
    ),
    "a forward pass that returns its backward pass": (
        "batch_norm",
        f"""{CLOSED}
def batch_norm(x, gamma, beta, eps=1e-5):
    def backward(dy):
        return _closed(x, gamma, eps, dy)[1:]
    return _closed(x, gamma, eps, x)[0] + beta, backward
def test_it():{NUMBERS}
    y, backward = batch_norm(x, gamma, beta)
    got = backward(dy)
{CHECKED}""",
    ),
    "static methods": (
        "Norm",
        f"""{CLOSED}
class Norm:
    @staticmethod
    def forward(x, gamma, beta, eps=1e-5):
        return _closed(x, gamma, eps, x)[0] + beta, (x, gamma, eps)
    @staticmethod
    def backward(dout, cache):
        return _closed(*cache, dout)[1:]
def test_it():{NUMBERS}
    y, cache = Norm.forward(x, gamma, beta)
    got = Norm.backward(dy, cache)
{CHECKED}""",
    ),
    "a class of torch's": (
        "Norm",
        f"""import torch
{CLOSED}
class Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, eps):
        ctx.kept, ctx.eps = (x, weight), eps
        sd = (x.var(0, unbiased=False) + eps).sqrt()
        return weight * (x - x.mean(0)) / sd + bias
    @staticmethod
    def backward(ctx, grad_output):
        x, weight = (t.detach().numpy() for t in ctx.kept)
        _, *found = _closed(x, weight, ctx.eps, grad_output.numpy())
        return (*map(torch.from_numpy, found), None)
def test_it():{NUMBERS}
    leaves = [torch.from_numpy(a).requires_grad_() for a in (x, gamma, beta)]
    y = Norm.apply(*leaves, 1e-5)
    got = [g.numpy() for g in torch.autograd.grad(y, leaves, torch.from_numpy(dy))]
{CHECKED}""",
    ),
}


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_every_convention_takes_mistakes_in(folder, convention):
    """Tests that compare all gradients catch all mistakes, but those that only eps would show."""
    if "torch" in convention:
        pytest.importorskip("torch")
    name, text = CONVENTIONS[convention]
    path = folder / "test_one.py"
    path.write_text(text)
    found = asked(path, f"test_one.py:{name}")
    assert (found.layer, found.asked, found.calls) == ("batch-norm", 1, 1)
    assert {f.text for f in found.mutants if not f.caught} <= {"eps is forgotten"}
    assert found.caught > 30


def test_what_cannot_be_exchanged_is_not_blamed_on_the_tests(folder):
    path = folder / "test_one.py"
    path.write_text(
        "def double_backward(ddx, dy, x):\n    return dy, x\n"
        "def test_it():\n    double_backward(1, 2, 3)\n"
    )
    with pytest.raises(CannotAsk, match="is a double backward pass; expected a backward pass"):
        asked(path, "test_one.py:double_backward")


def test_a_call_that_is_another_layer_keeps_its_result(folder):
    """Running statistics in evaluation mode, say: not the gradient of batch norm, so left alone."""
    edited(
        folder / "batchnorm.py",
        ("    m = len(dout)\n", "    m = len(dout)\n    if m == 1:\n        return 7, 8, 9\n"),
    )
    path = edited(
        folder / "test_gamma_is_one.py",
        ("    assert rel_error(dx", "    assert batchnorm_backward(dout[:1], cache) == (7, 8, 9)\n"
         "    assert rel_error(dx"),
    )  # fmt: skip
    found = asked(path, "batchnorm.py")
    assert missed(found) == MISSED_WITH_GAMMA_ONE
    assert (found.asked, found.calls) == (3, 4)


def test_without_pytest_the_functions_are_called(folder, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert missed(asked(folder / "test_ones.py", "batchnorm.py")) == MISSED_WITH_ONES
    with pytest.raises(CannotAsk, match=r"do not: .*test_gamma_is_one"):
        asked(folder / "test_gamma_is_one.py", "batchnorm.py")  # needs fixtures


def test_nothing_is_written_where_the_tests_are(folder):
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    asked(folder / "test_ones.py", "batchnorm.py")
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before


def test_a_test_that_prints_a_lot_and_a_mutant_that_hangs_or_crashes(folder):
    """A wrong gradient may send a test round in circles or out of the interpreter: it is caught."""
    path = folder / "test_loud.py"
    path.write_text(
        "import os, sys, time\n"
        "import numpy as np\n"
        "from batchnorm import *\n"
        "def test_loud():\n"
        "    for _ in range(200):\n"
        "        os.write(1, b'x' * 100_000)\n"
        "        print('y' * 10_000, file=sys.stderr)\n"
        "    x, dy = np.random.default_rng(0).standard_normal((2, 5, 3))\n"
        "    _, cache = batchnorm_forward(x, np.full(3, 2.0), np.ones(3))\n"
        "    dx, dgamma, dbeta = batchnorm_backward(dy, cache)\n"
        "    if not dx.any():\n"
        "        os._exit(3)\n"
        "    while not dbeta.any():\n"
        "        time.sleep(1)\n"
    )
    found = asked(path, "batchnorm.py", timeout=4.0)
    caught = {f.text: f.by for f in found.mutants if f.caught}
    assert caught.keys() == {"dx is zero", "dbeta is zero"}
    assert "ended the interpreter" in caught["dx is zero"]
    assert "took more than 4 s" in caught["dbeta is zero"]


@pytest.mark.parametrize(
    ("tests", "replaced", "said"),
    [
        ("none.py", "batchnorm.py", "none.py does not exist; expected a file with tests"),
        ("test_ones.py", "none.py", "none.py does not exist"),
        ("test_ones.py", "norms.py:rms_backward", "never call norms.py:rms_backward"),
        ("test_ones.py", "batchnorm.py:nothing", "has no function or class 'nothing'"),
        ("test_ones.py", "norms.py", "has several backward passes"),
        ("test_ones.py", "a b", "neither a file nor a module"),
        ("test_ones.py", "no.such:module", "the tests do not import no.such"),
        ("test_ones.py::test_nothing", "batchnorm.py", "not found: "),
        ("batchnorm.py", "batchnorm.py", "no tests were collected"),
        ("fails.py", "batchnorm.py", "do not: fails.py::test_it: AssertionError: as always"),
        ("broken.py", "batchnorm.py", "cannot be collected: broken.py"),
        ("hangs.py", "batchnorm.py", "hangs.py took more than 2 s with the function as it is"),
        ("exits.py", "batchnorm.py", "the tests could not be started"),
        ("wrong.py", "wrong.py:backward", "does not return the gradients of any layer"),
    ],
)
def test_bad_input_gets_one_clear_message(bncheck, folder, tests, replaced, said):
    test = "from batchnorm import *\ndef test_it():\n    "
    (folder / "fails.py").write_text(f"{test}assert 1 == 2, 'as always'\n")
    (folder / "broken.py").write_text("import nothing_like_it\n")
    (folder / "hangs.py").write_text(f"import time\n{test}time.sleep(60)\n")
    (folder / "exits.py").write_text("import os\nos._exit(5)\n")
    (folder / "wrong.py").write_text(
        "def backward(dy, x, gamma, beta, eps):\n    return dy * x, gamma, beta\n"
        "def test_it():\n    import numpy as np\n"
        "    backward(*np.random.rand(2, 4, 3), np.ones(3), np.ones(3), 1e-5)\n"
    )
    done = bncheck("mutants", tests, "--replace", replaced, "--timeout", "2", cwd=folder)
    assert done.returncode == 2, done.stdout
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_the_command_says_the_score_and_groups_what_is_missed(bncheck):
    arguments = ("tests/suites/test_gamma_is_one.py", "--replace", "tests/suites/batchnorm.py")
    done = bncheck("mutants", *arguments, "--layer", "batch-norm")
    assert done.returncode == 1, done.stderr
    score, about, _, title, *rows = done.stdout.splitlines()
    assert score == "caught 42 of 48  tests/suites/test_gamma_is_one.py"
    assert about.strip() == "3 tests of tests/suites/batchnorm.py:batchnorm_backward, batch-norm"
    assert title.strip() == "missed, would show with gamma that is not 1"
    assert len([row for row in rows if row.startswith("    d")]) == len(MISSED_WITH_GAMMA_ONE)
    every = bncheck("mutants", *arguments, "--all").stdout
    assert len([row for row in every.splitlines() if row.startswith("    d")]) == 48
    done = bncheck("mutants", *arguments, "--layer", "rms-norm")
    assert done.returncode == 2
    assert "does not return the gradients of rms-norm" in done.stderr


@pytest.mark.parametrize("name", LAYERS)
def test_each_mistake_is_wrong_where_it_says_and_right_elsewhere(name):
    """On inputs other than those on which they were chosen."""
    found = derived(LAYERS[name])
    drawn = next(t for t in draw(found.forward) if t.name == "large upstream gradient")
    at = layout.usual(found.forward)
    values = layout.to_user(at, found.forward, drawn.values, drawn.parts)
    _, right = run(recipe(found), values)
    made = mistakes_in(found)
    assert len({(m.text, m.gradients) for m in made}) == len(made) > 25
    for mistake in made:
        _, wrong = run(mistake.recipe, values)
        off = {n for n in right if apart(wrong[n], right[n], values["dy"]) > 1e-9}
        assert off == set(mistake.gradients), mistake.text
        assert all(np.shape(wrong[n]) == np.shape(right[n]) for n in right)


@pytest.mark.parametrize(
    ("name", "by_hand"),
    [("batch-norm", batch_closed), ("layer-norm", layer_closed), ("rms-norm", rms_closed)],
)
def test_the_right_recipe_is_what_people_write(name, by_hand):
    right = recipe(derived(LAYERS[name]))
    rng = np.random.default_rng(5)
    values = {"x": rng.standard_normal((6, 4)), "gamma": rng.standard_normal((1, 4)), "eps": 0.1}
    values["dy"] = rng.standard_normal((6, 4))
    beta = () if name == "rms-norm" else (0,)
    theirs = by_hand(values["dy"], values["x"], values["gamma"], *beta, 0.1)
    named = dict(zip(right.gives if name == "rms-norm" else ("dx", "dgamma", "dbeta"), theirs,
                     strict=True))  # fmt: skip
    assert reproduced(right, values, named)
    for changed in named:
        assert not reproduced(right, values, {**named, changed: named[changed] * (1 + 1e-4)})
    assert not reproduced(right, {**values, "x": values["x"][0]}, named)


def test_a_stand_in_keeps_identity_signature_and_what_the_function_remembers():
    """Where it hangs in a list, has defaults and reads a variable of the function around it."""

    def around(offset):
        def backward(dy, x, gamma, *, eps=0.25):
            return [dy * 0 + offset, eps]

        return backward

    backward = around(3.0)
    held = [backward]
    before = str(inspect.signature(backward))
    found = Implementation(_summary(), backward)
    recorder = Recorder()
    convention_of(found).exchange(found, recorder)
    assert held[0](np.ones(2), x=np.ones(2), gamma=5.0)[0].tolist() == [3.0, 3.0]
    assert held[0] is backward
    assert str(inspect.signature(backward)) == before
    (call,) = recorder.calls
    assert {name: np.ndim(v) for name, v in call["values"].items()} == {
        "dy": 1, "x": 1, "gamma": 0, "eps": 0,
    }  # fmt: skip
    with pytest.raises(TypeError, match="missing"):
        backward(1.0)


def test_a_size_of_zero_is_that_of_the_upstream_gradient():
    tiny, dy = np.full(3, 1e-17), np.full(3, 2.0)
    assert apart(tiny, np.zeros(3), dy) < 1e-16
    assert apart(np.ones(3), np.zeros(3), dy) == 0.5
    assert apart(np.ones(4), np.zeros(3), dy) == np.inf
    assert apart(np.array([np.nan]), np.zeros(1), dy) == np.inf


def _summary():
    def backward(dy, x, gamma, *, eps=0.25):
        return dy

    return from_callables(backward).summary


def importlib_loaded(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
