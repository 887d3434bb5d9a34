"""Wrong backward passes of all six layers, in two phrasings: staged (chain rule) and closed.

Each is a backward pass written by hand in NumPy, with one piece of its text exchanged for another;
with it goes which gradient is wrong and what a diagnosis may say of it. Nothing here knows how
bncheck makes its programs, or the changes that its diagnosis tries.
"""

from dataclasses import dataclass

import numpy as np

SUM = ".sum(axis=over, keepdims=True)"

CENTRED = f"""
    mu = x{SUM} / m
    xc = x - mu
    var = (xc * xc){SUM} / m
    xhat = xc / np.sqrt(var + eps)
    sd = np.sqrt(var + eps)
    dbeta = dy.sum(axis=rows)
    dgamma = (dy * xhat).sum(axis=rows)
    h = dy * g
"""

RMS = f"""
    var = (x * x){SUM} / m
    xhat = x / np.sqrt(var + eps)
    sd = np.sqrt(var + eps)
    dgamma = (dy * xhat).sum(axis=rows)
    h = dy * g
"""

WEIGHT = f"""
    var = (x * x){SUM}
    xhat = x / np.sqrt(var)
    sd = np.sqrt(var)
    dgamma = (dy * xhat).sum(axis=rows)
    h = dy * g
"""

STAGED = f"""
    dsd = -(h * xc){SUM} / sd**2
    dvar = dsd / (2 * sd)
    dmu = -h{SUM} / sd
    dx = h / sd + 2 * xc * dvar / m + dmu / m
"""

STAGED_UNCENTRED = f"""
    dsd = -(h * x){SUM} / sd**2
    dvar = dsd / (2 * sd)
    dx = h / sd + 2 * x * dvar / m
"""

CLOSED = f"""
    mean = h{SUM} / m
    along = xhat * (h * xhat){SUM} / m
    dx = (h - mean - along) / sd
"""

CLOSED_UNCENTRED = f"""
    along = xhat * (h * xhat){SUM} / m
    dx = (h - along) / sd
"""


@dataclass(frozen=True)
class Layer:
    """``head`` says over what there are statistics; ``opened``: by it the arrays get more axes."""

    name: str
    takes: str
    head: str
    forward: str
    opened: bool = False

    def source(self, phrasing: str) -> str:
        """The right backward pass."""
        centred, beta = self.forward is CENTRED, ", dbeta" if "beta" in self.takes else ""
        staged = STAGED if centred else STAGED_UNCENTRED
        closed = CLOSED if centred else CLOSED_UNCENTRED
        body = self.forward + {"staged": staged, "closed": closed}[phrasing]
        if self.forward is WEIGHT:
            body = body.replace(" / m", "")
        lines = [line for line in body.splitlines() if line.strip()]
        back, per = (".reshape(shape)", ".reshape(-1)") if self.opened else ("", "")
        ends = f"    return dx{back}, dgamma{per}{beta and beta + per}"
        return "\n".join((f"def backward({self.takes}):", *self.head.splitlines(), *lines, ends))


LAYERS = {
    "batch-norm": Layer(
        "batch-norm",
        "dy, x, gamma, beta, eps",
        "    m, over, rows, g = len(x), 0, 0, gamma",
        CENTRED,
    ),
    "layer-norm": Layer(
        "layer-norm",
        "dy, x, gamma, beta, eps",
        "    m, over, rows, g = x.shape[1], 1, 0, gamma",
        CENTRED,
    ),
    "rms-norm": Layer(
        "rms-norm", "dy, x, gamma, eps", "    m, over, rows, g = x.shape[1], 1, 0, gamma", RMS
    ),
    "group-norm": Layer(
        "group-norm",
        "dy, x, gamma, beta, eps, groups",
        "    shape = x.shape\n"
        "    x, dy = (a.reshape(len(x), groups, -1, shape[2]) for a in (x, dy))\n"
        "    m, over, rows = x.shape[2] * x.shape[3], (2, 3), (0, 3)\n"
        "    g = gamma.reshape(groups, -1, 1)",
        CENTRED,
        opened=True,
    ),
    "instance-norm": Layer(
        "instance-norm",
        "dy, x, gamma, beta, eps",
        "    m, over, rows, g = x.shape[2], 2, (0, 2), gamma[:, None]",
        CENTRED,
    ),
    "weight-norm": Layer(
        "weight-norm", "dy, x, gamma", "    over, rows, g = 1, 1, gamma[:, None]", WEIGHT
    ),
}

COUNTS = {"count-minus-1", "count"}
SUMS = {"sum-for-mean", "count"}
LOST = {"path-missing", "paths-missing", "term-missing", "term-factor"}
FLIPPED = {"path-sign", "term-sign", "sign"}


def _of(what):
    return {f"{name}-{what}" for name in ("sd", "rms", "norm")}


# what, the gradient, a piece of the text, what stands there instead, codes that name it
IN_STAGED = (
    ("mean path missing", "dx", " + dmu / m", "", {"path-missing"}),
    ("mean path negative", "dx", " + dmu / m", " - dmu / m", {"path-sign"}),
    ("mean path twice", "dx", " + dmu / m", " + 2 * dmu / m", {"factor"}),
    ("variance path missing", "dx", "2 * xc * dvar", "0 * xc * dvar", LOST),
    ("variance path missing", "dx", "2 * x * dvar", "0 * x * dvar", LOST),
    ("variance path negative", "dx", "dvar = dsd", "dvar = -dsd", {"path-sign"}),
    ("half forgotten", "dx", "dsd / (2 * sd)", "dsd / sd", {"factor"}),
    ("half twice", "dx", "dsd / (2 * sd)", "dsd / (4 * sd)", {"factor"}),
    ("1/sd for 1/sd**2", "dx", "/ sd**2", "/ sd", {"power", "operand", "term-factor"}),
    ("1/sd**3 for 1/sd**2", "dx", "/ sd**2", "/ sd**3", {"power", "operand", "term-factor"}),
    ("m - 1 in the mean's path", "dx", "dmu / m", "dmu / (m - 1)", COUNTS),
    ("no count in the mean's path", "dx", "dmu / m", "dmu", SUMS),
    ("m - 1 in the variance's path", "dx", "dvar / m", "dvar / (m - 1)", COUNTS),
    ("no count in the variance's path", "dx", "dvar / m", "dvar", SUMS),
)
IN_CLOSED = (
    ("direct term missing", "dx", "(h - ", "(-", LOST),
    ("direct term negative", "dx", "(h - ", "(-h - ", FLIPPED),
    ("direct term twice", "dx", "(h - ", "(2 * h - ", {"factor"}),
    ("mean term missing", "dx", " - mean", "", LOST),
    ("mean term negative", "dx", " - mean", " + mean", FLIPPED),
    ("mean term twice", "dx", " - mean", " - 2 * mean", {"factor"}),
    ("last term missing", "dx", " - along", "", LOST),
    ("last term negative", "dx", " - along", " + along", FLIPPED),
    ("last term twice", "dx", " - along", " - 2 * along", {"factor"}),
    ("m - 1 in the mean term", "dx", f"mean = h{SUM} / m", f"mean = h{SUM} / (m - 1)", COUNTS),
    ("sum in the mean term", "dx", f"mean = h{SUM} / m", f"mean = h{SUM}", SUMS),
    ("m - 1 in the last term", "dx", f"(h * xhat){SUM} / m", f"(h * xhat){SUM} / (m - 1)", COUNTS),
    ("sum in the last term", "dx", f"(h * xhat){SUM} / m", f"(h * xhat){SUM}", SUMS),
    ("dx negative", "dx", "dx = (h", "dx = -(h", {"sign"}),
    ("not divided by sd", "dx", "along) / sd", "along)", _of("missing")),
    ("multiplied by sd", "dx", "along) / sd", "along) * sd", _of("multiplied")),
    ("divided by sd twice", "dx", "along) / sd", "along) / sd**2", {"variance-for-sd"}),
    ("x for xhat outside the sum", "dx", "along = xhat", "along = x", {"operand", "power"}),
)
IN_BOTH = (
    ("dgamma negative", "dgamma", "dgamma = (dy", "dgamma = -(dy", {"sign"}),
    ("dgamma zero", "dgamma", "dgamma = (dy", "dgamma = 0 * (dy", {"zero"}),
    ("dgamma averaged", "dgamma", "* xhat).sum(axis=rows)", "* xhat).sum(axis=rows) / len(x)",
     {"divided-by-count"}),
    ("dgamma from x", "dgamma", "(dy * xhat).sum(axis=rows)", "(dy * x).sum(axis=rows)",
     {"operand"}),
    ("dbeta negative", "dbeta", "dbeta = dy", "dbeta = -dy", {"sign"}),
    ("dbeta zero", "dbeta", "dbeta = dy", "dbeta = 0 * dy", {"zero"}),
    ("dbeta averaged", "dbeta", "dbeta = dy.sum(axis=rows)", "dbeta = dy.sum(axis=rows) / len(x)",
     {"divided-by-count"}),
    ("gamma forgotten", "dx", "h = dy * g", "h = dy", {"gamma-missing"}),
    ("gamma twice", "dx", "h = dy * g", "h = dy * g * g", {"gamma-twice"}),
    ("eps forgotten in the root", "dx", " sd = np.sqrt(var + eps)", " sd = np.sqrt(var)",
     {"eps-missing", "term-factor"}),
    ("eps fixed in the root", "dx", " sd = np.sqrt(var + eps)", " sd = np.sqrt(var + 1e-3)",
     {"eps-other"}),
    ("root forgotten", "dx", " sd = np.sqrt(var + eps)", " sd = var + eps",
     {"variance-for-sd", *_of("missing")}),
    ("root forgotten", "dx", " sd = np.sqrt(var)\n", " sd = var\n",
     {"variance-for-sd", *_of("missing")}),
    ("the mask of a ReLU", "dx", "h = dy * g", "h = dy * g * (x > 0)", {"masked"}),
)  # fmt: skip


def every():
    """(name, layer, backward, gradient, accepted) of each mistake; accepted: codes."""
    for layer in LAYERS.values():
        for phrasing, table in (("staged", IN_STAGED), ("closed", IN_CLOSED)):
            source = layer.source(phrasing)
            for what, gradient, old, new, accepted in (*table, *IN_BOTH):
                if old in source:
                    assert source.count(old) == 1, (layer.name, what)
                    backward = function_of(source.replace(old, new))
                    yield (
                        f"{layer.name}, {phrasing}: {what}",
                        layer.name,
                        backward,
                        gradient,
                        accepted,
                    )


def function_of(source):
    """The function of a text."""
    space = {"np": np}
    exec(compile(source, "<a backward pass>", "exec"), space)
    return space["backward"]
