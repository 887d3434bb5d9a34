"""Oracle: the names and variants by hand, and the statistics of four numbers."""

import re

import pytest
from sympy import Rational, S, sqrt

from bncheck.algebra.layers import AXES, LAYERS, layer, options, variants
from bncheck.algebra.notation import name_of, size
from bncheck.calculus.interpret import evaluate
from bncheck.calculus.unroll import sample
from bncheck.telling.errors import CannotAsk


@pytest.mark.parametrize(
    ("name", "variant", "said"),
    [
        ("bach-norm", {}, "no layer is called 'bach-norm'; there are batch-norm, layer-norm, "),
        ("rms-norm", {"ddof": 1}, "rms-norm has no variant 'ddof'; its variants are: affine"),
        ("weight-norm", {"affine": True}, "no variant 'affine'; its variants are: none"),
        ("layer-norm", {"mode": "training"}, "its variants are: ddof, affine, variance"),
        ("batch-norm", {"ddof": 2}, "batch-norm: ddof is 2; it can be 0, 1"),
        ("batch-norm", {"mode": "test"}, "mode is 'test'; it can be 'training', 'evaluation'"),
        ("group-norm", {"variance": "fast"}, "variance is 'fast'; it can be 'centred', 'raw'"),
    ],
)
def test_layers_and_variants_that_do_not_exist(name, variant, said):
    with pytest.raises(CannotAsk, match=re.escape(said)):
        layer(name, **variant)


def test_how_many_variants_there_are():
    assert {name: len(list(variants(name))) for name in LAYERS} == {
        "batch-norm": 10,  # ddof x affine x variance, and evaluation with and without affine
        "layer-norm": 8,
        "rms-norm": 2,
        "group-norm": 8,
        "instance-norm": 8,
        "weight-norm": 1,
    }


@pytest.mark.parametrize("name", LAYERS)
def test_the_first_variant_is_the_usual_one_and_no_two_are_the_same(name):
    made = list(variants(name))
    first, program = made[0]
    assert program == LAYERS[name] == layer(name)
    assert first == {option: values[0] for option, values in options(name).items()}
    programs = [p for _, p in made]
    assert len(set(programs)) == len(programs)
    assert all(p.name == name for p in programs)


def test_options_are_a_copy():
    options("batch-norm").clear()
    assert options("batch-norm")


@pytest.mark.parametrize("name", LAYERS)
def test_every_step_has_a_note_and_every_axis_a_word(name):
    for _, program in variants(name):
        assert program.title
        assert all(step.note for step in program.steps)
        assert set(program.axes) <= AXES.keys()


@pytest.mark.parametrize("name", LAYERS)
def test_without_affine_there_is_no_gamma(name):
    for variant, program in variants(name):
        names = {name_of(a) for a in program.inputs}
        assert ("gamma" in names) == variant.get("affine", True)
        assert program.wrt[0] == program.inputs[0]
        assert {"gamma", "beta"} & names == {name_of(a) for a in program.wrt[1:]}


@pytest.mark.parametrize("name", ["batch-norm", "layer-norm", "group-norm", "instance-norm"])
@pytest.mark.parametrize("ddof", [0, 1])
def test_centred_and_raw_variance_are_the_same_numbers(name, ddof):
    found = []
    for variance in ("centred", "raw"):
        program = layer(name, ddof=ddof, variance=variance)
        small = program.specialised({size(a): 2 for a in program.axes} | {size(program.axes[0]): 3})
        found.append(evaluate(small, sample(small))["var"])
    assert found[0] == found[1]
    assert all(number > 0 for number in found[0].values())


COLUMN = (10, 4, 2, -4)  # mean 3; squared deviations 49 + 1 + 1 + 49


@pytest.mark.parametrize(("ddof", "var"), [(0, S(25)), (1, Rational(100, 3))])
def test_the_variance_of_four_numbers(ddof, var):
    program = layer("batch-norm", ddof=ddof)
    small = program.specialised(dict(zip(map(size, program.axes), (4, 1), strict=True)))
    x = {(row, 1): S(number) for row, number in enumerate(COLUMN, 1)}
    got = evaluate(small, {"x": x, "gamma": {(1,): 2}, "beta": {(1,): 1}, "eps": S(0)})
    assert got["mu"] == {(1,): 3}
    assert got["var"] == {(1,): var}
    assert got["y"][(1, 1)] == 2 * 7 / sqrt(var) + 1


def test_evaluation_mode_reads_the_running_statistics():
    program = layer("batch-norm", mode="evaluation")
    small = program.specialised(dict(zip(map(size, program.axes), (1, 1), strict=True)))
    values = {"x": {(1, 1): 10}, "gamma": {(1,): 2}, "beta": {(1,): 1}, "eps": 3,
              "running_mean": {(1,): 4}, "running_var": {(1,): 6}}  # fmt: skip
    assert evaluate(small, values)["y"] == {(1, 1): 2 * (10 - 4) / S(3) + 1}
    assert "var" not in program.tensors
