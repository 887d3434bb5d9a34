"""Oracle: plain ``sympy.diff`` on the unrolled forward pass of layers that nobody prepared for.

The witness runs at all places; where a program holds functions or roots of roots, with 80
digits, else exactly. Wrong answers are planted to see that the witness can fail.
"""

import re
from dataclasses import replace

import pytest
from sympy import Abs, Dummy, Float, KroneckerDelta, Rational, S, Symbol, diff, exp, log, sqrt, tanh

from bncheck.algebra.layers import LAYERS
from bncheck.algebra.notation import Mean, Total, axis, indices_of, name_of, size, tensor
from bncheck.algebra.program import Program, Step
from bncheck.calculus import passes
from bncheck.calculus.chain import uses
from bncheck.calculus.derivation import normalised
from bncheck.calculus.interpret import evaluate, places, value_at
from bncheck.calculus.jacobians import jacobian
from bncheck.calculus.passes import derived, small_sizes, witness
from bncheck.calculus.unroll import in_digits, sample
from bncheck.telling.errors import CannotAsk, Disagreement

i, j, k = axis("i", "m"), axis("j", "D"), axis("k", "K")
x, y, z, h, a, b, c, u = map(tensor, "xyzhabcu")
s, t = tensor("s", positive=True), tensor("t", positive=True)
mean, square = Symbol("mean", real=True), Symbol("square", real=True)
root = Symbol("root", positive=True)
eps = Symbol("eps", nonnegative=True)
X = (x[i, j], eps)


def program(*steps, inputs=X, outputs=(y[i, j],), wrt=(x[i, j],), axes=(i, j), name="own"):
    steps = tuple(Step(target, expr) for target, expr in steps)
    return Program(name, axes, inputs, steps, outputs, wrt=wrt)


CENTRED = (
    (a[j], Mean(x[i, j], i)),
    (b[j], Mean((x[i, j] - a[j]) ** 2, i)),
    (s[j], sqrt(b[j] + eps)),
    (z[i, j], (x[i, j] - a[j]) / s[j]),
)
OWN = {
    "power norm": program(
        (b[i], Mean(x[i, j] ** 4, j)),
        (s[i], (b[i] + eps) ** Rational(1, 4)),
        (y[i, j], x[i, j] / s[i]),
    ),
    "power norm, any power": program(
        (b[i], Mean(Abs(x[i, j]) ** root, j)),
        (y[i, j], x[i, j] / (1 + b[i])),
        inputs=(x[i, j], root),
    ),
    "eps outside the root": program(
        *CENTRED[:2],
        (t[j], sqrt(b[j])),
        (s[j], t[j] + eps),
        (z[i, j], (x[i, j] - a[j]) / s[j]),
        (y[i, j], 2 * z[i, j]),
    ),
    "tanh behind": program(*CENTRED, (y[i, j], tanh(z[i, j]))),
    "tanh in front": program(
        (h[i, j], tanh(x[i, j])),
        (a[j], Mean(h[i, j], i)),
        (b[j], Mean((h[i, j] - a[j]) ** 2, i)),
        (s[j], sqrt(b[j] + eps)),
        (z[i, j], (h[i, j] - a[j]) / s[j]),
        (y[i, j], 1 * z[i, j]),
    ),
    "softmax": program(
        (h[i, j], exp(x[i, j])), (t[i], Total(h[i, j], j)), (y[i, j], h[i, j] / t[i])
    ),
    "a statistic over everything": program(
        (mean, Mean(x[i, j], i, j)),
        (square, Mean((x[i, j] - mean) ** 2, i, j)),
        (root, sqrt(square + eps)),
        (z[i, j], (x[i, j] - mean) / root),
        (y[i, j], z[i, j] * c[j]),
        inputs=(x[i, j], c[j], eps),
        wrt=(x[i, j], c[j]),
    ),
    "a root without a name": program(
        (mean, Mean(x[i, j], i, j)),
        (square, Mean((x[i, j] - mean) ** 2, i, j)),
        (z[i, j], (x[i, j] - mean) / sqrt(square + eps)),
        (y[i, j], 1 * z[i, j]),
    ),
    "no normalisation": program(
        (y[i, j], c[j] * tanh(x[i, j])), inputs=(x[i, j], c[j]), wrt=(x[i, j], c[j])
    ),
    "the identity": program((y[i, j], x[i, j])),
    "an operand twice in a step": program(
        (b[j], Mean(x[i, j] ** 2, i)), (y[i, j], x[i, j] * b[j] + x[i, j] ** 3 + tanh(b[j]) * b[j])
    ),
    "an operand inside and outside of a mean": program(
        (a[j], Mean(x[i, j], i)),
        (b[j], a[j] * Mean(a[j] * x[i, j], i) + c[j] * Mean(x[i, j] ** 2, i) + c[j] ** 2),
        (y[i, j], x[i, j] * b[j] * c[j]),
        inputs=(x[i, j], c[j]),
        wrt=(x[i, j], c[j]),
    ),
    "three statistics": program(
        *CENTRED, (c[j], Mean(z[i, j] ** 3, i)), (y[i, j], z[i, j] - c[j] * z[i, j] ** 2)
    ),
    "normalised twice": program(
        *CENTRED,
        (h[i, j], 1 * z[i, j]),
        (c[i], Mean(h[i, j] ** 2, j)),
        (t[i], sqrt(c[i] + eps)),
        (u[i, j], h[i, j] / t[i]),
        (y[i, j], 2 * u[i, j]),
    ),
    "centred along two axes": program(
        (a[j], Mean(x[i, j], i)),
        (b[i], Mean(x[i, j], j)),
        (mean, Mean(x[i, j], i, j)),
        (z[i, j], x[i, j] - a[j] - b[i] + mean),
        (y[i, j], z[i, j] ** 2),
    ),
    "sums of sums": program(
        (a[j], Mean(x[i, j], i)),
        (b[i], Total(x[i, j] * a[j], j)),
        (y[i, j], c[j] * x[i, j] * b[i] + a[j]),
        inputs=(x[i, j], c[j]),
        wrt=(x[i, j], c[j]),
    ),
    "weights in the mean": program(
        (a[j], Total(h[i] * x[i, j], i)),
        (y[i, j], (x[i, j] - a[j]) * h[i]),
        inputs=(x[i, j], h[i]),
        wrt=(x[i, j], h[i]),
    ),
    "a linear layer, then batch norm": program(
        (h[i, k], Total(x[i, j] * c[j, k], j)),
        (a[k], Mean(h[i, k], i)),
        (b[k], Mean((h[i, k] - a[k]) ** 2, i)),
        (s[k], sqrt(b[k] + eps)),
        (z[i, k], (h[i, k] - a[k]) / s[k]),
        (y[i, k], 1 * z[i, k]),
        inputs=(x[i, j], c[j, k], eps),
        outputs=(y[i, k],),
        wrt=(x[i, j], c[j, k]),
        axes=(i, j, k),
    ),
    "a divisor that may vanish": program(
        (a[j], Mean(x[i, j], i)),
        (b[j], tanh(a[j])),
        (z[i, j], x[i, j] * b[j]),
        (y[i, j], z[i, j] * x[i, j]),
    ),
    "a step that nothing reads": program(
        (a[j], Mean(x[i, j], i)), (b[j], Mean(x[i, j] ** 2, i)), (y[i, j], x[i, j] - a[j])
    ),
    "a statistic as a second output": program(
        (a[j], Mean(x[i, j], i)),
        (b[j], 2 * a[j]),
        (y[i, j], x[i, j] - a[j]),
        outputs=(y[i, j], b[j]),
    ),
    "only a statistic": program(*CENTRED[:2], outputs=(b[j],)),
    "a loss": program((mean, Mean(x[i, j] ** 2, i, j)), outputs=(mean,)),
    "the gradient of eps": program(
        (b[j], Mean(x[i, j] ** 2, i)),
        (s[j], sqrt(b[j] + eps)),
        (y[i, j], x[i, j] / s[j]),
        wrt=(x[i, j], eps),
    ),
    "an absolute value of a step": program(
        (a[j], Mean(x[i, j], i) - 5), (b[j], Abs(a[j])), (y[i, j], x[i, j] * b[j])
    ),
    "a mean of two tensors": program(
        (mean, Mean(x[i, j] * c[j], i, j)),
        (y[i, j], x[i, j] * mean),
        inputs=(x[i, j], c[j]),
        wrt=(x[i, j], c[j]),
    ),
    "a size as a number": program(
        (a[j], Total(x[i, j], i) / (size(i) - 1)), (y[i, j], size(j) * (x[i, j] - a[j]))
    ),
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", OWN)
def test_chain_and_closed_form_of_an_own_layer_are_right_at_every_place(name):
    witness(derived(OWN[name]))


@pytest.mark.sampled(3, 1)
@pytest.mark.parametrize("name", OWN)
def test_the_jacobian_of_an_own_layer_is_its_derivative(name):
    forward = OWN[name]
    found = derived(forward)
    sizes = small_sizes(forward)
    small = forward.specialised(sizes)
    values = {
        key: {at: Float(n, 40) for at, n in given.items()} if indices_of_name(small, key) else given
        for key, given in sample(small).items()
    }
    known = evaluate(small, values)
    at = jacobian(found, "x")
    entry, row, column = (e.xreplace(sizes) for e in (at.entry, at.row, at.column))
    for where in list(places(indices_of(column)))[1::2]:
        moving = Dummy(real=True)
        moved = evaluate(small, {**values, "x": {**values["x"], where: moving}})
        for place, value in moved[name_of(row)].items():
            here = dict(zip(indices_of(row), place, strict=True))
            here |= dict(zip(indices_of(column), where, strict=True))
            slope = diff(value, moving).xreplace({moving: values["x"][where]})
            got = value_at(at_place(entry, here), known, here)
            assert abs((got - slope).evalf(30)) < 1e-25, (where, place)


def indices_of_name(small, key):
    operand = small.tensors.get(key) or small.tensors[key[1:]]
    return indices_of(operand)


def at_place(entry, here):
    """The entry with 1 or 0 for each delta."""
    deltas = entry.atoms(KroneckerDelta)
    return entry.xreplace({d: S(int(here[d.args[0]] == here[d.args[1]])) for d in deltas})


def test_a_statistic_over_everything_closes_like_batch_norm():
    found = derived(OWN["a statistic over everything"])
    assert [name_of(e) for e in found.cached] == ["c", "root", "z"]
    assert normalised(found.forward) == (i, j)


def test_sums_of_the_same_names_get_names_of_their_own():
    targets = [name_of(v) for v in derived(OWN["three statistics"]).closed.targets]
    assert len(set(targets)) == len(targets)
    assert {"sum_z", "sum_z_2"} <= set(targets)


def test_inner_sums_are_named_before_the_sums_that_hold_them():
    found = derived(OWN["the gradient of eps"])
    assert all(not s.expr.body.has(Total) for s in found.closed.steps if isinstance(s.expr, Total))


def test_a_divisor_that_may_vanish_is_not_divided_by():
    found = derived(OWN["a divisor that may vanish"])
    assert all("/b" not in str(step.expr) for step in found.closed.steps)


def test_functions_and_roots_are_read_by_their_names():
    found = derived(OWN["tanh in front"])
    assert all(not step.expr.has(tanh) for step in found.chain.steps)
    assert derived(OWN["tanh behind"]).closed.step(tensor("dz")[i, j]).expr.has(tanh)


def test_steps_that_no_output_needs_contribute_nothing():
    forward = OWN["a step that nothing reads"]
    assert [name_of(use.step.target) for use in uses(forward, x[i, j])] == ["a", "y"]
    assert [name_of(v) for v in derived(forward).chain.targets] == ["da", "dx"]


def test_without_wrt_every_input_that_matters_has_a_gradient():
    forward = program((y[i, j], x[i, j] * c[j]), inputs=(x[i, j], c[j], eps), wrt=())
    assert [name_of(v) for v in derived(forward).wrt] == ["x", "c"]


def test_exact_numbers_where_they_can_be_compared_and_digits_elsewhere():
    def kinds(forward):
        small = forward.specialised(small_sizes(forward))
        return {type(n) is Float for n in in_digits(small, sample(small))["x"].values()}

    assert kinds(OWN["sums of sums"]) == {False}
    assert kinds(LAYERS["batch-norm"]) == {False}
    assert kinds(OWN["eps outside the root"]) == {True}
    assert kinds(OWN["tanh in front"]) == {True}


@pytest.mark.parametrize(
    ("forward", "said"),
    [
        (
            program((b[j], log(1 + Mean(x[i, j] ** 2, i))), (y[i, j], x[i, j] * b[j])),
            "the step for b computes with a sum of x over i; make that sum a step of its own",
        ),
        (
            program((mean, Mean(Mean(x[i, j] ** 2, i) ** 2, j)), (y[i, j], x[i, j] * mean)),
            "the step for mean computes with a sum of x over i",
        ),
        (
            program((y[i, j], 2 * x[i, j]), (z[i, j], y[i, j] ** 2), outputs=(y[i, j], z[i, j])),
            "the output y is read by a later step; give the output a step of its own",
        ),
        (
            program((a[j], Mean(x[i, j], i)), (y[i, j], x[i, j] - a[j]), wrt=(x[i, j], a[j])),
            "a is no input to take a gradient of",
        ),
        (program((a[j], Mean(x[i, j], i)), outputs=()), "the output does not depend on x"),
        (program((y[i, j], x[i, j]), outputs=(x[i, j],)), "the output x is no step's target"),
        (
            program((y[i, j], x[i, j] * tensor("dx")[j]), inputs=(x[i, j], tensor("dx")[j])),
            "the name dx is needed for the gradient of x",
        ),
        (
            program((y[i, j], 2 * x[i, j]), inputs=(x[i, j], c[j]), wrt=(c[j],)),
            "the output does not depend on c",
        ),
        (
            program((mean, Mean(x[i, j], i, j) * 0 + eps - eps), (y[i, j], x[i, j] / mean)),
            "not defined at numbers as plain as",
        ),
    ],
)
def test_what_cannot_be_derived_is_said(forward, said):
    with pytest.raises(CannotAsk, match=re.escape(said)) as caught:
        derived(forward)
    assert caught.value.exit_code == 2


def spoil_step(made, number, factor):
    """A program with one step wrong: a term of it dropped, or the whole of it scaled."""
    steps = list(made.steps)
    steps[number] = replace(steps[number], expr=factor * steps[number].expr)
    return replace(made, steps=tuple(steps))


@pytest.mark.parametrize("number", range(7))
def test_every_step_of_the_chain_is_watched(monkeypatch, number):
    real = passes.backward
    monkeypatch.setattr(passes, "backward", lambda *args: spoil_step(real(*args), number, 2))
    with pytest.raises(Disagreement, match=r"sympy\.diff|the chain rule") as caught:
        derived(LAYERS["batch-norm"])
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("number", range(3))
def test_every_step_of_the_closed_form_is_watched(monkeypatch, number):
    real = passes.close

    def close(*args):
        program, lines = real(*args)
        return spoil_step(program, number, Rational(6, 5)), lines

    monkeypatch.setattr(passes, "close", close)
    with pytest.raises(Disagreement, match="batch-norm closed: d"):
        derived(LAYERS["batch-norm"])


def test_every_term_of_dx_is_watched(monkeypatch):
    real = passes.close
    program, _ = real(LAYERS["batch-norm"], passes.backward(LAYERS["batch-norm"]))
    for term in program.steps[-1].expr.expand().args:

        def close(*args, term=term):
            program, lines = real(*args)
            last = program.steps[-1]
            dropped = replace(last, expr=last.expr.expand() - term)
            return replace(program, steps=(*program.steps[:-1], dropped)), lines

        monkeypatch.setattr(passes, "close", close)
        with pytest.raises(Disagreement, match="dx at"):
            derived(LAYERS["batch-norm"])


@pytest.mark.parametrize("number", range(8))
def test_every_line_of_the_closing_is_watched(monkeypatch, number):
    real = passes.close

    def close(*args):
        program, lines = real(*args)
        wrong = replace(lines[number], expr=lines[number].expr * Rational(7, 6))
        return program, (*lines[:number], wrong, *lines[number + 1 :])

    monkeypatch.setattr(passes, "close", close)
    with pytest.raises(Disagreement, match="the chain rule gives"):
        derived(LAYERS["batch-norm"])
