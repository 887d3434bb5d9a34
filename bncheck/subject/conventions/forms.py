"""In which form a function wants what it is given: arrays, tensors, lists of rows, one array for
each rank; and what it gets for arguments that nobody knows.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import wraps
from itertools import product
from typing import Any

import numpy as np

from bncheck.numbers.agreement import RECOMPUTED, alike
from bncheck.subject.conventions import autograd
from bncheck.subject.conventions.implementations import Implementation, Ran
from bncheck.subject.messages import Inputs, plain
from bncheck.subject.signature import check_known, required, roles_of, widths
from bncheck.telling.codes import found

Way = Callable[[Implementation, Inputs], Any]
"""The output of a forward pass, or a run of both passes."""

SMALL = (2, 1, 4, 8, 0.5)
"""What is tried for an argument that has to be given and is not known: a block size, say. The
result must be the same for two of them; else it is no setting, and has to be told."""

FUNCTIONS = ("function", "pair", "closure", "filled")


@dataclass(frozen=True)
class Form:
    """``kind``: of what is given; ``width``: which of ``widths``; ``named``: others, by name."""

    kind: str
    width: int = 0
    named: tuple[tuple[str, Any], ...] = ()


def tried(own: Implementation, way: Way, given: Inputs) -> Any:
    """In the form that the code turns out to want; raises what it raised in the first."""
    problem: Exception | None = None
    other: list[tuple[Form, Any]] = []
    before: list[tuple[Form, Any]] = []
    if "unknown" not in own.memory:
        own.memory["unknown"] = _unknown(own)
    names = own.memory["unknown"]
    learnt = own.memory.get("forms")
    for form in learnt or _forms(own, given, names):
        try:
            lists: list[Any] = []
            implementation, values = _given(own, given, form)
            if form.kind == "arrays" and own.forward is not None and not learnt:
                implementation = replace(own, forward=_noticed(own.forward, lists))
            result = way(implementation, values)
        except Exception as error:
            problem = problem or error
            continue
        if lists or not _fits(result, given):
            other.append((form, result))
        elif not names or learnt or _is_the_same(result, form, before):
            own.memory["forms"] = (form,)
            return _said(result, form)
        else:
            before.append((form, result))
    for function in _functions(own) if names else ():
        check_known(function, getattr(function, "__name__", own.summary.name), own.roles)
    if other:
        own.memory["forms"] = (other[0][0],)
        return other[0][1]
    assert problem is not None
    raise problem


def _is_the_same(result: Any, form: Form, before: list[tuple[Form, Any]]) -> bool:
    """Whether another value of what is not known gave the same."""
    return any(_agree(result, one) for other, one in before if other.named != form.named)


def _said(result: Any, form: Form) -> Any:
    """The result, with a remark on what was given to arguments that nobody knows."""
    if not form.named or not isinstance(result, Ran):
        return result
    names, values = zip(*form.named, strict=True)
    remark = found("argument-guessed", names=names, value=values[0])
    return replace(result, remarks=(*result.remarks, remark))


def _forms(own: Implementation, given: Inputs, names: list[str]) -> Iterator[Form]:
    kinds = ["tensors"] if autograd.are_used_by(own.backward) else []
    kinds.append("arrays")
    if own.summary.kind in FUNCTIONS:
        kinds += ["lists", "ranks"]
    sizes = range(len(widths(given))) if _asks_for_width(own) else (0,)
    values = SMALL if names else (None,)
    for kind, width, value in product(kinds, sizes, values):
        yield Form(kind, width, tuple((n, value) for n in names))


def _functions(own: Implementation) -> list[Callable[..., Any]]:
    """Those whose arguments are all filled by what they are."""
    if own.summary.kind not in FUNCTIONS:
        return []
    alone = own.summary.kind == "function"
    return [f for f in (own.forward, own.backward if alone else None) if f is not None]


def _unknown(own: Implementation) -> list[str]:
    """The arguments of functions that have to be given and are not known, but for a lone one."""
    names: dict[str, None] = {}
    for function in _functions(own):
        roles = roles_of(function, own.roles)
        there = [n for n in required(function) if roles[n] in (None, "cache")]
        names |= dict.fromkeys(there if {"x", "dy"} & set(roles.values()) else there[1:])
    return list(names)


def _asks_for_width(own: Implementation) -> bool:
    return any(
        roles_of(function, own.roles)[n] == "width"
        for function in _functions(own) for n in required(function)
    )  # fmt: skip


def _given(own: Implementation, given: Inputs, form: Form) -> tuple[Implementation, Inputs]:
    values: dict[str, Any] = {**given}
    if form.named:
        values["named"] = dict(form.named)
    if "residual" in own.summary.takes:
        values["x"] = values["residual"] = given["x"] / 2
    if _asks_for_width(own):
        values["width"] = widths(given)[form.width]
    if form.kind == "tensors":
        return own, autograd.to_tensors(values)
    if form.kind == "lists":
        return own, {n: v.tolist() if isinstance(v, np.ndarray) else v for n, v in values.items()}
    if form.kind == "ranks":
        whole, count = [id(values[n]) for n in ("x", "dy") if n in values], len(given["x"])
        forward = own.forward and _in_ranks(own.forward, whole, count)
        return replace(own, forward=forward, backward=_in_ranks(own.backward, whole, count)), values
    return own, values


def _in_ranks(function: Callable[..., Any], whole: list[int], count: int) -> Callable[..., Any]:
    """The same with its batches in two parts, and what it returns in parts put together."""
    cut = (count + 2) // 3

    def parted(value: Any) -> Any:
        return [value[:cut], value[cut:]] if id(value) in whole else value

    def joined(value: Any) -> Any:
        parts = isinstance(value, list) and all(np.ndim(v) for v in value)
        fit = parts and [*map(len, value)] == [cut, count - cut]
        return np.concatenate(value) if fit else value

    @wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        result = function(*map(parted, args), **{n: parted(v) for n, v in kwargs.items()})
        return tuple(map(joined, result)) if isinstance(result, tuple) else joined(result)

    return inner


def _noticed(forward: Callable[..., Any], lists: list[Any]) -> Callable[..., Any]:
    """The same; an output that is a list, of rows or ranks, is kept in ``lists``."""

    @wraps(forward)
    def inner(*args: Any, **kwargs: Any) -> Any:
        result = forward(*args, **kwargs)
        y = result[0] if isinstance(result, tuple) and result else result
        lists.extend([y] if isinstance(y, list) else [])
        return result

    return inner


def _fits(result: Any, given: Inputs) -> bool:
    """Whether an output has the shape of x."""
    y = result.y if isinstance(result, Ran) else result
    return not isinstance(y, np.ndarray) or y.shape == np.shape(given["x"])


def _agree(one: Any, other: Any) -> bool:
    if isinstance(one, Ran) and isinstance(other, Ran):
        pairs = ((one.y, other.y), (plain(one.result), plain(other.result)))
        return all(_agree(a, b) for a, b in pairs) and _agree(one.extra, other.extra)
    if isinstance(one, tuple | list) and isinstance(other, tuple | list):
        return len(one) == len(other) and all(map(_agree, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_agree(one[k], other[k]) for k in one)
    if one is None or other is None or isinstance(one, list) or isinstance(other, list):
        return one is other  # lists of rows beside an array: not of the same form
    return alike(one, other, RECOMPUTED)
