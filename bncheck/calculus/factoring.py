"""How a gradient is laid out: what its terms share stands outside, and its sums have names."""

from functools import reduce

from sympy import Add, Expr, Mul, Pow, Symbol

from bncheck.algebra.notation import Tensor, Total, carried, name_of, operands, tensor
from bncheck.algebra.program import Program, Step


def factored(expr: Expr) -> Expr:
    """``gamma/sd * (dy - ...)``: the product that all terms share, outside; exact, no search."""
    parts = Add.make_args(expr)
    if len(parts) < 2:
        return expr
    shared = Mul(*(Pow(base, e) for base, e in reduce(_common, map(_powers, parts)).items()))
    rest = Add(*(part / shared for part in parts))
    return Mul(shared, rest, evaluate=False) if shared != 1 else rest


def with_named_sums(
    forward: Program, gradients: dict[Tensor, Expr]
) -> tuple[dict[Tensor, Expr], list[Step]]:
    """The gradients with every sum inside them by a name, and the steps that define the names.

    Inner sums first. A sum that is itself a gradient (``dbeta = sum(dy)``) has a name already.
    """
    taken = {*forward.tensors, *map(name_of, gradients)}
    steps: list[Step] = []
    while inner := _innermost(gradients):
        names = {e: target for target, e in gradients.items() if isinstance(e, Total)}
        for node in inner:
            if node not in names:
                names[node] = _sum_name(forward, node, taken)
                steps.append(Step(names[node], node, "a sum that is used more than once"))
        gradients = {target: _inside(e, names) for target, e in gradients.items()}
    return gradients, steps


def _powers(product: Expr) -> dict[Expr, Expr]:
    """The factors of a product with their exponents; sizes and numbers are none, deltas are."""
    powers = product.as_powers_dict().items()
    return {b: e for b, e in powers if e.is_number and (carried(b) or operands(b))}


def _common(a: dict[Expr, Expr], b: dict[Expr, Expr]) -> dict[Expr, Expr]:
    both = [base for base in a if base in b and a[base] * b[base] > 0]
    return {base: min(a[base], b[base], key=abs) for base in both}


def _innermost(gradients: dict[Tensor, Expr]) -> list[Total]:
    """The sums within the gradients that hold no sum themselves."""
    parts = [e.body if isinstance(e, Total) else e for e in gradients.values()]
    found = {node for part in parts for node in part.atoms(Total) if not node.body.has(Total)}
    return sorted(found, key=str)


def _inside(expr: Expr, names: dict[Expr, Tensor]) -> Expr:
    """``expr`` with names for its sums, the sum that it may be itself left as it is."""
    if isinstance(expr, Total):
        return expr.func(expr.body.xreplace(names), *expr.over)
    return expr.xreplace(names)


def _sum_name(forward: Program, node: Total, taken: set[str]) -> Tensor:
    """``sum_dy_xhat[j]``; with a number behind where another sum has that name."""
    name = plain = "sum_" + "_".join(name_of(a) for a in operands(node.body))
    number = 1
    while name in taken:
        number += 1
        name = f"{plain}_{number}"
    taken.add(name)
    indices = tuple(i for i in forward.axes if i in carried(node))
    return tensor(name)[indices] if indices else Symbol(name, real=True)
