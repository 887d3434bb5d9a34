"""bncheck and its peers behind one question: is this backward pass accepted on these inputs?

Each takes the callable and the inputs dy, x, gamma, beta, eps (float64 for the peers) and gives
True or False; whatever is raised counts as a rejection. Each is used as its documentation says,
with its own defaults. The peers check against ``forward``, which is right.
"""

import functools
import logging
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.cases.oracle import copies, ratios

Backward = Callable[..., tuple[Any, Any, Any]]
Inputs = dict[str, Any]
Checker = Callable[[Backward, Inputs], bool]

H = 1e-5
"""The step of the course's ``eval_numerical_gradient_array``."""
LIMIT = 1e-5
"""What ``scipy.optimize.check_grad`` may return; the user has to choose."""
LARGEST = 4.0e9
"""Bytes of one Jacobian; slow ``gradcheck`` holds several."""


class CannotRun(Exception):
    """The checker's memory would not suffice, or it does not know the type."""


def forward(x: Any, gamma: Any, beta: Any, eps: float) -> Any:
    """Two passes over x: (N, D)."""
    c = x - x.mean(axis=0)
    return gamma * c / np.sqrt((c * c).mean(axis=0) + eps) + beta


def bncheck(backward: Backward, inputs: Inputs) -> bool:
    """``bncheck.verify``; given no inputs it has its own."""
    from bncheck import verify

    return verify(backward, layer="batch-norm", inputs=inputs).verdict == "right"


def bncheck_strict(backward: Backward, inputs: Inputs) -> bool:
    """The same where a remark is a rejection too."""
    from bncheck import verify

    report = verify(backward, layer="batch-norm", inputs=inputs)
    return report.verdict == "right" and not report.remarks


def torch_gradcheck(backward: Backward, inputs: Inputs, fast: bool) -> bool:
    """The callable as the backward pass of an ``autograd.Function``."""
    import torch

    size = inputs["x"].size + 2 * inputs["gamma"].size
    if not fast and 8.0 * inputs["x"].size * size > LARGEST:
        raise CannotRun
    leaves = [torch.from_numpy(np.array(inputs[k])) for k in ("x", "gamma", "beta")]
    for leaf in leaves:
        leaf.requires_grad_()
    torch.manual_seed(0)
    function = torch_function(backward, inputs["eps"])
    return torch.autograd.gradcheck(function, leaves, fast_mode=fast, raise_exception=False)


def torch_function(backward: Backward, eps: float) -> Callable[..., Any]:
    """x, gamma, beta -> y on tensors; NumPy sees their memory, as in people's own wrappers."""
    import torch

    class Norm(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *leaves: Any) -> Any:
            ctx.save_for_backward(*leaves)
            return torch.from_numpy(forward(*(t.detach().numpy() for t in leaves), eps))

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, dy: Any) -> Any:
            results = backward(dy.numpy(), *(t.detach().numpy() for t in ctx.saved_tensors), eps)
            return tuple(torch.from_numpy(np.ascontiguousarray(r)) for r in results)

    return Norm.apply


def jax_check_grads(backward: Backward, inputs: Inputs) -> bool:
    """``check_grads`` of order 1 in reverse mode; the callable behind ``custom_vjp``."""
    import jax
    from jax import numpy as jnp
    from jax.test_util import check_grads

    logging.getLogger("jax").setLevel(logging.CRITICAL)  # it prints what the callable raises
    jax.config.update("jax_enable_x64", True)
    eps = inputs["eps"]

    @jax.custom_vjp
    def norm(x: Any, gamma: Any, beta: Any) -> Any:
        c = x - jnp.mean(x, axis=0)
        return gamma * c / jnp.sqrt(jnp.mean(c * c, axis=0) + eps) + beta

    def host(*arrays: Any) -> Any:
        return backward(*map(np.asarray, arrays), eps)

    def pull(saved: Any, dy: Any) -> Any:
        shapes = tuple(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in saved)
        return jax.pure_callback(host, shapes, dy, *saved)

    norm.defvjp(lambda *leaves: (norm(*leaves), leaves), pull)
    leaves = tuple(jnp.asarray(inputs[k]) for k in ("x", "gamma", "beta"))
    check_grads(norm, leaves, order=1, modes=["rev"])
    return True


def scipy_check_grad(backward: Backward, inputs: Inputs, direction: str) -> bool:
    """``check_grad`` of sum(dy*y) as a function of x, gamma and beta in one vector."""
    from scipy.optimize import check_grad

    x, width, eps = inputs["x"], inputs["gamma"].size, inputs["eps"]

    def parts(vector: Any) -> Any:
        return vector[: x.size].reshape(x.shape), *np.split(vector[x.size :], [width])

    def loss(vector: Any) -> float:
        return float((inputs["dy"] * forward(*parts(vector), eps)).sum())

    def slope(vector: Any) -> Any:
        results = backward(np.array(inputs["dy"]), *parts(vector), eps)
        return np.concatenate([np.ravel(r) for r in results])

    point = np.concatenate([np.ravel(inputs[k]) for k in ("x", "gamma", "beta")])
    return bool(check_grad(loss, slope, point, direction=direction, seed=0) < LIMIT)


def course(backward: Backward, inputs: Inputs, limit: float) -> bool:
    """CS231n's central differences and its ``rel_error`` for each of the three gradients."""
    leaves = {k: np.array(inputs[k]) for k in ("x", "gamma", "beta")}
    copies = {k: v.copy() for k, v in leaves.items()}
    results = backward(np.array(inputs["dy"]), *copies.values(), inputs["eps"])
    worst = []
    for name, result in zip(leaves, results, strict=True):
        slopes = _differences(leaves, name, inputs["dy"], inputs["eps"])
        scale = np.maximum(1e-8, np.abs(slopes) + np.abs(result))
        worst.append(np.max(np.abs(slopes - result) / scale))
    return bool(np.max(worst) < limit)


def _differences(leaves: Inputs, name: str, dy: Any, eps: float) -> Any:
    moved = leaves[name]
    slopes = np.zeros_like(moved)
    for at in np.ndindex(moved.shape):
        kept = moved[at]
        moved[at] = kept + H
        up = forward(**leaves, eps=eps)
        moved[at] = kept - H
        down = forward(**leaves, eps=eps)
        moved[at] = kept
        slopes[at] = np.sum((up - down) * dy) / (2 * H)
    return slopes


def exact(backward: Backward, inputs: Inputs) -> bool:
    """What can be seen on these inputs at all: the truth in 80 digits, and a bound on rounding."""
    if inputs["x"].dtype.kind != "f":
        raise CannotRun
    results = backward(*copies(inputs).values())
    return max(ratios(inputs, results).values()) <= 1


CHECKERS: dict[str, Checker] = {
    "bncheck": bncheck,
    "torch gradcheck, slow": functools.partial(torch_gradcheck, fast=False),
    "torch gradcheck, fast": functools.partial(torch_gradcheck, fast=True),
    "jax check_grads": jax_check_grads,
    "scipy check_grad, all": functools.partial(scipy_check_grad, direction="all"),
    "scipy check_grad, random": functools.partial(scipy_check_grad, direction="random"),
    "course, below 1e-7": functools.partial(course, limit=1e-7),
    "course, below 1e-5": functools.partial(course, limit=1e-5),
    "(80 digits, one call)": exact,
}


def accepts(checker: Checker, backward: Backward, inputs: Inputs) -> bool | None:
    """Whether the checker accepts; None where it cannot say."""
    any_type = checker in (bncheck, bncheck_strict, exact)
    given = inputs if any_type else {k: _double(v) for k, v in inputs.items()}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return checker(backward, given)
        except CannotRun:
            return None
        except Exception:
            return False


def _double(value: Any) -> Any:
    return np.array(value, np.float64) if np.ndim(value) else float(value)
