"""Oracles: two ``sympy.diff`` of the forward pass alone, in exact rationals; the published
formulas of batch norm; PyTorch's double backward. The first has no tolerance.
"""

from dataclasses import replace

import pytest
from sympy import Rational, S

from bncheck.algebra.layers import LAYERS, layer, variants
from bncheck.algebra.notation import indices_of, name_of, operands, size
from bncheck.algebra.program import Step
from bncheck.algebra.spelling import plain
from bncheck.calculus import passes
from bncheck.calculus.chain import backward, tangent_program
from bncheck.calculus.interpret import evaluate
from bncheck.calculus.passes import (
    derived,
    double_backward,
    hessian,
    small_sizes,
    with_backward,
    witness,
)
from bncheck.calculus.unroll import exactly_equal, sample
from bncheck.cli.files import program
from bncheck.telling.errors import CannotAsk, Disagreement
from tests import derivations

EVERY = {
    name + "".join(f"-{value}" for value in options.values()): found
    for name in LAYERS
    for options, found in variants(name)
}
EVERY["power-norm"] = program("examples/power_norm.py:POWER_NORM", {})


def _first(variant):
    return derivations.derived(EVERY[variant])


def _second(variant):
    return derivations.double_backward(_first(variant))


@pytest.mark.sampled(6)
@pytest.mark.parametrize("variant", EVERY)
def test_double_backward_is_two_derivatives_of_the_forward_pass(variant):
    found = _second(variant)
    witness(found, most=2)
    first = _first(variant)
    still = variant == "batch-norm-0-False-centred-evaluation"  # dx = dy/sd does not see x
    wanted = ["dd" + name_of(out) for out in first.forward.outputs]
    wanted += ["d2" + name_of(a) for a in first.wrt if name_of(a) != "beta" and not still]
    assert {name_of(out) for out in found.closed.outputs} == set(wanted)


@pytest.mark.sampled(3, 2)
@pytest.mark.parametrize("variant", EVERY)
def test_the_tangent_is_the_derivative_of_the_output_along_the_inputs(variant):
    witness(derived(EVERY[variant], mode="forward"))


@pytest.mark.sampled(6, 1)
@pytest.mark.parametrize("variant", EVERY)
def test_the_hessian_is_two_derivatives_of_a_loss_that_bends(variant):
    witness(hessian(_first(variant)), most=1)


UNEVEN = {
    "batch-norm": (5, 2),
    "layer-norm": (2, 4),
    "rms-norm": (3, 4),
    "group-norm": (1, 2, 2, 3),
    "instance-norm": (2, 1, 4),
    "weight-norm": (2, 5),
}


@pytest.mark.sampled(3, 1)
@pytest.mark.parametrize("name", LAYERS)
def test_they_agree_at_larger_uneven_sizes(name):
    sizes = dict(zip(map(size, LAYERS[name].axes), UNEVEN[name], strict=True))
    first = derived(LAYERS[name])
    for found in (double_backward(first), derived(LAYERS[name], mode="forward"), hessian(first)):
        witness(found, most=2, sizes=sizes)


def _at_numbers(found, sizes, **given):
    """Every value of a derivation at exact numbers, by the closed form; ``given`` instead of
    the numbers of the sample.
    """
    small = found.forward.specialised(sizes)
    values = sample(
        small, *(u.xreplace({k: S(v) for k, v in sizes.items()}) for u in found.upstream)
    )
    values |= given
    known = evaluate(small, values) | values
    return known | evaluate(found.closed.specialised(sizes), known)


@pytest.mark.parametrize("name", LAYERS)
def test_the_gradient_by_dy_is_the_tangent_along_the_same_direction(name):
    """The vector-Jacobian product is linear in dy with the Jacobian's transpose for a matrix."""
    first, sizes = derived(LAYERS[name]), small_sizes(LAYERS[name])
    second = _at_numbers(double_backward(first), sizes)
    along = {"t" + n[2:]: v for n, v in second.items() if n.startswith("dd") and n[2:] in
             {name_of(a) for a in first.wrt}}  # fmt: skip
    moved = _at_numbers(derived(LAYERS[name], mode="forward"), sizes, **along)
    (out,) = map(name_of, first.forward.outputs)
    for at, number in moved["t" + out].items():
        assert exactly_equal(number, second["dd" + out][at])


@pytest.mark.parametrize("name", LAYERS)
def test_the_hessian_is_double_backward_and_backward_of_what_the_loss_adds(name):
    first, sizes = derived(LAYERS[name]), small_sizes(LAYERS[name])
    whole = _at_numbers(hessian(first), sizes)
    half = _at_numbers(double_backward(first), sizes)
    (out,) = map(name_of, first.forward.outputs)
    more = _at_numbers(first, sizes, **{"d" + out: whole["d2" + out]})
    for operand in map(name_of, first.wrt):
        for at, number in whole["d2" + operand].items():
            parts = half.get("d2" + operand, {}).get(at, 0) + more["d" + operand][at]
            assert exactly_equal(number, parts)


@pytest.mark.parametrize("name", LAYERS)
def test_the_hessian_is_symmetric(name):
    """<w, Hv> = <v, Hw>, for a loss without a second derivative of its own."""
    first, sizes = derived(LAYERS[name]), small_sizes(LAYERS[name])
    found = double_backward(first)
    names = [name_of(a) for a in first.wrt]
    v = _at_numbers(found, sizes)
    other = {"dd" + n: {at: (Rational(3, 7) + k) ** 2 - 4 for k, at in enumerate(v["dd" + n])}
             for n in names}  # fmt: skip
    w = _at_numbers(found, sizes, **other)

    def product(along, of):
        return sum(along["dd" + n][at] * number for n in names
                   for at, number in of.get("d2" + n, {}).items())  # fmt: skip

    assert exactly_equal(product(w, v), product(v, w))
    assert not exactly_equal(product(w, v), product(w, w))


@pytest.mark.parametrize("ddof", [0, 1])
def test_batch_norm_has_the_published_double_backward(ddof):
    """With A = <v, Pg>, B = <v, xhat>, C = <g, xhat>, one feature; written out by hand."""
    first = derived(layer("batch-norm", ddof=ddof))
    m, features = map(size, first.forward.axes)
    k = _at_numbers(double_backward(first), {m: 5, features: 1})
    v, g, xhat = ([k[n][i, 1] for i in range(1, 6)] for n in ("ddx", "dy", "xhat"))
    gamma, s, a, b = k["gamma"][1,], k["sd"][1,], k["ddgamma"][1,], k["ddbeta"][1,]
    n = 5 - ddof
    centred = lambda u: [e - sum(u) / S(5) for e in u]  # noqa: E731
    dot = lambda p, q: sum(e * f for e, f in zip(p, q, strict=True))  # noqa: E731
    pv, pg = centred(v), centred(g)
    A, B, C = dot(v, pg), dot(v, xhat), dot(g, xhat)
    assert exactly_equal(k["d2gamma"][1,], (A - B * C / n) / s)
    for i in range(5):
        ddy = gamma / s * (pv[i] - xhat[i] * B / n) + a * xhat[i] + b
        inner = (A - 3 * B * C / n) * xhat[i] + C * pv[i] + B * pg[i]
        d2x = -gamma / (n * s**2) * inner + a / s * (pg[i] - xhat[i] * C / n)
        assert exactly_equal(k["ddy"][i + 1, 1], ddy)
        assert exactly_equal(k["d2x"][i + 1, 1], d2x)


@pytest.mark.parametrize("where", ["chain", "closed"])
@pytest.mark.parametrize("at", [-1, 0])
def test_a_wrong_second_order_is_a_disagreement(monkeypatch, where, at):
    """Double one step, and see the witness say so."""

    def spoiled(*arguments):
        made = real(*arguments)
        whole, *lines = (made,) if where == "chain" else made
        steps = list(whole.steps)
        steps[at] = Step(steps[at].target, 2 * steps[at].expr)
        whole = replace(whole, steps=tuple(steps))
        return (whole, *lines) if lines else whole

    real = getattr(passes, "backward" if where == "chain" else "close")
    monkeypatch.setattr(passes, "backward" if where == "chain" else "close", spoiled)
    with pytest.raises(Disagreement, match=r"sympy\.diff"):
        double_backward(derived(LAYERS["batch-norm"]))


def test_every_spoiled_term_is_seen():
    """Each term of each closed gradient in turn with another sign: nothing is decoration."""
    found = _second("batch-norm-0-True-centred-training")
    for order, step in enumerate(found.closed.steps):
        for term in step.expr.expand().args if step.expr.is_Add or step.expr.is_Mul else ():
            if not operands(term):
                continue
            steps = list(found.closed.steps)
            steps[order] = Step(step.target, step.expr + term)
            broken = replace(found.closed, steps=tuple(steps))
            with pytest.raises(Disagreement):
                witness(replace(found, closed=broken), most=3)


def test_the_forward_form_of_batch_norm_is_the_textbook_s():
    found = derived(LAYERS["batch-norm"], mode="forward")
    assert [name_of(a) for a in found.upstream] == ["tx", "tgamma", "tbeta"]
    assert [name_of(a) for a in found.cached] == ["gamma", "sd", "xhat"]
    assert plain(found.closed.steps[-1].expr) == (
        "tgamma[j]*xhat[i, j] + (gamma[j]/sd[j])*(tx[i, j] - sum_tx[j]/m"
        " - sum_tx_xhat[j]*xhat[i, j]/m) + tbeta[j]"
    )


def test_second_order_keeps_the_gradients_of_gradients_by_name():
    found = _second("batch-norm-0-True-centred-training")
    assert [name_of(a) for a in found.upstream] == ["ddx", "ddgamma", "ddbeta"]
    assert [name_of(a) for a in found.wrt] == ["dy", "x", "gamma"]
    assert [name_of(a) for a in found.cached] == ["gamma", "dy", "sd", "xhat", "dgamma", "dbeta"]
    assert {"d2dgamma", "d2dbeta"} <= found.closed.tensors.keys()


def test_a_subset_and_a_batch_size():
    first = derived(LAYERS["batch-norm"], wrt=("gamma",))
    found = double_backward(first)
    assert [name_of(a) for a in found.upstream] == ["ddgamma"]
    assert [name_of(a) for a in found.wrt] == ["dy"]
    moved = derived(LAYERS["batch-norm"], ("x",), 3, mode="forward")
    assert [name_of(a) for a in moved.upstream] == ["tx"]
    assert moved.forward.axes[0].upper == 3
    witness(moved)
    large = derived(LAYERS["layer-norm"], batch_size=512, order=2)
    assert large.forward.axes[1].upper == large.origin.forward.axes[1].upper == 512


def test_running_statistics_can_move():
    frozen = layer("batch-norm", mode="evaluation")
    witness(derived(frozen, ("running_var", "x"), mode="forward"))
    witness(double_backward(derived(frozen, wrt=("running_var", "x"))))


def test_what_cannot_be_asked():
    first = derived(LAYERS["batch-norm"])
    with pytest.raises(CannotAsk, match="no input 'delta'"):
        derived(LAYERS["batch-norm"], ("delta",), mode="forward")
    with pytest.raises(CannotAsk, match="starts from a first-order derivation"):
        double_backward(double_backward(first))
    with pytest.raises(CannotAsk, match="starts from a first-order derivation"):
        hessian(derived(LAYERS["batch-norm"], mode="forward"))
    with pytest.raises(CannotAsk, match="it has to be 1 or more"):
        derived(LAYERS["batch-norm"], batch_size=0, order=2)


def test_an_output_that_is_read_is_still_refused_in_first_order():
    """In second order dgamma is an output and read by dx; elsewhere it is a mistake."""
    with_first = with_backward(derived(LAYERS["batch-norm"]), ())
    assert backward(with_first).steps
    with pytest.raises(CannotAsk, match="is read by a later step"):
        backward(replace(with_first, first=()))


def test_a_name_that_is_needed_for_a_tangent():
    own = LAYERS["weight-norm"]
    taken = own.tensors["norm"]
    own = replace(own, inputs=(*own.inputs, taken.base.func("tv")[indices_of(taken)]))
    with pytest.raises(CannotAsk, match="the name tv is needed for the tangent of v"):
        tangent_program(own, own.wrt)
