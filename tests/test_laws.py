"""Oracle: laws that hold for every right gradient, on random exact rationals."""

from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sympy import Rational, S, expand, sqrt

from bncheck.algebra.notation import size
from bncheck.calculus.derivation import derivation
from bncheck.calculus.unroll import evaluate
from bncheck.layers import LAYERS, layer

numbers = st.fractions(min_value=-5, max_value=5, max_denominator=6)
columns = st.lists(numbers, min_size=4, max_size=4)
spread = columns.filter(lambda c: len(set(c)) > 1)
relaxed = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))

FORWARD = LAYERS["batch-norm"].specialised(
    {size(LAYERS["batch-norm"].axes[0]): 4, size(LAYERS["batch-norm"].axes[1]): 1}
)
FOUND = derivation(FORWARD)


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
    found = derivation(forward)
    values = {"v": {(1, 1): S(1), (1, 2): S(2), (1, 3): S(2)}, "gamma": {(1,): S(5)},
              "dw": {(1, 1): S(1), (1, 2): S(-3), (1, 3): S(7)}}  # fmt: skip
    got = evaluate(found.closed, {**evaluate(forward, values), "dw": values["dw"]})
    assert sum(got["dv"][at] * values["v"][at] for at in got["dv"]) == 0
    assert got["dgamma"][(1,)] == Rational(1 - 6 + 14, 3)
