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
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bncheck.subject import calling
from bncheck.subject.conventions.implementations import Implementation
from bncheck.subject.messages import Inputs, Written, plain
from bncheck.subject.tracing import files, is_number

MOST, LARGEST = 1500, 4096
"""How many ways are tried, and how many entries a value may have."""

OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/",
}  # fmt: skip
AXES = ("0", "1", "-1", "(0, 2, 3)", "(2, 3)", "(1, 2, 3)", "(0, 1)", "None")


@dataclass(frozen=True)
class _Edit:
    """``at``: the number of the node in the order of ``ast.walk``; ``new`` takes its place."""

    at: int
    new: ast.expr
    text: str


def rewritten(found: Implementation, inputs: Inputs, line: int, name: str) -> list[Written]:
    """The values of all ways to write the statement on a line, the simplest first.

    Nothing where the statement is none that gives one value to ``name``, or is run twice.
    """
    for file in files(found):
        expression = _expression("".join(linecache.getlines(file)), line, name)
        if expression is not None:
            return _Evaluation(file, *expression).of(found, inputs)
    return []


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

    def of(self, found: Implementation, inputs: Inputs) -> list[Written]:
        before = sys.gettrace()
        sys.settrace(self._entered)
        try:
            calling.call(found, inputs)
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
    edits = list(_edits(expression, frame))
    few = [e for e in edits if not e.text.startswith("=")]
    ways: list[tuple[_Edit, ...]] = [*((e,) for e in edits)]
    ways += [p for p in combinations(few, 2) if p[0].at != p[1].at]
    for way in ways[:MOST]:
        value = _evaluated(_edited(expression, way), frame)
        if value is not None and value.size == size <= LARGEST:
            yield Written(" and ".join(e.text.lstrip("=") for e in way), value)


def _evaluated(expression: ast.expr, frame: types.FrameType) -> NDArray[Any] | None:
    code = ast.fix_missing_locations(ast.Expression(copy.deepcopy(expression)))
    try:
        with np.errstate(all="ignore"):
            made = eval(compile(code, "<way>", "eval"), frame.f_globals, dict(frame.f_locals))
            value = np.array(plain(made))
    except Exception:
        return None
    return value if value.dtype.kind in "iuf" else None


def _edited(expression: ast.expr, way: tuple[_Edit, ...]) -> ast.expr:
    """The expression with nodes replaced; the inner ones first, where one holds the other."""
    tree = ast.Expression(copy.deepcopy(expression))
    nodes = list(ast.walk(tree.body))
    for edit in sorted(way, key=lambda e: -e.at):
        old, new = nodes[edit.at], copy.deepcopy(edit.new)
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


def _edits(expression: ast.expr, frame: types.FrameType) -> Iterator[_Edit]:
    """Those of the structure first; a text that starts with = is not for two at once."""
    nodes = list(enumerate(ast.walk(expression)))
    inner = {id(n) for _, k in nodes if isinstance(k, ast.keyword) for n in ast.walk(k)}
    for at, node in nodes:
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS and id(node) not in inner:
            yield from _operators(at, node)
    for at, node in nodes:
        if isinstance(node, ast.BinOp) and id(node) not in inner:
            word = OPERATORS.get(type(node.op), "**")
            text = f"without {word} {_short(node.right)}"
            yield _Edit(at, node.left, text)
            if word != "**":
                yield _Edit(at, node.right, f"without {_short(node.left)} {word}")
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            yield _Edit(
                at, node.operand, f"with {_short(node.operand)} where {_short(node)} stands"
            )
    for at, node in nodes:
        if isinstance(node, ast.keyword) and node.arg in ("axis", "dim"):
            for axis in AXES:
                if ast.unparse(node.value) != axis:
                    new = ast.parse(axis, mode="eval").body
                    text = (
                        f"with {node.arg}={axis} where {node.arg}={ast.unparse(node.value)} stands"
                    )
                    number = next(k for k, n in nodes if n is node.value)
                    yield _Edit(number, new, text)
        elif isinstance(node, ast.Constant) and id(node) not in inner:
            yield from _numbers(at, node)
    for at, node in nodes:
        if isinstance(node, ast.Name | ast.Attribute) and id(node) not in inner:
            yield from _others(at, node, frame)


def _operators(at: int, node: ast.BinOp) -> Iterator[_Edit]:
    for operator, sign in OPERATORS.items():
        if not isinstance(node.op, operator):
            old = OPERATORS[type(node.op)]
            text = f"with {sign} where {old} stands before {_short(node.right)}"
            yield _Edit(at, ast.BinOp(node.left, operator(), node.right), text)


def _numbers(at: int, node: ast.Constant) -> Iterator[_Edit]:
    if isinstance(node.value, bool) or not isinstance(node.value, int | float):
        return
    number = node.value
    for other in (-number, 2 * number, number / 2, number + 1, number - 1, 1):
        if other != number:
            yield _Edit(at, ast.Constant(other), f"=with {other:g} where {number:g} stands")


def _others(at: int, node: ast.Name | ast.Attribute, frame: types.FrameType) -> Iterator[_Edit]:
    """Other variables of the same shape in a variable's place."""
    old = _evaluated(node, frame)
    if old is None:
        return
    there = dict(frame.f_locals)
    names = {n: v for n, v in there.items() if n != "self"}
    own = there.get("self")
    names |= {f"self.{n}": v for n, v in vars(own).items()} if hasattr(own, "__dict__") else {}
    for name, value in list(names.items()):
        if name == ast.unparse(node) or hasattr(value, "shape") != (old.ndim > 0):
            continue
        if not is_number(value):
            continue
        if np.shape(plain(value)) == old.shape:
            new = ast.parse(name, mode="eval").body
            yield _Edit(at, new, f"=with {name} where {ast.unparse(node)} stands")


def _short(node: ast.AST) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 32 else f"{text[:29]}..."
