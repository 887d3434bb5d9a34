"""The oracle is the source itself: its imports, read by `ast`, against the floors of the design.

What the walk is told of, it must report: every rule has mutants here that break it.
"""

import ast
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import bncheck
from tests.house import COMPLEX, LONG, House

ROOT = Path(bncheck.__file__).parent
LONGEST, MODULES, HEIGHT = 450, 12, 9
"""Lines of a file, modules of a folder, floors of imports among the modules of a folder."""

# A room is a folder or a file right under bncheck. It imports itself and the floors below.
FLOORS = (
    ("telling",),
    ("algebra",),
    ("calculus",),
    ("theory",),
    ("writers",),
    ("subject",),
    ("numbers",),
    ("identity",),
    ("verdict", "cause", "place"),
    ("verification", "mutants"),
    ("api",),
    ("__init__", "cli"),
    ("__main__",),
)
LOW = {"bncheck.numbers.agreement"}  # NumPy alone: somebody's code is compared where it runs
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
EXACT = {"algebra", "calculus", "theory", "writers"}
NUMERIC = {
    "subject", "numbers", "identity", "verdict", "cause", "place", "verification", "mutants",
    "api", "cli",
}  # fmt: skip
LIBRARIES = {  # who may import it, be it inside a function
    "sympy": EXACT | NUMERIC - {"subject"},
    "numpy": NUMERIC,
    "mpmath": NUMERIC,  # comes with SymPy
    "rich": {"telling"},
    "typer": {"cli"},
}
HEAVY = {"sympy", "numpy", "mpmath"}  # --help waits for none of them


def named(path: Path) -> str:
    """`bncheck/algebra/__init__.py` is `bncheck.algebra`; `bncheck/__init__.py` is `bncheck`."""
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {named(path): path for path in sorted(ROOT.rglob("*.py"))}
PACKAGES = {name for name, path in PATHS.items() if path.name == "__init__.py"}
SOURCES = {name: path.read_text(encoding="utf-8") for name, path in PATHS.items()}


def room_of(module: str) -> str:
    """The folder or file under bncheck; the package itself is `__init__`."""
    return [*module.split("."), "__init__"][1]


def imported(module: str, node: ast.AST) -> Iterator[str]:
    """The modules that one statement or call imports, by their full names."""
    match node:
        case ast.Import(names=names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(module=source, names=names, level=level):
            parts = module.split(".")
            home = parts[: len(parts) - level + (module in PACKAGES)] if level else []
            base = ".".join([*home, *([source] if source else [])])
            for alias in names:
                below = f"{base}.{alias.name}"
                if below in PATHS:
                    yield below
                elif below != "bncheck.__version__":  # a string, on no floor
                    yield base
        case ast.Call(
            func=ast.Name(id="__import__" | "import_module") | ast.Attribute(attr="import_module"),
            args=[ast.Constant(value=str(name)), *_],
        ):
            yield name


def at_import(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run when the module is imported: all but the bodies of functions."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from at_import(child)


def violations(module: str, source: str) -> list[str]:
    """What `source`, were it the module of this name, imports against the rules."""
    tree = ast.parse(source)
    wanted = [name for node in ast.walk(tree) for name in imported(module, node)]
    early = [name for node in at_import(tree) for name in imported(module, node)]
    found = [complaint for name in wanted if (complaint := forbidden(module, name))]
    if room_of(module) != "cli":
        return found
    return found + [
        f"{module} imports {name} at its top; do it inside the function that needs it"
        for name in early
        if name.split(".")[0] in HEAVY
    ]


def forbidden(module: str, name: str) -> str | None:
    """Why `module` may not import `name`, or None."""
    top, room = name.split(".")[0], room_of(module)
    if room not in FLOOR:
        return f"{module} has no floor: give {room} one in FLOORS"
    if top == "bncheck":
        target = room_of(name)
        if target == room or name in LOW or FLOOR.get(target, len(FLOORS)) < FLOOR[room]:
            return None
        return f"{module} imports {name}, which is not on a floor below"
    if top in sys.stdlib_module_names or room in LIBRARIES.get(top, ()):
        return None
    return f"{module} imports {name}; {top} is for {sorted(LIBRARIES.get(top, ())) or 'nobody'}"


def reach(module: str) -> set[str]:
    """The modules of bncheck that `module` imports, and those that they import, and so on."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        one = waiting.pop()
        names = {n for node in ast.walk(ast.parse(SOURCES[one])) for n in imported(one, node)}
        new = (names & PATHS.keys()) - seen
        seen |= new
        waiting += new
    return seen


def loaded(*command: str) -> set[str]:
    """The modules that a fresh interpreter has imported when `python command` is done."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *command],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT.parent,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stderr.splitlines()
    return {line.rsplit("|", 1)[1].strip() for line in lines if line.startswith("import time:")}


@pytest.mark.parametrize("module", SOURCES)
def test_imports_go_down(module):
    assert violations(module, SOURCES[module]) == []


def test_the_walk_sees_the_whole_tree():
    assert {
        "bncheck",
        "bncheck.telling.errors",
        "bncheck.cli",
        "bncheck.algebra.program",
    } <= PATHS.keys()
    assert {room_of(name) for name in PATHS} == set(FLOOR)


@pytest.mark.parametrize(
    ("module", "source", "blamed"),
    [
        ("bncheck.algebra.program", "import numpy as np", "numpy"),
        ("bncheck.algebra.program", "def f():\n    from numpy.linalg import solve", "numpy"),
        ("bncheck.writers.documents", "import_module('numpy')", "numpy"),
        ("bncheck.writers.documents", "importlib.import_module('numpy')", "numpy"),
        ("bncheck.algebra.layers", "if TYPE_CHECKING:\n    import numpy.typing", "numpy"),
        ("bncheck.verdict.judge", "from rich.table import Table", "rich"),
        ("bncheck.cli", "from rich import print", "rich"),
        ("bncheck.telling.terminal", "import typer", "typer"),
        ("bncheck.api", "def f():\n    import torch", "torch"),
        ("bncheck.telling.errors", "from sympy import Expr", "sympy"),
        ("bncheck.cli", "import os, sympy", "at its top"),
        ("bncheck.cli", "try:\n    import numpy\nexcept ImportError:\n    pass", "at its top"),
        (
            "bncheck.telling.errors",
            "from bncheck.algebra.program import Program",
            "algebra.program",
        ),
        ("bncheck.algebra.program", "from bncheck.calculus import chain", "calculus.chain"),
        ("bncheck.algebra.program", "from bncheck import verify", "imports bncheck,"),
        ("bncheck.algebra.program", "from ..calculus import chain", "calculus.chain"),
        ("bncheck.algebra", "from ..calculus.chain import backward", "calculus.chain"),
        ("bncheck.algebra.layers", "from ..calculus.chain import backward", "calculus.chain"),
        ("bncheck.algebra.layers", "from bncheck.calculus.chain import backward", "calculus.chain"),
        ("bncheck.writers.documents", "import bncheck.numbers.layout", "numbers.layout"),
        (
            "bncheck.telling.report",
            "from bncheck.verdict.judgement import judge",
            "verdict.judgement",
        ),
        ("bncheck.telling.terminal", "from bncheck.cli import app", "bncheck.cli"),
        ("bncheck.novelty", "import os", "no floor"),
    ],
)
def test_an_import_against_the_rules_is_reported(module, source, blamed):
    found = violations(module, source)
    assert len(found) == 1
    assert blamed in found[0]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("bncheck.algebra.program", "from bncheck.algebra.notation import size"),
        ("bncheck.algebra.program", "from . import notation"),
        ("bncheck.writers.numpy_source", "from bncheck import __version__"),
        ("bncheck.writers.numpy_source", "from sympy.printing.numpy import NumPyPrinter"),
        ("bncheck.verdict.judge", "import numpy as np\nfrom bncheck.writers import graph"),
        ("bncheck.cli", "import typer\ndef f():\n    import sympy"),
    ],
)
def test_an_import_by_the_rules_is_not(module, source):
    assert violations(module, source) == []


def test_the_unrolled_witness_does_not_know_what_it_bears_witness_to():
    suspects = {"bncheck.calculus.chain", "bncheck.calculus.closed"}
    assert suspects <= PATHS.keys()
    assert not reach("bncheck.calculus.unroll") & suspects
    assert suspects <= reach("bncheck.calculus.passes")  # reach does find what is there


@pytest.mark.parametrize(
    "command",
    [
        ("-c", "import bncheck"),
        ("-m", "bncheck", "--help"),
        ("-m", "bncheck", "--version"),
        ("-m", "bncheck", "verify", "--help"),
    ],
    ids=" ".join,
)
def test_asking_for_help_costs_nothing(command):
    names = loaded(*command)
    assert "bncheck" in names
    assert not names & HEAVY


def test_what_is_loaded_is_seen():
    assert loaded("-c", "import bncheck; bncheck.derive") >= {"bncheck.api", "sympy", "numpy"}


HOUSE = House(ROOT.parent)


def test_no_file_is_too_long_to_read_and_no_function():
    assert {n: k for n, k in HOUSE.lines.items() if k > LONGEST} == {}
    assert [f for f in HOUSE.functions if f[2] > LONG or f[3] > COMPLEX] == []


def test_no_folder_is_too_full_and_none_too_high():
    assert {room: len(names) for room, names in HOUSE.rooms.items() if len(names) > MODULES} == {}
    heights = {room: HOUSE.floors(set(names)) for room, names in HOUSE.rooms.items()}
    assert {room: n for room, n in heights.items() if n > HEIGHT} == {}


def test_a_name_means_one_thing_and_small_modules_have_several_users():
    assert HOUSE.single == []
    assert HOUSE.namesakes == []
    assert HOUSE.types == {}


def test_nothing_is_decided_by_a_sentence_or_by_a_tolerance_of_its_own():
    assert HOUSE.prose == []
    assert HOUSE.tolerances == []


def test_the_figures_of_a_house_can_be_bad(tmp_path):
    """Each rule on a small package that breaks it."""
    package = tmp_path / "bncheck"
    package.mkdir()
    (package / "__init__.py").write_text("")
    long = "\n".join(f"    a = {n}" for n in range(LONG + 1))
    branches = "\n".join(f"    if a == {n}:\n        pass" for n in range(COMPLEX + 1))
    (package / "fit.py").write_text(
        "from bncheck import small\n\nclass Fit:\n    pass\n\n"
        f"def fit(a):\n{long}\n\ndef often(a):\n{branches}\n"
    )
    (package / "small.py").write_text(
        "class Fit:\n    pass\n\nCLOSE = 1e-9\n\n"
        "def f(one, trial):\n"
        "    if one.text.startswith('dx') or trial.name == '7 by 3':\n        return 1\n"
        "    return abs(one) < CLOSE or np.allclose(one, 0) or one <= 1e-12\n"
    )
    house = House(tmp_path)
    assert house.single == ["bncheck.small"]
    assert house.namesakes == ["bncheck.fit"]
    assert set(house.types) == {"Fit"}
    assert {f[1] for f in house.functions if f[2] > LONG} == {"fit"}
    assert {f[1] for f in house.functions if f[3] > COMPLEX} == {"often"}
    assert len(house.prose) == 2
    assert len(house.tolerances) == 3
    assert house.floors(set(house.files)) == 2


def test_the_surface_is_what_all_says():
    starred: dict[str, object] = {}
    exec("from bncheck import *", starred)
    assert starred.keys() - {"__builtins__"} == set(bncheck.__all__)
    assert set(dir(bncheck)) == {*bncheck.__all__, "__version__"}
    ours = {k for k, v in vars(bncheck).items() if getattr(v, "__module__", "") == "bncheck"}
    assert {name for name in ours if not name.startswith("_")} <= set(bncheck.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = bncheck.nonsense


@pytest.mark.parametrize(("ci", "outcome"), [("true", 1), ("", 0)])
@pytest.mark.parametrize(
    "source",
    [
        "import pytest\n\ndef test_it():\n    pytest.skip('no pdflatex')",
        "import pytest\n\n@pytest.mark.skipif(True, reason='no torch')\ndef test_it(): pass",
        "import pytest\npytest.importorskip('no_torch')\n\ndef test_it(): pass",
    ],
    ids=["body", "mark", "module"],
)
def test_in_ci_a_skip_is_a_failure(tmp_path, source, ci, outcome):
    (tmp_path / "conftest.py").write_bytes((Path(__file__).parent / "conftest.py").read_bytes())
    ordinary = "\n\ndef test_other(): pass\n\n@pytest.mark.xfail\ndef test_xfail(): assert False\n"
    files = {"test_skips.py": source, "test_others.py": f"import pytest\n{ordinary}"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    command = [sys.executable, "-m", "pytest", "--rootdir=.", "--continue-on-collection-errors"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={**os.environ, "CI": ci},
    )
    assert min(done.returncode, 1) == outcome, done.stdout
    assert ("nothing may be skipped" in done.stdout) == bool(ci)
    assert "1 passed" in done.stdout
    assert "1 xfailed" in done.stdout


def test_no_module_hides_a_public_name():
    for module in PATHS:
        if module != "bncheck.__main__":
            importlib.import_module(module)
    assert not [n for n in bncheck.__all__ if isinstance(getattr(bncheck, n), ModuleType)]


def test_the_child_process_starts_without_sympy():
    asked = "import sys, bncheck.subject.questions; sys.exit('sympy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asked], timeout=60, check=False).returncode == 0
