"""Oracles: lines that were spoiled on purpose, exact rationals, and sums written out."""

from dataclasses import replace

import pytest
from sympy import Add, Float, Idx, Integer, Symbol

from bncheck.algebra.layers import LAYERS, layer
from bncheck.algebra.notation import Total, indices_of, tensor
from bncheck.algebra.program import Line, Step
from bncheck.calculus.interpret import places, value_at
from bncheck.calculus.jacobians import jacobian_line
from bncheck.calculus.passes import derived
from bncheck.theory.checked import evidence, hessian_verdicts, lines, verdict, verdicts
from bncheck.theory.normal_forms import in_one_order

WAYS = [{}, {"mode": "forward"}]
VARIANTS = [{"mode": "evaluation"}, {"ddof": 1, "variance": "raw"}, {"affine": False}]


@pytest.mark.parametrize("name", LAYERS)
def test_every_line_is_proved(name):
    for way in WAYS:
        assert set(verdicts(derived(LAYERS[name], **way)).values()) == {"proved"}


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_every_line_of_a_variant_is_proved(variant):
    assert set(verdicts(derived(layer("batch-norm", **variant))).values()) == {"proved"}


def test_every_line_is_proved_for_one_batch_size():
    assert set(verdicts(derived(LAYERS["layer-norm"], batch_size=2)).values()) == {"proved"}


def test_every_line_of_second_order_is_proved():
    """Group norm has sums within sums over other axes; the documents' test has batch norm."""
    found = derived(LAYERS["group-norm"], order=2)
    assert set(verdicts(found).values()) == {"proved"}
    assert set(hessian_verdicts(found).values()) == {"proved"}


def spoiled(expr):
    """The expression with another sign, another factor, and without one of its terms."""
    terms = Add.make_args(expr)
    short = [Add(*terms[:k], *terms[k + 1 :]) for k in range(len(terms))] if terms[1:] else []
    return [-expr, 2 * expr, *short]


@pytest.mark.parametrize(("name", "way"), [("layer-norm", {}), ("rms-norm", {"mode": "forward"})])
def test_a_spoiled_line_is_refuted(name, way):
    """What is left out and not missed is the sum of x - mu, which is 0."""
    found = derived(LAYERS[name], **way)
    kept = [
        line.target
        for line in list(dict.fromkeys(lines(found)))[::3]
        for expr in spoiled(line.expr)
        if verdict(found, Line(line.target, expr)) != "refuted"
    ]
    assert {str(target) for target in kept} <= {"dmu[i]"}
    assert len(kept) <= 2


def test_a_spoiled_line_of_second_order_is_refuted():
    found = derived(LAYERS["weight-norm"], order=2)
    for line in list(verdicts(found))[::4]:
        assert verdict(found, Line(line.target, 2 * line.expr)) == "refuted"


def test_what_reads_a_wrong_line_is_wrong_too():
    found = derived(LAYERS["batch-norm"])
    (at,) = (k for k, s in enumerate(found.chain.steps) if str(s.target) == "dvar[j]")
    steps = list(found.chain.steps)
    steps[at] = Step(steps[at].target, 3 * steps[at].expr, steps[at].note)
    broken = replace(found, chain=replace(found.chain, steps=tuple(steps)))
    wrong = [str(line.target) for line, v in verdicts(broken).items() if v == "refuted"]
    assert wrong == ["dvar[j]", "dx[i, j]", "dx[i, j]"]


def test_a_layer_of_no_family_is_tried_on_numbers():
    rms = LAYERS["rms-norm"]
    y = rms.steps[-1]
    bent = replace(rms, steps=(*rms.steps[:-1], Step(y.target, y.expr**2, "bent")))
    found = derived(bent)
    known = evidence(found)
    assert set(known.lines.values()) == {"exact"}
    assert (known.identities, known.all_proved) == ((), False)
    line = next(iter(known.lines))
    assert verdict(found, Line(line.target, 2 * line.expr)) == "refuted"


@pytest.mark.parametrize("name", LAYERS)
def test_upstream_times_jacobian_is_the_gradient(name):
    """A Jacobian with one entry changed is none."""
    found = derived(LAYERS[name])
    line = jacobian_line(found, str(found.wrt[0].base.label))
    assert verdict(found, line) == "proved"
    direct = next(t for t in Add.make_args(line.expr) if not t.has(Total))
    assert verdict(found, Line(line.target, line.expr + direct)) == "refuted"


def test_sums_of_sums_are_the_same_number_in_one_order():
    i, j = (Idx(name, (1, Integer(n))) for name, n in (("i", 2), ("j", 3)))
    a, b, c = (tensor(name) for name in "abc")
    outer = Total(a[j] * Total(b[i, j] * c[i], i), j)
    inner = Total(c[i] * Total(a[j] * b[i, j], j), i)
    known = {
        name: {at: Float(3 * sum(at) + len(name + str(at)) % 7) ** 2 for at in places(indices)}
        for name, indices in (("a", (j,)), ("b", (i, j)), ("c", (i,)))
    }
    kept = frozenset({i})
    assert in_one_order(outer, kept) == in_one_order(inner, kept) == inner
    assert value_at(outer, known, {}) == value_at(inner, known, {})
    square = Total(Total(b[i, j], i) ** 2, j)
    assert in_one_order(square, kept) == square
    twice = Total(Total(b[i, j], i) * Total(b[i, j] * c[i], i), j)
    assert value_at(in_one_order(twice, kept), known, {}) == value_at(twice, known, {})


def test_identities_are_those_of_the_order_and_of_the_mode():
    def names(**way):
        known = evidence(derived(LAYERS["rms-norm"], **way))
        return {one.statement.name: one for one in known.identities}

    first, moved = names(), names(mode="forward")
    assert "dx along x" in first
    assert "second derivative" not in first
    assert "forward mode" in moved
    assert not [name for name in moved if "dx" in name]
    assert names(batch_size=2) == {}
    form = first["dx along x"].form
    assert form is not None
    assert {str(a) for a in form.free_symbols} >= {"ms", "rms"}
    assert all(not indices_of(a) for a in form.free_symbols if isinstance(a, Symbol))
