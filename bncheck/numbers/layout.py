"""Between a program's arrays (one axis per index) and the user's (axes split, joined, reordered).

A layout says for each axis of the user's input which index of the program it is, or which part
of one: images in (N, C, H, W) are batch norm's (m, D) with m = N H W in three parts.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sympy import Idx

from bncheck.algebra.layers import AXES
from bncheck.algebra.notation import Tensor, indices_of, name_of, size
from bncheck.algebra.program import Program
from bncheck.calculus.derivation import normalised
from bncheck.telling.errors import CannotAsk

Array = NDArray[Any]

Piece = tuple[str, int]
"""An index by name, and which part of it: always 0 where it is not split."""

Order = tuple[tuple[Piece, ...], ...]
"""For each axis of an array the pieces that it joins."""

Parts = Mapping[str, tuple[int, ...]]
"""The lengths of the parts of every index that is split."""


@dataclass(frozen=True)
class Layout:
    """``order``: for each axis of the user's input the pieces that it joins.

    ``kept``: whether parameters have all axes of the input, of length 1 where they do not vary
    ((1, C, 1, 1), say), rather than only those where they vary. ``rare``: few people write it so.
    """

    name: str
    order: Order
    kept: bool = False
    rare: bool = False

    def split(self) -> dict[str, int]:
        """How many parts each index has, for those that have more than one."""
        names = [name for axis in self.order for name, _ in axis]
        return {name: names.count(name) for name in names if names.count(name) > 1}


@dataclass(frozen=True)
class _Pattern:
    """A layout as people know it: its name, and what each axis of the user's input is.

    ``axes``: kinds of ``AXES`` by the letters of ``_KINDS``; a number counts the parts of one
    axis of the program: what is a batch to batch norm is samples by places in an image. ``over``:
    only where the axis of this kind is normalised.
    """

    name: str
    axes: str
    over: str = ""
    rare: bool = False


_KINDS = {
    "b": "batch", "f": "feature", "n": "sample", "c": "channel", "l": "position",
    "u": "output unit", "w": "weight",
}  # fmt: skip
_PATTERNS = (
    _Pattern("(N, D)", "b f"),
    _Pattern("(B, T, D)", "b0 b1 f", over="f"),
    _Pattern("(N, C, H, W)", "b0 f b1 b2", over="b"),
    _Pattern("(D, N)", "f b", rare=True),
    _Pattern("(N, H, W, C)", "b0 b1 b2 f"),
    _Pattern("(N, C, L)", "b0 f b1", over="b"),
    _Pattern("(B, T, D)", "b0 b1 f", over="b"),
    _Pattern("(N, C, H, W), each place", "b f0 f1 f2", over="b"),
    _Pattern("(N, C, H, W), all of a sample", "b f0 f1 f2", over="f"),
    _Pattern("(N, C, L), all of a sample", "b f0 f1", over="f"),
    _Pattern("(N, C, L)", "n c l"),
    _Pattern("(N, C, H, W)", "n c l0 l1"),
    _Pattern("(N, H, W, C)", "n l0 l1 c"),
    _Pattern("(U, P)", "u w"),
    _Pattern("(P, U)", "w u", rare=True),
    _Pattern("(U, C, H, W)", "u w0 w1 w2"),
)
"""The likeliest first; of two that lie alike the first has the name."""


def layouts(program: Program) -> tuple[Layout, ...]:
    """The layouts in which people write a layer with such axes, the usual one first."""
    axes = _axes(program)
    over = {i.label.name for i in normalised(program)}
    made: dict[Order, Layout] = {}
    for one in _PATTERNS:
        words = [(_KINDS[word[0]], int(word[1:] or 0)) for word in one.axes.split()]
        if {kind for kind, _ in words} != axes.keys():
            continue
        if not one.over or over.intersection(axes[_KINDS[one.over]]):
            order = tuple(tuple((n, part) for n in axes[kind]) for kind, part in words)
            made.setdefault(order, Layout(one.name, order, rare=one.rare))
    return tuple(made.values()) or (_plain(program),)


def usual(program: Program) -> Layout:
    """The program's own axes, joined runs as one."""
    own = _plain(program)
    return next((at for at in layouts(program) if at.order == own.order), own)


def _plain(program: Program) -> Layout:
    order = tuple(tuple((i.label.name, 0) for i in run) for run in _runs(program))
    name = ", ".join("*".join(str(size(i)) for i in run) for run in _runs(program))
    return Layout(f"({name})", order)


def _runs(program: Program) -> tuple[tuple[Idx, ...], ...]:
    """The axes of the first input; those that are one axis outside, together."""
    runs = {i: run for run in program.joined for i in run}
    return tuple(dict.fromkeys(runs.get(i, (i,)) for i in indices_of(program.inputs[0])))


def _axes(program: Program) -> dict[str, tuple[str, ...]]:
    """The indices of each axis of the first input by what it is; none where two are the same.

    Channels in groups are channels.
    """
    found = [("channel" if run[1:] else AXES.get(run[0], ""), tuple(i.label.name for i in run))
             for run in _runs(program)]  # fmt: skip
    return dict(found) if len(dict(found)) == len(found) else {}


def named(program: Program, name: str) -> Layout:
    """The layout asked for: ``NCHW`` or ``(N, C, H, W)``; raises ``CannotAsk``."""
    there = layouts(program)
    for one in there:
        if _letters(name) in (_letters(one.name), _letters(one.name.partition("),")[0])):
            return one
    names = ", ".join(one.name for one in there)
    raise CannotAsk(f"{program.name} has no layout {name!r}; there are: {names}")


def with_kept(layout: Layout) -> Layout:
    """The same with parameters that keep all axes."""
    return replace(layout, kept=True)


def parts_of(layout: Layout, lengths: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """Lengths for the parts of every split index, of about the given length in all.

    Distinct, so that one cannot stand for another unseen; 1 stays 1.
    """
    return {name: _divided(lengths[name], count) for name, count in layout.split().items()}


def to_user(
    layout: Layout, program: Program, values: Mapping[str, Any], parts: Parts
) -> dict[str, Any]:
    """The values by role: the first input is ``x``, the upstream gradient ``dy``."""
    by_role: dict[str, Any] = {}
    operands, roles = operands_of(program), role_names(program)
    for name, operand in operands.items():
        if name in values:
            by_role[roles[name]] = array_to_user(layout, program, operand, values[name], parts)
    for run in program.joined:
        first = np.shape(values[name_of(program.inputs[0])])
        by_role["groups"] = int(first[indices_of(program.inputs[0]).index(run[0])])
    return by_role


def array_to_user(
    layout: Layout, program: Program, operand: Tensor, value: Any, parts: Parts
) -> Any:
    """One array of the program in the user's axes; numbers stay as they are."""
    indices = _index_names(operand)
    if not indices:
        return value
    value = np.asarray(value)
    if _is_plain(layout, indices):
        return np.ascontiguousarray(value)
    own = _pieces(indices, parts)
    wanted = [piece for axis in layout.order for piece in axis if piece[0] in indices]
    opened = value.reshape(_open_shape(indices, value.shape, parts))
    length = dict(zip(own, opened.shape, strict=True))
    moved = opened.transpose([own.index(piece) for piece in wanted])
    full = set(indices) == set(_index_names(program.inputs[0]))
    axes = [
        prod(length[p] for p in axis if p in length)
        for axis in layout.order
        if layout.kept or full or any(p in length for p in axis)
    ]
    return np.ascontiguousarray(moved.reshape(axes))


def array_from_user(
    layout: Layout, program: Program, operand: Tensor, array: Array, shape: tuple[int, ...],
    parts: Parts,
) -> Array:  # fmt: skip
    """The user's array in the program's axes, of ``shape``; as it is where it does not fit."""
    indices = _index_names(operand)
    if array.size != prod(shape):
        return array
    if _is_plain(layout, indices):
        return array.reshape(shape)
    own = _pieces(indices, parts)
    length = dict(zip(own, _open_shape(indices, shape, parts), strict=True))
    wanted = [piece for axis in layout.order for piece in axis if piece[0] in indices]
    opened = array.reshape([length[piece] for piece in wanted])
    return opened.transpose([wanted.index(piece) for piece in own]).reshape(shape)


def from_user(
    layout: Layout, program: Program, gradients: Mapping[str, Array], values: Mapping[str, Any],
    parts: Parts,
) -> dict[str, Array]:  # fmt: skip
    """The gradients by the program's names and in its axes, where the shapes allow it."""
    back = {}
    for operand in program.inputs:
        name = name_of(operand)
        array = gradients.get("d" + role_of(program, name))
        if array is not None:
            put = _whole_from_user if operand == program.inputs[0] else array_from_user
            shape = np.shape(values[name])
            back["d" + name] = put(layout, program, operand, array, shape, parts)
    return back


def output_from_user(
    layout: Layout, program: Program, y: Array, values: Mapping[str, Any], parts: Parts
) -> Array:
    """The user's output in the program's axes."""
    out = program.outputs[0]
    shape = np.shape(values["d" + name_of(out)])
    return _whole_from_user(layout, program, out, y, shape, parts)


def _whole_from_user(
    layout: Layout, program: Program, operand: Tensor, array: Array, shape: tuple[int, ...],
    parts: Parts,
) -> Array:  # fmt: skip
    """The same of what has every axis; as it is where the axes are not those of the layout."""
    theirs = array_to_user(layout, program, operand, np.broadcast_to(0.0, shape), parts)
    fits = array.shape == theirs.shape
    return array_from_user(layout, program, operand, array, shape, parts) if fits else array


def _pieces(indices: Sequence[str], parts: Parts) -> list[Piece]:
    return [(name, k) for name in indices for k in range(len(parts.get(name, (0,))))]


def _open_shape(indices: Sequence[str], shape: tuple[int, ...], parts: Parts) -> tuple[int, ...]:
    return tuple(
        n for name, size in zip(indices, shape, strict=True) for n in parts.get(name, (size,))
    )


def _divided(length: int, count: int) -> tuple[int, ...]:
    if length <= 2:
        return (length, *(1 for _ in range(count - 1)))
    first = length // 2 + count
    # a product of the others would stand for it: 6 rows of 2 by 3
    return (first + (count == 3 and first == 6), *(2, 3)[: count - 1])


@cache
def _index_names(operand: Tensor) -> tuple[str, ...]:
    return tuple(i.label.name for i in indices_of(operand))


@lru_cache(256)
def _is_plain(layout: Layout, indices: tuple[str, ...]) -> bool:
    """Whether arrays with these indices lie in the user's axes as in the program's."""
    ours = [((name, 0),) for name in indices]
    return not layout.kept and ours == [
        axis for axis in layout.order if any(name in indices for name, _ in axis)
    ]


def _letters(text: str) -> str:
    return re.sub(r"[^a-z]", "", text.lower())


@cache
def operands_of(program: Program) -> Mapping[str, Tensor]:
    """Inputs and upstream gradients by name."""
    upstream = {"d" + name_of(out): out for out in program.outputs}
    return {**{name_of(a): a for a in program.inputs}, **upstream}


def role_of(program: Program, name: str) -> str:
    """The role of an input or upstream gradient: the first input is ``x``.

    In second order the upstream gradient of the layer is an input, and that of dx is ``ddx``.
    """
    first = name_of(program.inputs[0])
    if name == first:
        return "x"
    if program.first:
        given = {name_of(a) for a in program.inputs if a in program.first}
        return "dy" if name in given else "ddx" if name == f"dd{first}" else name
    return "dy" if name == "d" + name_of(program.outputs[0]) else name


def fields(layout: Layout) -> Iterator[str]:
    """The name, and how parameters are shaped where that is worth saying."""
    yield layout.name
    if layout.kept:
        yield "parameters keep all axes"


@cache
def role_names(program: Program) -> Mapping[str, str]:
    """The role of every input and upstream gradient, by its name in the program."""
    return {name: role_of(program, name) for name in operands_of(program)}
