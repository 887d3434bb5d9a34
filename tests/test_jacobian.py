"""Oracle: SymPy's derivative of the unrolled forward pass, and the published form."""

import time
from dataclasses import replace
from itertools import product

import pytest
from sympy import Dummy, Idx, Indexed, KroneckerDelta, Matrix, Mul, S, Symbol, diff

from bncheck.algebra.layers import LAYERS
from bncheck.algebra.notation import Mean, Total, moved, name_of, size, tensor
from bncheck.algebra.program import Step
from bncheck.calculus import passes
from bncheck.calculus.derivation import normalised
from bncheck.calculus.interpret import evaluate, places, value_at
from bncheck.calculus.jacobians import explicit, jacobian
from bncheck.calculus.passes import derived
from bncheck.calculus.unroll import exactly_equal, sample
from bncheck.telling.errors import CannotAsk


@pytest.mark.parametrize("name", LAYERS)
def test_every_entry_is_the_derivative_of_the_forward_pass(name):
    found = derived(LAYERS[name])
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
    found = derived(LAYERS["batch-norm"])
    at = jacobian(found, "x")
    i, j = at.row.indices
    i1, j1 = at.column.indices
    t = found.forward.tensors
    m = size(i)
    inner = KroneckerDelta(i, i1) - 1 / m - t["xhat"] * t["xhat"].xreplace({i: i1}) / m
    assert (at.entry - t["gamma"] / t["sd"] * KroneckerDelta(j, j1) * inner).expand() == 0


def test_the_explicit_matrix_is_symmetric_and_annihilates_ones():
    matrix = explicit(derived(LAYERS["batch-norm"], batch_size=4))
    assert matrix == matrix.T
    xhat = {a for a in matrix.atoms() if "xhat" in str(a)}
    assert xhat
    rows = [sum(matrix.row(r)) for r in range(4)]
    # the sum of a row is -gamma/sd * xhat_r * mean(xhat), which vanishes by definition
    j = found_feature(matrix)
    base = derived(LAYERS["batch-norm"]).forward.tensors["xhat"].base
    last = {base[4, j]: -base[1, j] - base[2, j] - base[3, j]}
    assert all(row.xreplace(last).expand() == 0 for row in rows)


def found_feature(matrix):
    return next(iter(matrix.atoms(type(LAYERS["batch-norm"].axes[0]))))


@pytest.mark.parametrize("name", LAYERS)
def test_the_explicit_matrix_holds_the_derivatives_of_one_group(name):
    """Each entry in exact numbers, against ``sympy.diff`` of the output, for every input."""
    found = derived(LAYERS[name], batch_size=2 if name == "group-norm" else 3)
    sizes = passes.small_sizes(found.forward)
    small = found.forward.specialised(sizes)
    values = sample(small)
    known = evaluate(small, values)
    (out,) = small.outputs
    here = dict.fromkeys(small.axes, 2)
    rows = _places_of_the_group(small, out, here)
    for operand in small.wrt:
        matrix = explicit(found, name_of(operand)).xreplace(sizes)
        columns = _places_of_the_group(small, operand, here)
        assert matrix.shape == (len(rows), len(columns))
        for c, column in enumerate(columns):
            moving = Dummy(positive=True)
            given = values[name_of(operand)]
            moved = evaluate(small, {**values, name_of(operand): {**given, column: moving}})
            for r in {0, c, len(rows) - 1}:
                slope = diff(moved[name_of(out)][rows[r]], moving)
                got = _number(matrix[r, c], known, here)
                assert exactly_equal(got, slope.xreplace({moving: given[column]})), (r, c)


def _places_of_the_group(small, operand, here):
    """The places of the tensor in the group that lies at ``here``."""
    along = normalised(small)
    every = [(1, 2, 3)[: size(i)] if i in along else (here[i],) for i in operand.indices]
    return list(product(*every))


def _number(entry, known, here):
    leaves = entry.atoms(Indexed)
    at = {a: tuple(int(here.get(i, i)) for i in a.indices) for a in leaves}
    return entry.xreplace({a: known[name_of(a)][at[a]] for a in leaves})


@pytest.mark.parametrize("rows", [1, 2, 5, 11])
@pytest.mark.parametrize("name", ["batch-norm", "layer-norm", "instance-norm", "weight-norm"])
def test_the_matrix_is_what_plain_replacement_gives(name, rows):
    """Its entries are filled into a few forms; ``xreplace`` works each of them out anew."""
    found = derived(LAYERS[name], batch_size=rows)
    for operand in found.wrt:
        assert explicit(found, name_of(operand)).tolist() == _plain(found, name_of(operand))


def test_two_axes_in_the_matrix_as_plain_replacement_gives_them():
    found = derived(LAYERS["group-norm"], batch_size=3)
    assert explicit(found).tolist() == _plain(found, "x")


def _plain(found, name):
    at = jacobian(found, name)
    home = {str(i) + "1": i for i in at.row.indices}
    along = normalised(found.forward)
    row = [i for i in at.row.indices if i in along]
    column = [i for i in at.column.indices if home[str(i)] in along]
    same = {i: home[str(i)] for i in at.column.indices if i not in column}

    def entry(r, c):
        return at.entry.xreplace(same | dict(zip((*row, *column), map(S, (*r, *c)), strict=True)))

    return [[entry(r, c) for c in places(tuple(column))] for r in places(tuple(row))]


def test_a_matrix_of_512_rows_takes_seconds():
    found = derived(LAYERS["batch-norm"], batch_size=512)
    start = time.process_time()
    matrix = explicit(found)
    assert time.process_time() - start < 15  # each entry worked out anew takes a minute
    assert matrix.shape == (512, 512)
    at = jacobian(found, "x")
    (i, j), (i1, j1) = at.row.indices, at.column.indices
    for r, c in ((0, 0), (7, 300), (511, 2)):
        assert matrix[r, c] == at.entry.xreplace({i: S(r + 1), i1: S(c + 1), j1: j})


def test_indices_bound_by_a_sum_stay_where_they_are():
    x, (i, j) = LAYERS["batch-norm"].tensors["x"].base, LAYERS["batch-norm"].axes
    expr = x[i, j] * Total(x[i, j], i)
    assert moved(expr, {i: S(2), j: S(5)}) == x[2, 5] * Total(x[i, 5], i)


def test_an_entry_with_a_sum_in_it_is_filled_in_too():
    program = LAYERS["batch-norm"]
    x, (i, j) = program.tensors["x"].base, program.axes
    a, y = tensor("a"), tensor("y")
    steps = (Step(a[j], Mean(x[i, j], i)), Step(y[i, j], a[j] * Mean(a[j] * x[i, j], i)))
    with pytest.raises(CannotAsk):
        replace(program, steps=steps, inputs=(x[i, j],), wrt=(x[i, j],))
    b = tensor("b")
    steps = (steps[0], Step(b[j], steps[1].expr), Step(y[i, j], b[j] * x[i, j]))
    own = replace(program, steps=steps, inputs=(x[i, j],), wrt=(x[i, j],))
    matrix = explicit(derived(own, batch_size=2))
    mean = (x[1, j] + x[2, j]) / 2
    unrolled = {Total(x[i2, j], i2): 2 * mean for i2 in matrix.atoms(Idx) if str(i2) == "i"} | {
        a[j]: mean,
        b[j]: mean**3,
    }
    wanted = [[diff(mean**3 * x[r, j], x[c, j]) for c in (1, 2)] for r in (1, 2)]
    assert matrix.xreplace(unrolled).expand() == Matrix(wanted).expand()


def test_the_jacobian_is_of_the_first_output():
    program = LAYERS["batch-norm"]
    x, (i, j) = program.tensors["x"].base, program.axes
    y, b = tensor("y"), tensor("b")
    steps = (Step(b[j], Mean(x[i, j], i)), Step(y[i, j], 3 * x[i, j]))
    own = replace(program, steps=steps, inputs=(x[i, j],), wrt=(x[i, j],), outputs=(y[i, j], b[j]))
    at = jacobian(derived(own), "x")
    i1, j1 = at.column.indices
    assert at.entry == 3 * KroneckerDelta(i, i1) * KroneckerDelta(j, j1)


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
    found = derived(LAYERS[name], batch_size=3)
    assert explicit(found, name_of(found.wrt[0])).shape == shape


def test_what_cannot_be_asked():
    found = derived(LAYERS["batch-norm"], wrt=("gamma",))
    with pytest.raises(CannotAsk, match="not x"):
        jacobian(found, "x")
    with pytest.raises(CannotAsk, match="needs a batch size"):
        explicit(derived(LAYERS["batch-norm"]))


def test_normalised_axes():
    assert {n: [str(i) for i in normalised(p)] for n, p in LAYERS.items()} == {
        "batch-norm": ["i"], "layer-norm": ["j"], "rms-norm": ["j"],
        "group-norm": ["k", "l"], "instance-norm": ["l"], "weight-norm": ["p"],
    }  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_what_groups_do_not_share_stands_outside_as_deltas(name):
    """Finite differences read off it which entries can be moved together."""
    found = derived(LAYERS[name])
    at = jacobian(found, name_of(found.wrt[0]))
    outside = {str(d.args[0]) for d in Mul.make_args(at.entry) if isinstance(d, KroneckerDelta)}
    along = {str(i) for i in normalised(found.forward)}
    assert outside == {str(i) for i in at.row.indices} - along
