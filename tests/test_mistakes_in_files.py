"""Oracle: mistakes of the kinds that public files have, put into files of our own."""

import pytest

from bncheck.verification import verify, verify_all

LAYER = """
import numpy as np

class Norm:
    def __init__(self, width, eps=1e-5):
        self.gamma, self.beta, self.eps = np.ones(width), np.zeros(width), eps
        self.old_mean, self.old_var = None, None

    def forward(self, x):
        self.mean, self.var = x.mean(axis=0), x.var(axis=0)
        if self.old_mean is None:
            self.old_mean, self.old_var = self.mean, self.var
        self.old_mean = 0.9 * self.old_mean + 0.1 * self.mean
        self.old_var = 0.9 * self.old_var + 0.1 * self.var
        self.centred = x - self.mean
        self.hat = self.centred / np.sqrt(self.var + self.eps)
        return self.gamma * self.hat + self.beta

    def backward(self, dy):
        count = dy.shape[0]
        scale = 1 / np.sqrt(self.var + self.eps)
        self.dbeta = dy.sum(axis=0)
        self.dgamma = (dy * self.hat).sum(axis=0)
        dhat = dy * self.gamma
        inner = count * dhat - dhat.sum(axis=0) - self.hat * (dhat * self.hat).sum(axis=0)
        dx = scale / count * inner
        return dx
"""

IMAGES = """
import numpy as np

class BatchNorm2d:
    def __init__(self, channels, eps=1e-5):
        self.gamma, self.beta, self.eps = np.ones(channels), np.zeros(channels), eps
        self.old_var = np.ones(channels)

    def forward(self, x):
        self.mean = x.mean(axis=(0, 2, 3), keepdims=True)
        self.var = x.var(axis=(0, 2, 3), keepdims=True)
        self.old_var = 0.3 * self.old_var + 0.7 * self.var[0, :, 0, 0]
        self.hat = (x - self.mean) / np.sqrt(self.var + self.eps)
        return self.gamma[:, None, None] * self.hat + self.beta[:, None, None]

    def backward(self, dy):
        var = self.var
        axes, count = (0, 2, 3), dy.size / dy.shape[1]
        self.dbeta = dy.sum(axis=(0, 2, 3))
        self.dgamma = (dy * self.hat).sum(axis=(0, 2, 3))
        dhat = dy * self.gamma[:, None, None]
        left = dhat.sum(axis=axes, keepdims=True) / count
        right = (dhat * self.hat).sum(axis=axes, keepdims=True) / count
        return (dhat - left - self.hat * right) / np.sqrt(var + self.eps)
"""

ROWS = """
import numpy as np

class LayerNorm:
    def __init__(self, width, eps=1e-5, lr=0.1):
        self.gamma, self.beta, self.eps, self.lr = np.ones(width), np.zeros(width), eps, lr

    def forward(self, x):
        self.mean, self.var = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
        self.hat = (x - self.mean) / np.sqrt(self.var + self.eps)
        return self.gamma * self.hat + self.beta

    def backward(self, dy):
        self.dgamma, self.dbeta = (dy * self.hat).sum(axis=0), dy.sum(axis=0)
        dhat = dy * self.gamma
        inner = dhat.mean(axis=-1, keepdims=True)
        inner = inner + self.hat * (dhat * self.hat).mean(axis=-1, keepdims=True)
        return (dhat - inner) / np.sqrt(self.var + self.eps)
"""

EDITS = [
    (LAYER, "scale / count * inner", "scale / count + inner", "dx", "edit",
     "`scale / count + inner` should be `scale / count * inner`"),
    (LAYER, "scale / count * inner", "scale / (count + self.eps) + inner", "dx", "term-factor",
     "another factor in each group"),
    (LAYER, "return dx", "return dy", "dx", "handed-on", "handed on as it came"),
    (LAYER, "(dy * self.hat).sum(axis=0)\n", "(dy * self.hat)[: dy.shape[1]].sum(axis=0)\n",
     "dgamma", "rows-lost", "first rows"),
    (LAYER, "self.dbeta = dy.sum(axis=0)", "self.dbeta = dy.sum()", "dbeta", "shape",
     "summed over m, D where m belongs"),
    (LAYER, "np.sqrt(self.var + self.eps)\n        self.dbeta",
     "np.sqrt(self.old_var + self.eps)\n        self.dbeta", "dx", "state", "batch to batch"),
    (IMAGES, "axes, count = (0, 2, 3), dy.size / dy.shape[1]", "axes, count = 0, len(dy)", "dx",
     "partial-mean", "over N where N, H, W belong"),
    (IMAGES, "var = self.var", "var = self.old_var[:, None, None]", "dx", "running-variance",
     "0.3 + 0.7*var"),
    (ROWS, "dhat = dy", "self.gamma = self.gamma - self.lr * self.dgamma.sum()\n        dhat = dy",
     "dx", "gamma-updated", "another gamma"),
    (ROWS, "inner = dhat.mean(axis=-1, keepdims=True)\n", "inner = dhat / dhat.shape[-1]\n", "dx",
     None, ""),
]  # fmt: skip


def _written(tmp_path, source, *changes):
    for old, new in changes:
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    path = tmp_path / "layer.py"
    path.write_text(source.lstrip())
    return str(path)


@pytest.mark.parametrize(("source", "old", "new", "gradient", "code", "said"), EDITS)
def test_the_mistake_is_named(tmp_path, source, old, new, gradient, code, said):
    report = verify(_written(tmp_path, source, (old, new)))
    assert report.verdict == "wrong"
    named = {d.gradient: d for d in report.diagnosis}
    assert set(named) == {gradient}, "another gradient is blamed"
    assert code is None or named[gradient].code == code, named[gradient].text
    assert said in named[gradient].text


@pytest.mark.parametrize("source", [LAYER, IMAGES, ROWS])
def test_without_the_mistake_they_are_right(tmp_path, source):
    report = verify(_written(tmp_path, source))
    assert (report.verdict, report.diagnosis) == ("right", ())


def test_two_mistakes_in_two_places_are_both_named(tmp_path):
    changes = (
        ("axes, count = (0, 2, 3), dy.size / dy.shape[1]", "axes, count = 0, len(dy)"),
        ("var = self.var", "var = self.old_var[:, None, None]"),
    )
    (cause,) = verify(_written(tmp_path, IMAGES, *changes)).diagnosis
    assert "over N where N, H, W belong; and a running variance" in cause.text


def test_only_the_diagonal_is_named(tmp_path):
    old = "inner = inner + self.hat * (dhat * self.hat).mean(axis=-1, keepdims=True)\n"
    changes = (
        ("inner = dhat.mean(axis=-1, keepdims=True)\n", "inner = dhat / dhat.shape[-1]\n"),
        (old, "inner = inner + self.hat ** 2 * dhat / dhat.shape[-1]\n"),
    )
    (cause,) = verify(_written(tmp_path, ROWS, *changes)).diagnosis
    assert (cause.gradient, cause.code) == ("dx", "diagonal")


def test_the_gradient_of_another_layer_than_the_forward_pass(tmp_path):
    path = _written(tmp_path, LAYER, ("self.gamma * self.hat + ", "self.gamma * self.centred + "))
    report = verify(path)
    assert report.verdict == "wrong"
    assert all("the gradient of batch norm" in d.text for d in report.diagnosis)


@pytest.mark.parametrize("eps", [2.0**-52, 1e-18, 3e-14])
def test_a_tiny_eps_is_found_to_the_last_digits(tmp_path, eps):
    source = LAYER.replace(", eps=1e-5", "").replace(", eps\n", f", {eps!r}\n")
    report = verify(_written(tmp_path, source.replace("self.eps", "self.tiny")))
    assert (report.verdict, report.eps) == ("right", pytest.approx(eps, rel=1e-2))


def test_a_helper_that_also_plots_is_read_and_what_is_missing_fails_only_when_used(tmp_path):
    (tmp_path / "plots.py").write_text(
        "import numpy as np\nimport not_installed_here.drawing as drawing\n"
        "from not_installed_either import show\n\n"
        "def scale_of(var, eps):\n    return 1 / np.sqrt(var + eps)\n\n"
        "def plot(x):\n    show(drawing.plot(x))\n"
    )
    changes = (
        ("import numpy as np\n", "import numpy as np\nfrom plots import scale_of, plot\n"),
        ("1 / np.sqrt(self.var + self.eps)\n", "scale_of(self.var, self.eps)\n"),
    )
    path = _written(tmp_path, LAYER, *changes)
    assert verify(path).verdict == "right"
    path = _written(
        tmp_path, LAYER, *changes, ("        dx = scale", "        plot(dy)\n        dx = scale")
    )
    report = verify(path)
    assert report.verdict == "cannot call"
    assert "not_installed" in report.assumed


def test_a_relative_import_finds_its_package(tmp_path):
    package = tmp_path / "own_package"
    (package / "layers").mkdir(parents=True)
    for folder in (package, package / "layers"):
        (folder / "__init__.py").write_text("")
    (package / "numbers.py").write_text("from .more import root\n")
    (package / "more.py").write_text("import numpy as np\nroot = np.sqrt\n")
    start = "import numpy as np\nfrom ..numbers import root\n"
    source = LAYER.replace("import numpy as np\n", start).replace("np.sqrt", "root")
    path = package / "layers" / "norm.py"
    path.write_text(source.lstrip())
    assert verify(str(path)).verdict == "right"


def test_another_layout_is_tried_where_the_first_one_fails(tmp_path):
    change = (
        "(dy * self.hat).sum(axis=0), dy.sum(axis=0)",
        "(dy * self.hat).sum(axis=(0, 1)), dy.sum(axis=(0, 1))",
    )
    path = _written(tmp_path, ROWS, change)
    report = verify(path)
    assert (report.verdict, report.layout) == ("right", "(B, T, D)")
    assert "other-layout" in {r.code for r in report.remarks}


def test_code_that_refuses_a_large_eps_gets_a_small_one(tmp_path):
    guard = "count = dy.shape[0]\n        if self.eps > 1e-10:\n            raise ValueError('eps')"
    path = _written(tmp_path, LAYER, ("count = dy.shape[0]", guard))
    report = verify(path)
    assert (report.verdict, report.eps) == ("right", 1e-12)


def test_a_mode_that_its_owner_would_set_is_training(tmp_path):
    line = "        if self.testing_phase:\n            return x\n        self.mean, self.var"
    path = _written(tmp_path, LAYER, ("        self.mean, self.var", line))
    assert verify(path).verdict == "right"


def test_methods_with_more_in_their_names(tmp_path):
    changes = (("def forward(", "def batch_norm_forward("), ("def backward(", "def norm_backword("))
    (report,) = verify_all(_written(tmp_path, LAYER, *changes))
    assert report.verdict == "right"


def test_what_stands_in_for_an_optimizer_does_not_stop_the_lines(tmp_path):
    source = LAYER.replace("eps=1e-5):", "eps=1e-5, optimizer=None):\n        self.opt = optimizer")
    path = _written(tmp_path, source, ("scale / count * inner", "scale / count * -inner"))
    (cause,) = verify(path).diagnosis
    assert cause.line == 1 + source.lstrip()[: source.lstrip().index("dx = scale")].count("\n")
