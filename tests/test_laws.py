"""Oracle: laws that hold for every right gradient, on random exact rationals."""

from fractions import Fraction

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sympy import Rational, S, Symbol, diff, expand, sqrt

from bncheck.algebra.layers import LAYERS, layer, options
from bncheck.algebra.notation import name_of, size
from bncheck.calculus.derivation import normalised
from bncheck.calculus.interpret import evaluate, places
from bncheck.calculus.passes import derived

numbers = st.fractions(min_value=-5, max_value=5, max_denominator=6)
columns = st.lists(numbers, min_size=4, max_size=4)
spread = columns.filter(lambda c: len(set(c)) > 1)
relaxed = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))

FORWARD = LAYERS["batch-norm"].specialised(
    {size(LAYERS["batch-norm"].axes[0]): 4, size(LAYERS["batch-norm"].axes[1]): 1}
)
FOUND = derived(FORWARD)


def _q(number):
    return Rational(Fraction(number).numerator, Fraction(number).denominator)


GAMMA, EPS = S(2), Rational(1, 3)


def _backward(xs, dys):
    values = {
        "x": {(i, 1): _q(v) for i, v in enumerate(xs, 1)},
        "dy": {(i, 1): _q(v) for i, v in enumerate(dys, 1)},
        "gamma": {(1,): GAMMA}, "beta": {(1,): S(1)}, "eps": EPS,
    }  # fmt: skip
    known = evaluate(FORWARD, values)
    got = evaluate(FOUND.closed, {**known, "dy": values["dy"]})
    return list(got["dx"].values()), got["dgamma"][(1,)], known


def _zero(expr):
    return expand(expr) == 0


@relaxed
@given(spread, columns)
def test_dx_sums_to_zero(xs, dys):
    dx, _, _ = _backward(xs, dys)
    assert _zero(sum(dx))


@relaxed
@given(spread, columns, columns)
def test_the_jacobian_is_symmetric(xs, g, h):
    left, _, _ = _backward(xs, g)
    right, _, _ = _backward(xs, h)
    assert _zero(sum(_q(a) * b for a, b in zip(h, left, strict=True))
                 - sum(_q(a) * b for a, b in zip(g, right, strict=True)))  # fmt: skip


@relaxed
@given(spread, columns, columns)
def test_dx_is_linear_in_the_upstream_gradient(xs, g, h):
    both, _, _ = _backward(xs, [a + 2 * b for a, b in zip(g, h, strict=True)])
    one, _, _ = _backward(xs, g)
    two, _, _ = _backward(xs, h)
    assert all(_zero(c - a - 2 * b) for a, b, c in zip(one, two, both, strict=True))


@relaxed
@given(spread, columns)
def test_dx_along_xhat_is_what_eps_leaves(xs, dys):
    dx, _, known = _backward(xs, dys)
    xhat = list(known["xhat"].values())
    s2 = known["var"][(1,)] + Rational(1, 3)
    along = sum(a * b for a, b in zip(dx, xhat, strict=True))
    given_ = sum(_q(a) * b for a, b in zip(dys, xhat, strict=True))
    assert _zero(along - 2 * Rational(1, 3) / sqrt(s2) ** 3 * given_)


@relaxed
@given(spread, columns, numbers)
def test_a_shift_of_x_changes_nothing(xs, dys, shift):
    dx, dgamma, _ = _backward(xs, dys)
    moved, dgamma_moved, _ = _backward([a + shift for a in xs], dys)
    assert all(_zero(a - b) for a, b in zip(dx, moved, strict=True))
    assert _zero(dgamma - dgamma_moved)


@pytest.mark.parametrize("name", ["weight-norm"])
def test_weight_norm_gradient_is_orthogonal_to_the_weights(name):
    forward = layer(name)
    forward = forward.specialised({size(forward.axes[0]): 1, size(forward.axes[1]): 3})
    found = derived(forward)
    values = {"v": {(1, 1): S(1), (1, 2): S(2), (1, 3): S(2)}, "gamma": {(1,): S(5)},
              "dw": {(1, 1): S(1), (1, 2): S(-3), (1, 3): S(7)}}  # fmt: skip
    got = evaluate(found.closed, {**evaluate(forward, values), "dw": values["dw"]})
    assert sum(got["dv"][at] * values["v"][at] for at in got["dv"]) == 0
    assert got["dgamma"][(1,)] == Rational(1 - 6 + 14, 3)


SMALL = {  # one or two groups of three or four values
    "batch-norm": (3, 2),
    "layer-norm": (2, 3),
    "rms-norm": (2, 3),
    "group-norm": (1, 2, 2, 2),
    "instance-norm": (2, 1, 3),
    "weight-norm": (2, 3),
}
ALL = {
    (name, ddof): derived(layer(name, **({"ddof": ddof} if ddof else {})))
    for name in LAYERS
    for ddof in (0, 1)
    if not ddof or "ddof" in options(name)
}


def _numbers(draw, found, *names):
    """The forward program at small sizes, and random inputs, upstream and directions for it."""
    axes = found.forward.axes
    put = dict(zip(map(size, axes), SMALL[found.forward.name], strict=True))
    small = found.forward.specialised(put)
    tensors = {name_of(a): a for a in (*small.inputs, *small.outputs)}
    made = {}
    for name in (*map(name_of, small.inputs), *names):
        operand = tensors[name if name in tensors else name.removeprefix("d").removeprefix("_")]
        if not hasattr(operand, "indices"):
            made[name] = Rational(1, 3)
            continue
        every = list(places(operand.indices))
        some = draw(st.lists(numbers, min_size=len(every), max_size=len(every)))
        made[name] = dict(zip(every, map(_q, some), strict=True))
    return small, put, made


def _gradients(found, put, values, upstream):
    small = found.forward.specialised(put)
    given = {**evaluate(small, values), "d" + name_of(small.outputs[0]): upstream}
    return evaluate(found.closed.specialised(put), given)


def _spread_out(small, values):
    """No group of equal values (weights: of zeros), which would be divided by its length."""
    first = small.inputs[0]
    kept = [n for n, i in enumerate(first.indices) if i not in normalised(small)]
    groups = {}
    for at, number in values[name_of(first)].items():
        groups.setdefault(tuple(at[n] for n in kept), set()).add(number)
    return all(len(group) > 1 for group in groups.values())


def _dot(a, b):
    return sum(a[at] * b[at] for at in a)


@pytest.mark.parametrize("case", ALL, ids=str)
@settings(relaxed, max_examples=4)
@given(data=st.data())
def test_backward_is_the_transpose_of_forward(case, data):
    """<dy, J u> = <J^T dy, u> for all inputs at once; J u is a derivative along a line."""
    found = ALL[case]
    out = name_of(found.forward.outputs[0])
    names = [name_of(a) for a in found.wrt]
    small, put, made = _numbers(data.draw, found, "d" + out, *(f"d_{n}" for n in names))
    assume(_spread_out(small, made))
    along = Symbol("along", real=True)
    line = {n: {at: v + along * made[f"d_{n}"][at] for at, v in made[n].items()} for n in names}
    moved = evaluate(small, {**made, **line})[out]
    forward = {at: diff(v, along).xreplace({along: S(0)}) for at, v in moved.items()}
    got = _gradients(found, put, made, made["d" + out])
    backward = sum(_dot(got["d" + n], made[f"d_{n}"]) for n in names)
    assert _zero(_dot(made["d" + out], forward) - backward)


@pytest.mark.parametrize(
    "case", [c for c in ALL if c[0] not in ("rms-norm", "weight-norm")], ids=str
)
@settings(relaxed, max_examples=4)
@given(data=st.data())
def test_dx_sums_to_zero_over_every_group_of_a_centred_layer(case, data):
    found = ALL[case]
    small, put, made = _numbers(data.draw, found, "dy")
    assume(_spread_out(small, made))
    dx = _gradients(found, put, made, made["dy"])["dx"]
    kept = [n for n, i in enumerate(small.inputs[0].indices) if i not in normalised(small)]
    sums = {}
    for at, number in dx.items():
        group = tuple(at[n] for n in kept)
        sums[group] = sums.get(group, S(0)) + number
    assert len(sums) > 1
    assert all(_zero(total) for total in sums.values())


@pytest.mark.parametrize("case", ALL, ids=str)
@settings(relaxed, max_examples=4)
@given(data=st.data())
def test_scaling_a_group_and_the_root_of_eps_scales_dx_by_one_over_it(case, data):
    """dx(2 x; 4 eps) = dx(x; eps) / 2, and the gradients of the parameters stay."""
    found = ALL[case]
    first, out = name_of(found.wrt[0]), name_of(found.forward.outputs[0])
    small, put, made = _numbers(data.draw, found, "d" + out)
    assume(_spread_out(small, made))
    larger = {**made, first: {at: 2 * v for at, v in made[first].items()}}
    larger |= {"eps": 4 * made["eps"]} if "eps" in made else {}
    one = _gradients(found, put, made, made["d" + out])
    two = _gradients(found, put, larger, made["d" + out])
    for operand in found.wrt:
        factor = 2 if name_of(operand) == first else 1
        name = "d" + name_of(operand)
        assert all(_zero(one[name][at] - factor * two[name][at]) for at in one[name])
