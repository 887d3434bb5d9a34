"""PyTorch's batch norm beyond first order: which of its derivatives are right?

    python examples/torch_higher_order.py

One feature, x moves along v, and the loss is sum(g*y): its first, second and third derivative
along v. Exact rationals twice, by plain differentiation of the forward pass and by bncheck's
double backward pass; beside them PyTorch in float64, reverse mode and forward mode nested.
Known as pytorch#196699 (forward over forward) and pytorch#186256 (third order in reverse mode).
"""

from sympy import Rational, S, Symbol, diff

from bncheck import LAYERS, derive
from bncheck.algebra.notation import size
from bncheck.calculus.interpret import evaluate

X, V, G = (10, 4, 2, -4), (1, 2, -1, 3), (1, -2, 3, 1)
EPS = 11  # the variance is 25: the standard deviation is 6, and every number rational
TIME = Symbol("t", real=True)


def exact():
    """First, second and third derivative, by ``sympy.diff`` of the loss at x + t*v."""
    forward = LAYERS["batch-norm"].specialised(sizes())
    y = evaluate(forward, {**parameters(), "x": column(X, V)})["y"]
    loss = sum(g * y[at, 1] for at, g in enumerate(G, 1))
    return [at_zero(diff(loss, TIME, order)) for order in (1, 2, 3)]


def ours():
    """The same by the closed double backward pass; of its second derivative one more in t."""
    found = derive("batch-norm", order=2)
    given = {**parameters(), "x": column(X, V), "dy": column(G), "ddx": column(V)}
    given |= {"ddgamma": {(1,): S(0)}, "ddbeta": {(1,): S(0)}}
    known = {**given, **evaluate(found.forward.specialised(sizes()), given)}
    closed = evaluate(found.closed.specialised(sizes()), known)
    first = sum(g * closed["ddy"][at, 1] for at, g in enumerate(G, 1))
    second = sum(v * closed["d2x"][at, 1] for at, v in enumerate(V, 1))
    return [at_zero(value) for value in (first, second, diff(second, TIME))]


def sizes():
    return dict(zip(map(size, LAYERS["batch-norm"].axes), (len(X), 1), strict=True))


def parameters():
    return {"gamma": {(1,): S(1)}, "beta": {(1,): S(0)}, "eps": S(EPS)}


def column(numbers, along=(0, 0, 0, 0)):
    moved = (a + TIME * b for a, b in zip(numbers, along, strict=True))
    return {(at, 1): S(number) for at, number in enumerate(moved, 1)}


def at_zero(value):
    return Rational(value.subs(TIME, 0))


def pytorch():
    """Derivatives of order 1 to 3 in reverse mode, then of order 1 and 2 in forward mode."""
    import torch
    from torch.func import jvp

    x, v, g = (torch.tensor(n, dtype=torch.float64)[:, None] for n in (X, V, G))
    start = torch.zeros((), dtype=torch.float64)

    def loss(t):
        norm = torch.nn.functional.batch_norm
        return (g * norm(x + t * v, None, None, training=True, eps=EPS)).sum()

    def along(f):
        return lambda t: jvp(f, (t,), (torch.ones_like(t),))[1]

    t = start.clone().requires_grad_()
    value, reverse = loss(t), []
    for _ in range(3):
        (value,) = torch.autograd.grad(value, t, create_graph=True)
        reverse.append(value.item())
    return torch.__version__, reverse, [along(loss)(start).item(), along(along(loss))(start).item()]


def main():
    truth, derived = exact(), ours()
    assert truth == derived, "bncheck disagrees with plain differentiation"
    print(f"exact, bncheck's the same:  {', '.join(map(str, truth))}")
    try:
        version, reverse, forward = pytorch()
    except ImportError:
        print("PyTorch is not installed, so there is nothing to compare; try: pip install torch")
        return
    for mode, values in (("reverse", reverse), ("forward", forward)):
        for order, (got, right) in enumerate(zip(values, truth, strict=False), 1):
            verdict = "right" if abs(got - right) < 1e-10 else "WRONG"
            print(f"torch {version}, {mode} mode, order {order}: "
                  f"{got:12.8f}   exact {float(right):12.8f}   {verdict}")  # fmt: skip


if __name__ == "__main__":
    main()
