"""The parts of an emitted function: arguments read and checked, statements, results, docstring."""

import inspect
import re
import textwrap
from collections.abc import Callable, Iterable
from typing import Any

from sympy import Add, Expr, Idx, Symbol, lambdify

from bncheck.algebra.notation import Tensor, Total, carried, indices_of, name_of, size, tensor
from bncheck.algebra.program import Program, Step
from bncheck.algebra.spelling import plain
from bncheck.writers.numpy_printer import VERBS, Printer, statements


def lines(program: Program, steps: Iterable[Step]) -> list[str]:
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


def with_shared(steps: tuple[Step, ...]) -> tuple[Step, ...]:
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


def inputs_read(forward: Program) -> list[str]:
    """Arrays, dtype, sizes and checks of the forward pass."""
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
        f"{unpacked(outer)} = {name}.shape",
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
            shape = joined_shape(forward, a)
            lines.append(f'{name_of(a)} = _checked("{name_of(a)}", {name_of(a)}, {shape}, wide)')
    for a in forward.inputs:
        if any(set(run) <= set(indices_of(a)) for run in forward.joined):
            inner = ", ".join(str(size(i)) for i in indices_of(a))
            lines.append(f"{name_of(a)} = {name_of(a)}.reshape({inner})")
    return lines


def given_read(forward: Program, given: tuple[Tensor, ...]) -> list[str]:
    """Arrays checked, in the type of the sums, by the program's own axes."""
    names = [name_of(a) for a in given]
    arrays = [name_of(a) for a in given if indices_of(a)]
    lines = [f'{unpacked(size(i) for i in forward.axes)} = cache["shape"]']
    lines += [f"{a} = np.asarray({a})" for a in names]
    lines.append(f"dtype, wide = _dtypes({', '.join(arrays or names)})")
    for a, name in zip(given, names, strict=True):
        shape = joined_shape(forward, a) if indices_of(a) else "()"
        lines.append(f'{name} = _checked("{name}", {name}, {shape}, wide)')
        if any(set(run) <= set(indices_of(a)) for run in forward.joined):
            inner = ", ".join(str(size(i)) for i in indices_of(a))
            lines.append(f"{name} = {name}.reshape({inner})")
    return lines


def unpacked_cache(kept: tuple[Tensor, ...]) -> list[str]:
    """The values that the forward pass kept, out of its cache."""
    return [f'{name_of(a)} = cache["{name_of(a)}"]' for a in kept]


def _run(run: tuple[Idx, ...]) -> tuple[str, str, str]:
    """The whole axis, the product of the known parts, and the last part, as names."""
    return "C", "*".join(str(size(i)) for i in run[:-1]), str(size(run[-1]))


def group_counts(forward: Program) -> list[Symbol]:
    """The numbers of groups, which no array's shape tells."""
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


def joined_shape(forward: Program, operand: Tensor) -> str:
    """The shape outside as the code of a tuple."""
    runs = {_run(r)[0]: "*".join(str(size(i)) for i in r) for r in forward.joined}
    return tuple_of(runs.get(s, s) for s in _outer_sizes(forward, operand))


def joined(forward: Program, out: Tensor) -> str:
    """The code of an output with its joined axes as one."""
    if not any(set(run) <= set(indices_of(out)) for run in forward.joined):
        return name_of(out)
    return f"{name_of(out)}.reshape({joined_shape(forward, out)})"


def returned(forward: Program, outputs: tuple[Tensor, ...], alone: bool = False) -> list[str]:
    """Joined axes as one again, the dtype of the upstream gradient, and the return.

    ``alone``: a single output as it is, not as a tuple of one.
    """
    names = [name_of(out) for out in outputs]
    whole = tuple_of(names)
    casts = [f"    {name} = {name}.astype(dtype)" for name in names]
    return [
        *(f"{n} = {joined(forward, o)}" for n, o in zip(names, outputs, strict=True)
          if joined(forward, o) != n),
        f"if {names[0]}.dtype != dtype:",
        *casts,
        "return " + (whole[1:-1] if len(names) > 1 else names[0] + "," * (not alone)),
    ]  # fmt: skip


def tuple_of(sizes: Iterable[Any]) -> str:
    """Sizes as the code of a tuple."""
    items = [str(s) for s in sizes]
    return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"


def unpacked(sizes: Iterable[Any]) -> str:
    """Names to which sizes are unpacked."""
    items = ["_" if str(s).isdigit() else str(s) for s in sizes]
    return f"{items[0]}," if len(items) == 1 else ", ".join(items)


def shape_words(forward: Program, operand: Tensor) -> str:
    """The shape outside, in brackets: ``(N, C, L)``."""
    return "(" + ", ".join(_outer_sizes(forward, operand)) + ")"


def shapes_of(forward: Program, given: tuple[Tensor, ...]) -> str:
    """Names with their shapes: ``dx: (m, D), dgamma: (D,)``."""
    return ", ".join(
        f"{name_of(a)}: {shape_words(forward, a)}" if indices_of(a) else f"{name_of(a)}: a number"
        for a in given
    )


def input_words(forward: Program) -> str:
    """The inputs with their shapes."""
    shapes = [f"{name_of(a)}: {shape_words(forward, a)}" for a in forward.inputs if indices_of(a)]
    scalars = [f"{name_of(a)}: a number" for a in forward.inputs if not indices_of(a)]
    return ", ".join(shapes + scalars)


def listed(given: tuple[Tensor, ...]) -> str:
    """Names with commas between."""
    return ", ".join(map(name_of, given))


def formulas(steps: Iterable[Step]) -> list[str]:
    """The steps as lines of a docstring."""
    return [f"    {step.target} = {plain(step.expr)}" for step in steps]


def function(name: str, parameters: list[str], about: list[str], body: list[str]) -> str:
    """A whole function: its head, docstring and body."""
    wrapped = [
        line
        for paragraph in about
        for line in (textwrap.wrap(paragraph, 90, subsequent_indent="        ") or [""])
    ]
    doc = '"""' + "\n    ".join([*wrapped, '"""']).replace("\n    \n", "\n\n")
    code = "\n    ".join([doc, *body])
    return f"def {name}({', '.join(parameters)}):\n    {code}"
