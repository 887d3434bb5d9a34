"""Oracle: SymPy's derivative of the unrolled forward pass, and the published form."""

import pytest
from sympy import KroneckerDelta, Mul, S, Symbol, diff

from bncheck.algebra.notation import name_of, size
from bncheck.calculus import derivation as passes
from bncheck.calculus.derivation import derivation, normalised
from bncheck.calculus.jacobian import explicit, jacobian
from bncheck.calculus.unroll import evaluate, exactly_equal, places, sample, value_at
from bncheck.errors import CannotAsk
from bncheck.layers import LAYERS


@pytest.mark.parametrize("name", LAYERS)
def test_every_entry_is_the_derivative_of_the_forward_pass(name):
    found = derivation(LAYERS[name])
    sizes = passes.small_sizes(found.forward)
    small = found.forward.specialised(sizes)
    values = sample(small)
    known = evaluate(small, values)
    (out,) = small.outputs
    for operand in found.wrt:
        at = jacobian(found, name_of(operand))
        entry, row, column = (e.xreplace(sizes) for e in (at.entry, at.row, at.column))
        all_columns = list(places(column.indices))
        for where in (all_columns[0], all_columns[-1]):
            moving = Symbol("t", positive=True)
            given = values[name_of(operand)]
            moved = evaluate(small, {**values, name_of(operand): {**given, where: moving}})
            for place, value in moved[name_of(out)].items():
                slope = diff(value, moving).xreplace({moving: given[where]})
                indices = dict(zip(row.indices, place, strict=True))
                indices |= dict(zip(column.indices, where, strict=True))
                numbers = {d: S(int(indices[d.args[0]] == indices[d.args[1]]))
                           for d in entry.atoms(KroneckerDelta)}  # fmt: skip
                got = value_at(S(entry).xreplace(numbers), known, indices)
                assert exactly_equal(got, slope), (operand, place, where)


def test_batch_norm_has_the_published_form():
    found = derivation(LAYERS["batch-norm"])
    at = jacobian(found, "x")
    i, j = at.row.indices
    i1, j1 = at.column.indices
    t = found.forward.tensors
    m = size(i)
    inner = KroneckerDelta(i, i1) - 1 / m - t["xhat"] * t["xhat"].xreplace({i: i1}) / m
    assert (at.entry - t["gamma"] / t["sd"] * KroneckerDelta(j, j1) * inner).expand() == 0


def test_the_explicit_matrix_is_symmetric_and_annihilates_ones():
    matrix = explicit(derivation(LAYERS["batch-norm"], batch_size=4))
    assert matrix == matrix.T
    xhat = {a for a in matrix.atoms() if "xhat" in str(a)}
    assert xhat
    rows = [sum(matrix.row(r)) for r in range(4)]
    # the sum of a row is -gamma/sd * xhat_r * mean(xhat), which vanishes by definition
    j = found_feature(matrix)
    base = derivation(LAYERS["batch-norm"]).forward.tensors["xhat"].base
    last = {base[4, j]: -base[1, j] - base[2, j] - base[3, j]}
    assert all(row.xreplace(last).expand() == 0 for row in rows)


def found_feature(matrix):
    return next(iter(matrix.atoms(type(LAYERS["batch-norm"].axes[0]))))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("batch-norm", (3, 3)),
        ("layer-norm", (3, 3)),
        ("group-norm", (9, 9)),
        ("weight-norm", (3, 3)),
    ],
)
def test_explicit_shapes(name, shape):
    found = derivation(LAYERS[name], batch_size=3)
    assert explicit(found, name_of(found.wrt[0])).shape == shape


def test_what_cannot_be_asked():
    found = derivation(LAYERS["batch-norm"], wrt=("gamma",))
    with pytest.raises(CannotAsk, match="not x"):
        jacobian(found, "x")
    with pytest.raises(CannotAsk, match="needs a batch size"):
        explicit(derivation(LAYERS["batch-norm"]))


def test_normalised_axes():
    assert {n: [str(i) for i in normalised(p)] for n, p in LAYERS.items()} == {
        "batch-norm": ["i"], "layer-norm": ["j"], "rms-norm": ["j"],
        "group-norm": ["k", "l"], "instance-norm": ["l"], "weight-norm": ["p"],
    }  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_what_groups_do_not_share_stands_outside_as_deltas(name):
    """Finite differences read off it which entries can be moved together."""
    found = derivation(LAYERS[name])
    at = jacobian(found, name_of(found.wrt[0]))
    outside = {str(d.args[0]) for d in Mul.make_args(at.entry) if isinstance(d, KroneckerDelta)}
    along = {str(i) for i in normalised(found.forward)}
    assert outside == {str(i) for i in at.row.indices} - along
