"""A mutation run: break a line of the package, run the tests that reach it: do they notice?

    python tests/mutation.py [HOW_MANY] [SEED] [--only=FOLDER] [--map=FILE]

Works on copies in a temporary folder, one for each processor. A mutant is one change of one line,
drawn at random from the whole package: an operator, a comparison, a constant, a condition negated,
a returned value or a keyword gone. First the whole suite runs once with coverage, which says which
tests reach a line (kept in the file after ``--map``, as long as package and tests are what they
were); what runs in a child process is reached by the tests of its room (``ROOMS``).
Those that live are printed with their line, to be judged by a person: a test is missing, or the
mutant is as good as the original.
"""

import ast
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

ROOT = Path(__file__).resolve().parents[1]
ROOMS = {
    "subject": ("test_subject", "test_conventions", "test_bad_code", "test_running"),
    "place": ("test_lines",),
    "mutants": ("test_mutants",),
    "cli": ("test_cli", "test_examples"),
    "telling": ("test_cli", "test_codes", "test_bad_code"),
    "": ("test_verification", "test_cli"),
}
"""Tests of what runs in a child process; of other rooms the coverage says it."""

NEAREST, LIMIT = 25, 400
"""How many of the tests that reach a line are run, the quickest first; seconds for all of them."""

SWAPS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot,
    ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And, ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """``line``: the changed line, from 1; ``new``: what stands there."""

    file: str
    line: int
    what: str
    old: str
    new: str

    def text(self, source: str) -> str:
        """The source with the line changed."""
        lines = source.splitlines(keepends=True)
        lines[self.line - 1] = self.new + "\n"
        return "".join(lines)


def mutants(file: str, source: str) -> Iterator[Mutant]:
    """Every mutant of a file that stands on one line and still parses."""
    lines = source.splitlines()
    tree = ast.parse(source)
    prose = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
    for node in ast.walk(tree):
        if id(node) in prose or getattr(node, "end_lineno", 0) != getattr(node, "lineno", -1):
            continue
        for what, at, new in changes(node):
            line = lines[at.lineno - 1]
            encoded = line.encode()
            made = (encoded[: at.col_offset] + new.encode() + encoded[at.end_col_offset :]).decode()
            mutant = Mutant(file, at.lineno, what, line, made)
            try:
                ast.parse(mutant.text(source))
            except SyntaxError:
                continue
            if made != line:
                yield mutant


def changes(node: ast.AST) -> Iterator[tuple[str, ast.expr, str]]:
    """What is done, the expression that is replaced, and what stands there instead."""
    if isinstance(node, ast.BinOp) and type(node.op) in SWAPS:
        new = SWAPS[type(node.op)]
        changed = ast.BinOp(node.left, new(), node.right)
        yield f"{type(node.op).__name__} -> {new.__name__}", node, f"({ast.unparse(changed)})"
    elif isinstance(node, ast.BoolOp):
        new = SWAPS[type(node.op)]
        changed = ast.BoolOp(new(), node.values)
        yield f"{type(node.op).__name__} -> {new.__name__}", node, f"({ast.unparse(changed)})"
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
        new = SWAPS[type(node.ops[0])]
        changed = ast.Compare(node.left, [new(), *node.ops[1:]], node.comparators)
        yield f"{type(node.ops[0]).__name__} -> {new.__name__}", node, f"({ast.unparse(changed)})"
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield f"{node.value} -> {node.value + 1}", node, repr(node.value + 1)
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield f"{node.value} -> {not node.value}", node, repr(not node.value)
    elif isinstance(node, ast.If | ast.IfExp) and node.test.end_lineno == node.test.lineno:
        yield "condition negated", node.test, f"(not ({ast.unparse(node.test)}))"
    elif isinstance(node, ast.Return) and node.value is not None:
        yield "returns None", node.value, "None"


def remembered(copy: Path, kept: Path | None) -> dict[str, dict[int, list[str]]]:
    """``reached``, out of the file where that was made of this very tree."""
    parts = sorted(p for folder in ("bncheck", "tests") for p in (copy / folder).rglob("*.py"))
    tree = hashlib.sha256(b"".join(p.read_bytes() for p in parts)).hexdigest()
    if kept and kept.exists():
        found = json.loads(kept.read_text("utf-8"))
        if found["tree"] == tree:
            files = found["files"].items()
            return {f: {int(n): names for n, names in lines.items()} for f, lines in files}
    made = reached(copy)
    if kept:
        kept.write_text(json.dumps({"tree": tree, "files": made}), "utf-8")
    return made


def reached(copy: Path) -> dict[str, dict[int, list[str]]]:
    """File: line: the tests that reach it in their own process, the quickest first."""
    from coverage import CoverageData

    times = copy / "times.json"
    run = [
        sys.executable, "-m", "pytest", "-q", "--cov=bncheck", "--cov-context=test",
        "--cov-report=", "--junitxml=times.xml",
    ]  # fmt: skip
    done = subprocess.run(run, cwd=copy, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"the tests have to pass first:\n{done.stdout[-2000:]}")
    seconds = durations(copy / "times.xml")
    times.write_text(json.dumps(seconds))
    data = CoverageData(str(copy / ".coverage"))
    data.read()
    found: dict[str, dict[int, list[str]]] = {}
    for path in data.measured_files():
        by_line = {}
        for line, contexts in data.contexts_by_lineno(path).items():
            names = {c.rpartition("|")[0] for c in contexts if c}
            by_line[line] = sorted(names, key=lambda n: seconds.get(n, 1.0))
        found[str(Path(path).relative_to(copy))] = by_line
    return found


def durations(report: Path) -> dict[str, float]:
    """Seconds of each test, by its name for pytest."""
    from xml.etree import ElementTree

    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        place = case.get("classname", "").replace(".", "/")
        found[f"{place}.py::{case.get('name')}"] = float(case.get("time", 0))
    return found


def tests_of(mutant: Mutant, map_: dict[str, dict[int, list[str]]]) -> list[str]:
    """The tests that reach it, by coverage and by its room."""
    near = map_.get(mutant.file, {}).get(mutant.line, [])[:NEAREST]
    room = Path(mutant.file).parts[1] if len(Path(mutant.file).parts) > 2 else ""
    files = [f"tests/{name}.py" for name in ROOMS.get(room, ()) if not near or room == "subject"]
    return [*near, *(f for f in files if (ROOT / f).exists())]


def lives(mutant: Mutant, copy: Path, tests: list[str]) -> bool:
    """Whether all its tests still pass."""
    path = copy / mutant.file
    source = path.read_text("utf-8")
    path.write_text(mutant.text(source), "utf-8")
    run = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider", *tests]
    child = subprocess.Popen(
        run, cwd=copy, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        return child.wait(LIMIT) == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        os.killpg(child.pid, signal.SIGKILL) if child.poll() is None else None
        path.write_text(source, "utf-8")


def main(how_many: int, seed: int, only: str, kept: Path | None) -> None:
    """Draw, run, and list those that live."""
    files = sorted(str(p.relative_to(ROOT)) for p in (ROOT / only).rglob("*.py"))
    every = [m for f in files for m in mutants(f, (ROOT / f).read_text("utf-8"))]
    chosen = random.Random(seed).sample(every, min(how_many, len(every)))
    with tempfile.TemporaryDirectory() as folder:
        copies: Queue[Path] = Queue()
        for number in range(os.cpu_count() or 1):
            copy = Path(folder) / f"copy{number}"
            shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", "__pycache__"))
            copies.put(copy)
        first = copies.get()
        map_ = remembered(first, kept)
        copies.put(first)
        start, living = time.monotonic(), []

        def tried(mutant: Mutant) -> tuple[Mutant, bool, int]:
            copy, tests = copies.get(), tests_of(mutant, map_)
            try:
                return mutant, not tests or lives(mutant, copy, tests), len(tests)
            finally:
                copies.put(copy)

        with ThreadPoolExecutor(copies.qsize()) as pool:
            for count, (mutant, alive, tests) in enumerate(pool.map(tried, chosen), 1):
                if alive:
                    living.append(mutant)
                    print(f"lives ({tests} tests)  {mutant.file}:{mutant.line}  {mutant.what}")
                    print(f"    - {mutant.old.strip()}\n    + {mutant.new.strip()}", flush=True)
                if count % 25 == 0:
                    done = f"{count - len(living)} of {count} noticed"
                    print(f"{done}, {time.monotonic() - start:.0f} s", flush=True)
    print(f"{len(chosen) - len(living)} of {len(chosen)} noticed, of {len(every)} that there are")


if __name__ == "__main__":
    words = [w for w in sys.argv[1:] if not w.startswith("--")]
    said = dict(w[2:].split("=", 1) for w in sys.argv[1:] if w.startswith("--"))
    main(
        int(words[0]) if words else 300,
        int(words[1]) if len(words) > 1 else 0,
        said.get("only", "bncheck"),
        Path(said["map"]) if "map" in said else None,
    )
