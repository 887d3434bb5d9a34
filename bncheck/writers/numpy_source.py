"""NumPy code: one importable, self-contained file, printed by SymPy's ``lambdify``.

``forward``, ``backward`` and ``jacobian`` for any sizes and any floating dtype, with shape
checks that say expected and got. The callables are this very file, executed.
"""

import inspect
from types import SimpleNamespace
from typing import Any

from bncheck.algebra.notation import Tensor, indices_of, name_of, size
from bncheck.algebra.program import Program
from bncheck.algebra.spelling import plain
from bncheck.calculus.derivation import Derivation
from bncheck.calculus.jacobians import jacobian
from bncheck.writers.numpy_parts import (
    formulas,
    function,
    group_counts,
    input_words,
    inputs_read,
    joined,
    joined_shape,
    lines,
    returned,
    shape_words,
    tuple_of,
    unpacked,
    with_shared,
)
from bncheck.writers.numpy_printer import Printer, array
from bncheck.writers.numpy_second import double_backward, hessian_vector, jvp, kept

_HELPERS = '''
def _dtypes(*arrays):
    """The dtype of the results, and that of the sums: float16 is summed in float32."""
    dtype = np.result_type(*arrays)
    if dtype.char in "fdgFDG":
        return dtype, dtype
    return (dtype, np.dtype("f")) if dtype.char == "e" else (np.dtype("d"), np.dtype("d"))


def _checked(name, values, shape, dtype):
    """``values`` as an array of ``dtype``; raises ValueError unless it has ``shape``."""
    if values.shape != shape:
        raise ValueError(f"{name} has shape {values.shape}, expected {shape}")
    return np.asarray(values, dtype)
'''


def source(found: Derivation) -> str:
    """The module's text."""
    forward, first = found.layer, found.origin or found
    what = "forward and backward in first and second order" if found.origin else (
        "forward and Jacobian-vector product" if found.mode == "forward" else
        "forward, backward and Jacobian")  # fmt: skip
    head = f'"""{forward.title}: {what}, derived by bncheck."""\n'
    parts = [_forward(first, kept(found) if found.origin else found.cached)]
    parts += [jvp(found)] if found.mode == "forward" else [_backward(first), _jacobian(first)]
    parts += [double_backward(found), hessian_vector(found)] if found.origin else []
    return "\n\n\n".join([head + "\nimport numpy as np", _HELPERS.strip(), *parts]) + "\n"


def functions(found: Derivation) -> SimpleNamespace:
    """The same functions as callables: ``.forward``, ``.backward``, ``.jacobian``, ``.source``.

    In second order also ``.double_backward`` and ``.hessian_vector``; of a derivation in forward
    mode ``.forward`` and ``.jvp``.
    """
    text = source(found)
    namespace: dict[str, Any] = {"__name__": f"bncheck_{found.layer.name}"}
    exec(compile(text, f"<{found.layer.name} by bncheck>", "exec"), namespace)
    keep = {n: f for n, f in namespace.items() if inspect.isfunction(f) and not n.startswith("_")}
    return SimpleNamespace(source=text, **keep)


def arguments(forward: Program) -> list[str]:
    """The arguments of the emitted forward: tensors, scalars, then the number of groups."""
    return [name_of(a) for a in forward.inputs] + [str(s) for s in group_counts(forward)]


def _forward(found: Derivation, cached: tuple[Tensor, ...]) -> str:
    forward = found.forward
    saved = "".join(f'"{name_of(a)}": {name_of(a)}, ' for a in cached)
    (out,) = forward.outputs
    returned = f"{joined(forward, out)}.astype(dtype, copy=False)"
    body = [
        *inputs_read(forward),
        *lines(forward, with_shared(forward.steps)),
        f'cache = {{{saved}"shape": {tuple_of(size(i) for i in forward.axes)}}}',
        f"return {returned}, cache",
    ]
    about = [
        f"{forward.title} of {input_words(forward)}.",
        "",
        *formulas(forward.steps),
        "",
        f"Returns ({name_of(out)}, cache); {name_of(out)} has the shape and dtype of "
        f"{name_of(forward.inputs[0])}.",
    ]
    return function("forward", arguments(forward), about, body)


def _backward(found: Derivation) -> str:
    forward, closed = found.forward, found.closed
    (upstream,) = found.upstream
    name = name_of(upstream)
    shape = tuple_of(size(i) for i in indices_of(upstream))
    saved = [name_of(a) for a in found.cached]
    body = [
        f'{unpacked(size(i) for i in forward.axes)} = cache["shape"]',
        f"{name} = np.asarray({name})",
        f"dtype, wide = _dtypes({name})",
        f'{name} = _checked("{name}", {name}, {joined_shape(forward, upstream)}, wide)',
        *([f"{name} = {name}.reshape{shape}"] if forward.joined else []),
        *(f'{a} = cache["{a}"]' for a in saved),
        *lines(closed, closed.steps),
        *returned(forward, closed.outputs),
    ]
    names = ", ".join(name_of(o) for o in closed.outputs)
    about = [
        f"The gradients ({names}) from the upstream gradient {name}: "
        f"{shape_words(forward, upstream)}.",
        "",
        *formulas(closed.steps),
    ]
    return function("backward", [name, "cache"], about, body)


def _jacobian(found: Derivation) -> str:
    forward = found.forward
    at = jacobian(found, name_of(found.wrt[0]))
    frame = (*indices_of(at.row), *indices_of(at.column))
    steps = [s for s in forward.steps if s.target not in forward.outputs]
    code = Printer().doprint(array(at.entry, frame))
    first = forward.inputs[0]
    row = name_of(at.row)
    shape = f"{joined_shape(forward, at.row)} + {joined_shape(forward, first)}"
    body = [
        *inputs_read(forward),
        *lines(forward, with_shared(tuple(steps))),
        f"entries = {code}",
        f"return entries.reshape({shape}).astype(dtype, copy=False)",
    ]
    about = [
        f"The Jacobian d{row}/d{name_of(first)}, of shape {row}.shape + {name_of(first)}.shape.",
        "",
        f"entry of {at.row} by {at.column} = {plain(at.entry)}",
    ]
    return function("jacobian", arguments(forward), about, body)
