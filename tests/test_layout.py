"""Oracle: the layouts of the six layers and of one more by hand, NumPy's own moves of axes, and
the law that there and back is the identity, for any layer, layout and lengths (hypothesis).
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sympy import sqrt

from bncheck.algebra.layers import LAYERS, beta, eps, gamma, mu, sd, var, variants, x, xhat, y
from bncheck.algebra.layers import c as channel
from bncheck.algebra.layers import l as position
from bncheck.algebra.layers import n as sample
from bncheck.algebra.notation import Mean, axis, indices_of, name_of
from bncheck.algebra.program import Program, Step
from bncheck.numbers import layout as layouts
from bncheck.telling.errors import CannotAsk
from bncheck.verification import verify


def _positional(at):
    """Statistics over the channels, for each sample and position; parameters by ``at``."""
    whole, one = (sample, channel, position), (sample, position)
    return Program(
        name="positional-norm",
        title="Positional norm",
        axes=whole,
        inputs=(x[whole], gamma[at], beta[at], eps),
        steps=(
            Step(mu[one], Mean(x[whole], channel)),
            Step(var[one], Mean((x[whole] - mu[one]) ** 2, channel)),
            Step(sd[one], sqrt(var[one] + eps)),
            Step(xhat[whole], (x[whole] - mu[one]) / sd[one]),
            Step(y[whole], gamma[at] * xhat[whole] + beta[at]),
        ),
        outputs=(y[whole],),
        wrt=(x[whole], gamma[at], beta[at]),
    )


POSITIONAL = {"by channel": _positional(channel), "by position": _positional(position)}
PROGRAMS = [program for name in LAYERS for _, program in variants(name)] + [*POSITIONAL.values()]
FEATURES = ["(N, D)", "(B, T, D)", "(D, N)", "(N, H, W, C)", "(N, C, H, W), all of a sample",
            "(N, C, L), all of a sample"]  # fmt: skip
CHANNELS = ["(N, C, L)", "(N, C, H, W)", "(N, H, W, C)"]
NAMES = {
    "batch-norm": ["(N, D)", "(N, C, H, W)", "(D, N)", "(N, H, W, C)", "(N, C, L)", "(B, T, D)",
                   "(N, C, H, W), each place"],
    "layer-norm": FEATURES,
    "rms-norm": FEATURES,
    "group-norm": CHANNELS,
    "instance-norm": CHANNELS,
    "weight-norm": ["(U, P)", "(P, U)", "(U, C, H, W)"],
    "positional-norm": CHANNELS,
}  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_layouts_of_a_layer_the_usual_one_first(program):
    there = layouts.layouts(program)
    assert [at.name for at in there] == NAMES[program.name]
    assert layouts.usual(program) == there[0]
    assert [at.name for at in there if at.rare] == [n for n in NAMES[program.name]
                                                    if n in ("(D, N)", "(P, U)")]  # fmt: skip


def test_axes_of_no_known_kind_have_the_programs_own_layout():
    a, b = axis("a", "A"), axis("b", "B")
    program = Program("own", (a, b), (x[a, b],), (Step(y[a, b], x[a, b] ** 2),), (y[a, b],))
    (only,) = layouts.layouts(program)
    assert only == layouts.usual(program)
    assert only.name == "(A, B)"
    with pytest.raises(CannotAsk, match=r"own has no layout 'NCHW'; there are: \(A, B\)"):
        layouts.named(program, "NCHW")


def test_a_layout_by_its_letters():
    batch, layer = LAYERS["batch-norm"], LAYERS["layer-norm"]
    assert layouts.named(batch, "nhwc").name == "(N, H, W, C)"
    assert layouts.named(batch, "(N, C, H, W)").name == "(N, C, H, W)"
    assert layouts.named(layer, "NCHW").name == "(N, C, H, W), all of a sample"


@pytest.mark.parametrize(
    ("layer", "name", "moved"),
    [
        ("batch-norm", "(N, C, H, W)", lambda x: x.reshape(4, 2, 3, 5).transpose(0, 3, 1, 2)),
        ("batch-norm", "(N, H, W, C)", lambda x: x.reshape(4, 2, 3, 5)),
        ("batch-norm", "(N, C, L)", lambda x: x.reshape(4, 6, 5).transpose(0, 2, 1)),
        ("batch-norm", "(D, N)", lambda x: x.T),
        ("layer-norm", "(B, T, D)", lambda x: x.reshape(4, 6, 5)),
    ],
)
def test_the_users_array_is_what_numpy_makes_of_ours(layer, name, moved):
    program = LAYERS[layer]
    at = layouts.named(program, name)
    lengths = {2: (), 3: (4, 6), 4: (4, 2, 3)}[len(at.order)]
    values = {"x": np.arange(24 * 5.0).reshape(24, 5), "gamma": np.arange(5.0)}
    parts = {"i": lengths} if lengths else {}
    theirs = layouts.to_user(at, program, values, parts)
    assert np.array_equal(theirs["x"], moved(values["x"]))
    assert np.array_equal(theirs["gamma"], values["gamma"])
    kept = layouts.to_user(layouts.with_kept(at), program, values, parts)["gamma"]
    assert kept.ndim == len(at.order)
    assert np.broadcast_to(kept, theirs["x"].shape).size == theirs["x"].size


@st.composite
def _there(draw):
    """A layer in one of its layouts, with lengths for its axes and an array for one operand."""
    program = draw(st.sampled_from(PROGRAMS))
    at = draw(st.sampled_from(layouts.layouts(program)))
    at = layouts.with_kept(at) if draw(st.booleans()) else at
    pieces = {n: at.split().get(n, 1) for n in (i.label.name for i in program.axes)}
    length = st.integers(1, 4)
    lengths = {n: draw(st.tuples(*[length] * count)) for n, count in pieces.items()}
    parts = {n: several for n, several in lengths.items() if len(several) > 1}
    operand = draw(
        st.sampled_from([a for a in (*program.inputs, *program.outputs) if indices_of(a)])
    )
    shape = tuple(int(np.prod(lengths[i.label.name])) for i in indices_of(operand))
    return program, at, parts, operand, draw(arrays(float, shape, elements=st.integers(-9, 9)))


@given(_there())
def test_there_and_back_is_the_identity(there):
    program, at, parts, operand, value = there
    theirs = layouts.array_to_user(at, program, operand, value, parts)
    assert sorted(theirs.ravel()) == sorted(value.ravel())
    assert theirs.flags.c_contiguous
    back = layouts.array_from_user(at, program, operand, theirs, value.shape, parts)
    assert np.array_equal(back, value)


@given(_there())
def test_gradients_come_back_under_the_names_of_the_program(there):
    program, at, parts, operand, value = there
    name = name_of(operand)
    theirs = layouts.array_to_user(at, program, operand, value, parts)
    if operand in program.outputs:
        values = {"d" + name: value}
        assert np.array_equal(layouts.output_from_user(at, program, theirs, values, parts), value)
        return
    made = {"d" + layouts.role_of(program, name): theirs, "dother": theirs}
    back = layouts.from_user(at, program, made, {name: value}, parts)
    assert list(back) == ["d" + name]
    assert np.array_equal(back["d" + name], value)


def test_lengths_of_parts_are_distinct_and_none_is_the_product_of_others():
    at = layouts.named(LAYERS["batch-norm"], "NCHW")
    for length in range(3, 100):
        first, *rest = layouts.parts_of(at, {"i": length})["i"]
        assert len({first, *rest}) == 3
        assert first != np.prod(rest)
    assert layouts.parts_of(at, {"i": 1}) == {"i": (1, 1, 1)}


def _forward(x, gamma, beta, eps):
    mean, variance = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
    shape = (1, -1, *[1] * (x.ndim - 2))
    scaled = gamma.reshape(shape) * (x - mean) / np.sqrt(variance + eps)
    return scaled + beta.reshape(shape)


def _backward(dy, x, gamma, beta, eps):
    shape, rest = (1, -1, *[1] * (x.ndim - 2)), (0, *range(2, x.ndim))
    sd_ = np.sqrt(x.var(axis=1, keepdims=True) + eps)
    normal = (x - x.mean(axis=1, keepdims=True)) / sd_
    d = dy * gamma.reshape(shape)
    dx = d - d.mean(axis=1, keepdims=True) - normal * (d * normal).mean(axis=1, keepdims=True)
    return dx / sd_, (dy * normal).sum(axis=rest), dy.sum(axis=rest)


@pytest.mark.parametrize("name", ["NCL", "NCHW"])
def test_a_layer_more_is_verified_in_images(name):
    report = verify(_backward, forward=_forward, layer=POSITIONAL["by channel"], layout=name)
    assert report.verdict == "right", str(report)
    assert report.layout == {"NCL": "(N, C, L)", "NCHW": "(N, C, H, W)"}[name]
