"""Oracle: the message that a wrong program has to give."""

import pytest
from sympy import Symbol, sqrt, tanh

from bncheck.algebra.notation import Mean, Total, axis, distribute, operands, tensor, total
from bncheck.algebra.program import Program, Step
from bncheck.calculus.derivation import derivation, witness
from bncheck.errors import CannotAsk
from bncheck.layers import LAYERS, layer, options, variants

i, j = axis("i", "m"), axis("j", "D")
x, y, z, mu, gamma = map(tensor, ("x", "y", "z", "mu", "gamma"))
m = Symbol("m", integer=True, positive=True)


def _program(*steps, inputs=(x[i, j],), outputs=(y[i, j],)):
    return Program("own", (i, j), inputs, tuple(Step(*s) for s in steps), outputs)


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([(y[i, j], x[i, j] - mu[j])], "reads mu"),
        ([(mu[j], Mean(x[i, j], i)), (y[i, j], x[i, j] - mu[i])], "it was defined as"),
        ([(y[i, j], x[i, j]), (y[i, j], 2 * x[i, j])], "defined twice"),
        ([(mu[j], x[i, j])], "leaves i free"),
        ([(y[i, j], x[i, j] - Mean(x[i, j], i))], "carries it too"),
        ([(mu[j, j], Mean(x[i, j], i))], "distinct indices"),
        ([(mu[j], Mean(x[i, j], i, axis("k", "K")))], "no such axis"),
        ([(z[i, j], x[i, j])], "never defined"),
    ],
)
def test_a_program_that_means_nothing_is_refused(steps, said):
    with pytest.raises(CannotAsk, match=said):
        _program(*steps)


def test_totals_pull_out_what_does_not_carry_the_index():
    assert total(gamma[j] * x[i, j], (i,)) == gamma[j] * Total(x[i, j], i)
    assert total(gamma[j], (i,)) == m * gamma[j]
    body = Mean(x[i, j] - mu[j], i)
    assert distribute(body) == Total(x[i, j], i) / m - mu[j]
    assert set(operands(Mean(x[i, j] * gamma[j], i))) == {x[i, j], gamma[j]}
    with pytest.raises(ValueError, match="one or more indices"):
        Total(x[i, j])


def test_layers_and_variants_that_do_not_exist():
    with pytest.raises(CannotAsk, match="no layer is called 'bach-norm'"):
        layer("bach-norm")
    with pytest.raises(CannotAsk, match="no variant 'ddof'"):
        layer("rms-norm", ddof=1)
    with pytest.raises(CannotAsk, match="ddof is 2"):
        layer("batch-norm", ddof=2)
    assert {n: len(list(variants(n))) for n in LAYERS} == {
        "batch-norm": 10, "layer-norm": 8, "rms-norm": 2,
        "group-norm": 8, "instance-norm": 8, "weight-norm": 1,
    }  # fmt: skip
    assert options("weight-norm") == {}


OWN = {
    "nonlinear": [(y[i, j], gamma[j] * tanh(x[i, j]))],
    "scalar statistic": [
        (Symbol("s", real=True), Mean(x[i, j], i, j)),
        (y[i, j], gamma[j] * (x[i, j] - Symbol("s", real=True))),
    ],
    "operand inside and outside a mean": [
        (mu[j], Mean(x[i, j] ** 2, i) * gamma[j] + gamma[j] ** 2),
        (y[i, j], x[i, j] * mu[j] * gamma[j]),
    ],
    "two statistics of one tensor": [
        (mu[j], Mean(x[i, j], i)),
        (tensor("nu")[i], Total(x[i, j] * mu[j], j)),
        (y[i, j], gamma[j] * x[i, j] * tensor("nu")[i] + mu[j]),
    ],
    "root with eps outside": [
        (tensor("sq", positive=True)[j], Mean(x[i, j] ** 2, i)),
        (tensor("rt", positive=True)[j], sqrt(tensor("sq", positive=True)[j]) + 1),
        (y[i, j], gamma[j] * x[i, j] / tensor("rt", positive=True)[j]),
    ],
}


@pytest.mark.parametrize("name", OWN)
def test_unusual_programs_derive_and_agree_with_the_witness(name):
    witness(derivation(_program(*OWN[name], inputs=(x[i, j], gamma[j]))))


def test_an_output_that_is_read_again_is_refused():
    program = _program(
        (y[i, j], 2 * x[i, j]), (z[i, j], y[i, j] + x[i, j]), outputs=(y[i, j], z[i, j])
    )
    with pytest.raises(CannotAsk, match="read by a later step"):
        derivation(program)


def test_an_input_without_influence_has_no_gradient():
    program = _program((y[i, j], 2 * x[i, j]), inputs=(x[i, j], gamma[j]))
    with pytest.raises(CannotAsk, match="does not depend on gamma"):
        derivation(program, wrt=("gamma",))
