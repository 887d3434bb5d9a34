"""One line of the user's, written in other ways: what it would have given, where it stands.

Each way is an edit or two of the statement's own syntax tree: another operator, an operand left
out, another number, another axis, another variable of the same shape. They are evaluated among
the variables that the line finds, so that nothing has to be known of the layer.
"""

import ast
import copy
import linecache
import sys
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bncheck.subject.messages import Edit, Written, plain
from bncheck.subject.tracing import Run, is_number

MOST, LARGEST = 1500, 4096
"""How many ways are tried, and how many entries a value may have."""

OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/",
}  # fmt: skip
AXES = ("0", "1", "-1", "(0, 2, 3)", "(2, 3)", "(1, 2, 3)", "(0, 1)", "None")


ALONE = ("number", "name")
"""Kinds of edit of which there are too many to try two at once."""


@dataclass(frozen=True)
class _Change:
    """``at``: the number of the node in the order of ``ast.walk``; ``new`` takes its place."""

    at: int
    new: ast.expr
    edit: Edit


def rewritten(files: Sequence[str], run: Run, line: int, name: str) -> list[Written]:
    """The values of all ways to write the statement on a line, the simplest first.

    ``files``: the first is that of the line. Nothing where the statement is none that gives one
    value to ``name``, or is run twice.
    """
    expression = _expression("".join(linecache.getlines(files[0])), line, name)
    return [] if expression is None else _Evaluation(files[0], *expression).of(run)


def _expression(source: str, line: int, name: str) -> tuple[ast.stmt, ast.expr] | None:
    """The statement on a line, and what it computes."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return None
    for node in ast.walk(tree):
        if not isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Return):
            continue
        if not node.lineno <= line <= (node.end_lineno or node.lineno) or node.value is None:
            continue
        if isinstance(node, ast.Return):
            return _returned(node, name)
        if isinstance(node, ast.AugAssign):
            before = ast.parse(ast.unparse(node.target), mode="eval").body
            return node, ast.BinOp(before, node.op, node.value)
        return node, node.value
    return None


def _returned(node: ast.Return, name: str) -> tuple[ast.stmt, ast.expr] | None:
    if not name.startswith("return[") or node.value is None:
        return None
    place = int(name.removeprefix("return[").rstrip("]"))
    if isinstance(node.value, ast.Tuple):
        return node, node.value.elts[place]
    return node, node.value


class _Evaluation:
    """One run in which a statement is stopped at, and all ways to write it are evaluated."""

    def __init__(self, file: str, statement: ast.stmt, expression: ast.expr) -> None:
        self.file, self.expression = file, expression
        self.lines = range(statement.lineno, (statement.end_lineno or statement.lineno) + 1)
        self.made: list[Written] = []
        self.depth: types.FrameType | None = None
        self.times = 0

    def of(self, run: Run) -> list[Written]:
        before = sys.gettrace()
        sys.settrace(self._entered)
        try:
            run()
        finally:
            sys.settrace(before)
        return self.made if self.times == 1 else []

    def _entered(self, frame: types.FrameType, event: str, arg: Any) -> Any:
        return self._seen if frame.f_code.co_filename == self.file else None

    def _seen(self, frame: types.FrameType, event: str, arg: Any) -> Any:
        if event != "line" or frame.f_lineno not in self.lines:
            if event == "line" and self.depth is frame:
                self.depth = None
            return self._seen
        if self.depth is not frame:
            self.depth, self.times = frame, self.times + 1
            if self.times == 1:
                sys.settrace(None)
                self.made = list(_values(self.expression, frame))
                sys.settrace(self._entered)
        return self._seen


def _values(expression: ast.expr, frame: types.FrameType) -> Iterator[Written]:
    own = _evaluated(expression, frame)
    size = -1 if own is None else own.size
    changes = list(_changes(expression, frame))
    pairs = combinations([c for c in changes if c.edit.kind not in ALONE], 2)
    ways = chain(((c,) for c in changes), (p for p in pairs if p[0].at != p[1].at))
    for way in islice(ways, MOST):
        value = _evaluated(_changed(expression, way), frame)
        if value is not None and value.size == size <= LARGEST:
            yield Written(tuple(change.edit for change in way), value)


def _evaluated(expression: ast.expr, frame: types.FrameType) -> NDArray[Any] | None:
    code = ast.fix_missing_locations(ast.Expression(copy.deepcopy(expression)))
    try:
        with np.errstate(all="ignore"):
            made = eval(compile(code, "<way>", "eval"), frame.f_globals, dict(frame.f_locals))
            value = np.array(plain(made))
    except Exception:
        return None
    return value if value.dtype.kind in "iuf" else None


def _changed(expression: ast.expr, way: tuple[_Change, ...]) -> ast.expr:
    """The expression with nodes replaced; the inner ones first, where one holds the other."""
    tree = ast.Expression(copy.deepcopy(expression))
    nodes = list(ast.walk(tree.body))
    for change in sorted(way, key=lambda c: -c.at):
        old, new = nodes[change.at], copy.deepcopy(change.new)
        if isinstance(old, ast.BinOp) and isinstance(new, ast.BinOp):
            old.op = new.op  # the operands may have been edited, too
        else:
            _Put(old, new).visit(tree)
    return tree.body


class _Put(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.expr) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> Any:
        return self.new if node is self.old else self.generic_visit(node)


def _changes(expression: ast.expr, frame: types.FrameType) -> Iterator[_Change]:
    """Those of the structure first; keywords are only changed as a whole."""
    nodes = list(enumerate(ast.walk(expression)))
    inner = {id(n) for _, k in nodes if isinstance(k, ast.keyword) for n in ast.walk(k)}
    outer = [(at, node) for at, node in nodes if id(node) not in inner]
    for at, node in outer:
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            yield from _operators(at, node)
    for at, node in outer:
        yield from _without(at, node)
    for at, node in nodes:
        if isinstance(node, ast.keyword) and node.arg in ("axis", "dim"):
            yield from _axes(next(k for k, n in nodes if n is node.value), node)
        elif isinstance(node, ast.Constant) and id(node) not in inner:
            yield from _numbers(at, node)
    for at, node in outer:
        if isinstance(node, ast.Name | ast.Attribute):
            yield from _others(at, node, frame)


def _operators(at: int, node: ast.BinOp) -> Iterator[_Change]:
    old = OPERATORS[type(node.op)]
    for operator, new in OPERATORS.items():
        if new != old:
            pieces = {"new": new, "old": old, "operand": _short(node.right)}
            changed = ast.BinOp(node.left, operator(), node.right)
            yield _Change(at, changed, Edit("operator", pieces))


def _without(at: int, node: ast.AST) -> Iterator[_Change]:
    """A side of an operation, or a sign, left out."""
    if isinstance(node, ast.BinOp):
        sign = OPERATORS.get(type(node.op), "**")
        pieces = {"operator": sign, "operand": _short(node.right)}
        yield _Change(at, node.left, Edit("without-right", pieces))
        if sign != "**":
            pieces = {"operator": sign, "operand": _short(node.left)}
            yield _Change(at, node.right, Edit("without-left", pieces))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        pieces = {"new": _short(node.operand), "old": _short(node)}
        yield _Change(at, node.operand, Edit("sign", pieces))


def _axes(at: int, node: ast.keyword) -> Iterator[_Change]:
    old = ast.unparse(node.value)
    for axis in AXES:
        if axis != old:
            pieces = {"new": f"{node.arg}={axis}", "old": f"{node.arg}={old}"}
            yield _Change(at, ast.parse(axis, mode="eval").body, Edit("axis", pieces))


def _numbers(at: int, node: ast.Constant) -> Iterator[_Change]:
    if isinstance(node.value, bool) or not isinstance(node.value, int | float):
        return
    number = node.value
    for other in (-number, 2 * number, number / 2, number + 1, number - 1, 1):
        if other != number:
            pieces = {"new": f"{other:g}", "old": f"{number:g}"}
            yield _Change(at, ast.Constant(other), Edit("number", pieces))


def _others(at: int, node: ast.Name | ast.Attribute, frame: types.FrameType) -> Iterator[_Change]:
    """Other variables of the same shape in a variable's place."""
    old, own = _evaluated(node, frame), ast.unparse(node)
    if old is None:
        return
    there = dict(frame.f_locals)
    here = there.get("self")
    names = {n: v for n, v in there.items() if n != "self"}
    names |= {f"self.{n}": v for n, v in vars(here).items()} if hasattr(here, "__dict__") else {}
    for name, value in names.items():
        alike = hasattr(value, "shape") == (old.ndim > 0) and is_number(value)
        if name != own and alike and np.shape(plain(value)) == old.shape:
            new = ast.parse(name, mode="eval").body
            yield _Change(at, new, Edit("name", {"new": name, "old": own}))


def _short(node: ast.AST) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 32 else f"{text[:29]}..."
