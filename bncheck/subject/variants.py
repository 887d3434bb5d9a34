"""Other ways to write a statement: every edit of its syntax tree that somebody may have meant.

Nothing has to be known of the layer, and no name of the code means anything.
"""

import ast
import linecache
import types
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from bncheck.subject.messages import Edit
from bncheck.telling.errors import CannotAsk

OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div)
ORDERS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
AXES = ("0", "1", "-1", "(0, 2, 3)", "(2, 3)", "(1, 2, 3)", "(0, 1)", "(0, 2)", "(1, 2)", "None")
OTHER_CALLS = {"sum": "mean", "mean": "sum", "std": "var", "var": "std"}
DROPPED = ("abs", "fabs", "sqrt", "square", "exp", "log", "maximum", "clip", "rsqrt", "sign", "sum",
           "mean")  # fmt: skip
"""Functions and methods that may stand there for nothing."""

LONGEST = 60
"""Characters of a piece of code that is shown."""

Scope = Mapping[str, tuple[int, ...]]
"""The numbers and arrays that a function can name, with their shapes."""


Change = tuple[str, ast.AST, ast.AST]
"""A kind, a node, and what takes its place."""

KINDS = ("side", "sign", "operator", "axis", "call", "number", "name", "brackets", "summand",
         "assignment", "step", "order", "scalar", "other", "value", "factor")  # fmt: skip
"""Of edits, the likeliest first."""


@cache
def _tree(file: str) -> ast.Module:
    return ast.parse("".join(linecache.getlines(file)))


@cache
def _top(file: str, line: int) -> tuple[int, int]:
    """The first and last line of the statement of the file that holds a line."""
    for node in _tree(file).body:
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
        if first <= line <= (node.end_lineno or node.lineno):
            return first, node.end_lineno or node.lineno
    raise CannotAsk(f"there is no line {line} in {file}")


def statements(code: types.CodeType) -> Iterator[ast.stmt]:
    """The statements of a function, not of those inside it."""
    for node in ast.walk(_tree(code.co_filename)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            if first == code.co_firstlineno and node.name == code.co_name:
                yield from _inner(node.body)


def _inner(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield statement
            for name in ("body", "orelse", "finalbody"):
                yield from _inner(getattr(statement, name, ()))


@dataclass
class Variants:
    """The edits of one statement; ``scope``: what else might be named there; ``places``: the
    lines on which there may be any; ``whole``: names of whole numbers, which are left as they are
    where they stand alone: raised again and again they would grow without end.
    """

    file: str
    statement: ast.stmt
    scope: Scope
    places: Set[tuple[str, int]]
    whole: Set[str]
    parents: dict[ast.AST, ast.AST] = field(default_factory=dict)

    def made(self, far: bool) -> Iterator[Edit]:
        """``far``: those that put in more than takes a place, of which there are many."""
        start = self.statement.lineno
        if (self.file, start) in self.places and not far:
            yield from self._assignments()
        roots = [getattr(self.statement, name, None) for name in ("value", "test", "iter")]
        for root in filter(None, roots):
            lines = range(start, root.end_lineno + 1)
            if not any((self.file, line) in self.places for line in lines):
                continue
            for node in ast.walk(root):
                self.parents |= dict.fromkeys(ast.iter_child_nodes(node), node)
            for node in ast.walk(root):
                for kind, old, new in self._far(node) if far else self._near(node):
                    yield self._edit(kind, old, new)

    def _near(self, node: ast.AST) -> Iterator[Change]:
        match node:
            case ast.BinOp(left=left, op=op, right=right):
                others = (*OPERATORS, *((ast.MatMult,) if isinstance(op, ast.MatMult) else ()))
                for other in others if not isinstance(op, ast.MatMult) else ():
                    if not isinstance(op, other):
                        yield "operator", node, ast.BinOp(left, other(), right)
                for side in (left, right):
                    yield "side", node, side
                if isinstance(op, ast.Sub | ast.Div | ast.MatMult):
                    yield "side", node, ast.BinOp(right, op, left)
                yield from (("brackets", node, new) for new in _rebracketed(node))
                yield from (("summand", node, new) for new in _taken_in(node))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                yield "sign", node, operand
            case ast.Call():
                yield from _other_calls(node)
            case ast.Constant(value=bool() | None | str() | bytes() | complex()):
                pass
            case ast.Constant(value=number):
                yield from (("number", node, new) for new in _other_numbers(number))
            case ast.Name() | ast.Attribute() | ast.Subscript():
                yield from self._other_names(node)
            case ast.Compare(left=left, ops=[op], comparators=several) if isinstance(op, ORDERS):
                for other in ORDERS:
                    if not isinstance(op, other):
                        yield "order", node, ast.Compare(left, [other()], several)

    def _other_names(self, node: ast.expr) -> Iterator[Change]:
        own = ast.unparse(node)
        shape = self.scope.get(own)
        if shape is None:
            return
        for name, other in self.scope.items():
            if name != own and other == shape:
                yield "name", node, _parsed(name)
        if shape == ():
            for op in (ast.Sub(), ast.Add()):
                yield "step", node, ast.BinOp(node, op, ast.Constant(1))

    def _far(self, node: ast.AST) -> Iterator[Change]:
        """What puts in more than takes a place, for any value."""
        text = ast.unparse(node)
        own = text if isinstance(node, ast.Name) else ""
        around = self.parents.get(node)
        if own and not isinstance(around, ast.Attribute | ast.Call):
            for name, shape in self.scope.items():
                if shape != self.scope.get(own):
                    yield "other", node, _parsed(name)
        handed_on = isinstance(around, ast.Call) and not isinstance(around.func, ast.Attribute)
        if handed_on or not isinstance(node, ast.expr) or not self._is_value(node):
            return
        if isinstance(node, ast.Constant):
            for name in (n for n, shape in self.scope.items() if shape == ()):
                yield "scalar", node, _parsed(name)
            return
        yield "value", node, ast.UnaryOp(ast.USub(), node)
        for power in (2, 0.5, -1):
            yield "value", node, ast.BinOp(node, ast.Pow(), ast.Constant(power))
        for name in self.scope:
            if name.rpartition(".")[2].lower() in ("eps", "epsilon"):
                yield "value", node, ast.BinOp(node, ast.Add(), _parsed(name))
        for name in (n for n in self.scope if n != text):
            for op in (ast.Mult(), ast.Div()):
                yield "factor", node, ast.BinOp(node, op, _parsed(name))

    def _is_value(self, node: ast.expr) -> bool:
        parent = self.parents.get(node)
        if isinstance(node, ast.Constant):
            return isinstance(node.value, float) or isinstance(parent, ast.BinOp)
        if isinstance(node, ast.Name | ast.Attribute | ast.Subscript):
            return ast.unparse(node) in self.scope.keys() - self.whole
        names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        return isinstance(node, ast.BinOp | ast.Call | ast.UnaryOp) and not names <= self.whole

    def _assignments(self) -> Iterator[Edit]:
        """``=``, ``+=``, ``-=``, ``*=``, ``/=`` for one another."""
        node = self.statement
        if isinstance(node, ast.AugAssign):
            target: Any = node.target
            plainly = ast.Assign([target], node.value, lineno=node.lineno)
            yield self._edit("assignment", node, plainly)
        elif isinstance(node, ast.Assign) and not node.targets[1:]:
            target = node.targets[0]
        else:
            return
        for op in () if isinstance(target, ast.Tuple) else OPERATORS:
            if not isinstance(getattr(node, "op", None), op):
                changed = ast.AugAssign(target, op(), node.value)
                yield self._edit("assignment", node, changed)

    def _edit(self, kind: str, old: ast.AST, new: ast.AST) -> Edit:
        """As text; a statement keeps its lines."""
        at: Any = old
        text = ast.unparse(ast.fix_missing_locations(new))
        lines = "\n" * (at.end_lineno - at.lineno)
        if isinstance(new, ast.stmt):
            target, sign, value = text.partition("= ")
            text = f"{target}{sign}({value}{lines})"
        elif lines or not isinstance(new, ast.Name | ast.Constant | ast.Call | ast.Subscript):
            text = f"({text}{lines})"
        shown = self._shown(old, new)
        top = _top(self.file, self.statement.lineno)
        span = (at.lineno, at.col_offset, at.end_lineno, at.end_col_offset)
        return Edit(self.file, at.lineno, at.col_offset + 1, kind, *shown, span, top, text)

    def _shown(self, old: ast.AST, new: ast.AST) -> tuple[str, str]:
        """What stands there and what should, with what is around it where it is short."""
        around = self.parents.get(old)
        if isinstance(around, ast.keyword):
            around = self.parents[around]
        small = isinstance(old, ast.Name | ast.Constant | ast.Attribute | ast.UnaryOp)
        if not small or not isinstance(around, ast.BinOp | ast.Call | ast.Subscript):
            return _short(ast.unparse(old)), _short(ast.unparse(new))
        before = ast.unparse(around)
        if len(before) > LONGEST:
            return _short(ast.unparse(old)), _short(ast.unparse(new))
        return before, _short(ast.unparse(_with_child(around, old, new)))


def _with_child(around: ast.AST, old: ast.AST, new: ast.AST) -> ast.AST:
    """The same node with another child, or keyword."""
    made = type(around)(**dict(ast.iter_fields(around)))
    for name, value in ast.iter_fields(around):
        if value is old:
            setattr(made, name, new)
        elif isinstance(value, list):
            setattr(made, name, [_with_keyword(v, old, new) for v in value])
    return made


def _with_keyword(child: Any, old: ast.AST, new: Any) -> Any:
    if isinstance(child, ast.keyword) and child.value is old:
        return ast.keyword(child.arg, new)
    return new if child is old else child


def _other_calls(node: ast.Call) -> Iterator[Change]:
    """A sum for a mean, a function left out, another axis, a summand out of the argument."""
    func = node.func
    name = func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")
    if name in OTHER_CALLS and isinstance(func, ast.Attribute):
        other = ast.Attribute(func.value, OTHER_CALLS[name], func.ctx)
        yield "call", node, ast.Call(other, node.args, node.keywords)
    for place, keyword in enumerate(node.keywords):
        if keyword.arg in ("axis", "dim"):
            yield "axis", node, ast.Call(func, node.args, _but(node.keywords, place))
            for axis in AXES:
                if axis != ast.unparse(keyword.value):
                    yield "axis", keyword.value, _parsed(axis)
        elif keyword.arg == "ddof":
            yield "call", node, ast.Call(func, node.args, _but(node.keywords, place))
    if name in ("var", "std") and not any(k.arg == "ddof" for k in node.keywords):
        keywords = [*node.keywords, ast.keyword("ddof", ast.Constant(1))]
        yield "call", node, ast.Call(func, node.args, keywords)
    if name in DROPPED:
        yield from (("call", node, argument) for argument in node.args[:1])
        if isinstance(func, ast.Attribute) and not node.args:
            yield "call", node, func.value
    for place, argument in enumerate(node.args):
        if isinstance(argument, ast.BinOp) and isinstance(argument.op, ast.Add | ast.Sub):
            left = [*node.args[:place], argument.left, *node.args[place + 1 :]]
            outside = ast.BinOp(ast.Call(func, left, node.keywords), argument.op, argument.right)
            yield "summand", node, outside


def _but(several: list[Any], place: int) -> list[Any]:
    return [*several[:place], *several[place + 1 :]]


def _taken_in(node: ast.BinOp) -> Iterator[ast.expr]:
    """``sqrt(var) + eps`` as ``sqrt(var + eps)``, and with a power in the place of the root."""
    op, left, right = node.op, node.left, node.right
    if isinstance(op, ast.Add | ast.Sub):
        for inner, other in ((left, right), (right, left)):
            if isinstance(inner, ast.Call) and len(inner.args) == 1:
                argument = ast.BinOp(inner.args[0], op, other)
                yield ast.Call(inner.func, [argument], inner.keywords)
            if isinstance(inner, ast.BinOp) and isinstance(inner.op, ast.Pow):
                yield ast.BinOp(ast.BinOp(inner.left, op, other), inner.op, inner.right)
    if isinstance(op, ast.Pow) and isinstance(left, ast.BinOp) and isinstance(left.op, ast.Add):
        yield ast.BinOp(ast.BinOp(left.left, op, right), left.op, left.right)


def _rebracketed(node: ast.BinOp) -> Iterator[ast.expr]:
    """Brackets moved past one operand or more: ``a*b + c`` as ``a*(b + c)``, and back."""
    for side, other in (("left", "right"), ("right", "left")):
        below = getattr(node, side)
        path: list[ast.BinOp] = [node]
        while isinstance(below, ast.BinOp):
            # all above it goes inside, on its other side: node with ``below`` replaced by a part
            part: ast.expr = getattr(below, other)
            for above in reversed(path):
                part = _binary(side, above.op, part, getattr(above, other))
            yield _binary(other, below.op, part, getattr(below, side))
            path.append(below)
            below = getattr(below, side)
        yield from _drawn_in(node, side, other)


def _drawn_in(node: ast.BinOp, side: str, other: str) -> Iterator[ast.expr]:
    """What stands beside brackets drawn into them: ``(a + b)*c`` as ``a + b*c``."""
    path: list[ast.BinOp] = []
    below = getattr(node, side)
    while isinstance(below, ast.BinOp):
        path.append(below)
        below = getattr(below, other)
        part = _binary(side, node.op, below, getattr(node, other))
        for above in reversed(path):
            part = _binary(other, above.op, part, getattr(above, side))
        if len(path) > 1:
            yield part


def _binary(side: str, op: ast.operator, one: ast.expr, two: ast.expr) -> ast.BinOp:
    """``one`` on that side, ``two`` on the other."""
    return ast.BinOp(one, op, two) if side == "left" else ast.BinOp(two, op, one)


def _other_numbers(number: Any) -> Iterator[ast.expr]:
    others = [2 * number, number / 2, number + 1, number - 1, -number, number + 2, number - 2,
              1.5 * number, 3 * number, number + 0.5, number - 0.5]  # fmt: skip
    others += [1 / number] if number else []
    for other in dict.fromkeys(int(n) if float(n).is_integer() else n for n in others):
        if other != number:
            yield _parsed(repr(other))


def _parsed(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
