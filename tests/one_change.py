"""Wrong backward passes with one change each, drawn from right files; how many are explained?

    python tests/one_change.py [HOW_MANY] [SEED] [KIND]

The files are those of ``tests/staged.py`` and ``tests/cases/strangers.py``: several styles and
layers. A change is made in one node of the syntax tree of a backward pass, by code that shares
nothing with what bncheck tries. What comes out right, or does not run, is no mistake and is not
counted. A mistake is named where the first cause is an edit or has one, or is none of
``VAGUE``; it is placed where the line that is said is the line that was changed.
"""

import ast
import copy
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bncheck import verify
from bncheck.telling.errors import CannotAsk
from tests.cases.strangers import FILES
from tests.staged import SOURCES

VAGUE = ("unexplained", "two-changes", "term-factor", "shape", "not-finite", "not-own-gradient",
         "corner", "inaccurate", "integers")  # fmt: skip
RIGHT = {
    **{name: source.replace("  # <-- here", "") for name, source in SOURCES.items()},
    **{name: f"import numpy as np\n{source}" for name, source in FILES.items()},
}
SWAPS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
COUNTS = ("N", "n", "m", "D", "M", "C", "H", "W", "size", "count", "batch")
KINDS = ("operator", "bracket", "index", "axis", "count", "exponent", "variable", "eps")


@dataclass(frozen=True)
class Change:
    """A kind, the file it was made in, the line, what stood there, what stands there, the text."""

    kind: str
    name: str
    line: int
    old: str
    new: str
    source: str


def changes(name: str, kind: str) -> Iterator[Change]:
    """All changes of a kind in the backward passes of a file."""
    tree = ast.parse(ast.unparse(ast.parse(RIGHT[name])))
    passes = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and _is_backward(n.name)]
    for function in passes:
        names = sorted({n.id for n in ast.walk(function) if isinstance(n, ast.Name)
                        and isinstance(n.ctx, ast.Store)})  # fmt: skip
        for node in ast.walk(function):
            if isinstance(node, ast.expr):
                for new in _other(kind, node, names):
                    source = ast.unparse(_with(tree, node, new))
                    yield Change(
                        kind, name, node.lineno, ast.unparse(node), ast.unparse(new), source
                    )


def _is_backward(name: str) -> bool:
    return any(part in name.lower() for part in ("backward", "grad", "bprop"))


def _other(kind: str, node: ast.expr, names: list[str]) -> Iterator[ast.expr]:
    match kind, node:
        case "operator", ast.BinOp(left=a, op=op, right=b) if type(op) in SWAPS:
            yield ast.BinOp(a, SWAPS[type(op)](), b)
        case "operator", ast.UnaryOp(op=ast.USub(), operand=a):
            yield a
        case "bracket", ast.BinOp(left=ast.BinOp(left=a, op=p, right=b), op=q, right=c):
            yield ast.BinOp(a, p, ast.BinOp(b, q, c))
        case "bracket", ast.BinOp(left=a, op=p, right=ast.BinOp(left=b, op=q, right=c)):
            yield ast.BinOp(ast.BinOp(a, p, b), q, c)
        case "index", ast.Subscript(value=v, slice=ast.Constant(value=int(k)), ctx=ast.Load()):
            yield ast.Subscript(v, ast.Constant(1 - k if k in (0, 1) else k - 1), ast.Load())
        case "index", ast.Call(func=ast.Name(id="range"), args=[a]):
            yield ast.Call(ast.Name("range"), [ast.BinOp(a, ast.Sub(), ast.Constant(1))], [])
            yield ast.Call(ast.Name("range"), [ast.Constant(1), a], [])
        case "axis", ast.Call(keywords=several):
            yield from _other_axes(node, several)
        case "count", _:
            yield from _other_counts(node, names)
        case "exponent", _:
            yield from _other_powers(node)
        case "variable", ast.Name(id=own, ctx=ast.Load()) if own in names:
            yield from (ast.Name(n) for n in names if n != own and n not in COUNTS)
        case "eps", _:
            yield from _other_eps(node)


def _other_counts(node: ast.expr, names: list[str]) -> Iterator[ast.expr]:
    match node:
        case ast.Name(id=own, ctx=ast.Load()) if own in COUNTS:
            yield ast.BinOp(node, ast.Sub(), ast.Constant(1))
            yield from (ast.Name(n) for n in names if n in COUNTS and n != own)
        case ast.Call(func=ast.Attribute(value=v, attr="mean" | "sum" as own)):
            other = ast.Attribute(v, "sum" if own == "mean" else "mean")
            yield ast.Call(other, node.args, node.keywords)


def _other_powers(node: ast.expr) -> Iterator[ast.expr]:
    match node:
        case ast.BinOp(left=a, op=ast.Pow(), right=b):
            yield a
            yield ast.BinOp(a, ast.Pow(), ast.BinOp(b, ast.Add(), ast.Constant(1)))
        case ast.Call(func=ast.Attribute(attr="sqrt"), args=[a]):
            yield a
        case ast.Constant(value=int(k) | float(k)) if k in (0.5, 1.5, 2, 3):
            yield from (ast.Constant(other) for other in (k + 1, k / 2))


def _other_eps(node: ast.expr) -> Iterator[ast.expr]:
    match node:
        case ast.BinOp(left=a, op=ast.Add(), right=b) if "eps" in ast.unparse(b):
            yield a
            yield ast.BinOp(a, ast.Sub(), b)
            yield ast.BinOp(a, ast.Add(), ast.Constant(0.001))
        case ast.Call(args=[ast.BinOp(left=a, op=ast.Add(), right=b)]) if "eps" in ast.unparse(b):
            yield ast.BinOp(ast.Call(node.func, [a], node.keywords), ast.Add(), b)


def _other_axes(node: ast.Call, several: list[ast.keyword]) -> Iterator[ast.expr]:
    for place, keyword in enumerate(several):
        if keyword.arg == "axis":
            old = ast.unparse(keyword.value)
            others = {"0": ["1"], "1": ["0"], "-1": ["0"]}.get(old, ["0", "(2, 3)", "(0, 1)"])
            for other in (*others, "None"):
                value = ast.parse(other, mode="eval").body
                changed = [*several[:place], ast.keyword("axis", value), *several[place + 1 :]]
                yield ast.Call(node.func, node.args, changed)


def _with(tree: ast.Module, old: ast.expr, new: ast.expr) -> ast.Module:
    """The tree with one node exchanged."""

    class Put(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            return copy.deepcopy(new) if node is place else self.generic_visit(node)

    number = next(k for k, node in enumerate(ast.walk(tree)) if node is old)
    changed = copy.deepcopy(tree)
    place = next(node for k, node in enumerate(ast.walk(changed)) if k == number)
    return ast.fix_missing_locations(Put().visit(changed))


def drawn(seed: int, kind: str = "") -> Iterator[Change]:
    """Changes without end, of all kinds alike."""
    rng = random.Random(seed)
    seen: set[str] = set()
    while True:
        one = kind or rng.choice(KINDS)
        there = list(changes(rng.choice(sorted(RIGHT)), one))
        change = rng.choice(there) if there else None
        if change is not None and change.source not in seen:
            seen.add(change.source)
            yield change


def judged(change: Change, folder: Path) -> tuple[str, int | None, str] | None:
    """Code, line and text of the first cause; None where it is no mistake."""
    file = folder / "wrong.py"
    file.write_text(change.source)
    try:
        report = verify(str(file))
    except CannotAsk:  # it ends when it is loaded
        return None
    if report.verdict != "wrong" or not report.diagnosis:
        return None
    first = report.diagnosis[0]
    edited = any(one.code == "edit" for one in first.place)
    return ("edit" if edited else first.code), first.line, f"{first.text} | {first.line_text}"


def main(count: int, seed: int, kind: str = "") -> None:
    """A line for each mistake that is not named, or is placed elsewhere; then the counts."""
    named, placed, made, dearest = Counter(), Counter(), Counter(), (0.0, "")
    with tempfile.TemporaryDirectory() as folder:
        for change in drawn(seed, kind):
            before = _used()
            answer = judged(change, Path(folder))
            if answer is None:
                continue
            used = _used() - before
            dearest = max(dearest, (used, f"{change.kind} in {change.name}"))
            code, line, text = answer
            made[change.kind] += 1
            good, there = code not in VAGUE, line == change.line
            named[change.kind] += good
            placed[change.kind] += there
            if not good or not there:
                mark = "unnamed" if not good else "elsewhere"
                where = f"{change.kind} in {change.name}, line {change.line}"
                print(f"{mark}: {where}: {change.old} -> {change.new}")
                print(f"    {code}, line {line}: {text}", flush=True)
            if sum(made.values()) == count:
                break
    for one in made:
        print(f"{one:10} {named[one]:3} named, {placed[one]:3} placed, of {made[one]}")
    print(f"{sum(named.values())} named, {sum(placed.values())} placed, of {sum(made.values())}; "
          f"dearest {dearest[0]:.1f} s: {dearest[1]}")  # fmt: skip


def _used() -> float:
    own = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + own.ru_utime + own.ru_stime


if __name__ == "__main__":
    main(int((*sys.argv, 40)[1]), int((*sys.argv[:3], 0, 0)[2]), *sys.argv[3:4])
