"""What identities catch, against wrong backward passes and identities written out in fractions.

The table is that of the facts; the functions here work it out again, and share nothing with
bncheck: one feature, four values, standard deviations that are rational.
"""

import json
from fractions import Fraction as F
from math import isqrt

import pytest

from bncheck.algebra.layers import layer
from bncheck.mutants.power import measured

COLUMNS = ("a", "b'", "c", "d", "e", "f", "f'", "g", "i", "h", "h'", "k", "k'")
TABLE = {  # wrong gradient: what catches it, a column each
    "correct": ".............",
    "sigma path lost": ".x........x.x",
    "mean path lost": "xx....x...x.x",
    "both lost": "xx....x...x.x",
    "gamma twice": ".x......x.xxx",
    "gamma missing": ".x......x.xxx",
    "sigma for s, xhat with eps": ".x........xxx",
    "eps missing in dx": ".x........xxx",
    "m - 1 in the xhat term": ".x........x.x",
    "m times one term": ".x..x.xx..xxx",
    "1/m missing in both means": "xx....x...x.x",
    "sign of the xhat term": ".x........x.x",
    "dx flipped": ".x.........xx",
    "s squared for s": ".x.x......xxx",
    "raw dmu with centred dvar/dx": "xxx....x..x.x",
    "dgamma from x": ".x.......xx..",
    "dbeta averaged": ".........xx..",
    "dx of another eps": ".x.......xxxx",
}
OURS = {  # the same mistake in our own set
    "sigma path lost": "the path through the variance is missing",
    "mean path lost": "the path through the batch mean is missing",
    "both lost": "the statistics are held constant: the paths through them are missing",
    "gamma twice": "gamma is counted twice",
    "gamma missing": "gamma is forgotten",
    "m - 1 in the xhat term": "divided by m - 1 where m belongs, in −dγⱼ·γⱼ·x̂ᵢⱼ/(m·sⱼ)",
    "sign of the xhat term": "the sign of the path through the variance is flipped",
    "dx flipped": "dx has the wrong sign",
    "s squared for s": "sd**2 stands where sd belongs: the root is missing",
    "dgamma from x": "xᵢⱼ stands where xhat belongs, in dgamma",
    "dbeta averaged": "dbeta is divided by m",
}
STATED = {
    "a": ("sum of dx",), "b'": ("dx along x",), "c": ("shift: dx",),
    "d": ("scale: dx", "scale and flip: dx"), "e": ("permutation: dx",), "f": ("linear in dy",),
    "f'": ("constant added to dy",), "g": ("symmetry",), "i": ("γ times c: dx",),
    "h": ("dy along y",), "h'": ("norm",), "k": ("J on the rest",), "k'": ("J on 1", "J on x̂"),
}  # fmt: skip


def root(number):
    top, bottom = isqrt(number.numerator), isqrt(number.denominator)
    assert top**2 == number.numerator
    assert bottom**2 == number.denominator
    return F(top, bottom)


def dot(a, b):
    return sum((x * y for x, y in zip(a, b, strict=True)), F(0))


def mean(a):
    return sum(a, F(0)) / len(a)


def statistics(x, eps):
    mu = mean(x)
    var = mean([(a - mu) ** 2 for a in x])
    s = root(var + eps)
    return mu, var, s, [(a - mu) / s for a in x]


def right(x, g, gamma, eps, **parts):
    """The right gradients; ``parts`` change what they are made of."""
    mu, var, s, xhat = statistics(x, eps)
    m = len(x)
    along = dot(g, xhat)
    scale = parts.get("scale", gamma / s)
    first, last = parts.get("mean", F(1)), parts.get("along", F(1))
    dx = [
        scale * (a - first * mean(g) - last * h * along / m) for a, h in zip(g, xhat, strict=True)
    ]
    return dx, along, sum(g, F(0))


def wrong(name, x, g, gamma, eps):
    """The gradients of a row of the table."""
    mu, var, s, xhat = statistics(x, eps)
    m, (dx, dgamma, dbeta) = len(x), right(x, g, gamma, eps)
    parts = {
        "sigma path lost": {"along": F(0)},
        "mean path lost": {"mean": F(0)},
        "both lost": {"mean": F(0), "along": F(0)},
        "gamma twice": {"scale": gamma**2 / s},
        "gamma missing": {"scale": 1 / s},
        "m - 1 in the xhat term": {"along": F(m, m - 1)},
        "1/m missing in both means": {"mean": F(m), "along": F(m)},
        "sign of the xhat term": {"along": F(-1)},
        "s squared for s": {"scale": gamma / s**2},
    }
    if name in parts:
        return right(x, g, gamma, eps, **parts[name])
    if name == "sigma for s, xhat with eps":
        return right(x, g, gamma, eps, scale=gamma / root(var))
    if name == "eps missing in dx":
        return right(x, g, gamma, F(0))[0], dgamma, dbeta
    if name == "m times one term":
        one = m * g[0] * xhat[0]
        rest = [a - mean(g) - h * one / m for a, h in zip(g, xhat, strict=True)]
        return [gamma / s * a for a in rest], dgamma, dbeta
    if name == "dx flipped":
        return [-a for a in dx], dgamma, dbeta
    if name == "raw dmu with centred dvar/dx":
        dvar = -gamma * dgamma / (2 * s**2)
        return [a - 2 * mu * dvar / m for a in dx], dgamma, dbeta
    if name == "dgamma from x":
        return dx, dot(g, x), dbeta
    if name == "dbeta averaged":
        return dx, dgamma, dbeta / m
    if name == "dx of another eps":
        return right(x, g, gamma, other_eps(var, eps))
    return dx, dgamma, dbeta


def other_eps(var, eps):
    """An eps twice as large or more that leaves the deviation rational and scales with x."""
    return (3 * root(var + eps)) ** 2 - var


def catches(name):
    """The columns that tell this row from the right gradients."""
    x, eps = [F(a) + F(7, 3) for a in (-7, -5, 1, 11)], F(15)
    g, h, gamma, beta, c = [F(a) for a in (1, 2, -1, 3)], [F(a) for a in (2, 0, 5, -3)], F(3), 2, 5
    mu, var, s, xhat = statistics(x, eps)
    m, ones = len(x), [F(1)] * len(x)

    def run(x=x, g=g, gamma=gamma, eps=eps):
        return wrong(name, x, g, gamma, eps)

    (dx, dgamma, dbeta), dxh = run(), run(g=h)[0]
    y = [gamma * a + beta for a in xhat]
    apart = [a - dot(h, xhat) / dot(xhat, xhat) * b - mean(h) for a, b in zip(h, xhat, strict=True)]
    leak = gamma * eps / s**3
    turned = x[1:] + x[:1], g[1:] + g[:1]
    both = [2 * a + c * b for a, b in zip(g, h, strict=True)]
    yield "a", sum(dx) == 0
    yield "b'", s**2 * dot(dx, x) == eps * gamma * dgamma
    yield "c", run(x=[a + c for a in x])[0] == dx
    for alpha in (F(2), F(-3)):
        scaled = run(x=[alpha * a for a in x], eps=alpha**2 * eps)[0]
        yield "d", scaled == [a / abs(alpha) for a in dx]
    yield "e", run(x=turned[0], g=turned[1])[0] == dx[1:] + dx[:1]
    yield "f", run(g=both)[0] == [2 * a + c * b for a, b in zip(dx, dxh, strict=True)]
    yield "f'", run(g=[a + c for a in g])[0] == dx
    yield "g", dot(h, dx) == dot(g, dxh)
    yield "i", run(gamma=-c * gamma)[0] == [-c * a for a in dx]
    yield "h", dot(g, y) == gamma * dgamma + beta * dbeta
    lost = dbeta**2 / m + (1 + eps / s**2) * dgamma**2 / m
    yield "h'", s**2 * dot(dx, dx) / gamma**2 + lost == dot(g, g)
    yield "k", run(g=apart)[0] == [gamma / s * a for a in apart]
    yield "k'", run(g=ones)[0] == [0] * m
    yield "k'", run(g=xhat)[0] == [leak * a for a in xhat]


@pytest.mark.parametrize("name", TABLE)
def test_the_table_is_what_fractions_say(name):
    caught = {column for column, held in catches(name) if not held}
    assert "".join("x" if column in caught else "." for column in COLUMNS) == TABLE[name]


@pytest.fixture(scope="module")
def found():
    return measured(layer("batch-norm"))


@pytest.mark.parametrize("name", OURS)
def test_our_identities_catch_what_the_table_says(found, name):
    texts = [text for _, text in found.mistakes]
    number = texts.index(OURS[name])
    caught = {c for c, names in STATED.items() if any(number in found.caught[n] for n in names)}
    assert "".join("x" if column in caught else "." for column in COLUMNS) == TABLE[name]


def test_nothing_is_missed_by_all_and_a_few_are_enough(found):
    every = set(range(len(found.mistakes)))
    assert every == set().union(*found.caught.values())
    assert every == set().union(*(found.caught[name] for name in found.enough))
    assert len(found.enough) <= 4


def test_f_k_and_k_prime_catch_every_wrong_dx(found):
    names = ("linear in dy", "J on the rest", "J on 1", "J on x̂")
    caught = set().union(*(found.caught[name] for name in names))
    assert {k for k, (moved, _) in enumerate(found.mistakes) if "dx" in moved} <= caught


def test_other_seeds_catch_the_same(found):
    assert measured(layer("weight-norm"), 1).caught == measured(layer("weight-norm"), 2).caught


def test_the_command_in_evaluation_mode(bncheck):
    done = bncheck(
        "identities", "batch-norm", "--mode", "evaluation", "--power", "--format", "json"
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    texts = [one["text"] for one in found["mistakes"]]
    gradient = found["caught"]["dx is the gradient"]
    assert texts.index("gamma is forgotten") in gradient
    assert "sum of dx" not in found["caught"]
    refused = bncheck("identities", "--power", "--format", "latex")
    assert refused.returncode == 2
    assert "text or json" in refused.stderr
