"""How a gradient is laid out: what its terms share stands outside, and its sums have names."""

from functools import reduce

from sympy import Add, Expr, Mul, Pow, S, Symbol

from bncheck.algebra.notation import Tensor, Total, carried, indices_of, name_of, operands, tensor
from bncheck.algebra.program import Program, Step
from bncheck.algebra.spelling import without_content


def factored(expr: Expr) -> Expr:
    """``gamma/sd * (dy - ...)``: the product that all terms share, outside; exact, no search."""
    return _times(*_shared(expr))


def laid_out(forward: Program, target: Tensor, expr: Expr) -> Expr:
    """``expr`` as one reads it: terms of one scale together, and in each what they share outside.

    ``gamma/sd*(tx - ...) + tgamma*xhat + tbeta``: the scale of a term is what it has of the
    parameters and statistics of the forward pass.
    """
    shared, rest = _shared(expr)
    still = _still(forward)
    groups: dict[Expr, Expr] = {}
    for term in Add.make_args(rest):
        scale = Mul(*(Pow(b, e) for b, e in term.as_powers_dict().items() if b in still))
        groups[scale] = groups.get(scale, S.Zero) + term
    if len(groups) == 1:
        return _times(shared, _collected(target, rest))
    return _times(shared, Add(*(_group(target, group) for group in groups.values())))


def with_named_sums(
    forward: Program, gradients: dict[Tensor, Expr]
) -> tuple[dict[Tensor, Expr], list[Step]]:
    """The gradients with every sum inside them by a name, and the steps that define the names.

    Inner sums first. A sum that is itself a gradient (``dbeta = sum(dy)``) has a name already.
    """
    taken = {*forward.tensors, *map(name_of, gradients)}
    there = {s.expr: s.target for s in forward.steps if isinstance(s.expr, Total)}
    gradients = {target: _inside(e, there) for target, e in gradients.items()}
    steps: list[Step] = []
    while inner := _innermost(gradients):
        names = {e: target for target, e in gradients.items() if isinstance(e, Total)}
        for node in inner:
            if node not in names:
                names[node] = _sum_name(forward, node, taken)
                steps.append(Step(names[node], node, "a sum that is used more than once"))
        gradients = {target: _inside(e, names) for target, e in gradients.items()}
    return gradients, steps


def _shared(expr: Expr) -> tuple[Expr, Expr]:
    """What all terms of a sum share, and the sum without it."""
    parts = Add.make_args(expr)
    if len(parts) < 2:
        return S.One, expr
    shared = Mul(*(Pow(base, e) for base, e in reduce(_common, map(_powers, parts)).items()))
    return shared, Add(*(part / shared for part in parts))


def _times(shared: Expr, rest: Expr) -> Expr:
    return Mul(shared, rest, evaluate=False) if shared != 1 else rest


def _still(forward: Program) -> set[Tensor]:
    """Parameters and statistics: values of the layer that have not every index."""
    values = {*forward.inputs, *forward.targets} - forward.moved(forward.first)
    return {a for a in values if len(indices_of(a)) < len(forward.axes)}


def _group(target: Tensor, group: Expr) -> Expr:
    """The terms of one scale: what they share, sizes and sign included, outside."""
    shared, rest = _shared(group)
    parts = Add.make_args(rest)
    if len(parts) == 1:
        return group
    sizes = reduce(_common, map(_sizes, parts))
    outer = Mul(*(Pow(base, e) for base, e in sizes.items()))
    number, rest = without_content(Add(*(part / outer for part in parts)))
    return _times(number * outer * shared, _collected(target, rest))


def _collected(target: Tensor, expr: Expr) -> Expr:
    """The terms that hold the same values of the target's shape, together."""
    frame = set(indices_of(target))
    wide: dict[Expr, Expr] = {}
    for term in Add.make_args(expr):
        full = Mul(*(f for f in Mul.make_args(term) if carried(f) == frame)) if frame else S.One
        wide[full] = wide.get(full, S.Zero) + term / full
    if len(wide) == 1:
        return expr
    return Add(*(_times_sum(full, factored(rest)) for full, rest in wide.items()))


def _times_sum(full: Expr, rest: Expr) -> Expr:
    factors = (*Mul.make_args(full), *Mul.make_args(rest))
    return rest if full == 1 else Mul(*factors, evaluate=not rest.is_Add)


def _sizes(product: Expr) -> dict[Expr, Expr]:
    """The sizes in a product with their exponents."""
    powers = product.as_powers_dict().items()
    return {b: e for b, e in powers if not b.is_number and not carried(b) and not operands(b)}


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
