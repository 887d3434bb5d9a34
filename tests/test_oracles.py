"""Oracle: plain ``sympy.diff`` on unrolled scalars, in exact rationals, and numbers by hand.

Nothing here has a tolerance. The exact batch is worked out in published notes and by hand.
"""

from dataclasses import replace

import pytest
from sympy import Add, Mul, Rational, S

from bncheck.algebra.layers import LAYERS, layer, variants
from bncheck.algebra.notation import name_of, size
from bncheck.algebra.program import Step
from bncheck.calculus import chain, closed, passes
from bncheck.calculus.interpret import evaluate, value_at
from bncheck.calculus.passes import derived, small_sizes, witness
from bncheck.calculus.unroll import exactly_equal, gradients, sample
from bncheck.telling.errors import CannotAsk, Disagreement
from tests import derivations

EVERY = {
    name + "".join(f"-{value}" for value in options.values()): program
    for name in LAYERS
    for options, program in variants(name)
}


def _derived(variant):
    return derivations.derived(EVERY[variant])


@pytest.mark.sampled(3)
@pytest.mark.parametrize("variant", EVERY)
def test_chain_closed_and_witness_agree_exactly_at_every_place(variant):
    witness(_derived(variant))


UNEVEN = {
    "batch-norm": (5, 2),
    "layer-norm": (2, 5),
    "rms-norm": (3, 4),
    "group-norm": (1, 2, 2, 3),
    "instance-norm": (2, 1, 4),
    "weight-norm": (2, 7),
}


@pytest.mark.sampled(6, 1)
@pytest.mark.parametrize("variant", EVERY)
def test_they_agree_at_larger_uneven_sizes(variant):
    found = _derived(variant)
    numbers = UNEVEN[found.forward.name]
    witness(found, sizes=dict(zip(map(size, found.forward.axes), numbers, strict=True)))


@pytest.mark.sampled(3, 2)
@pytest.mark.parametrize("variant", EVERY)
def test_every_line_of_the_closing_equals_the_gradient(variant):
    """Not by the witness, which checks them too, but against ``sympy.diff`` of a changed input.

    Each line ``da = ...`` holds for a step's value ``a``: cut the forward pass behind that step,
    and its gradient is that of an input.
    """
    found = _derived(variant)
    sizes = small_sizes(found.forward)
    small = found.forward.specialised(sizes)
    values = sample(small)
    known = evaluate(small, values) | {name_of(u): values[name_of(u)] for u in found.upstream}
    known |= evaluate(found.chain.specialised(sizes), known)
    known |= evaluate(found.closed.specialised(sizes), known)
    truth = {}
    for line in found.rewritings:
        target, expr = line.target.xreplace(sizes), line.expr.xreplace(sizes)
        if target not in truth:
            truth[target] = _cut_gradient(small, known, name_of(target)[1:])
        for at, value in truth[target].items():
            here = dict(zip(target.indices, at, strict=True))
            assert exactly_equal(value_at(expr, known, here), value), (line.reason, at)
    assert {name_of(target) for target in truth} >= {"d" + name_of(small.wrt[0])}


def _cut_gradient(small, known, name):
    """The gradient of a step's value at two places, the step taken for an input."""
    operand = small.tensors[name]
    steps = tuple(step for step in small.steps if step.target != operand)
    inputs = tuple(dict.fromkeys((*small.inputs, operand)))
    cut = replace(small, inputs=inputs, steps=steps, wrt=())
    return gradients(cut, known, (operand,), 2)["d" + name]


def _exact_batch(eps):
    forward = LAYERS["batch-norm"]
    forward = forward.specialised({size(forward.axes[0]): 4, size(forward.axes[1]): 1})
    column = lambda numbers: {(i, 1): S(n) for i, n in enumerate(numbers, 1)}  # noqa: E731
    values = {
        "x": column((10, 4, 2, -4)),
        "dy": column((1, 2, -1, 3)),
        "gamma": {(1,): S(2)},
        "beta": {(1,): Rational(1, 2)},
        "eps": S(eps),
    }
    return forward, values


@pytest.mark.parametrize(
    ("eps", "dx", "dgamma", "dvar", "dmu"),
    [
        (11, (41, 119, -335, 175, 432), (-11, 6), (11, 216), (-5, 3)),
        (0, (26, 43, -118, 49, 125), (-11, 5), (11, 125), (-2, 1)),
    ],
)
def test_the_exact_batch(eps, dx, dgamma, dvar, dmu):
    forward, values = _exact_batch(eps)
    found = derived(forward)
    known = {**evaluate(forward, values), "dy": values["dy"]}
    for program in (found.chain, found.closed):
        got = evaluate(program, known)
        assert tuple(got["dx"].values()) == tuple(Rational(n, dx[-1]) for n in dx[:-1])
        assert got["dgamma"] == {(1,): Rational(*dgamma)}
        assert got["dbeta"] == {(1,): 5}
    chain_values = evaluate(found.chain, known)
    assert chain_values["dvar"] == {(1,): Rational(*dvar)}
    assert chain_values["dmu"] == {(1,): Rational(*dmu)}
    truth = gradients(forward, values, forward.wrt)
    assert tuple(truth["dx"].values()) == tuple(Rational(n, dx[-1]) for n in dx[:-1])


def test_the_raw_graph_has_another_gradient_of_the_mean_and_the_same_dx():
    _, values = _exact_batch(11)
    raw = layer("batch-norm", variance="raw")
    raw = raw.specialised({size(raw.axes[0]): 4, size(raw.axes[1]): 1})
    got = evaluate(derived(raw).chain, {**evaluate(raw, values), "dy": values["dy"]})
    assert got["dmu"] == {(1,): Rational(-71, 36)}
    assert got["dx"][(1, 1)] == Rational(41, 432)


def test_batch_norm_closes_to_the_textbook_form_with_the_smallest_cache():
    found = derived(LAYERS["batch-norm"])
    t = found.forward.tensors | found.closed.tensors
    m = size(found.forward.axes[0])
    inner = Add(t["dy"], -t["dbeta"] / m, -t["xhat"] * t["dgamma"] / m)
    assert found.closed.step(t["dx"]).expr == Mul(t["gamma"] / t["sd"], inner, evaluate=False)
    assert [name_of(a) for a in found.cached] == ["gamma", "sd", "xhat"]


@pytest.mark.parametrize("name", ["layer-norm", "group-norm", "rms-norm"])
def test_gamma_inside_the_group_keeps_dxhat_by_name(name):
    assert "dxhat" in derived(LAYERS[name]).closed.tensors


@pytest.mark.parametrize("where", ["chain", "closed"])
def test_a_wrong_pass_is_a_disagreement(monkeypatch, where):
    """The witness has to be able to fail: drop a term in one pass, and see it say so."""

    def spoiled(forward, *rest):
        made = real(forward, *rest)
        program, *lines = (made,) if where == "chain" else made
        last = program.steps[-1]
        wrong = Step(last.target, 2 * last.expr)
        program = type(program)(**{**vars(program), "steps": (*program.steps[:-1], wrong)})
        return (program, *lines) if lines else program

    real = chain.backward if where == "chain" else closed.close
    monkeypatch.setattr(passes, "backward" if where == "chain" else "close", spoiled)
    with pytest.raises(Disagreement, match=r"sympy\.diff") as caught:
        derived(LAYERS["batch-norm"])
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("options", "size_", "said"),
    [
        ({}, 0, "the batch size is 0; it has to be 1 or more"),
        ({}, -3, "the batch size is -3"),
        ({"ddof": 1}, 1, "with batch size 1 divides by zero: the variance over m - 1 needs at"),
        ({"ddof": 1, "variance": "raw"}, 1, "divides by zero"),
    ],
)
def test_impossible_batch_sizes(options, size_, said):
    with pytest.raises(CannotAsk, match=said):
        derived(layer("batch-norm", **options), batch_size=size_)


def test_one_value_has_no_gradient():
    found = derived(LAYERS["batch-norm"], batch_size=1)
    sizes = {size(found.forward.axes[1]): 1}
    small = found.forward.specialised(sizes)
    values = sample(small)
    known = {**evaluate(small, values), "dy": values["dy"]}
    assert evaluate(found.closed.specialised(sizes), known)["dx"] == {(1, 1): 0}


def test_wrt_a_subset_and_an_unknown_name():
    found = derived(LAYERS["batch-norm"], wrt=("gamma",))
    assert [name_of(a) for a in found.chain.outputs] == ["dgamma"]
    with pytest.raises(CannotAsk, match="no input 'delta'"):
        derived(LAYERS["batch-norm"], wrt=("delta",))


def test_running_statistics_can_be_asked_for():
    found = derived(layer("batch-norm", mode="evaluation"), wrt=("running_mean",))
    witness(found)


def test_a_large_batch_is_a_number_put_in():
    large = derived(LAYERS["batch-norm"], batch_size=512)
    general = derived(LAYERS["batch-norm"])
    put = {size(general.forward.axes[0]): S(512)}
    for got, wanted in zip(large.closed.steps, general.closed.steps, strict=True):
        assert got.expr == wanted.expr.xreplace(put)
    assert len(large.rewritings) == len(general.rewritings)
    assert all(not line.expr.has(*put) for line in large.rewritings)
    assert size(large.forward.axes[0]) == 512


def test_two_values_with_ddof_one_and_group_norm_with_a_size_for_both_axes():
    witness(derived(layer("batch-norm", ddof=1), batch_size=2))
    found = derived(LAYERS["group-norm"], batch_size=2)
    assert [str(size(a)) for a in found.forward.axes] == ["N", "G", "2", "2"]


def test_what_a_derivation_says_of_itself():
    found = derived(LAYERS["layer-norm"])
    assert [name_of(a) for a in found.wrt] == ["x", "gamma", "beta"]
    assert [name_of(a) for a in found.upstream] == ["dy"]
    assert [name_of(a) for a in found.cached] == ["gamma", "sd", "xhat"]
    assert found.chain.title == "Layer norm, backward"
    assert found.closed.title == "Layer norm, backward in closed form"
    notes = {name_of(s.target): s.note for s in found.chain.steps}
    assert notes["dx"] == "through mu and var and xhat"
    order = [name_of(t) for t in found.chain.targets]
    assert order == ["dgamma", "dbeta", "dxhat", "dsd", "dvar", "dmu", "dx"]


def test_the_reasons_of_the_lines_in_order():
    reasons = [line.reason for line in derived(LAYERS["batch-norm"]).rewritings]
    assert list(dict.fromkeys(reasons)) == [
        "write x by its normalised value",
        "substitute the gradients of the statistics",
        "the normalised values sum to zero",
        "put dxhat back",
        "pull out what all terms share, name the sums",
    ]


@pytest.mark.parametrize(
    ("name", "options", "cached"),
    [
        ("batch-norm", {"affine": False}, ["sd", "xhat"]),
        ("batch-norm", {"ddof": 1, "variance": "raw"}, ["gamma", "sd", "xhat"]),
        ("batch-norm", {"mode": "evaluation"}, ["gamma", "sd", "xhat"]),
        ("rms-norm", {}, ["gamma", "rms", "xhat"]),
        ("group-norm", {}, ["gamma", "sd", "xhat"]),
        ("instance-norm", {"variance": "raw"}, ["gamma", "sd", "xhat"]),
        ("weight-norm", {}, ["gamma", "norm", "vhat"]),
    ],
)
def test_the_cache_is_minimal(name, options, cached):
    assert [name_of(a) for a in derived(layer(name, **options)).cached] == cached
