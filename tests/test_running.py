"""Oracle: classes and pairs written in each convention by hand, each with its convention named.

What is right brings no remark; each mistake brings the one that is its own.
"""

import json

import pytest

from bncheck.telling.report import Report
from bncheck.verification import verify

CLASS = """
import numpy as np


class BatchNorm:
    def __init__(self, size, momentum={momentum}, eps=1e-5):
        self.gamma, self.beta = np.ones(size), np.zeros(size)
        self.eps, self.momentum, self.training = eps, momentum, True
        self.running_mean, self.running_var = np.zeros(size), np.ones(size)

    def forward(self, x):
        if self.training:
            mean, var = x.mean(0), x.var(0)
            m = len(x)
            {update}
        else:
            {evaluation}
        self.sd = np.sqrt(var + self.eps)
        self.xhat = (x - mean) / self.sd
        return self.gamma * self.xhat + self.beta

    def backward(self, dy):
        self.dgamma, self.dbeta = (dy * self.xhat).sum(0), dy.sum(0)
        dxhat = dy * self.gamma
        return (dxhat - dxhat.mean(0) - self.xhat * (dxhat * self.xhat).mean(0)) / self.sd
"""
OLD = """self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mean
            self.running_var = self.momentum * self.running_var + (1 - self.momentum) * {var}"""
NEW = """self.running_mean = (1 - self.momentum) * self.running_mean + self.momentum * mean
            self.running_var = (1 - self.momentum) * self.running_var + self.momentum * {var}"""
USED = "mean, var = self.running_mean, self.running_var"
UNBIASED = "var * m / (m - 1)"

PAIR = """
import numpy as np


def batchnorm_forward(x, gamma, beta, bn_param):
    mode = bn_param["mode"]
    eps, momentum = bn_param.get("eps", 1e-5), bn_param.get("momentum", 0.9)
    D = x.shape[1]
    running_mean = bn_param.get("running_mean", np.zeros(D, dtype=x.dtype))
    running_var = bn_param.get("running_var", np.zeros(D, dtype=x.dtype))
    cache = None
    if mode == "train":
        mean, var = x.mean(0), x.var(0)
        sd = np.sqrt(var + eps)
        xhat = (x - mean) / sd
        cache = gamma, sd, xhat
        running_mean = momentum * running_mean + (1 - momentum) * mean
        running_var = momentum * running_var + (1 - momentum) * var
    elif mode == "test":
        xhat = (x - running_mean) / {sd}
    else:
        raise ValueError(mode)
    bn_param["running_mean"], bn_param["running_var"] = running_mean, running_var
    return gamma * xhat + beta, cache


def batchnorm_backward(dout, cache):
    gamma, sd, xhat = cache
    dgamma, dbeta = (dout * xhat).sum(0), dout.sum(0)
    dxhat = dout * gamma
    dx = (dxhat - dxhat.mean(0) - xhat * (dxhat * xhat).mean(0)) / sd
    return dx, dgamma, dbeta
"""


def _class(update=OLD, var="var", momentum=0.9, evaluation=USED):
    return CLASS.format(update=update.format(var=var), momentum=momentum, evaluation=evaluation)


def _report(tmp_path, text) -> Report:
    path = tmp_path / "code.py"
    path.write_text(text)
    return verify(str(path))


RIGHT = {
    "weight of the old, biased": (
        _class(),
        "0.9 old + 0.1 new (momentum weighs the old), variance over m; evaluation mode uses them",
    ),
    "weight of the old, unbiased": (
        _class(var=UNBIASED, momentum=0.99),
        "0.99 old + 0.01 new (momentum weighs the old), variance over m - 1; evaluation mode uses",
    ),
    "weight of the new, unbiased": (
        _class(NEW, UNBIASED, 0.1),
        "0.9 old + 0.1 new (momentum weighs the new), variance over m - 1; evaluation mode uses",
    ),
    "weight of the new, biased": (
        _class(NEW, momentum=0.25),
        "0.75 old + 0.25 new (momentum weighs the new), variance over m; evaluation mode uses",
    ),
    "single precision": (
        _class(OLD.replace("* mean", "* mean.astype(np.float32)"), "var.astype(np.float32)")
        .replace("np.zeros(size), np.ones(size)\n\n",
                 "np.zeros(size, np.float32), np.ones(size, np.float32)\n\n"),
        "0.9 old + 0.1 new (momentum weighs the old), variance over m; evaluation mode uses them",
    ),
    "deviation kept": (
        _class(var="np.sqrt(var + self.eps)", evaluation="mean, var = self.running_mean, "
               "self.running_var**2 - self.eps").replace("running_var", "running_std"),
        "standard deviation with eps, over m; evaluation mode uses them",
    ),
    "average of all batches": (
        _class("""self.count = getattr(self, "count", 0) + 1
            self.running_mean = self.running_mean + (mean - self.running_mean) / self.count
            self.running_var = self.running_var + (var - self.running_var) / self.count"""),
        "running statistics: the average of all batches, variance over m; evaluation mode uses",
    ),
    "corrected when evaluated": (
        _class(evaluation="mean, var = self.running_mean, self.running_var * len(x)/(len(x) - 1)"),
        "evaluation mode uses them, the variance times m/(m - 1)",
    ),
    "an argument": (
        _class().replace("forward(self, x)", "forward(self, x, train=True)")
        .replace("if self.training", "if train").replace(", self.training = eps, momentum, True",
                                                         " = eps, momentum"),
        "variance over m; evaluation mode uses them",
    ),
    "a word": (
        _class().replace("forward(self, x)", "forward(self, x, mode='train')")
        .replace("if self.training", "if mode == 'train'"),
        "variance over m; evaluation mode uses them",
    ),
    "a method": (
        _class().replace("self.training", "self._learns") + """
    def eval(self):
        self._learns = False
""",
        "variance over m; evaluation mode uses them",
    ),
    "a forward pass of its own": (
        _class().replace(", self.training = eps, momentum, True", " = eps, momentum")
        .replace("if self.training", "if True") + """
    def predict(self, x):
        return (x - self.running_mean) / np.sqrt(self.running_var + self.eps) * self.gamma + (
            self.beta)
""",
        "variance over m; evaluation mode uses them",
    ),
    "dictionary": (
        PAIR.replace("{sd}", "np.sqrt(running_var + eps)"),
        "0.9 old + 0.1 new (momentum weighs the old), variance over m; evaluation mode uses them",
    ),
    "eps kept": (
        _class(var="(var + self.eps)", evaluation="mean, var = self.running_mean, "
               "self.running_var - self.eps"),
        "variance with eps, over m; evaluation mode uses them",
    ),
    "the first batch as it is, testing_phase": (
        _class("self._update(mean, var)").replace("np.zeros(size), np.ones(size)\n\n",
                                                  "None, None\n\n")
        .replace("self.training", "self.testing_phase").replace(", True", ", False")
        .replace("if self.testing_phase", "if not self.testing_phase") + """
    def _update(self, mean, var):
        if self.running_mean is None:
            self.running_mean, self.running_var = mean, var
        self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mean
        self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var
""",
        "0.9 old + 0.1 new (momentum weighs the old), variance over m; evaluation mode uses them",
    ),
    "other names, in dictionaries": (
        _class().replace("running_mean", "moving['mean_ema']")
        .replace("running_var", "moving['var_ema']")
        .replace("        self.moving['mean_ema'], self", "        self.moving = {}\n"
                 "        self.moving['mean_ema'], self"),
        "0.9 old + 0.1 new (momentum weighs the old), variance over m; evaluation mode uses them",
    ),
    "no evaluation mode": (
        _class().replace("self.training", "self.whatever"), "no evaluation mode found",
    ),
}  # fmt: skip

WRONG = {
    "weights": (
        _class(OLD.replace("(1 - self.momentum)", "0.2")),
        "running-weights",
        "running_mean is 0.9 old + 0.2 new: the weights add up to 1.1, not 1",
    ),
    "weights, unbiased": (
        _class(OLD.replace("(1 - self.momentum)", "0.2"), UNBIASED),
        "running-weights",
        "running_var is 0.9 old + 0.2 new",
    ),
    "frozen": (
        _class("pass"),
        "running-frozen",
        "running_mean and running_var: never updated by a forward pass in training mode",
    ),
    "one frozen": (_class(OLD.split("\n")[0]), "running-frozen", "running_var: never updated"),
    "another statistic": (
        _class(var="x.max(0)"), "running-unknown", "running_var: not a old + b new",
    ),
    "batch statistics": (
        _class(evaluation="mean, var = x.mean(0), x.var(0)"),
        "evaluation-differs",
        "evaluation mode uses the statistics of the batch, not the running ones",
    ),
    "mean forgotten": (
        _class(evaluation="mean, var = 0, self.running_var"),
        "evaluation-differs",
        "evaluation mode is not the transform by the running statistics",
    ),
    "eps left out": (
        _class(evaluation="mean, var = self.running_mean, self.running_var - self.eps"),
        "evaluation-differs",
        "leaves eps out",
    ),
    "eps twice": (
        _class(var="(var + self.eps)"), "evaluation-differs", "but adds eps once more",
    ),
    "started anew": (
        _class("self.running_mean, self.running_var = 0.1 * mean, 0.1 * var"),
        "running-weights",
        "old + 0.1 new: the weights add up to 0.1, not 1",
    ),
    "updated in evaluation": (
        _class(evaluation=USED + "; self.running_mean = 0.5 * mean"),
        "evaluation-updates",
        "changes the running statistics",
    ),
    "dictionary": (
        PAIR.replace("{sd}", "running_var"), "evaluation-differs", "divides by the variance",
    ),
}  # fmt: skip


@pytest.mark.sampled(3)
@pytest.mark.parametrize("case", RIGHT)
def test_a_convention_is_named(tmp_path, case):
    text, said = RIGHT[case]
    report = _report(tmp_path, text)
    assert report.verdict == "right"
    assert said in report.running
    codes = {r.code for r in report.remarks}
    assert not {c for c in codes if c.startswith(("running-", "evaluation-"))}


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_is_named_and_leaves_the_verdict(tmp_path, case):
    text, code, said = WRONG[case]
    report = _report(tmp_path, text)
    assert report.verdict == "right"
    remarks = [r for r in report.remarks if r.code.startswith(("running-", "evaluation-"))]
    assert {r.code for r in remarks} == {code}
    assert any(said in r.text for r in remarks)


def test_images_and_statistics_with_all_axes(tmp_path):
    text = _class(var=UNBIASED).replace("mean(0)", "mean((0, 2, 3), keepdims=True)")
    text = text.replace("var(0)", "var((0, 2, 3), keepdims=True)").replace(
        "sum(0)", "sum((0, 2, 3), keepdims=True)"
    )
    text = text.replace("len(x)", "x.size // x.shape[1]").replace("size)", "(1, size, 1, 1))")
    report = _report(tmp_path, text.replace("class BatchNorm:", "class BatchNorm2d:"))
    assert report.verdict == "right"
    assert "variance over m - 1; evaluation mode uses them" in report.running
    assert "(N, C, H, W)" in report.layout


def test_where_nothing_is_kept_nothing_is_said():
    for report in (
        verify("examples/right/plain.py"), verify("examples/right/layer_class.py"),
        verify("bncheck.verdict.references"),
    ):  # fmt: skip
        assert report.running == ""
        assert "running" not in str(report)


def test_a_wrong_gradient_stays_wrong(tmp_path):
    report = _report(tmp_path, _class().replace("- dxhat.mean(0) ", ""))
    assert report.verdict == "wrong"
    assert "evaluation mode uses them" in report.running


def test_code_that_dies_in_evaluation_mode_keeps_its_verdict(tmp_path):
    for last in ("raise RuntimeError", "import sys; sys.exit(3)", "mean = var = None"):
        report = _report(tmp_path, _class(evaluation=last))
        assert report.verdict == "right"


def test_where_it_is_shown(bncheck, tmp_path):
    path = tmp_path / "code.py"
    path.write_text(_class())
    assert "variance over m; evaluation mode uses them" in bncheck("verify", path).stdout
    (record,) = json.loads(bncheck("verify", path, "--format", "json").stdout)["results"]
    assert record["running"].startswith("running statistics: 0.9 old + 0.1 new")


TORCH = """
import torch


class BatchNorm(torch.nn.Module):
    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def forward(self, x):
        if self.training:
            mean, var = x.mean(0), x.var(0, unbiased=False)
            m = len(x)
            with torch.no_grad():
                self.running_mean = self.running_mean * (1 - self.momentum) + mean * self.momentum
                self.running_var = (self.running_var * (1 - self.momentum)
                                    + var * self.momentum * m / (m - 1))
        else:
            mean, var = self.running_mean, self.running_var
        self.sd = torch.sqrt(var + self.eps)
        self.xhat = (x - mean) / self.sd
        return self.xhat

    def backward(self, dy):
        return (dy - dy.mean(0) - self.xhat * (dy * self.xhat).mean(0)) / self.sd
"""


def test_a_torch_module(tmp_path):
    pytest.importorskip("torch")
    report = _report(tmp_path, TORCH)
    assert report.verdict == "right"
    assert report.running == (
        "running statistics: 0.9 old + 0.1 new (momentum weighs the new), variance over m - 1; "
        "evaluation mode uses them"
    )
