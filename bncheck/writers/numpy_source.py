"""NumPy code: one importable, self-contained file, printed by SymPy's ``lambdify``.

``forward``, ``backward`` and ``jacobian`` for any sizes and any floating dtype, with shape
checks that say expected and got. The callables are this very file, executed.
"""

import inspect
import re
import textwrap
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

from sympy import Add, Expr, Idx, Symbol, lambdify

from bncheck.algebra.notation import (
    Tensor,
    Total,
    carried,
    indices_of,
    name_of,
    size,
    tensor,
)
from bncheck.algebra.program import Program, Step
from bncheck.algebra.spelling import plain
from bncheck.calculus.derivation import Derivation
from bncheck.calculus.jacobian import jacobian
from bncheck.writers.numpy_printer import VERBS, Printer, array, statements

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
    forward = found.forward
    head = f'"""{forward.title}: forward, backward and Jacobian, derived by bncheck."""\n'
    parts = [_forward(found), _backward(found), _jacobian(found)]
    return "\n\n\n".join([head + "\nimport numpy as np", _HELPERS.strip(), *parts]) + "\n"


def functions(found: Derivation) -> SimpleNamespace:
    """The same functions as callables: ``.forward``, ``.backward``, ``.jacobian``, ``.source``."""
    text = source(found)
    namespace: dict[str, Any] = {"__name__": f"bncheck_{found.forward.name}"}
    exec(compile(text, f"<{found.forward.name} by bncheck>", "exec"), namespace)
    keep = {name: namespace[name] for name in ("forward", "backward", "jacobian")}
    return SimpleNamespace(source=text, **keep)


def arguments(forward: Program) -> list[str]:
    """The arguments of the emitted forward: tensors, scalars, then the number of groups."""
    return [name_of(a) for a in forward.inputs] + [str(s) for s in _group_counts(forward)]


def _forward(found: Derivation) -> str:
    forward = found.forward
    saved = "".join(f'"{name_of(a)}": {name_of(a)}, ' for a in found.cached)
    (out,) = forward.outputs
    returned = f"{_joined(forward, out)}.astype(dtype, copy=False)"
    body = [
        *_read_inputs(forward),
        *_lines(forward, _with_shared(forward.steps)),
        f'cache = {{{saved}"shape": {_tuple(size(i) for i in forward.axes)}}}',
        f"return {returned}, cache",
    ]
    about = [
        f"{forward.title} of {_shape_words(forward)}.",
        "",
        *_formulas(forward.steps),
        "",
        f"Returns ({name_of(out)}, cache); {name_of(out)} has the shape and dtype of "
        f"{name_of(forward.inputs[0])}.",
    ]
    return _function("forward", arguments(forward), about, body)


def _backward(found: Derivation) -> str:
    forward, closed = found.forward, found.closed
    (upstream,) = found.upstream
    name = name_of(upstream)
    shape = _tuple(size(i) for i in indices_of(upstream))
    saved = [name_of(a) for a in found.cached]
    body = [
        f'{_unpacked(size(i) for i in forward.axes)} = cache["shape"]',
        f"{name} = np.asarray({name})",
        f"dtype, wide = _dtypes({name})",
        f'{name} = _checked("{name}", {name}, {_joined_shape(forward, upstream)}, wide)',
        *([f"{name} = {name}.reshape{shape}"] if forward.joined else []),
        *(f'{a} = cache["{a}"]' for a in saved),
        *_lines(closed, closed.steps),
        *_returned(forward, closed.outputs),
    ]
    names = ", ".join(name_of(o) for o in closed.outputs)
    about = [
        f"The gradients ({names}) from the upstream gradient {name}: {_words(forward, upstream)}.",
        "",
        *_formulas(closed.steps),
    ]
    return _function("backward", [name, "cache"], about, body)


def _jacobian(found: Derivation) -> str:
    forward = found.forward
    at = jacobian(found, name_of(found.wrt[0]))
    frame = (*indices_of(at.row), *indices_of(at.column))
    steps = [s for s in forward.steps if s.target not in forward.outputs]
    code = Printer().doprint(array(at.entry, frame))
    first = forward.inputs[0]
    row = name_of(at.row)
    shape = f"{_joined_shape(forward, at.row)} + {_joined_shape(forward, first)}"
    body = [
        *_read_inputs(forward),
        *_lines(forward, _with_shared(tuple(steps))),
        f"entries = {code}",
        f"return entries.reshape({shape}).astype(dtype, copy=False)",
    ]
    about = [
        f"The Jacobian d{row}/d{name_of(first)}, of shape {row}.shape + {name_of(first)}.shape.",
        "",
        f"entry of {at.row} by {at.column} = {plain(at.entry)}",
    ]
    return _function("jacobian", arguments(forward), about, body)


def _lines(program: Program, steps: Iterable[Step]) -> list[str]:
    """The statements of the steps, as SymPy's lambdify writes them."""
    assigned = [pair for step in steps for pair in statements(step, program.axes)]
    if not assigned:
        return []
    function: Callable[..., Any] = lambdify(
        [],
        [assigned[-1][0]],
        modules="numpy",
        printer=Printer,
        cse=lambda e: (assigned, e),
    )
    lines = inspect.getsource(function).splitlines()[1:-1]
    return [_short(line.strip()) for line in lines]


def _short(line: str) -> str:
    """``dx = np.add(dx, dy, out=dx)`` as ``dx += dy``; no brackets round a whole line."""
    line = re.sub(r"= \((np\.ones\([^()]*\) @ \w+)\)$", r"= \1", line)
    signs = {verb: sign for sign, verb in VERBS.items()}
    found = re.fullmatch(rf"(\w+) = np\.({'|'.join(signs)})\(\1, (.*), out=\1\)", line)
    return f"{found[1]} {signs[found[2]]}= {found[3]}" if found else line


def _with_shared(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Differences such as ``x - mu`` that more than one step needs, as a step of their own."""
    seen: dict[Expr, int] = {}
    for step in steps:
        for node in step.expr.atoms(Add):
            if not node.has(Total) and carried(node):
                seen[node] = seen.get(node, 0) + 1
    shared = [node for node, times in seen.items() if times > 1]
    if not shared:
        return steps
    node = shared[0]
    widest = max(node.args, key=lambda term: len(carried(term)))
    target = tensor("centred")[indices_of(widest)]
    at = next(order for order, s in enumerate(steps) if s.expr.has(node))
    rest = [Step(s.target, s.expr.xreplace({node: target}), s.note) for s in steps[at:]]
    return (*steps[:at], Step(target, node), *rest)


def _read_inputs(forward: Program) -> list[str]:
    first = forward.inputs[0]
    name = name_of(first)
    arrays = [name_of(a) for a in forward.inputs if indices_of(a)]
    outer = _outer_sizes(forward, first)
    lines = [
        *(f"{a} = np.asarray({a})" for a in arrays),
        f"dtype, wide = _dtypes({', '.join(arrays)})",
        f"if {name}.ndim != {len(outer)}:",
        f'    raise ValueError(f"{name} has shape {{{name}.shape}}, expected '
        f'({", ".join(outer)})")',
        f"{_unpacked(outer)} = {name}.shape",
    ]
    for whole, known, last in map(_run, forward.joined):
        lines += [
            f"if {whole} % {known}:",
            f'    raise ValueError(f"{whole} = {{{whole}}} does not divide into '
            f'{known} = {{{known}}} equal parts")',
            f"{last} = {whole} // {known}",
        ]
    for a in forward.inputs:
        if indices_of(a):
            shape = _joined_shape(forward, a)
            lines.append(f'{name_of(a)} = _checked("{name_of(a)}", {name_of(a)}, {shape}, wide)')
    for a in forward.inputs:
        if any(set(run) <= set(indices_of(a)) for run in forward.joined):
            inner = ", ".join(str(size(i)) for i in indices_of(a))
            lines.append(f"{name_of(a)} = {name_of(a)}.reshape({inner})")
    return lines


def _run(run: tuple[Idx, ...]) -> tuple[str, str, str]:
    """The whole axis, the product of the known parts, and the last part, as names."""
    return "C", "*".join(str(size(i)) for i in run[:-1]), str(size(run[-1]))


def _group_counts(forward: Program) -> list[Symbol]:
    return [size(i) for run in forward.joined for i in run[:-1]]


def _outer_sizes(forward: Program, operand: Tensor) -> list[str]:
    """The sizes of the array outside, with runs of joined axes as one."""
    sizes: list[str] = []
    left = list(indices_of(operand))
    while left:
        run = next((r for r in forward.joined if tuple(left[: len(r)]) == r), None)
        sizes.append(_run(run)[0] if run else str(size(left[0])))
        left = left[len(run) if run else 1 :]
    return sizes


def _joined_shape(forward: Program, operand: Tensor) -> str:
    runs = {_run(r)[0]: "*".join(str(size(i)) for i in r) for r in forward.joined}
    return _tuple(runs.get(s, s) for s in _outer_sizes(forward, operand))


def _joined(forward: Program, out: Tensor) -> str:
    if not any(set(run) <= set(indices_of(out)) for run in forward.joined):
        return name_of(out)
    return f"{name_of(out)}.reshape({_joined_shape(forward, out)})"


def _returned(forward: Program, outputs: tuple[Tensor, ...]) -> list[str]:
    """Joined axes as one again, the dtype of the upstream gradient, and the return."""
    names = [name_of(out) for out in outputs]
    whole = _tuple(names)
    casts = [f"    {name} = {name}.astype(dtype)" for name in names]
    return [
        *(f"{n} = {_joined(forward, o)}" for n, o in zip(names, outputs, strict=True)
          if _joined(forward, o) != n),
        f"if {names[0]}.dtype != dtype:",
        *casts,
        "return " + (whole[1:-1] if len(names) > 1 else names[0] + ","),
    ]  # fmt: skip


def _tuple(sizes: Iterable[Any]) -> str:
    items = [str(s) for s in sizes]
    return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"


def _unpacked(sizes: Iterable[Any]) -> str:
    items = ["_" if str(s).isdigit() else str(s) for s in sizes]
    return f"{items[0]}," if len(items) == 1 else ", ".join(items)


def _words(forward: Program, operand: Tensor) -> str:
    return "(" + ", ".join(_outer_sizes(forward, operand)) + ")"


def _shape_words(forward: Program) -> str:
    shapes = [f"{name_of(a)}: {_words(forward, a)}" for a in forward.inputs if indices_of(a)]
    scalars = [f"{name_of(a)}: a number" for a in forward.inputs if not indices_of(a)]
    return ", ".join(shapes + scalars)


def _formulas(steps: Iterable[Step]) -> list[str]:
    return [f"    {step.target} = {plain(step.expr)}" for step in steps]


def _function(name: str, parameters: list[str], about: list[str], body: list[str]) -> str:
    wrapped = [
        line
        for paragraph in about
        for line in (textwrap.wrap(paragraph, 90, subsequent_indent="        ") or [""])
    ]
    doc = '"""' + "\n    ".join([*wrapped, '"""']).replace("\n    \n", "\n\n")
    code = "\n    ".join([doc, *body])
    return f"def {name}({', '.join(parameters)}):\n    {code}"
