"""The derivative of one right-hand side with respect to one operand.

An operand that stands in several places gives several terms. Where it stands inside a sum, the
sum's indices that it carries pick one term out (``1/size`` of a mean); the others stay a sum.
"""

from sympy import Add, Dummy, Expr, S, diff

from bncheck.algebra.notation import (
    Mean,
    Tensor,
    Total,
    carried,
    count,
    indices_of,
    operands,
    tangent,
)
from bncheck.algebra.spelling import without_content


def partials(expr: Expr, operand: Tensor) -> tuple[Expr, ...]:
    """The terms of d expr / d operand: the one outside all sums, then one for each sum."""
    sums = {node: Dummy(real=True) for node in _outermost(expr) if node.has(operand)}
    nodes = {dummy: node for node, dummy in sums.items()}
    outside = expr.xreplace(sums)
    terms = [_diff(outside, operand)]
    for node, dummy in sums.items():
        for inner in partials(node.body, operand):
            terms.append(diff(outside, dummy) * _picked(node, inner, operand))
    return tuple(term.xreplace(nodes) for term in terms if term != 0)


def along(expr: Expr, moving: set[Tensor]) -> Expr:
    """The derivative of ``expr`` where each of ``moving`` moves along its tangent."""
    sums = {node: Dummy(real=True) for node in _outermost(expr)}
    nodes = {dummy: node for node, dummy in sums.items()}
    outside = expr.xreplace(sums)
    terms = [_diff(outside, a) * tangent(a) for a in operands(outside) if a in moving]
    for node, dummy in sums.items():
        inner = along(node.body, moving)
        if inner != 0:
            number, inner = without_content(inner)
            terms.append(diff(outside, dummy) * number * node.func(inner, *node.over))
    return Add(*terms).xreplace(nodes)


def _diff(expr: Expr, operand: Tensor) -> Expr:
    at = Dummy(positive=True) if operand.is_positive else Dummy(real=True)
    return diff(expr.xreplace({operand: at}), at).xreplace({at: operand})


def _picked(node: Total, inner: Expr, operand: Tensor) -> Expr:
    """What a sum leaves of ``inner``, the derivative of one of its terms."""
    own = set(node.over) & set(indices_of(operand))
    share = 1 / count(own) if isinstance(node, Mean) else S.One
    rest = tuple(i for i in node.over if i not in own)
    if not rest:
        return share * inner
    if not carried(inner) & set(rest):
        return share * inner * (S.One if isinstance(node, Mean) else count(rest))
    number, inner = without_content(inner)
    return number * share * node.func(inner, *rest)


def _outermost(expr: Expr) -> tuple[Total, ...]:
    """The sums of ``expr`` that stand inside no other."""
    if isinstance(expr, Total):
        return (expr,)
    found = (node for arg in expr.args for node in _outermost(arg))
    return tuple(dict.fromkeys(found))
