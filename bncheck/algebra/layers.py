"""The layers: the only file that knows what batch norm is, its axes and its variants.

Batch, layer, group and instance norm are one forward pass over different axes; side by side the
family explains itself. To add a layer, write its steps, a row of ``_FAMILY``, and for each axis
that is new a row of ``AXES``: nothing else has to be told in order to derive it. ``sd`` is a step
of its own: with it every derivative is a monomial in ``1/sd`` and the textbook form falls out.

Sources: batch norm, Ioffe and Szegedy 2015, Algorithm 1; layer norm, Ba, Kiros and Hinton
2016; RMS norm, Zhang and Sennrich 2019; group norm, Wu and He 2018; instance norm, Ulyanov,
Vedaldi and Lempitsky 2016; weight norm, Salimans and Kingma 2016.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from types import MappingProxyType
from typing import Any

from sympy import Expr, Idx, Symbol, sqrt

from bncheck.algebra.notation import Mean, Tensor, Total, axis, count, size, tensor
from bncheck.algebra.program import Program, Step
from bncheck.telling.errors import CannotAsk

i, j = axis("i", "m"), axis("j", "D")  # batch, feature
n, c, l = axis("n", "N"), axis("k", "C"), axis("l", "L")  # sample, channel, place
g, k = axis("h", "G"), axis("k", "K")  # group, channel inside it
o, p = axis("o", "U"), axis("p", "P")  # output unit, weight

AXES = {
    i: "batch", j: "feature", n: "sample", c: "channel", l: "position",
    g: "group", k: "channel of the group", o: "output unit", p: "weight",
}  # fmt: skip
"""Of what kind every axis is; layouts of arrays and words for axes are made from it."""

x, y, xhat, gamma, beta, mu = map(tensor, ("x", "y", "xhat", "gamma", "beta", "mu"))
var, ms, sd, rms = (tensor(name, positive=True) for name in ("var", "ms", "sd", "rms"))
v, w, vhat = map(tensor, ("v", "w", "vhat"))
sq, norm = tensor("sq", positive=True), tensor("norm", positive=True)
running_mean, running_var = tensor("running_mean"), tensor("running_var", positive=True)
eps = Symbol("eps", nonnegative=True)


@cache
def batch_norm(
    ddof: int = 0, affine: bool = True, variance: str = "centred", mode: str = "training"
) -> Program:
    """Batch norm of x: (m, D): every feature over the batch."""
    if mode == "training":
        names = ("batch-norm", "Batch norm", "batch mean")
        return _centred(names, (i, j), (i,), (j,), ddof, affine, variance)
    return Program(
        name="batch-norm",
        title="Batch norm in evaluation mode",
        axes=(i, j),
        inputs=(x[i, j], *_affine(affine, j), running_mean[j], running_var[j], eps),
        steps=(
            Step(sd[j], sqrt(running_var[j] + eps), "standard deviation, held fixed"),
            Step(xhat[i, j], (x[i, j] - running_mean[j]) / sd[j], "normalised"),
            _scaled(affine, (i, j), j),
        ),
        outputs=(y[i, j],),
        wrt=(x[i, j], *_affine(affine, j)),
    )


@cache
def layer_norm(ddof: int = 0, affine: bool = True, variance: str = "centred") -> Program:
    """Layer norm of x: (m, D): every sample over its features."""
    names = ("layer-norm", "Layer norm", "mean of the sample")
    return _centred(names, (i, j), (j,), (j,), ddof, affine, variance)


@cache
def group_norm(ddof: int = 0, affine: bool = True, variance: str = "centred") -> Program:
    """Group norm of x: (N, C, L), C = G K: every sample over each group of K channels."""
    names = ("group-norm", "Group norm", "mean of the group")
    made = _centred(names, (n, g, k, l), (k, l), (g, k), ddof, affine, variance)
    return replace(made, joined=((g, k),))


@cache
def instance_norm(ddof: int = 0, affine: bool = True, variance: str = "centred") -> Program:
    """Instance norm of x: (N, C, L): every channel of every sample over its positions."""
    names = ("instance-norm", "Instance norm", "mean of the channel")
    return _centred(names, (n, c, l), (l,), (c,), ddof, affine, variance)


@cache
def rms_norm(affine: bool = True) -> Program:
    """RMS norm of x: (m, D): every sample by the root of its mean square; nothing is centred."""
    scale = (gamma[j],) if affine else ()
    return Program(
        name="rms-norm",
        title="RMS norm",
        axes=(i, j),
        inputs=(x[i, j], *scale, eps),
        steps=(
            Step(ms[i], Mean(x[i, j] ** 2, j), "mean square"),
            Step(rms[i], sqrt(ms[i] + eps), "root mean square"),
            Step(xhat[i, j], x[i, j] / rms[i], "normalised"),
            Step(y[i, j], gamma[j] * xhat[i, j] if affine else xhat[i, j], "scaled"),
        ),
        outputs=(y[i, j],),
        wrt=(x[i, j], *scale),
    )


@cache
def weight_norm() -> Program:
    """Weight norm of v: (U, P): the direction of each row of weights, and its length gamma."""
    return Program(
        name="weight-norm",
        title="Weight norm",
        axes=(o, p),
        inputs=(v[o, p], gamma[o]),
        steps=(
            Step(sq[o], Total(v[o, p] ** 2, p), "squared length"),
            Step(norm[o], sqrt(sq[o]), "length"),
            Step(vhat[o, p], v[o, p] / norm[o], "direction"),
            Step(w[o, p], gamma[o] * vhat[o, p], "scaled"),
        ),
        outputs=(w[o, p],),
        wrt=(v[o, p], gamma[o]),
    )


def _centred(
    names: tuple[str, str, str],
    at: tuple[Idx, ...],
    over: tuple[Idx, ...],
    channel: tuple[Idx, ...],
    ddof: int,
    affine: bool,
    variance: str,
) -> Program:
    """Name, title and what the mean is of; the axes of x, of a statistic's sums, of gamma."""
    (name, title, mean), kept = names, tuple(a for a in at if a not in over)
    many = " ".join(str(size(a)) for a in over)
    return Program(
        name=name,
        title=title,
        axes=at,
        inputs=(x[at], *_affine(affine, *channel), eps),
        steps=(
            Step(mu[kept], Mean(x[at], *over), mean),
            Step(
                var[kept],
                _variance(x[at], mu[kept], over, ddof, variance),
                f"variance, over {many}{' - 1' if ddof else f' not {many} - 1'}",
            ),
            Step(sd[kept], sqrt(var[kept] + eps), "standard deviation"),
            Step(xhat[at], (x[at] - mu[kept]) / sd[kept], "normalised"),
            _scaled(affine, at, *channel),
        ),
        outputs=(y[at],),
        wrt=(x[at], *_affine(affine, *channel)),
    )


def _affine(affine: bool, *at: Idx) -> tuple[Tensor, ...]:
    return (gamma[at], beta[at]) if affine else ()


def _scaled(affine: bool, at: tuple[Idx, ...], *channel: Idx) -> Step:
    if not affine:
        return Step(y[at], xhat[at], "the output, without scale and shift")
    return Step(y[at], gamma[channel] * xhat[at] + beta[channel], "scaled and shifted")


def _variance(a: Expr, mean: Expr, over: tuple[Idx, ...], ddof: int, variance: str) -> Expr:
    if variance == "raw" and not ddof:
        return Mean(a**2, *over) - mean**2
    if variance == "raw":
        return (Total(a**2, *over) - count(over) * mean**2) / (count(over) - ddof)
    if ddof:
        return Total((a - mean) ** 2, *over) / (count(over) - ddof)
    return Mean((a - mean) ** 2, *over)


_CENTRED = {"ddof": (0, 1), "affine": (True, False), "variance": ("centred", "raw")}
_FAMILY: dict[str, tuple[Any, dict[str, tuple[Any, ...]]]] = {
    "batch-norm": (batch_norm, {**_CENTRED, "mode": ("training", "evaluation")}),
    "layer-norm": (layer_norm, _CENTRED),
    "rms-norm": (rms_norm, {"affine": (True, False)}),
    "group-norm": (group_norm, _CENTRED),
    "instance-norm": (instance_norm, _CENTRED),
    "weight-norm": (weight_norm, {}),
}

LAYERS: Mapping[str, Program] = MappingProxyType({name: f() for name, (f, _) in _FAMILY.items()})
"""The layers by name, each in its usual form (ddof 0, affine, centred variance, training)."""


def layer(name: str, **variant: Any) -> Program:
    """A layer by name in the variant asked for; raises ``CannotAsk`` where there is none.

    ``ddof``: 0 or 1; ``affine``: with gamma and beta or without; ``variance``: ``"centred"``
    or ``"raw"`` (mean of squares minus square of mean); ``mode``: ``"training"`` or
    ``"evaluation"``. What is not given keeps its usual value.
    """
    if name not in _FAMILY:
        raise CannotAsk(f"no layer is called {name!r}; there are {', '.join(_FAMILY)}")
    build, choices = _FAMILY[name]
    for option, value in variant.items():
        if option not in choices:
            there = ", ".join(choices) or "none"
            raise CannotAsk(f"{name} has no variant {option!r}; its variants are: {there}")
        if value not in choices[option]:
            allowed = ", ".join(map(repr, choices[option]))
            raise CannotAsk(f"{name}: {option} is {value!r}; it can be {allowed}")
    return build(**variant)


def options(name: str) -> dict[str, tuple[Any, ...]]:
    """The variants of a layer: each option with its values, the usual one first."""
    return dict(_FAMILY[name][1])


def variants(name: str) -> Iterator[tuple[dict[str, Any], Program]]:
    """Every variant of a layer that is a layer of its own, with the options that give it."""
    from itertools import product

    _, choices = _FAMILY[name]
    for values in product(*choices.values()):
        chosen = dict(zip(choices, values, strict=True))
        frozen = chosen.get("mode") == "evaluation"
        if frozen and (chosen["ddof"] or chosen["variance"] == "raw"):
            continue  # running statistics are inputs: nothing is left to choose
        yield chosen, layer(name, **chosen)
