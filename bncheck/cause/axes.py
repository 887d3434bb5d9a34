"""Sums over other axes than the group's, and gamma outside the sums that it belongs into.

In layer norm and its kin gamma differs within a group: it does not commute with the sums.
"""

from collections.abc import Iterator
from itertools import chain, combinations

from sympy import Expr, S, Symbol

from bncheck.algebra.notation import Total, count, indices_of, name_of, operands, size, tensor
from bncheck.algebra.program import Step
from bncheck.calculus.derivation import Derivation, normalised
from bncheck.cause.programs import Change, known_to


def elsewhere(found: Derivation) -> Iterator[Change]:
    """Changed programs for the gradient of the layer's input."""
    yield from _gammas(found)
    yield from _axes(found)


def _gammas(found: Derivation) -> Iterator[Change]:
    closed, gamma = found.closed, found.forward.tensors.get("gamma")
    if gamma is None or not set(indices_of(gamma)) & set(normalised(found.forward)):
        return
    last = closed.step(closed.tensors[name_of(found.chain.outputs[0])])
    for code, text, inside in (
        ("gamma-outside", "gamma stands outside the sums; it belongs inside, with dy", S.One),
        ("gamma-twice", "gamma is counted twice: inside the sums and outside", gamma),
    ):
        steps = tuple(Step(s.target, s.expr.xreplace({gamma: inside}), s.note)
                      for s in closed.steps if s is not last)  # fmt: skip
        outer = Step(last.target, gamma * last.expr.xreplace({gamma: inside}), last.note)
        yield known_to(found, code, text, closed, (*steps, outer))


def _axes(found: Derivation) -> Iterator[Change]:
    """The sums of the closed form over any other axes; one of them, or all together.

    What does not commute with such a sum may stand inside it: gamma, the standard deviation.
    """
    closed = found.closed
    last = closed.step(closed.tensors[name_of(found.chain.outputs[0])])
    sums = [s for s in closed.steps if s.target in operands(last.expr) and s.expr.has(Total)]
    frame = indices_of(last.target)
    roots = [s.target for s in found.forward.steps if s.expr.is_Pow and not s.expr.has(Total)]
    known = [a for a in (found.forward.tensors.get("gamma"), *roots) if a in operands(last.expr)]
    sets = chain.from_iterable(combinations(frame, n) for n in range(1, len(frame) + 1))
    for over in sets:
        inside = [S.One, *(a for a in known if set(indices_of(a)) & set(over))]
        for chosen in dict.fromkeys((*((s,) for s in sums), tuple(sums))):
            if all(set(over) != set(_over(s)) for s in chosen):
                for factor in inside:
                    yield from _moved(found, last, chosen, over, factor)


def _moved(
    found: Derivation, last: Step, chosen: tuple[Step, ...], over: tuple[Expr, ...], inside: Expr
) -> Iterator[Change]:
    names = " and ".join(name_of(s.target) for s in chosen)
    there = ", ".join(str(size(i)) for i in over)
    right = ", ".join(str(size(i)) for i in _over(chosen[0]))
    left = tuple(i for i in indices_of(last.target) if i not in over)
    for word, counted in (("mean", True), ("sum", False)):
        put, extra = {}, []
        for step in chosen:
            name = f"other_{name_of(step.target)}"
            other = tensor(name)[left] if left else Symbol(name, real=True)
            body = next(iter(step.expr.atoms(Total))).body
            factor = count(_over(step)) / count(over) if counted else S.One
            extra.append(Step(other, factor * Total(inside * body, *over)))
            put[step.target] = other / inside
        text = f"a {word} over {there} where one over {right} belongs, in {names}"
        steps = tuple(s for s in found.closed.steps if s is not last)
        changed = Step(last.target, last.expr.xreplace(put), last.note)
        yield known_to(found, "axis", text, found.closed, (*steps, *extra, changed))


def _over(step: Step) -> tuple[Expr, ...]:
    return tuple(next(iter(step.expr.atoms(Total))).over)
