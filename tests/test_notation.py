"""Oracle: what the words mean, worked out by hand; sums are counted term by term in numbers."""

import pytest
from sympy import Rational, S, Symbol, sqrt, tanh

from bncheck.algebra.notation import (
    Mean,
    Total,
    axis,
    carried,
    count,
    distribute,
    expanded,
    gradient,
    indices_of,
    like,
    name_of,
    operands,
    size,
    tensor,
    total,
)
from bncheck.calculus.interpret import places, value_at
from bncheck.calculus.unroll import exactly_equal

i, j, k = axis("i", "m"), axis("j", "D"), axis("k", "K")
m, D = size(i), size(j)
x, y, a, b = map(tensor, ("x", "y", "a", "b"))
s = tensor("s", positive=True)
eps = Symbol("eps", nonnegative=True)


def test_an_axis_carries_its_size_and_is_the_same_each_time():
    assert axis("i", "m") is i
    assert str(m) == "m"
    assert m.is_integer
    assert m.is_positive
    assert i.lower == 1
    assert count((i, j)) == m * D
    assert count(()) == 1


def test_names_and_indices_of_tensors_and_scalars():
    assert (name_of(x[i, j]), indices_of(x[i, j])) == ("x", (i, j))
    assert (name_of(eps), indices_of(eps)) == ("eps", ())
    assert gradient(x[i, j]) == tensor("dx")[i, j]
    assert gradient(eps) == Symbol("deps", real=True)
    assert like("u", s[j]) == tensor("u")[j]


def test_a_tensor_is_real_and_positive_where_it_is_said():
    assert x[i, j].is_real
    assert x[i, j].is_positive is None
    assert s[j].is_positive
    assert not gradient(s[j]).is_positive


@pytest.mark.parametrize("over", [(), (i, i), (i, j, i)])
def test_a_sum_runs_over_each_index_once(over):
    for kind in (Total, Mean):
        with pytest.raises(ValueError, match=f"{kind.__name__} runs over one or more indices"):
            kind(x[i, j], *over)


def test_a_sum_does_not_depend_on_the_order_of_its_indices():
    assert Total(x[i, j], j, i) == Total(x[i, j], i, j)
    assert Total(x[i, j], j, i).over == (i, j)
    assert Total(x[i, j], i) != Mean(x[i, j], i)


@pytest.mark.parametrize(
    ("expr", "free"),
    [
        (x[i, j], {i, j}),
        (Total(x[i, j], i), {j}),
        (Mean(x[i, j], i, j), set()),
        (x[i, j] - Mean(x[i, j], i), {i, j}),
        (a[j] * Total(x[i, k] * b[i], i) + eps, {j, k}),
        (S(3), set()),
        (m, set()),
        (i + a[j], {i, j}),
    ],
)
def test_what_an_expression_carries(expr, free):
    assert carried(expr) == free


def test_operands_are_read_in_order_of_appearance_without_sizes_and_indices():
    assert operands(Mean(a[i] ** 2, i) / m) == (a[i],)
    assert operands(Total(i * a[i], i)) == (a[i],)
    assert operands(tanh(eps)) == (eps,)
    assert set(operands(x[i, j] / sqrt(s[j] + eps) - m)) == {x[i, j], s[j], eps}
    assert operands(S(2)) == ()


def test_a_sum_has_the_symbols_of_its_body_and_its_sizes_but_not_its_index():
    symbols = Total(a[i] * eps, i).free_symbols
    assert {eps, m, a[i].base.label} <= symbols
    assert i not in symbols


@pytest.mark.parametrize(
    ("body", "over", "is_"),
    [
        (a[j] * x[i, j], (i,), a[j] * Total(x[i, j], i)),
        (a[j], (i,), m * a[j]),
        (a[i], (i, j), D * Total(a[i], i)),
        (S(3), (i, j), 3 * m * D),
        (3 * a[i] * b[j] * eps, (i, j), 3 * eps * Total(a[i] * b[j], i, j)),
        (x[i, j], (), x[i, j]),
        (a[i] + 1, (i,), Total(a[i] + 1, i)),
    ],
)
def test_what_does_not_carry_the_index_leaves_the_sum(body, over, is_):
    assert total(body, over) == is_


@pytest.mark.parametrize(
    ("expr", "is_"),
    [
        (Mean(x[i, j] - a[j], i), Total(x[i, j], i) / m - a[j]),
        (Mean(S(1), i, j), S(1)),
        (Total(S(2), i), 2 * m),
        ((x[i, j] + 1) ** 2, x[i, j] ** 2 + 2 * x[i, j] + 1),
        (
            Mean((a[i] - eps) ** 2, i),
            Total(a[i] ** 2, i) / m - 2 * eps * Total(a[i], i) / m + eps**2,
        ),
        (
            a[j] * (1 + Total(a[i] * (b[i] + 1), i)),
            a[j] + a[j] * Total(a[i] * b[i], i) + a[j] * Total(a[i], i),
        ),
        (tanh(Total(2 * a[i], i)), tanh(2 * Total(a[i], i))),
    ],
)
def test_distributed_sums(expr, is_):
    assert distribute(expr) == is_


def test_distributing_changes_no_value():
    numbers = {"a": {(1,): S(2), (2,): Rational(-1, 3), (3,): S(5)}, "eps": {(): S(7)}}
    expr = (eps + Mean((a[i] - eps) ** 3, i)) * (Total(a[i], i) - 1) / (m - 1) + Total(eps, i)
    (three,) = (e.xreplace({m: S(3)}) for e in [expr])
    spread = distribute(expr).xreplace({m: S(3)})
    assert exactly_equal(value_at(three, numbers, {}), value_at(spread, numbers, {}))
    assert list(places((i.xreplace({m: S(3)}),))) == [(1,), (2,), (3,)]


@pytest.mark.parametrize(
    ("expr", "is_"),
    [
        (a[j] * (b[j] + 1), a[j] * b[j] + a[j]),
        ((a[j] + b[j]) ** 2, a[j] ** 2 + 2 * a[j] * b[j] + b[j] ** 2),
        ((a[j] + 1) / (m - 1), a[j] / (m - 1) + 1 / (m - 1)),
        ((s[j] + eps) ** Rational(-3, 2) * 2, 2 * (s[j] + eps) ** Rational(-3, 2)),
        (sqrt(s[j] + eps) * (a[j] + 1), sqrt(s[j] + eps) * a[j] + sqrt(s[j] + eps)),
    ],
)
def test_products_are_multiplied_out_and_roots_and_denominators_stay_whole(expr, is_):
    assert expanded(expr) == is_
