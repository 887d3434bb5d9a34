"""Oracle: files of bad and odd code, and what has to be said of each; the tool survives all.

Every message says what was found; no traceback, no hang, no file of the user's is executed beyond
its definitions.
"""

import keyword
import time
from dataclasses import is_dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from bncheck.subject import messages
from bncheck.subject.conventions import find
from bncheck.subject.loading import load
from bncheck.subject.messages import Target
from bncheck.subject.names import SPELLINGS, gradient, layer_hint, role
from bncheck.subject.questions import CallableSubject, FileSubject
from bncheck.subject.signature import double_roles, roles_of
from bncheck.telling.codes import Finding
from bncheck.telling.errors import WRONG_SHAPES, CannotAsk, Refused

INPUTS = {
    "x": np.arange(12.0).reshape(4, 3) ** 1.5,
    "dy": np.ones((4, 3)),
    "gamma": np.array([1.0, 2.0, 3.0]),
    "beta": np.zeros(3),
    "eps": 0.1,
}


def _write(tmp_path, text, name="code.py"):
    path = tmp_path / name
    path.write_text(text)
    return str(path)


def _ask(path, timeout=20.0):
    subject = FileSubject(path, timeout)
    try:
        (candidate, *_) = subject.candidates()
        return subject.call(candidate.name, INPUTS)
    finally:
        subject.close()


# ---- where it is


@pytest.mark.parametrize(
    ("text", "file", "stem", "shown"),
    [("a/bn.py", "a/bn.py", "bn", "a/bn.py:dx"), ("a/bn.py:two", "a/bn.py", "bn", "a/bn.py:dx"),
     ("pages.ipynb", "pages.ipynb", "pages", "pages.ipynb:dx"),
     ("pkg.layernorm:two", None, "layernorm", "pkg.layernorm:dx"),
     ("pkg.dx", None, "dx", "pkg.dx:dx")],
)  # fmt: skip
def test_a_target_is_taken_apart(text, file, stem, shown):
    target = Target.parse(text)
    assert target.file == (None if file is None else Path(file))
    assert (target.stem, target.shown("dx"), str(target)) == (stem, shown, text)
    assert Target.of(lambda dy, x: dy).shown("dx") == "dx"


def test_a_module_is_annotated_in_the_file_that_it_was_imported_from(tmp_path, bncheck):
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "norm.py").write_text("def backward(dy, x):\n    return dy\n")
    done = bncheck("verify", "pkg.norm:backward", "--format", "github", cwd=tmp_path)
    assert "file=pkg/norm.py,line=2,title=bncheck%3A backward is" in done.stdout, done.stderr
    done = bncheck("verify", "pkg.norm", "--format", "junit", cwd=tmp_path)
    assert 'name="backward" file="pkg/norm.py"' in done.stdout


@pytest.mark.parametrize("where", ["file", "callable"])
@pytest.mark.parametrize(
    ("body", "kind", "speaks_of"),
    [("raise IndexError('epsilon has to be small')", "IndexError", "eps"),
     ("assert eps < 1e-3", "AssertionError", "eps"),
     ("return np.ones((2, 3)) + np.ones((3, 2))", "ValueError", None),
     ("class Own(ValueError): pass\n    raise Own", "ValueError", None)],
)  # fmt: skip
def test_what_the_code_raised_is_known_and_not_only_told(tmp_path, where, body, kind, speaks_of):
    path = _write(tmp_path, f"import numpy as np\ndef backward(dy, x, eps):\n    {body}\n")
    subject = FileSubject(path)
    if where == "callable":
        subject.close()
        subject = CallableSubject(load(Target.parse(path)).namespace["backward"])
    with pytest.raises(Refused) as refused:
        subject.call("backward", INPUTS)
    subject.close()
    assert {kind, "Exception"} <= refused.value.kinds
    assert bool(refused.value.kinds & WRONG_SHAPES) == (kind in WRONG_SHAPES)
    assert speaks_of is None or speaks_of in refused.value.speaks_of
    assert (refused.value.file, refused.value.line) == (path, 3 + body.count("\n"))


# ---- files that cannot be loaded


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"   \n\n", "is empty"),
        (b"\x7fELF\0\0", "binary"),
        (b"# caf\xe9 \xff\n", "not valid text"),
        (b"def f(:\n  pass", "line 1 does not parse"),
        (b"print 'hello'\n", "is it Python 2"),
        (b"x = 1\n", "no backward pass found"),
        (b"#" * 5_000_001, "expected source code of at most 5 MB"),
        (b"def backward(cache, dout):\n  pass", "no forward pass that would make it"),
        (b"def backward(**kwargs):\n  pass", "no parameter that bncheck knows as the upstream"),
        (b"class Norm:\n  def backward(self, dy): pass", "no backward pass found"),
    ],
)
def test_files_that_cannot_be_loaded(tmp_path, content, said):
    path = tmp_path / "code.py"
    path.write_bytes(content)
    with pytest.raises(CannotAsk, match=said):
        _ask(str(path))


def test_places_that_are_no_file(tmp_path):
    for target, said in [
        (str(tmp_path), "is a directory"),
        (str(tmp_path / "none.py"), "does not exist"),
        ("no.such.module:backward", "cannot be imported"),
        ("not a name", "neither a file nor a module"),
        (":backward", "expected FILE.py"),
    ]:
        with pytest.raises(CannotAsk, match=said):
            _ask(target)


def test_a_module_is_imported():
    assert _ask("bncheck.references:backward_closed").y.shape == (4, 3)


def test_only_definitions_are_run(tmp_path):
    marker = tmp_path / "ran"
    path = _write(tmp_path, f"""
import numpy as np, no_such_package
from . import sibling
from no_such.other import *
EPS = 1e-3 * 2
SCALE = open({str(marker)!r}, "w")
open({str(marker)!r}, "w").write("x")
@no_such_package.compiled
def backward(dy, x):
    return dy * EPS
if __name__ == "__main__":
    raise SystemExit(3)
for i in range(3):
    print(i)
""")  # fmt: skip
    source = load(Target.parse(path))
    assert not marker.exists()
    assert source.namespace["EPS"] == 0.002
    assert any("no_such_package is not there" in note.text for note in source.notes)
    assert _ask(path).gradients["dx"][0, 0] == 0.002


def test_a_missing_import_fails_only_where_it_is_used(tmp_path):
    path = _write(tmp_path, "import gone\nclass A(gone.Layer):\n    pass\n"
                            "def backward(dy, x):\n    return gone.scale(dy, x)\n")  # fmt: skip
    with pytest.raises(CannotAsk, match=r"gone\.scale is needed here"):
        _ask(path)


def test_names_that_numpy_removed_are_supplied(tmp_path):
    path = _write(
        tmp_path,
        "import numpy as np\ndef backward(dy, x):\n"
        "    return dy.astype(np.float) * np.product(np.ones(2))\n",
    )
    subject = FileSubject(path)
    subject.candidates()
    assert {n.arguments["name"] for n in subject.notes} == {"float", "product"}
    assert subject.call("backward", INPUTS).gradients["dx"].sum() == 12
    subject.close()


def test_a_name_defined_twice(tmp_path):
    path = _write(tmp_path, "def backward(dy, x):\n    return dy\n"
                            "def backward(dy, x):\n    return 2 * dy\n")  # fmt: skip
    assert _ask(path).gradients["dx"][0, 0] == 2
    assert "lines 1 and 3; the last one counts" in load(Target.parse(path)).notes[0].text


# ---- code that misbehaves when it is called

MISBEHAVING = {
    "hangs": ("while True: pass", "took more than 2 s"),
    "sleeps": ("import time; time.sleep(60)", "took more than 2 s"),
    "exits": ("import sys; sys.exit(4)", r"called sys.exit\(4\)"),
    "ends": ("import os; os._exit(7)", "ended the interpreter .exit code 7."),
    "aborts": ("import os; os.abort()", "crashed the interpreter .SIGABRT."),
    "faults": ("import ctypes; ctypes.string_at(0)", "crashed the interpreter .SIGSEGV."),
    "recurses": ("f = lambda: f(); f()", "RecursionError"),
    "raises": ("raise KeyError('gamma')", r"raised KeyError: 'gamma' \(line 2"),
    "returns nothing": ("return None", "returned None; expected"),
    "returns a generator": ("return (v for v in dy)", "expected an array of numbers"),
    "returns objects": ("return np.array([{}, {}])", "expected an array of numbers"),
    "returns strings": ("return ['a', 'b']", "expected an array of numbers"),
    "returns complex": ("return dy * 1j", "is complex"),
    "returns too much": ("return dy, 1, 2, 3", "returned 4 values; expected 3"),
    "wants memory": ("return np.ones((10**13,))", "MemoryError|ArrayMemoryError"),
}


@pytest.mark.parametrize("name", MISBEHAVING)
def test_code_that_misbehaves(tmp_path, name):
    body, said = MISBEHAVING[name]
    lines = [f"def backward(dy, x):\n    {body}\n", "import numpy as np\n"]
    start = time.monotonic()
    with pytest.raises(CannotAsk, match=said):
        _ask(_write(tmp_path, "".join(lines)), timeout=2.0)
    assert time.monotonic() - start < 15


@pytest.mark.parametrize(
    "body",
    [
        "import sys; sys.stdout.close(); return dy",
        "import os; os.close(1); os.close(2); return dy",
        "print('x' * 2_000_000); return dy",
        "import os; os.fork(); return dy",
        "import warnings; warnings.warn('careful'); return dy",
        "return [list(row) for row in dy]",
        "class A(np.ndarray): pass\n    return dy.view(A)",
    ],
)
def test_odd_code_that_still_answers(tmp_path, body):
    path = _write(tmp_path, f"import numpy as np\ndef backward(dy, x):\n    {body}\n")
    np.testing.assert_array_equal(_ask(path).gradients["dx"], INPUTS["dy"])


def test_remarks_on_what_the_call_did(tmp_path):
    path = _write(tmp_path, "def backward(dy, x):\n    dy *= 2\n    return dy\n")
    assert {r.code for r in _ask(path).remarks} == {"input-overwritten", "aliases-input"}


# ---- messages: there and back is the identity, and what is none is refused

ARRAYS = arrays(
    st.sampled_from([np.float64, np.float32, np.int64, np.complex128, np.bool_, np.longdouble]),
    array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
RECORDS = st.one_of(
    st.builds(messages.Outcome, st.none() | ARRAYS, st.dictionaries(st.text(), ARRAYS)),
    st.builds(
        messages.Assigned, st.integers(), st.text(), st.text(), ARRAYS,
        st.lists(st.integers()).map(tuple),
    ),
    st.builds(messages.Replacement, st.integers(), st.text(), st.integers(), ARRAYS),
    st.builds(Finding, st.text(), st.text(), st.dictionaries(st.text(), PLAIN)),
)  # fmt: skip
MESSAGES = st.recursive(
    PLAIN | ARRAYS | RECORDS,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@given(MESSAGES)
def test_a_message_comes_back_as_it_went(message):
    _assert_same(messages.decoded(messages.encoded(message)), message)


@given(st.binary() | st.binary().map(lambda b: messages.encoded("text")[:8] + b))
def test_what_is_no_message_is_refused(data):
    try:
        messages.decoded(data)
    except ValueError:
        return
    assert data[8:]  # some bytes are a message


def _assert_same(one, other):
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            _assert_same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            _assert_same(*pair)
    elif is_dataclass(one):
        _assert_same(vars(one), vars(other))
    else:
        assert one == other


# ---- conventions

NAMES = sorted({n for names in SPELLINGS.values() for n in names} - set(keyword.kwlist))


@given(st.lists(st.sampled_from([*NAMES, "ddx", "ggI", "foo", "Bar_2"]), unique=True, max_size=8))
def test_no_role_is_given_twice(names):
    function = eval(f"lambda {', '.join(names)}: None")
    for roles in (roles_of(function), double_roles(function, {})):
        assert list(roles) == names
        dealt = [role for role in roles.values() if role]
        assert len(dealt) == len(set(dealt)), roles
    for name in names[:1]:
        assert roles_of(function, {name: "dy"})[name] == "dy"


def _found(text, name=None):
    namespace = {"__name__": "code"}
    exec(text, namespace)
    return find(namespace, name, "code.py")


def test_pairs_are_matched_by_name():
    found = _found(
        "def bn_forward(x, gamma, beta, bn_param): return x, (x,)\n"
        "def bn_backward(dout, cache): return dout\n"
        "def bn_backward_alt(dout, cache): return dout\n"
        "def ln_forward(x, gamma, beta, ln_param): return x, (x,)\n"
        "def ln_backward(dout, cache): return dout\n"
        "def helper(x): return x\n"
    )
    pairs = {f.summary.name: f.forward.__name__ for f in found}
    assert pairs == {
        "bn_backward": "bn_forward", "bn_backward_alt": "bn_forward", "ln_backward": "ln_forward",
    }  # fmt: skip
    assert {f.summary.layer_hint for f in found} == {"batch-norm", "layer-norm"}


def test_what_was_asked_for_is_not_there():
    with pytest.raises(CannotAsk, match="no function or class 'g'; it has backward"):
        _found("def backward(dy, x): return dy", "g")


def test_a_class_with_its_parameters_created_late_and_its_gradients_in_a_dictionary():
    class Norm:
        def __init__(self, epsilon=1e-5):
            self.epsilon = epsilon
            self.params, self.grads = {}, {}

        def forward(self, inputs, training):
            if not self.params:
                self.params = {"gamma": np.ones((1, 3)), "beta": np.zeros((1, 3))}
            assert training is True
            return inputs * self.params["gamma"] + self.epsilon

        def backward(self, delta):
            self.grads = {"gamma": delta.sum(0, keepdims=True), "beta": delta.sum(0)}
            return delta * self.params["gamma"]

    subject = CallableSubject(Norm)
    outcome = subject.call("Norm", INPUTS)
    np.testing.assert_array_equal(outcome.y, INPUTS["x"] * INPUTS["gamma"] + 0.1)
    np.testing.assert_array_equal(outcome.gradients["dx"], INPUTS["dy"] * INPUTS["gamma"])
    assert outcome.gradients["dgamma"].shape == (3,)
    assert {r.code for r in outcome.remarks} == {"param-shape"}


def test_gradients_by_key_and_with_trailing_nones():
    by_key = CallableSubject(lambda dy, x: {"grad_gamma": dy[0], "dx": dy})
    assert set(by_key.call("", INPUTS).gradients) == {"dx", "dgamma"}
    trailing = CallableSubject(lambda dy, x, gamma, beta: (dy, dy[0], dy[0], None))
    assert set(trailing.call("", INPUTS).gradients) == {"dx", "dgamma", "dbeta"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("dout", "dy"), ("grad_output", "dy"), ("self", None), ("X", "x"), ("weight", "gamma"),
     ("epsilon", "eps"), ("bn_param", "params"), ("_gamma", "gamma")],
)  # fmt: skip
def test_roles(name, expected):
    assert role(name) == expected


def test_gradient_names_and_hints():
    assert gradient("_gradient_weights") == "dgamma"
    assert gradient("momentum") is None
    assert layer_hint("LayerNormalization") == "layer-norm"
    assert layer_hint("spatial_groupnorm_backward") == "group-norm"
    assert layer_hint("dense") is None
