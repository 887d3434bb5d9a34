"""How many wrong backward passes each checker catches, and how many right ones it rejects.

    python -m tests.benchmarks.peers [CASES.py] [--only NAME ...] [--no-times] [--names]

The set is that of ``tests/cases``; CASES.py is another, with lists MUTANTS and CORRECT. The peers
see wrong ones at the plain inputs that one would try first, standard normal ones of (4, 5) and
(64, 16) in float64, bncheck at its own; all see right ones at the inputs that belong to them.
Where a checker rejects right code at the plain inputs too, its rejections there count for nothing.
"""

import argparse
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.checkers import CHECKERS, accepts, bncheck_strict
from tests.cases.right import RIGHT
from tests.cases.ways import einsum, one_line, staged
from tests.cases.wrong import WRONG

SHAPES = ((4, 5), (64, 16))
WAYS = (one_line, staged, einsum)
NEEDS = {"torch": "torch", "jax": "jax", "scipy": "scipy"}


@dataclass(frozen=True)
class One:
    """A case of any set; ``expected``: "wrong", "remark" or "right"."""

    name: str
    expected: str
    make: Callable[[], Any]
    inputs: Callable[[], dict[str, Any]]


@dataclass
class Score:
    """Names of the wrong ones passed, at each shape; of the right ones rejected, or not run.

    A checker that rejects right code at a shape catches nothing there: ``void`` has that shape.
    """

    passed: dict[tuple[int, int], list[str]]
    rejected: list[str]
    unable: list[str]
    void: list[tuple[int, int]]


def own() -> list[One]:
    """The set of this repository."""
    return [One(c.name, c.expected, c.make, c.inputs) for c in (*WRONG, *RIGHT)]


def foreign(path: Path) -> list[One]:
    """The set in a file: lists MUTANTS and CORRECT of objects with name, group, make, inputs."""
    spec = importlib.util.spec_from_file_location("foreign_cases", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["foreign_cases"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    wrong = [One(c.name, _contract(c.group), c.make, _named(c.inputs)) for c in module.MUTANTS]
    return wrong + [One(c.name, "right", c.make, _named(c.inputs)) for c in module.CORRECT]


def _contract(group: str) -> str:
    return "remark" if group in ("state", "contract") else "wrong"


def _named(inputs: Callable[[], Any]) -> Callable[[], dict[str, Any]]:
    return lambda: dict(inputs()._asdict())


def plain(shape: tuple[int, int]) -> dict[str, Any]:
    """What one would try first."""
    rng = np.random.default_rng(0)
    arrays = {k: rng.standard_normal(shape) for k in ("dy", "x")}
    return {**arrays, **{k: rng.standard_normal(shape[1]) for k in ("gamma", "beta")}, "eps": 1e-5}


def score(checker: str, cases: list[One]) -> Score:
    """What the checker says about each case."""
    right = [c for c in cases if c.expected == "right"]
    asked = {c.name: accepts(CHECKERS[checker], c.make(), c.inputs()) for c in right}
    wrong = [c for c in cases if c.expected != "right"]
    void = [] if checker == "bncheck" else [s for s in SHAPES if _void(checker, s)]
    return Score(
        passed={s: [c.name for c in wrong if s in void or _passes(checker, c, s)] for s in SHAPES},
        rejected=[name for name, accepted in asked.items() if accepted is False],
        unable=[name for name, accepted in asked.items() if accepted is None],
        void=void,
    )


def _passes(checker: str, case: One, shape: tuple[int, int]) -> bool:
    """Whether a wrong one gets through; bncheck is given no inputs, and asked once."""
    if checker != "bncheck":
        return accepts(CHECKERS[checker], case.make(), plain(shape)) is not False
    asks = CHECKERS[checker] if case.expected == "wrong" else bncheck_strict
    return shape != SHAPES[0] or accepts(asks, case.make(), {}) is not False


def _void(checker: str, shape: tuple[int, int]) -> bool:
    """Whether it rejects right code on plain inputs of the shape, and so tells nothing there."""
    return any(accepts(CHECKERS[checker], way, plain(shape)) is False for way in WAYS)


def row(checker: str, cases: list[One], found: Score) -> str:
    """One line of the table."""
    names = {e: {c.name for c in cases if c.expected == e} for e in ("wrong", "remark", "right")}
    through = [set(found.passed[s]) for s in SHAPES]
    either = set.intersection(*through)
    shown = [
        "rejects right code" if s in found.void else str(len(names["wrong"] - passed))
        for s, passed in zip(SHAPES, through, strict=True)
    ]
    if checker == "bncheck":
        shown = ["", ""]
    unable = f" ({len(found.unable)} not run)" if found.unable else ""
    counts = [str(len(names[kind] - either)) for kind in ("wrong", "remark")]
    return "| " + " | ".join([checker, *shown, *counts, f"{len(found.rejected)}{unable}"]) + " |"


def table(title: str, cases: list[One], checkers: list[str], names: bool) -> None:
    """Print the table of one set."""
    count = {e: sum(c.expected == e for c in cases) for e in ("wrong", "remark", "right")}
    print(f"\n{title}\n")
    at = " | ".join(f"wrong, {shape}" for shape in SHAPES)
    print(f"| checker | {at} | wrong caught, of {count['wrong']} "
          f"| contract, of {count['remark']} | right rejected, of {count['right']} |")  # fmt: skip
    print("|---|---:|---:|---:|---:|---:|")
    for checker in checkers:
        if not _installed(checker):
            print(f"| {checker} | not installed | | | | |")
            continue
        start = time.perf_counter()
        found = score(checker, cases)
        print(row(checker, cases, found), flush=True)
        print(f"{checker}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
        if names:
            missed = [n for n in found.passed[SHAPES[0]] if n in found.passed[SHAPES[1]]]
            print(f"  passed: {missed}\n  rejected: {found.rejected}", file=sys.stderr)


def _installed(checker: str) -> bool:
    needed = NEEDS.get(checker.split()[0])
    return needed is None or importlib.util.find_spec(needed) is not None


def times(slow: bool) -> None:
    """Print what bncheck costs beside ``gradcheck``, imports not counted: medians of one run."""
    print("\n| on given inputs | bncheck | gradcheck | ratio | at most |")
    print("|---|---:|---:|---:|---:|")
    _compared("fast", (256, 128), 5.0, 9)
    if slow:
        _compared("slow", (128, 64), 0.01, 1)


def _compared(mode: str, shape: tuple[int, int], limit: float, rounds: int) -> None:
    names, inputs = ("bncheck", f"torch gradcheck, {mode}"), plain(shape)
    for name in names:  # what is imported or worked out once
        _seconds(name, plain(SHAPES[0]))
    made = [[_seconds(name, inputs) for name in names] for _ in range(rounds)]
    ours, theirs = (statistics.median(times) for times in zip(*made, strict=True))
    cells = [f"{1e3 * ours:.0f} ms", f"{1e3 * theirs:.0f} ms", f"{ours / theirs:.3g}", str(limit)]
    print(f"| {shape}, {mode} | " + " | ".join(cells) + " |", flush=True)


def _seconds(checker: str, inputs: dict[str, Any]) -> float:
    start = time.perf_counter()
    accepted = accepts(CHECKERS[checker], one_line, inputs)
    seconds = time.perf_counter() - start
    if not accepted:
        raise RuntimeError(f"{checker} rejects right code, or fails")
    return seconds


def main() -> None:
    """Read the arguments and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="?", type=Path, help="another set: MUTANTS and CORRECT")
    parser.add_argument("--only", nargs="+", default=[], help="checkers whose names hold this")
    parser.add_argument("--no-times", action="store_true", help="leave out the second table")
    parser.add_argument("--no-slow", action="store_true", help="leave out slow gradcheck's time")
    parser.add_argument("--names", action="store_true", help="say which, on standard error")
    asked = parser.parse_args()
    checkers = [c for c in CHECKERS if not asked.only or any(o in c for o in asked.only)]
    table("Our own set", own(), checkers, asked.names)
    if asked.cases:
        table(asked.cases.name, foreign(asked.cases), checkers, asked.names)
    if not asked.no_times and _installed("torch"):
        times(slow=not asked.no_slow)


if __name__ == "__main__":
    main()
