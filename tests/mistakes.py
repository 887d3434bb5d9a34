"""Wrong backward passes of all six layers, in two phrasings: staged (chain rule) and closed.

Each is the layer's backward program with one mistake put in by hand, as a function on arrays in
plain float64; with it goes which gradient is wrong and what a diagnosis may say of it. Nothing
here knows the changes that the diagnosis tries.
"""

import inspect
from dataclasses import replace

import numpy as np
from sympy import Add, Rational, S

from bncheck.algebra.layers import LAYERS
from bncheck.algebra.notation import Total, indices_of, name_of, size
from bncheck.algebra.program import Step
from bncheck.calculus.derivation import normalised
from bncheck.calculus.passes import derived_once
from bncheck.numbers.arithmetic import evaluate

STATISTIC = {"mean": "dmu", "variance": ("dvar", "dms", "dsq"), "root": ("dsd", "drms", "dnorm")}


def every():
    """(name, layer, backward, gradient, accepted) of each; accepted: codes, or words."""
    for name, program in LAYERS.items():
        found = derived_once(program)
        for phrasing, plain in (("staged", found.chain), ("closed", found.closed)):
            backward = opened(found, plain)
            for mistake, gradient, changed, accepted in _mistakes(found, backward, phrasing):
                function = function_of(found, changed)
                yield f"{name}, {phrasing}: {mistake}", name, function, gradient, accepted


def _mistakes(found, backward, phrasing):
    first = name_of(found.chain.outputs[0])
    if phrasing == "staged":
        yield from _staged(found, backward, first)
    else:
        yield from _closed(found, backward, first)
    yield from _parameters(found, backward)
    yield from _everywhere(found, backward, first)


def _staged(found, chain, first):
    """Mistakes in a step of the chain rule."""
    steps = {name_of(s.target): s for s in chain.steps}
    mean = steps.get("dmu")
    spread = next(s for n, s in steps.items() if n in STATISTIC["variance"])
    root = next(s for n, s in steps.items() if n in STATISTIC["root"])
    if mean is not None:
        yield "mean path missing", first, _put(chain, mean, S.Zero), {"path-missing"}
        yield "mean path negative", first, _put(chain, mean, -mean.expr), {"path-sign"}
        yield "mean path twice", first, _put(chain, mean, 2 * mean.expr), {"factor"}
    yield "variance path missing", first, _put(chain, spread, S.Zero), {
        "path-missing", "paths-missing",
    }  # fmt: skip
    yield "variance path negative", first, _put(chain, spread, -spread.expr), {"path-sign"}
    yield "half forgotten", first, _put(chain, spread, 2 * spread.expr), {"factor"}
    yield "half twice", first, _put(chain, spread, spread.expr / 2), {"factor"}
    sd = found.forward.tensors[name_of(root.target)[1:]]
    for power, word in ((1, "1/sd for 1/sd**2"), (-1, "1/sd**3 for 1/sd**2")):
        changed = _put(chain, root, root.expr * sd**power)
        yield word, first, changed, {"power", "operand", f"{name_of(sd)}", "term-factor"}
    last = steps[first]
    for length in map(size, normalised(found.forward)):
        if _recounted(last.expr, length, S.One) != last.expr:
            for other, word, codes in (
                (length - 1, "m - 1", {"count-minus-1", "count"}),
                (S.One, "no count", {"sum-for-mean", "count"}),
            ):
                changed = _put(chain, last, _recounted(last.expr, length, other))
                yield f"{word} for {length}", first, changed, codes


def _closed(found, closed, first):
    """Mistakes in a term of the closed form."""
    step = closed.step(closed.tensors[first])
    terms = Add.make_args(step.expr.expand())
    for number, term in enumerate(terms):
        rest = step.expr - term
        yield f"term {number} missing", first, _put(closed, step, rest), {
            "path-missing", "term-missing", "paths-missing", "term-factor",
        }  # fmt: skip
        yield f"term {number} negative", first, _put(closed, step, rest - term), {
            "path-sign", "term-sign",
        }  # fmt: skip
        yield f"term {number} twice", first, _put(closed, step, rest + 2 * term), {"factor"}
        for length in [size(i) for i in normalised(found.forward)]:
            if _recounted(term, length, S.One) != term:
                changed = _recounted(term, length, length - 1)
                yield f"m - 1 in term {number}", first, _put(closed, step, rest + changed), {
                    "count-minus-1", "count",
                }  # fmt: skip
                changed = _recounted(term, length, S.One)
                yield f"sum in term {number}", first, _put(closed, step, rest + changed), {
                    "sum-for-mean", "count",
                }  # fmt: skip


def _parameters(found, backward):
    """Mistakes in the gradients of gamma and beta."""
    first = found.forward.inputs[0]
    for step in backward.steps:
        name = name_of(step.target)
        if name not in ("dgamma", "dbeta") or step.target not in found.chain.outputs:
            continue
        count = [size(i) for i in indices_of(first) if i not in indices_of(step.target)]
        yield f"{name} negative", name, _last(backward, step, -step.expr), {"sign"}
        yield f"{name} zero", name, _last(backward, step, S.Zero), {"zero"}
        yield f"{name} averaged", name, _last(backward, step, step.expr / count[0]), {
            "divided-by-count",
        }  # fmt: skip
        if name == "dgamma":
            hat = next(
                a for a in found.forward.targets
                if set(indices_of(a)) == set(indices_of(first)) and a != found.forward.outputs[0]
            )  # fmt: skip
            yield "dgamma from x", name, _last(backward, step, step.expr.xreplace({hat: first})), {
                "operand",
            }  # fmt: skip


def _everywhere(found, backward, first):
    """Gamma, eps or the root wrong in the whole of dx."""
    gamma = found.forward.tensors["gamma"]
    for factor, word, codes in (
        (S.One, "gamma forgotten", {"gamma-missing"}),
        (gamma**2, "gamma twice", {"gamma-twice"}),
    ):
        steps = tuple(Step(s.target, s.expr.xreplace({gamma: factor})) for s in backward.steps)
        yield word, first, replace(backward, steps=steps), codes
    root = next(s for s in found.forward.steps if s.expr.is_Pow)
    if "eps" in found.forward.tensors:
        eps = found.forward.tensors["eps"]
        bare = root.expr.xreplace({eps: S.Zero})
        other = root.expr.xreplace({eps: Rational(1, 1000)})
        for expr, word, codes in (
            (bare, "eps forgotten in the root", {"eps-missing", "term-factor"}),
            (other, "eps fixed in the root", {"eps-other"}),
            (
                root.expr**2,
                "root forgotten",
                {"variance-for-sd", f"{name_of(root.target)}-missing"},
            ),
        ):
            steps = tuple(
                Step(s.target, s.expr.xreplace({root.target: expr})) for s in backward.steps
            )
            yield word, first, replace(backward, steps=steps), codes


def opened(found, program):
    inputs = (*found.upstream, *found.forward.inputs, *found.forward.targets)
    return replace(program, inputs=inputs)


def _put(program, step, expr):
    return replace(
        program, steps=tuple(Step(s.target, expr) if s is step else s for s in program.steps)
    )


def _last(program, step, expr):
    """The step wrong for its own sake: what other steps read of it stays right."""
    name = name_of(step.target)
    kept = step.target.func(step.target.base.func(name + "_right", real=True), *step.target.indices)
    steps = []
    for s in program.steps:
        if s is step:
            steps.append(Step(kept, s.expr))
        else:
            steps.append(Step(s.target, s.expr.xreplace({step.target: kept})))
    return replace(program, steps=(*steps, Step(step.target, expr)))


def _recounted(expr, length, other):
    """The size replaced where it stands openly, not where it bounds a sum."""

    def visit(node):
        if node == length:
            return other
        if isinstance(node, Total) or not node.args or node.func.__name__ == "Indexed":
            return node
        return node.func(*map(visit, node.args))

    return visit(expr)


def function_of(found, program):
    """``backward(dy, x, gamma, beta, eps)`` that evaluates the program in the arrays' own type."""
    forward = found.forward
    open_ = opened(found, program)

    def backward(**given):
        values = {
            "d" + name_of(forward.outputs[0]): given["dy"],
            name_of(forward.inputs[0]): given["x"],
        }
        values |= {n: given[n] for n in ("gamma", "beta", "eps") if n in given}
        groups = given.get("groups")
        shape = given["x"].shape
        if forward.joined:
            opened_shape = (shape[0], groups, shape[1] // groups, *shape[2:])
            for name in list(values):
                if np.ndim(values[name]) == len(shape):
                    values[name] = values[name].reshape(opened_shape)
                elif np.ndim(values[name]) == 1:
                    values[name] = values[name].reshape(groups, -1)
        known = {n: np.asarray(b.value) for n, b in evaluate(forward, values).items()}
        known |= {n: np.asarray(v) for n, v in values.items()}
        wanted = {name_of(a): known[name_of(a)] for a in open_.inputs}
        got = evaluate(open_, wanted)
        results = []
        for out in found.chain.outputs:
            value = np.asarray(got[name_of(out)].value).astype(given["x"].dtype)
            like = name_of(out)[1:]
            target = given["x"] if like == name_of(forward.inputs[0]) else given[like]
            results.append(value.reshape(target.shape))
        return tuple(results)

    names = ["dy", "x", *(n for n in ("gamma", "beta", "eps") if n in forward.tensors)]
    names += ["groups"] if forward.joined else []
    parameters = [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in names]
    backward.__signature__ = inspect.Signature(parameters)
    return backward
