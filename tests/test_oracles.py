"""Oracle: plain ``sympy.diff`` on unrolled scalars, in exact rationals, and numbers by hand.

Nothing here has a tolerance. The exact batch is worked out in published notes and by hand.
"""

import pytest
from sympy import Add, Mul, Rational, S

from bncheck.algebra.notation import name_of, size
from bncheck.algebra.program import Step
from bncheck.calculus import chain, closed
from bncheck.calculus import derivation as passes
from bncheck.calculus.derivation import derivation, normalised, witness
from bncheck.calculus.unroll import evaluate, exactly_equal, gradients, places, sample
from bncheck.errors import CannotAsk, Disagreement
from bncheck.layers import LAYERS, layer, variants

EVERY = [(name, options) for name in LAYERS for options, _ in variants(name)]


def _id(case):
    return case[0] + "".join(f"-{v}" for v in case[1].values())


@pytest.mark.parametrize("case", EVERY, ids=_id)
def test_chain_closed_and_witness_agree_exactly_at_every_place(case):
    name, options = case
    witness(derivation(layer(name, **options)))


@pytest.mark.parametrize("name", [n for n in LAYERS if n != "group-norm"])
def test_they_agree_at_larger_uneven_sizes(name):
    forward = LAYERS[name]
    along = normalised(forward)
    sizes = {size(i): 5 if i in along else 2 for i in forward.axes}
    witness(derivation(forward.specialised(sizes)), most=6)


@pytest.mark.parametrize("case", EVERY, ids=_id)
def test_every_line_of_the_closing_equals_the_gradient(case):
    name, options = case
    found = derivation(layer(name, **options))
    sizes = passes.small_sizes(found.forward)
    small = found.forward.specialised(sizes)
    values = sample(small)
    upstream = {name_of(u): values[name_of(u)] for u in found.upstream}
    known = {**evaluate(small, values), **upstream}
    known |= evaluate(found.chain.specialised(sizes), known)
    known |= evaluate(found.closed.specialised(sizes), known)
    for line in found.rewritings:
        target, expr = line.target.xreplace(sizes), line.expr.xreplace(sizes)
        for at in places(target.indices):
            got = _value(expr, known, dict(zip(target.indices, at, strict=True)))
            assert exactly_equal(got, known[name_of(target)][at]), (line.reason, at)


def _value(expr, known, at):
    from bncheck.calculus import unroll

    return unroll.value_at(expr, known, at)


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
    found = derivation(forward)
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
    got = evaluate(derivation(raw).chain, {**evaluate(raw, values), "dy": values["dy"]})
    assert got["dmu"] == {(1,): Rational(-71, 36)}
    assert got["dx"][(1, 1)] == Rational(41, 432)


def test_batch_norm_closes_to_the_textbook_form_with_the_smallest_cache():
    found = derivation(LAYERS["batch-norm"])
    t = found.forward.tensors | found.closed.tensors
    m = size(found.forward.axes[0])
    inner = Add(t["dy"], -t["dbeta"] / m, -t["xhat"] * t["dgamma"] / m)
    assert found.closed.step(t["dx"]).expr == Mul(t["gamma"] / t["sd"], inner, evaluate=False)
    assert [name_of(a) for a in found.cached] == ["gamma", "sd", "xhat"]


@pytest.mark.parametrize("name", ["layer-norm", "group-norm", "rms-norm"])
def test_gamma_inside_the_group_keeps_dxhat_by_name(name):
    assert "dxhat" in derivation(LAYERS[name]).closed.tensors


@pytest.mark.parametrize("where", ["chain", "closed"])
def test_a_wrong_pass_is_a_disagreement(monkeypatch, where):
    """The witness has to be able to fail: drop a term in one pass, and see it say so."""

    def spoiled(forward, *rest):
        made = real(forward, *rest)
        program = made if where == "chain" else made.program
        last = program.steps[-1]
        wrong = Step(last.target, 2 * last.expr)
        broken = passes.Closing(program, ()) if where == "closed" else program
        program = type(program)(**{**vars(program), "steps": (*program.steps[:-1], wrong)})
        return program if where == "chain" else type(broken)(program, ())

    real = chain.backward if where == "chain" else closed.close
    monkeypatch.setattr(passes, "backward" if where == "chain" else "close", spoiled)
    with pytest.raises(Disagreement, match=r"sympy\.diff") as caught:
        derivation(LAYERS["batch-norm"])
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("options", "size_", "said"),
    [({}, 0, "has to be 1 or more"), ({"ddof": 1}, 1, "divides by zero")],
)
def test_impossible_batch_sizes(options, size_, said):
    with pytest.raises(CannotAsk, match=said):
        derivation(layer("batch-norm", **options), batch_size=size_)


def test_one_value_has_no_gradient():
    found = derivation(LAYERS["batch-norm"], batch_size=1)
    sizes = {size(found.forward.axes[1]): 1}
    small = found.forward.specialised(sizes)
    values = sample(small)
    known = {**evaluate(small, values), "dy": values["dy"]}
    assert evaluate(found.closed.specialised(sizes), known)["dx"] == {(1, 1): 0}


def test_wrt_a_subset_and_an_unknown_name():
    found = derivation(LAYERS["batch-norm"], wrt=("gamma",))
    assert [name_of(a) for a in found.chain.outputs] == ["dgamma"]
    with pytest.raises(CannotAsk, match="no input 'delta'"):
        derivation(LAYERS["batch-norm"], wrt=("delta",))


def test_running_statistics_can_be_asked_for():
    found = derivation(layer("batch-norm", mode="evaluation"), wrt=("running_mean",))
    witness(found)
