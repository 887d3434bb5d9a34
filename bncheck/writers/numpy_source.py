"""A derivation as NumPy code: one importable, self-contained file, printed by SymPy's ``lambdify``.

``forward``, ``backward`` and ``jacobian`` for any sizes and any floating dtype, with shape
checks that say expected and got; in forward mode ``jvp``, in second order ``double_backward`` and
``hessian_vector``. The callables are this very file, executed.
"""

import inspect
import textwrap
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from bncheck.algebra.notation import Tensor, indices_of, name_of, operands, size, tangent
from bncheck.algebra.program import Program, Step
from bncheck.algebra.spelling import plain
from bncheck.calculus.derivation import Derivation
from bncheck.calculus.jacobians import jacobian
from bncheck.writers.formulas.array_code import entries, lines, with_shared

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


def source(found: Derivation, with_jacobian: bool = True) -> str:
    """The module's text."""
    layer, first = found.layer, found.origin or found
    if found.mode == "forward":
        what, parts = "forward and Jacobian-vector product", [_jvp(found)]
    else:
        what, parts = "forward and backward", [_backward(first)]
        if with_jacobian:
            what, parts = "forward, backward and Jacobian", [*parts, _jacobian(first)]
    if found.origin:
        what = "forward and backward in first and second order"
        parts += [_double_backward(found), _hessian_vector(found)]
    head = f'"""{layer.title}: {what}, derived by bncheck."""\n\nimport numpy as np'
    parts = [head, _HELPERS.strip(), _forward(layer, _kept(found)), *parts]
    return "\n\n\n".join(parts) + "\n"


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
    groups = [str(size(i)) for run in forward.joined for i in run[:-1]]  # no array's shape tells
    return [*map(name_of, forward.inputs), *groups]


def _forward(forward: Program, cached: tuple[Tensor, ...]) -> str:
    saved = "".join(f'"{name_of(a)}": {name_of(a)}, ' for a in cached)
    (out,) = forward.outputs
    body = [
        *_inputs_read(forward),
        *lines(with_shared(forward.steps), forward.axes),
        f'cache = {{{saved}"shape": ({_bare(map(size, forward.axes))})}}',
        f"return {_whole(forward, out)}.astype(dtype, copy=False), cache",
    ]
    shapes = sorted(forward.inputs, key=lambda a: not indices_of(a))
    about = [
        f"{forward.title} of {_shapes(forward, shapes)}.",
        "",
        *_formulas(forward.steps),
        "",
        f"Returns ({name_of(out)}, cache); {name_of(out)} has the shape and dtype of "
        f"{name_of(forward.inputs[0])}.",
    ]
    return _function("forward", arguments(forward), about, body)


def _backward(found: Derivation) -> str:
    (upstream,) = found.upstream
    about = (
        f"The gradients ({_names(found.closed.outputs)}) from the upstream gradient "
        f"{name_of(upstream)}: {_shape_words(found.forward, upstream)}."
    )
    return _derivative("backward", found, found.upstream, [about])


def _jvp(found: Derivation) -> str:
    """The tangent of the output from those of the inputs and the cache."""
    (out,) = found.closed.outputs
    about = (
        f"How the output moves, {name_of(out)}: {_shape_words(found.forward, out)}, where the "
        f"inputs move along {_shapes(found.forward, found.upstream)}."
    )
    return _derivative("jvp", found, found.upstream, [about], alone=True)


def _double_backward(found: Derivation) -> str:
    """Gradients of the gradients, from directions, upstream gradient and cache."""
    assert found.origin
    first, layer = found.origin, found.layer
    about = [
        f"The gradients ({_names(found.closed.outputs)}) of S, the sum of the products of "
        f"{_shapes(layer, found.upstream)} and the gradients that `backward` gives of "
        f"{_shapes(layer, first.upstream)}.",
        "",
        f"Of S they are the gradients with respect to {_names(found.wrt)}; with respect to any "
        "other input the gradient is 0.",
    ]
    return _derivative("double_backward", found, (*found.upstream, *first.upstream), about)


def _derivative(
    name: str, found: Derivation, given: tuple[Tensor, ...], about: list[str], alone: bool = False
) -> str:
    """The function that carries out a closed form, of first or second order or in forward mode.

    In second order the steps of the backward pass that it reads stand before its own.
    """
    first, layer = found.origin, found.layer
    needed = first.closed.behind(found.cached) if first else set()
    before = [s for s in first.closed.steps if s.target in needed] if first else []
    steps = (*before, *found.closed.steps)
    read = {a for step in steps for a in operands(step.expr)}
    saved = [name_of(a) for a in _kept(found) if not first or a in read]
    body = [
        *_given_read(layer, given),
        *(f'{a} = cache["{a}"]' for a in saved),
        *lines(steps, found.closed.axes),
        *_returned(layer, found.closed.outputs, alone),
    ]
    about = [*about, "", *_formulas(steps)]
    return _function(name, [*map(name_of, given), "cache"], about, body)


def _kept(found: Derivation) -> tuple[Tensor, ...]:
    """What is needed of the forward pass; in second order for the first as well."""
    if not found.origin:
        return found.cached
    layer, read = found.layer, {*found.origin.cached, *found.cached}
    return tuple(a for a in (*layer.inputs, *layer.targets) if a in read)


def _hessian_vector(found: Derivation) -> str:
    """Double backward, and the backward pass of what the loss adds by its own curvature."""
    assert found.origin
    first = found.origin
    (up,), (out,) = first.upstream, first.forward.outputs
    tangents = [name_of(tangent(a)) for a in first.wrt]
    doubled = [name_of(o) for o in found.closed.outputs]
    bent, moved = [name_of(o) for o in first.closed.outputs], "dd" + name_of(out)
    sums = [
        f"{second} + {own}" if (second := "d2" + name_of(a)) in doubled else own
        for a, own in zip(first.wrt, bent, strict=True)
    ]
    about = [
        f"The Hessian of the loss, with respect to ({_names(first.wrt)}), times the direction "
        f"({', '.join(tangents)}).",
        "",
        f"`curvature` is a function: how the gradient {name_of(up)} of the loss changes where "
        f"{name_of(out)} moves along an array of its shape; for half the sum of squares, the "
        "array itself.",
    ]
    call = ", ".join([*tangents, name_of(up), "cache"])
    body = [
        f"{_bare(doubled)} = double_backward({call})",
        f"{_bare(bent)} = backward(curvature({moved}), cache)",
        f"return {_bare(sums)}",
    ]
    parameters = [*tangents, name_of(up), "curvature", "cache"]
    return _function("hessian_vector", parameters, about, body)


def _jacobian(found: Derivation) -> str:
    forward = found.forward
    at = jacobian(found, name_of(found.wrt[0]))
    steps = tuple(s for s in forward.steps if s.target not in forward.outputs)
    first, row = forward.inputs[0], name_of(at.row)
    shape = f"{_shape(forward, at.row)} + {_shape(forward, first)}"
    body = [
        *_inputs_read(forward),
        *lines(with_shared(steps), forward.axes),
        f"entries = {entries(at.entry, (*indices_of(at.row), *indices_of(at.column)))}",
        f"return entries.reshape({shape}).astype(dtype, copy=False)",
    ]
    about = [
        f"The Jacobian d{row}/d{name_of(first)}, of shape {row}.shape + {name_of(first)}.shape.",
        "",
        f"entry of {at.row} by {at.column} = {plain(at.entry)}",
    ]
    return _function("jacobian", arguments(forward), about, body)


def _inputs_read(forward: Program) -> list[str]:
    """Arrays, dtype, sizes and checks of the forward pass."""
    first = forward.inputs[0]
    name = name_of(first)
    arrays = [a for a in forward.inputs if indices_of(a)]
    outer = _outer_sizes(forward, first)
    lines = [
        *(f"{name_of(a)} = np.asarray({name_of(a)})" for a in arrays),
        f"dtype, wide = _dtypes({_names(arrays)})",
        f"if {name}.ndim != {len(outer)}:",
        f'    raise ValueError(f"{name} has shape {{{name}.shape}}, expected '
        f'({", ".join(outer)})")',
        f"{_unpacked(outer)} = {name}.shape",
    ]
    for *parts, last in forward.joined:
        known = "*".join(str(size(i)) for i in parts)
        lines += [
            f"if C % {known}:",
            f'    raise ValueError(f"C = {{C}} does not divide into {known} = {{{known}}} equal '
            'parts")',
            f"{size(last)} = C // {known}",
        ]
    lines += [_checked(forward, a) for a in arrays]
    return lines + [line for a in arrays for line in _split(forward, a)]


def _given_read(forward: Program, given: tuple[Tensor, ...]) -> list[str]:
    """Arrays checked, in the type of the sums, by the program's own axes."""
    arrays = [a for a in given if indices_of(a)]
    return [
        f'{_unpacked(map(size, forward.axes))} = cache["shape"]',
        *(f"{name_of(a)} = np.asarray({name_of(a)})" for a in given),
        f"dtype, wide = _dtypes({_names(arrays or given)})",
        *(line for a in given for line in (_checked(forward, a), *_split(forward, a))),
    ]


def _checked(forward: Program, operand: Tensor) -> str:
    name = name_of(operand)
    return f'{name} = _checked("{name}", {name}, {_shape(forward, operand)}, wide)'


def _split(forward: Program, operand: Tensor) -> list[str]:
    """The line that makes one axis two, where the axes of an array are joined outside."""
    if not _is_joined(forward, operand):
        return []
    inner = ", ".join(str(size(i)) for i in indices_of(operand))
    return [f"{name_of(operand)} = {name_of(operand)}.reshape({inner})"]


def _whole(forward: Program, out: Tensor) -> str:
    """The code of an output with its joined axes as one."""
    reshaped = f".reshape({_shape(forward, out)})" if _is_joined(forward, out) else ""
    return name_of(out) + reshaped


def _is_joined(forward: Program, operand: Tensor) -> bool:
    return any(set(run) <= set(indices_of(operand)) for run in forward.joined)


def _outer_sizes(forward: Program, operand: Tensor, whole: str = "C") -> list[str]:
    """The sizes of the array outside; ``whole``: that of joined axes, or "" for their product."""
    sizes: list[str] = []
    left = list(indices_of(operand))
    while left:
        run = next((r for r in forward.joined if tuple(left[: len(r)]) == r), left[:1])
        product = "*".join(str(size(i)) for i in run)
        sizes.append(whole or product if len(run) > 1 else product)
        left = left[len(run) :]
    return sizes


def _shape(forward: Program, operand: Tensor) -> str:
    """The shape outside as the code of a tuple."""
    return f"({_bare(_outer_sizes(forward, operand, whole=''))})"


def _returned(forward: Program, outputs: tuple[Tensor, ...], alone: bool) -> list[str]:
    """Joined axes as one again, the dtype of the upstream gradient, and the return.

    ``alone``: a single output as it is, not as a tuple of one.
    """
    names = [name_of(out) for out in outputs]
    return [
        *(f"{name_of(o)} = {_whole(forward, o)}" for o in outputs if _is_joined(forward, o)),
        f"if {names[0]}.dtype != dtype:",
        *(f"    {name} = {name}.astype(dtype)" for name in names),
        "return " + (names[0] if alone else _bare(names)),
    ]


def _bare(items: Iterable[Any]) -> str:
    """The code of a tuple without brackets."""
    items = list(map(str, items))
    return ", ".join(items) + "," * (len(items) == 1)


def _unpacked(sizes: Iterable[Any]) -> str:
    """Names to which sizes are unpacked."""
    return _bare("_" if str(s).isdigit() else s for s in sizes)


def _shape_words(forward: Program, operand: Tensor) -> str:
    """The shape outside, in brackets: ``(N, C, L)``."""
    return "(" + ", ".join(_outer_sizes(forward, operand)) + ")"


def _shapes(forward: Program, given: Iterable[Tensor]) -> str:
    """Names with their shapes: ``dx: (m, D), dgamma: (D,)``."""
    return ", ".join(
        f"{name_of(a)}: {_shape_words(forward, a)}" if indices_of(a) else f"{name_of(a)}: a number"
        for a in given
    )


def _names(given: Iterable[Tensor]) -> str:
    return ", ".join(map(name_of, given))


def _formulas(steps: Iterable[Step]) -> list[str]:
    """The steps as lines of a docstring."""
    return [f"    {step.target} = {plain(step.expr)}" for step in steps]


def _function(name: str, parameters: list[str], about: list[str], body: list[str]) -> str:
    """A whole function: its head, docstring and body."""
    wrapped = [
        line
        for paragraph in about
        for line in (textwrap.wrap(paragraph, 90, subsequent_indent="        ") or [""])
    ]
    doc = '"""' + "\n    ".join([*wrapped, '"""']).replace("\n    \n", "\n\n")
    code = "\n    ".join([doc, *body])
    return f"def {name}({', '.join(parameters)}):\n    {code}"
