"""Oracle: the message that a wrong program has to give, and what a program says of itself."""

import re

import pytest
from sympy import Integer, Symbol

from bncheck.algebra.layers import LAYERS
from bncheck.algebra.notation import Mean, Total, axis, size, tensor
from bncheck.algebra.program import Program, Step
from bncheck.telling.errors import CannotAsk

i, j, k = axis("i", "m"), axis("j", "D"), axis("k", "K")
x, y, z, mu, gamma = map(tensor, ("x", "y", "z", "mu", "gamma"))


def _program(*steps, inputs=(x[i, j],), outputs=(y[i, j],), **rest):
    return Program("own", (i, j), inputs, tuple(Step(*s) for s in steps), outputs, **rest)


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([(y[i, j], x[i, j] - mu[j])], "the step for y reads mu, which no input or earlier step"),
        (
            [(y[i, j], x[i, j] - mu[j]), (mu[j], Mean(x[i, j], i))],
            "the step for y reads mu, which no input or earlier step gives",
        ),
        (
            [(mu[j], Mean(x[i, j], i)), (y[i, j], x[i, j] - mu[i])],
            "the step for y reads mu[i], but it was defined as mu[j]",
        ),
        ([(y[i, j], x[j, i])], "reads x[j, i], but it was defined as x[i, j]"),
        ([(y[i, j], x[i, j] - x[1, j])], "reads x[1, j], but it was defined as x[i, j]"),
        (
            [(y[i, j], tensor("x", positive=True)[i, j])],
            "but it was defined as x[i, j] with other assumptions (positive or not)",
        ),
        ([(y[i, j], x[i, j]), (y[i, j], 2 * x[i, j])], "y is defined twice; give each its own"),
        ([(x[i, j], x[i, j])], "x is defined twice"),
        ([(mu[j], x[i, j])], "the step for mu leaves i free; sum over it or give it a place"),
        ([(Symbol("t"), x[i, j])], "the step for t leaves i, j free"),
        (
            [(y[i, j], x[i, j] - Mean(x[i, j], i))],
            "the step for y sums over i and carries it too; make the sum a step",
        ),
        (
            [(mu[j], Mean((x[i, j] - Mean(x[i, j], i)) ** 2, i))],
            "the step for mu sums over i inside a sum over it; make the inner a step",
        ),
        ([(mu[j, j], Mean(x[i, j], i))], "mu[j, j] needs distinct indices out of i, j"),
        ([(mu[k], Mean(x[i, j], i, j))], "mu[k] needs distinct indices out of i, j"),
        ([(mu[j], Mean(x[i, j], i, k))], "the step for mu sums over k: no such axis"),
        ([(z[i, j], x[i, j])], "y[i, j] is asked for, but never defined"),
        ([(y[i, j], i * x[i, j])], "the step for y computes with the index i"),
        ([(mu[j], Total(i * x[i, j], i)), (y[i, j], x[i, j])], "mu computes with the index i"),
        (
            [(y[i, j], Symbol("q", integer=True) * x[i, j])],
            "the step for y reads q, which is the size of no axis",
        ),
    ],
)
def test_a_program_that_means_nothing_is_refused(steps, said):
    with pytest.raises(CannotAsk, match=re.escape(said)) as caught:
        _program(*steps)
    assert str(caught.value).startswith("program own: ")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"inputs": (x[i, i],)}, "x[i, i] needs distinct indices"),
        ({"inputs": (x[i, j], x[j])}, "x is defined twice"),
        ({"wrt": (gamma[j],)}, "gamma[j] is asked for, but never defined"),
        ({"outputs": (y[j, i],)}, "y[j, i] is asked for, but never defined"),
    ],
)
def test_wrong_inputs_and_outputs_are_refused(given, said):
    with pytest.raises(CannotAsk, match=re.escape(said)):
        _program((y[i, j], 2 * x[i, j]), **given)


def test_sizes_may_stand_in_a_step():
    assert _program((y[i, j], size(i) * x[i, j] / (size(j) - 1)))


def test_what_a_program_says_of_itself():
    program = LAYERS["batch-norm"]
    named = program.tensors
    assert list(named) == ["x", "gamma", "beta", "eps", "mu", "var", "sd", "xhat", "y"]
    assert [str(t) for t in program.targets] == [
        "mu[j]",
        "var[j]",
        "sd[j]",
        "xhat[i, j]",
        "y[i, j]",
    ]
    assert program.step(named["mu"]).expr == Mean(named["x"], i)
    assert [str(s.target.base) for s in program.users(named["mu"])] == ["var", "xhat"]
    assert program.users(named["y"]) == ()


def test_a_size_can_be_a_number_everywhere_at_once():
    program = LAYERS["group-norm"]
    small = program.specialised({size(a): n for n, a in enumerate(program.axes, 2)})
    assert [size(a) for a in small.axes] == [2, 3, 4, 5]
    everything = (*small.inputs, *small.outputs, *small.wrt, *small.joined[0], *small.targets)
    sizes = {size(a) for t in everything for a in getattr(t, "indices", (t,)) if t.args}
    assert sizes <= {2, 3, 4, 5}
    own = _program((y[i, j], size(i) * x[i, j]), (z[i, j], size(i)), outputs=(y[i, j],))
    assert own.specialised({size(i): 7}).steps[1].expr == Integer(7)


def test_titles_and_notes_survive_specialising():
    small = LAYERS["layer-norm"].specialised({size(j): 3})
    assert small.title == "Layer norm"
    assert [s.note for s in small.steps] == [s.note for s in LAYERS["layer-norm"].steps]
