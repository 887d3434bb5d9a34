"""Parameters found by moving them, and gradients found wherever they were left.

Oracle: which of the two it is was written into the code; each file is asked as it is, where all of
its gradients have to be right and named, and with one edit, where that gradient has to be wrong.
"""

import pytest

from bncheck.verification import verify, verify_all

BODY = """
        self.s = np.sqrt(x.var(0) + 1e-5)
        self.h = (x - x.mean(0)) / self.s
"""
BACK = "(g - g.mean(0) - self.h * (g * self.h).mean(0)) / self.s"

PLAIN = f"""
import numpy as np
class Norm:
    def __init__(self, width):
        self.gamma, self.beta = np.ones(width), np.zeros(width)
    def forward(self, x):{BODY}
        return self.gamma * self.h + self.beta"""
FLAGS = f"""
import numpy as np
class Norm:
    def __init__(self, width, gain=None, shift=True, alpha=0.5):
        self.p = np.ones(width) if gain is None else gain * np.ones(width)
        self.q = np.zeros(width) if shift is True else None
    def forward(self, x):{BODY}
        return self.p * self.h + (0 if self.q is None else self.q)
    def backward(self, dy):
        g = dy * self.p
        self.left = {{"one": (dy * self.h).sum(0), "two": dy.sum(0)}}
        return {BACK}
"""
DRAWN = f"""
import numpy as np
class Norm:
    def __init__(self, width):
        self.w, self.b = np.random.standard_normal(width), np.random.rand(width)
    def forward(self, x):{BODY}
        return self.w * self.h + self.b
    def backward(self, dy):
        g = dy * self.w
        self.dw, self.db = (dy * self.h).sum(0), dy.sum(0)
        return {BACK}
"""
STEP_GIVEN = f"""{PLAIN}
    def backward(self, dy, alpha):
        g = dy * self.gamma
        dx = {BACK}
        self.gamma = self.gamma - alpha * (dy * self.h).sum(0)
        self.beta = self.beta - alpha * dy.sum(0)
        return dx
"""
PENALTY = f"""{PLAIN}
    def backward(self, dy, ridge):
        g = dy * self.gamma
        self.dgamma = (dy * self.h).sum(0) + ridge * self.gamma
        self.dbeta = dy.sum(0)
        return {BACK}
"""
DICTIONARY_GIVEN = f"""{PLAIN}
    def backward(self, dy, into):
        g = dy * self.gamma
        into["gamma"] = (dy * self.h).sum(0)
        into["beta"] = dy.sum(0)
        return {BACK}
"""
ANOTHER_METHOD = f"""
import numpy as np
class Norm:
    def __init__(self, width):
        self.weight, self.bias = np.ones(width), np.zeros(width)
        self.gradWeight, self.gradBias = np.zeros(width), np.zeros(width)
    def updateOutput(self, input):
        x = input{BODY}
        return self.weight * self.h + self.bias
    def updateGradInput(self, input, gradOutput):
        g = gradOutput * self.weight
        return {BACK}
    def accGradParameters(self, input, gradOutput, scale=1):
        self.gradWeight += scale * (gradOutput * self.h).sum(0)
        self.gradBias += scale * gradOutput.sum(0)
"""
UPDATE_IS_CALLED_BACKWARD = f"""{PLAIN}
    def gradient(self, dy):
        g = dy * self.gamma
        self.dgamma, self.dbeta = (dy * self.h).sum(0), dy.sum(0)
        return {BACK}
    def backward(self, rate=0.1):
        self.gamma -= rate * self.dgamma
        self.beta -= rate * self.dbeta
"""
MORE_RESULTS = """
import numpy as np
def norm_forward(x, gamma, beta, eps):
    s = np.sqrt(x.var(0) + eps)
    h = (x - x.mean(0)) / s
    return gamma * h + beta, (h, s, gamma)
def norm_backward(dy, cache):
    h, s, gamma = cache
    g = dy * gamma
    dgamma = (dy * h).sum(0)
    return g, dy.sum(0), (g - g.mean(0) - h * (g * h).mean(0)) / s, dgamma
"""
SETTING = """
import numpy as np
def rms_forward(x, gamma, chunk):
    r = np.empty((len(x), 1))
    for k in range(0, len(x), chunk):
        r[k : k + chunk] = ((x[k : k + chunk] ** 2).mean(1, keepdims=True) + 1e-6) ** -0.5
    return x * r * gamma, r
def rms_backward(dy, x, root, gamma, chunk):
    h, g = x * root, dy * gamma
    return root * (g - h * (g * h).mean(1, keepdims=True)), (dy * h).sum(0)
"""
ROWS = """
def rms_forward(x, gamma):
    y, kept = [], []
    for row in x:
        r = (sum(v * v for v in row) / len(row) + 1e-5) ** -0.5
        kept.append(r)
        y.append([v * r * c for v, c in zip(row, gamma)])
    return y, (x, kept, gamma)
def rms_backward(dy, cache):
    x, kept, gamma = cache
    dx, dgamma = [], [0.0] * len(gamma)
    for g, row, r in zip(dy, x, kept):
        s = sum(a * b * c for a, b, c in zip(g, row, gamma)) / len(row)
        dx.append([a * c * r - r**3 * b * s for a, b, c in zip(g, row, gamma)])
        dgamma = [d + a * b * r for d, a, b in zip(dgamma, g, row)]
    return dx, dgamma
"""
RANKS = """
import numpy as np
def forward(parts, gamma, beta, eps=1e-5):
    m = sum(len(p) for p in parts)
    mean = sum(p.sum(0) for p in parts) / m
    inv = (sum(((p - mean) ** 2).sum(0) for p in parts) / m + eps) ** -0.5
    return [(p - mean) * inv * gamma + beta for p in parts], (parts, mean, inv, gamma)
def backward(dys, cache):
    parts, mean, inv, gamma = cache
    hats = [(p - mean) * inv for p in parts]
    m = sum(len(p) for p in parts)
    a = sum(d.sum(0) for d in dys)
    b = sum((d * h).sum(0) for d, h in zip(dys, hats))
    return [gamma * inv * (d - a / m - h * b / m) for d, h in zip(dys, hats)], b, a
"""
TWO_INPUTS = """
import numpy as np
def add_norm_fwd(x, residual, weight, eps=1e-6):
    both = x + residual
    r = ((both * both).mean(-1, keepdims=True) + eps) ** -0.5
    return both * r * weight, both, r
def add_norm_bwd(dy, both, weight, r):
    h, g = both * r, dy * weight
    dx = (g - h * (g * h).mean(-1, keepdims=True)) * r
    dresidual = 1.0 * dx
    return dx, dresidual, (dy * h).sum(0)
"""
TWO_LAYERS_IN_A_CLASS = """
import numpy as np
class Layers:
    def norm_forward(self, x, gamma, beta, eps=1e-5):
        s = np.sqrt(x.var(0) + eps)
        h = (x - x.mean(0)) / s
        return gamma * h + beta, (h, s, gamma)
    def other_forward(self, x, p):
        return x * p
    def norm_backward(self, dy, cache):
        h, s, gamma = cache
        dgamma = (dy * h).sum(0)
        return gamma / s * (dy - dy.mean(0) - h * (dy * h).mean(0)), dgamma, dy.sum(0)
"""
FILLED = """
import numpy as np
def norm_forward(out, mean, rstd, inp, weight, bias):
    for b in range(inp.shape[0]):
        for t in range(inp.shape[1]):
            x = inp[b, t]
            mean[b, t], rstd[b, t] = x.mean(), (x.var() + 1e-5) ** -0.5
            out[b, t] = (x - mean[b, t]) * rstd[b, t] * weight + bias
def norm_backward(dinp, dweight, dbias, dout, inp, weight, mean, rstd):
    for b in range(inp.shape[0]):
        for t in range(inp.shape[1]):
            h, g = (inp[b, t] - mean[b, t]) * rstd[b, t], weight * dout[b, t]
            dbias += dout[b, t]
            dweight += h * dout[b, t]
            dinp[b, t] += (g - g.mean() - h * (g * h).mean()) * rstd[b, t]
"""
ALL, RMS = {"dx", "dgamma", "dbeta"}, {"dx", "dgamma"}
FOUND = {
    "flags": (FLAGS, "- self.h *", "+ self.h *", "dx", ALL),
    "drawn": (DRAWN, "self.dw, self.db = (", "self.dw, self.db = 7 * (", "dgamma", ALL),
    "a step given": (STEP_GIVEN, "alpha * (dy", "3 * alpha * (dy", "dgamma", ALL),
    "a penalty given": (PENALTY, "self.dbeta = dy", "self.dbeta = -dy", "dbeta", ALL),
    "a dictionary given": (
        DICTIONARY_GIVEN, '["gamma"] = (dy', '["gamma"] = 2 * (dy', "dgamma", ALL),
    "another method": (ANOTHER_METHOD, "scale * (grad", "scale * 2 * (grad", "dgamma", ALL),
    "the update is called backward": (
        UPDATE_IS_CALLED_BACKWARD, "- self.h *", "+ self.h *", "dx", ALL),
    "more results": (MORE_RESULTS, "dgamma = (dy", "dgamma = 5 * (dy", "dgamma", ALL),
    "a setting": (SETTING, "(dy * h).sum(0)", "(g * h).sum(0)", "dgamma", RMS),
    "rows": (ROWS, "- r**3", "+ r**3", "dx", RMS),
    "ranks": (RANKS, "- a / m", "+ a / m", "dx", ALL),
    "arrays to be filled": (FILLED, "dweight += h", "dweight -= h", "dgamma", ALL),
    "two inputs": (TWO_INPUTS, "1.0 * dx", "0.5 * dx", "dx", RMS),
    "two layers in a class": (
        TWO_LAYERS_IN_A_CLASS, "dgamma = (dy", "dgamma = (gamma * dy", "dgamma", ALL),
}  # fmt: skip


@pytest.mark.parametrize("case", FOUND)
def test_what_is_left_anywhere_is_verified(tmp_path, case):
    code, good, bad, gradient, names = FOUND[case]
    path = tmp_path / "code.py"
    path.write_text(code)
    report = verify(str(path))
    assert report.verdict == "right", str(report)
    assert {g.name for g in report.gradients} == names
    assert code.count(good) == 1
    path.write_text(code.replace(good, bad))
    report = verify(str(path), lines=False)
    assert report.verdict == "wrong", str(report)
    assert {g.name for g in report.gradients if g.verdict == "wrong"} == {gradient}


def test_what_the_result_depends_on_is_no_setting(tmp_path):
    path = tmp_path / "code.py"
    path.write_text("def backward(dy, x, gamma, odd):\n    return dy * gamma * odd\n")
    report = verify(str(path))
    assert report.verdict == "cannot call"
    assert "parameter 'odd' that bncheck does not know" in str(report)


def test_what_is_drawn_in_a_constructor_is_drawn_alike_in_every_run(tmp_path):
    path = tmp_path / "code.py"
    drawn = DRAWN.replace("self.w, self.b =", "self.f =").replace(", np.random.rand(width)", "[0]")
    drawn = drawn.replace("self.w * self.h + self.b", "self.f * self.h").replace("self.w", "self.f")
    path.write_text(drawn)
    assert str(verify(str(path))) == str(verify(str(path)))


@pytest.mark.parametrize("kind", ["methods", "static methods"])
def test_every_backward_pass_of_a_class_is_verified(tmp_path, kind):
    code = MORE_RESULTS.replace("g, dy.sum(0), (g", "(g").replace(
        "/ s, dgamma", "/ s, dgamma, dy.sum(0)"
    )
    functions = code.replace("import numpy as np\n", "").replace("norm_", "")
    fast = functions[functions.index("def backward") :].replace("backward", "backward_fast")
    functions += fast.replace("h * (g", "2 * h * (g")
    if kind == "methods":
        functions = functions.replace("(x, gamma", "(self, x, gamma").replace("(dy,", "(self, dy,")
    else:
        functions = functions.replace("def ", "@staticmethod\ndef ")
    text = "import numpy as np\nclass Norm:\n" + functions.replace("\n", "\n    ")
    path = tmp_path / "code.py"
    path.write_text(text)
    reports = {r.name: r.verdict for r in verify_all(str(path))}
    assert reports == {"Norm": "right", "Norm.backward_fast": "wrong"}
    assert verify(f"{path}:Norm.backward_fast").verdict == "wrong"
    assert verify(f"{path}:Norm.backward").verdict == "right"
