"""Steps as lines of NumPy: indices become axes, sums become contractions.

A step is rewritten in three nodes that ``NumPyPrinter`` can print and SymPy leaves alone:
``Text`` (a finished piece of code), ``Scaled`` (an array times what has fewer axes, so that the
small factors are combined first) and SymPy's own arithmetic in between.
"""

import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any, Self

from sympy import Add, Expr, Idx, Indexed, KroneckerDelta, Mul, Pow, Symbol, lambdify
from sympy.printing import precedence as precedence_module
from sympy.printing.numpy import NumPyPrinter

from bncheck.algebra.notation import (
    Mean,
    Total,
    carried,
    count,
    indices_of,
    name_of,
    size,
    tensor,
)
from bncheck.algebra.program import Step
from bncheck.algebra.spelling import in_reading_order, signed

VERBS = {"+": "add", "-": "subtract", "*": "multiply", "/": "divide"}


class Text(Symbol):
    """A piece of code that is already written."""

    def __new__(cls, code: str) -> Self:
        """The code, as SymPy's name for a symbol."""
        return Symbol.__xnew__(cls, code, real=True)


class Scaled(Expr):
    """``Scaled(full, small)``: an array times the product of what has fewer axes."""

    is_commutative = True


class Ordered(Expr):
    """A sum whose terms are printed in the order in which they stand."""

    is_commutative = True


precedence_module.PRECEDENCE_VALUES |= {
    "Ordered": precedence_module.PRECEDENCE["Add"],
    "Scaled": precedence_module.PRECEDENCE["Mul"],
}


class Printer(NumPyPrinter):
    """SymPy's NumPy printer, with sums in reading order and ``np`` for the module's name."""

    def __init__(self, settings: dict[str, Any] | None = None) -> None:
        defaults = {"fully_qualified_modules": True, "allow_unknown_functions": True}
        super().__init__({**defaults, **(settings or {})})

    def _print_Text(self, expr: Text) -> str:
        return expr.name

    def _print_Scaled(self, expr: Scaled) -> str:
        full, small = expr.args
        above, below = small.as_numer_denom()
        if above == 1:
            return f"{self.parenthesize(full, 50)}/{self.parenthesize(below, 51)}"
        return f"{self.parenthesize(full, 50)}*{self.parenthesize(small, 51)}"

    def _print_Pow(self, expr: Pow, rational: bool = False) -> str:
        if expr.exp == -1:
            return f"1/{self.parenthesize(expr.base, 51)}"
        return super()._print_Pow(expr, rational)

    def _print_Ordered(self, expr: Ordered) -> str:
        return signed(map(self._print, expr.args))

    def _module_format(self, fqn: str, register: bool = True) -> str:
        return super()._module_format(fqn, register).replace("numpy.", "np.", 1)


def lines(steps: Iterable[Step], axes: tuple[Idx, ...]) -> list[str]:
    """The statements of the steps, as SymPy's lambdify writes them."""
    assigned = [pair for step in steps for pair in _assignments(step, axes)]
    if not assigned:
        return []
    function: Callable[..., Any] = lambdify(
        [], [assigned[-1][0]], modules="numpy", printer=Printer, cse=lambda e: (assigned, e)
    )
    return [_short(line.strip()) for line in inspect.getsource(function).splitlines()[1:-1]]


def _short(line: str) -> str:
    """``dx = np.add(dx, dy, out=dx)`` as ``dx += dy``; no brackets round a whole line."""
    line = re.sub(r"= \((np\.ones\([^()]*\) @ \w+)\)$", r"= \1", line)
    signs = {verb: sign for sign, verb in VERBS.items()}
    found = re.fullmatch(rf"(\w+) = np\.({'|'.join(signs)})\(\1, (.*), out=\1\)", line)
    return f"{found[1]} {signs[found[2]]}= {found[3]}" if found else line


def entries(expr: Expr, frame: tuple[Idx, ...]) -> str:
    """The code of an array with the axes ``frame``."""
    return Printer().doprint(_array(expr, frame))


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


def _assignments(step: Step, axes: tuple[Idx, ...]) -> list[tuple[Symbol, Expr]]:
    """The assignments that carry out one step; a full-size result is updated in place."""
    target = Symbol(name_of(step.target))
    frame = indices_of(step.target)
    if set(frame) == set(axes):
        return _in_place(target, step.expr, frame)
    return [(target, _array(step.expr, frame))]


def _array(expr: Expr, frame: tuple[Idx, ...]) -> Expr:
    """``expr`` with every tensor as an array that broadcasts against the axes of ``frame``."""
    if isinstance(expr, KroneckerDelta):
        a, b = sorted(expr.args, key=frame.index)
        return Text(_viewed(f"np.eye({size(a)})", (a, b), frame))
    if isinstance(expr, Indexed):
        return Text(_viewed(name_of(expr), expr.indices, frame))
    if isinstance(expr, Total):
        return _reduced(expr, frame)
    if isinstance(expr, Mul):
        return _product(expr, frame)
    if isinstance(expr, Add):
        return Ordered(*(_array(term, frame) for term in in_reading_order(expr)))
    if not expr.args or isinstance(expr, Idx):
        return expr
    return expr.func(*(_array(a, frame) for a in expr.args))


def _in_place(target: Symbol, expr: Expr, frame: tuple[Idx, ...]) -> list[tuple[Symbol, Expr]]:
    """``dx = xhat*(-dgamma/m); dx += dy; dx -= dbeta/m; dx *= gamma/sd``: one buffer, no copies."""
    full = set(frame)
    if isinstance(expr, Mul):
        brackets = [f for f in expr.args if isinstance(f, Add) and carried(f) == full]
        if len(brackets) == 1:
            rest = Mul(*(f for f in expr.args if f is not brackets[0]))
            return [
                *_in_place(target, brackets[0], frame),
                _update(target, "*", rest, frame),
            ]
    if isinstance(expr, Add):
        first = next((t for t in expr.args if isinstance(t, Mul) and carried(t) == full), None)
        if first is not None:
            rest_terms = [t for t in in_reading_order(expr) if t is not first]
            updates = [_update(target, "+", term, frame) for term in rest_terms]
            return [(target, _array(first, frame)), *updates]
    return [(target, _array(expr, frame))]


def _update(target: Symbol, sign: str, by: Expr, frame: tuple[Idx, ...]) -> tuple[Symbol, Expr]:
    """``target += by`` as lambdify can print it; ``_short`` makes it that."""
    if sign == "+" and by.could_extract_minus_sign():
        sign, by = "-", -by
    if sign == "*" and by.as_numer_denom()[0] == 1:
        sign, by = "/", 1 / by
    return target, Text(f"np.{VERBS[sign]}({target}, {entries(by, frame)}, out={target})")


def _product(expr: Expr, frame: tuple[Idx, ...]) -> Expr:
    """Small factors first: an array is multiplied once, whatever it is multiplied by."""
    full = [f for f in expr.args if carried(f) == set(frame)]
    small = [f for f in expr.args if f not in full]
    above = Mul(*(_array(f, frame) for f in full))
    below = Mul(*(_array(f, frame) for f in small))
    return Scaled(above, below) if full and small and carried(Mul(*small)) else above * below


def _reduced(expr: Total, frame: tuple[Idx, ...]) -> Expr:
    left = tuple(i for i in frame if i in carried(expr))
    inner = tuple(i for i in (*frame, *expr.over) if i in carried(expr.body) | set(expr.over))
    inner = tuple(sorted(inner, key=_axis_order(expr.body, inner).index))
    code = _contraction(expr.body, expr.over, inner)
    if code is None:
        body = entries(expr.body, inner)
        where = sorted(inner.index(i) for i in expr.over)
        if isinstance(expr.body, Indexed) and len(inner) == 2 and where == [0]:
            # over the rows, a product with ones is up to a quarter faster than a sum
            code = f"(np.ones({size(inner[0])}, {body}.dtype) @ {body})"
        else:
            axes = where[0] if len(where) == 1 else tuple(where)
            code = f"np.add.reduce({body}, axis={axes})"
        code = f"({code})" if left != frame else code
    text = Text(_viewed(code, left, frame))
    return text / count(expr.over) if isinstance(expr, Mean) else text


def _axis_order(body: Expr, inner: tuple[Idx, ...]) -> list[Idx]:
    """The order in which the widest tensor of the body has its axes."""
    widest = max(body.atoms(Indexed), key=lambda t: len(t.indices))
    return [*widest.indices, *(i for i in inner if i not in widest.indices)]


def _contraction(body: Expr, over: tuple[Idx, ...], inner: tuple[Idx, ...]) -> str | None:
    """``einsum`` for a sum over a product of tensors, without a temporary; else None."""
    factors: list[Indexed] = []
    for factor in Mul.make_args(body):
        base, power = factor.as_base_exp() if isinstance(factor, Pow) else (factor, 1)
        if not isinstance(base, Indexed) or power not in (1, 2):
            return None
        factors += [base] * int(power)
    if len(factors) == 1:
        return None
    letters = {i: str(i.label) for i in inner}
    terms = ",".join("".join(letters[i] for i in f.indices) for f in factors)
    result = "".join(letters[i] for i in inner if i not in over)
    return f'np.einsum("{terms}->{result}", {", ".join(name_of(f) for f in factors)})'


def _viewed(code: str, has: tuple[Idx, ...], frame: tuple[Idx, ...]) -> str:
    """Code for an array with the axes ``has``, ready to broadcast against ``frame``."""
    order = sorted(range(len(has)), key=lambda at: frame.index(has[at]))
    if order != list(range(len(has))):
        code += f".transpose({', '.join(map(str, order))})"
    slots = [":" if i in has else "None" for i in frame]
    while slots and slots[0] == "None":
        slots.pop(0)
    return code if "None" not in slots else f"{code}[{', '.join(slots)}]"
