"""A mutation run: break a line of the package, run its tests, see whether they notice.

    python tests/mutation.py bncheck/calculus [HOW_MANY] [SEED]

Works on a copy in a temporary folder. A mutant is one change: an operator, a comparison, a
constant, a condition negated, a return value gone. Those whose tests still pass are listed.
"""

import ast
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS = {
    "algebra": ["test_program.py", "test_words.py"],
    "calculus": ["test_program.py", "test_jacobian.py", "test_oracles.py", "test_laws.py"],
    "checking": ["test_trials.py", "test_verification.py", "test_subject.py"],
    "writers": ["test_numpy_source.py", "test_words.py", "test_latex.py"],
}
SWAPS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot,
    ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And, ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}  # fmt: skip


def mutants(source: str) -> list[tuple[int, str, str]]:
    """Every changed source, with its line and what was done."""
    found = []
    for count, node in enumerate(ast.walk(ast.parse(source))):
        for what, change in _changes(node):
            tree = ast.parse(source)
            change(next(n for k, n in enumerate(ast.walk(tree)) if k == count))
            found.append((getattr(node, "lineno", 0), what, ast.unparse(tree)))
    return found


def _changes(node):
    if isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in SWAPS:
        new = SWAPS[type(node.op)]
        yield f"{type(node.op).__name__} -> {new.__name__}", lambda n: setattr(n, "op", new())
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
        new = SWAPS[type(node.ops[0])]
        yield (
            f"{type(node.ops[0]).__name__} -> {new.__name__}",
            lambda n: n.ops.__setitem__(0, new()),
        )
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield f"{node.value} -> {node.value + 1}", lambda n: setattr(n, "value", n.value + 1)
    if isinstance(node, ast.If | ast.IfExp):
        yield "condition negated", lambda n: setattr(n, "test", ast.UnaryOp(ast.Not(), n.test))
    if isinstance(node, ast.Return) and node.value is not None:
        yield "returns None", lambda n: setattr(n, "value", ast.Constant(None))


def _noticed(folder: Path, tests: list[str]) -> bool:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=240, check=False)
    except subprocess.TimeoutExpired:
        return True
    return done.returncode != 0


def main(place: str, how_many: int, seed: int) -> None:
    """Run a sample of the mutants of a folder or file and print the score and the survivors."""
    chosen = ROOT / place
    files = sorted(chosen.rglob("*.py")) if chosen.is_dir() else [chosen]
    every = [(path, *m) for path in files for m in mutants(path.read_text())]
    sample = random.Random(seed).sample(every, min(how_many, len(every)))
    survivors = []
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "copy"
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".git", "__pycache__"))
        for path, line, what, text in sample:
            inside = folder / path.relative_to(ROOT)
            original = inside.read_text()
            inside.write_text(text)
            part = path.relative_to(ROOT).parts[1].removesuffix(".py")
            if not _noticed(folder, [f"tests/{t}" for t in TESTS.get(part, ["."])]):
                survivors.append(f"{path.relative_to(ROOT)}:{line}: {what}")
                print("survived", survivors[-1], flush=True)
            inside.write_text(original)
    killed = len(sample) - len(survivors)
    print(f"{killed} of {len(sample)} noticed ({len(every)} mutants in all), "
          f"{time.monotonic() - start:.0f} s")  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 40, int((sys.argv[3:] or [0])[0]))
