"""Where each fact about the gradients stands: the list of them, and that nothing is missing.

A fact is one or more statements of ``bncheck identities`` and ``bncheck theorems``; each is
broken in ``test_identities`` or ``test_theorems``. Facts about sizes are tried at several here.
"""

from dataclasses import replace

import pytest
from sympy import Integer

from bncheck.algebra.layers import layer
from bncheck.calculus.passes import derived_once
from bncheck.theory.judging import judge
from bncheck.theory.parts import words
from bncheck.theory.published.claims import theorems
from tests.test_identities import WHERE
from tests.test_theorems import OVER_LESS, RAW

PASSES = {
    "Jacobian, JVP": ("forward mode", "symmetry", "forward mode is the backward pass"),
    "VJP": ("dx in closed form", "dγ in closed form", "dβ in closed form",
            "dx is the gradient", "dγ is the gradient", "dβ is the gradient", "dv is the gradient"),
    "x̂ sums to 0 and has length nρ": ("mean of x̂", "length of x̂"),
    "double backward": ("double backward: ∂F/∂x", "double backward: ∂F/∂dy",
                        "double backward: ∂F/∂γ", "double backward: ∂F/∂β"),
    "evaluation mode": ("dx", "dx at any x", "y is affine in x", "gradient of the running mean",
                        "gradient of the running variance"),
    "graph partials": ("∂σ²/∂x at fixed μ", "∂σ²/∂μ at fixed x", "∂σ²/∂x in total",
                       "dμ on this graph"),
    "each graph gives the same dx": ("dx by this graph", "dx with σ² a function of x alone"),
    "mixing graphs": ("raw dμ with centred ∂σ²/∂x, less dx", "centred dμ with raw ∂σ²/∂x, less dx"),
    "ε outside the root": ("ε outside: dx in closed form", "ε outside: forward mode",
                           "ε outside: J on x̂", "ε outside: the formula for ε inside",
                           "ε outside: the formula for ε inside at ε = 0"),
}  # fmt: skip
FAMILY = {
    "J symmetric only for equal γ": ("symmetry without γ", "symmetry where γ is the same"),
    "⟨v, dv⟩ = 0": ("dx along x",),
    "dv by permutation": ("permutation: dv",),
    "weight norm's w": ("weight norm: Ŵ = γW/(WᵀIW)^½",),
}
THEOREMS = {
    "2.1 for every ε": ("‖dx‖² for every ε", "‖dx‖² for every ε, by x₀ = (x − μ)/σ"),
    "(53) at ε = 0": ("the bound at ε = 0 is an equality",),
    "(53) for ε > 0, strict": ("the bound for ε > 0", "and it is strict", "a tighter bound",
                               "ddof 1: the bound for ε > 0, with 1/m"),
    "(53) by x₀ fails iff k > 1/(1 + ρ − ρ²)": (
        "slack where x̂ has norm √m", "1 + ρ − ρ² is at least 1", "and at most 5/4",
        "at the threshold both sides are equal", "the bound for ε > 0 where x̂ has norm √m"),
    "both gradients at y": ("the bound by the gradient at x, not at y",),
    "it does not lower the gradient": ("batch norm shortens the gradient",
                                       "dx is at most γ/s times dy long"),
    "max ‖Xᵀv‖²": ("one column of Xᵀv", "and it is attained"),
    "2.2 with frozen activations": ("minimax bound, repaired: an equality",
                                    "the same with γ²/σ² and 1/m: a bound"),
    "(63) as printed": ("(63), g² as g", "(63), g² as g squared",
                        "(63), g² as g squared, by accident"),
    "(63) with three repairs at once": (
        "(63) with g for g², λμ for μ, x̂/‖x̂‖ for x̂", "(63) with the last two of these",
        "(63) with the first and the last", "(63) with the first two"),
    "(62) literally": ("∇ℓ of the weights at X = [1 + r x, b], w = (1, 0)",
                       "for ε > 0 there is one"),
    "Li, lines of the derivation": (
        "x̂ has length √m at ε = 0", "x̂ has length √m for ε > 0", "dσ², the sum of x − μ alone",
        "dx, the sum of x − μ alone", "dx, the sum of x̂ alone",
        "dx, the sum over i of terms with j", "dx, ŷ read as x̂", "dx, σ for s at ε = 0",
        "dx, σ for s for ε > 0"),
    "Deb, lines of the derivation": (
        "dμ from dx, not dx̂", "dσ² from dx, not dx̂", "raw σ²: dμ without the edge to σ²",
        "raw σ²: ∂σ²/∂x at fixed μ is 2(x − μ)/m", "raw σ²: both together give dx",
        "raw σ²: its own dμ with that ∂σ²/∂x"),
    "reparameterisation": (
        "BN(xᵀW) = xᵀŴ + β", "BN(xᵀW) of x that is not centred", "BN(xᵀW) = xᵀŴ",
        "BN(xᵀW) = xᵀŴ + β for ε > 0", "BN(xᵀW) = xᵀŴ + β, S the covariance",
        "several columns, (WᵀSW)^½ a matrix root", "S = I: weight norm"),
    "restoring the input": (
        "γ = √(σ² + ε), β = μ restore x", "γ = σ, β = μ restore x for ε > 0",
        "what they make of another batch", "they restore every batch",
        "another batch of that mean and variance"),
    "internal covariate shift": (
        "the shift is smaller with batch norm", "batch norm reduces the shift",
        "no shift for one input"),
}  # fmt: skip
INVARIANTS = {
    "a": ("sum of dx",), "b": ("dx along x̂",), "b'": ("dx along x",),
    "c": ("shift: y", "shift: dx", "shift: dγ", "shift: dβ"),
    "d": ("scale: dx", "scale and flip: dx"),
    "d'": ("scale: y", "scale: dγ", "scale: dβ",
           "scale and flip: y", "scale and flip: dγ", "scale and flip: dβ"),
    "e": ("permutation: dx", "permutation: dγ", "permutation: dβ"),
    "f": ("linear in dy",), "f'": ("constant added to dy",), "f''": ("x̂ added to dy",),
    "g": ("symmetry", "forward mode is the backward pass"), "h": ("dy along y",), "h'": ("norm",),
    "h''": ("dγ along x",),
    "i": ("γ times c: dx", "γ times c: dγ", "γ times c: dβ",
          "c added to β: dx", "c added to β: dγ", "c added to β: dβ"),
    "k": ("J on the rest",), "k'": ("J on 1", "J on x̂"),
    "f, k, k' determine J": ("dx from its parts on 1, x̂ and the rest",),
    "l": ("trace of J",), "m": ("polynomial of J", "J twice"), "n": ("batch twice: dx",),
    "o": ("potential", "T is not negative", "potential is convex", "y is monotone where γ > 0"),
    "p": ("two values", "one value"), "q": ("loss ½‖y‖²",), "r": ("second derivative",),
    "t": ("constant batch: y", "constant batch: dx", "constant batch: dγ"),
    "spectrum": ("spectrum of sJ/γ",),
    "rank": ("rank of J", "rank of J, ε > 0", "rank of J, ε = 0"),
    "norm of J": ("norm of J", "norm of J, two values"),
}  # fmt: skip


def test_every_fact_is_stated_and_every_statement_is_a_fact():
    judged = theorems(layer("batch-norm"), RAW, OVER_LESS, layer("weight-norm"))
    stated = {*WHERE} | {one.statement.name for one in judged}
    facts = {**PASSES, **FAMILY, **THEOREMS, **INVARIANTS}
    assert {name for names in facts.values() for name in names} == stated


SIZED = ("spectrum of sJ/γ", "rank of J, ε > 0", "rank of J, ε = 0", "norm of J")


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("many", [2, 3])
@pytest.mark.parametrize("name", SIZED)
def test_the_matrix_at_other_sizes(name, many, ddof):
    """At m = 2 the norm is another one; all else holds for two values, too."""
    said, _ = WHERE[name]
    found = words(derived_once(layer("batch-norm", ddof=ddof)))
    (i,) = found.over
    at = replace(said, given=(*said.given, (i.upper, Integer(many))))
    assert (judge(at, found).verdict == "refuted") == (name == "norm of J" and many == 2)


@pytest.mark.parametrize(
    ("name", "group", "shared"),
    [
        ("batch-norm", "i", "i"),
        ("layer-norm", "j", "i"),
        ("rms-norm", "j", "i"),
        ("group-norm", "kl", "nl"),
        ("instance-norm", "l", "nl"),
    ],
)
def test_what_is_normalised_together_and_what_shares_a_parameter(name, group, shared):
    found = words(derived_once(layer(name)))
    gamma = found.found.wrt[1]
    assert {str(i) for i in found.over} == set(group)
    assert {str(i) for i in set(found.forward.axes) - set(gamma.indices)} == set(shared)
