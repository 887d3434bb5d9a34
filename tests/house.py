"""The house in figures: rooms, floors, long functions, tolerances, decisions on prose.

    python tests/house.py [ROOT ...]

prints a table for each checkout, this one by default; two of them stand beside each other.
``test_architecture`` holds the figures against their limits.

*floors in a room*: the longest chain of imports among the modules of one folder. *floors in all*:
the longest chain in the package. Imports inside functions count.
"""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SMALL = 120
"""Lines from which a module with one user may stand by itself."""
LONG, COMPLEX = 45, 15
PROSE = ("text", "assumed", "reading", "line_text", "description", "method", "message", "notes")
"""Attributes that hold sentences of ours."""
READERS = ("startswith", "endswith", "partition", "rpartition", "split", "removeprefix", "find")


@dataclass(frozen=True)
class House:
    """The modules of a package by their paths, as they are read by ``ast``."""

    root: Path

    @cached_property
    def files(self) -> dict[str, Path]:
        """Module: path; a package by the name of its folder."""
        base = self.root / "bncheck"
        named = {}
        for path in sorted(base.rglob("*.py")):
            parts = path.relative_to(self.root).with_suffix("").parts
            named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
        return named

    @cached_property
    def trees(self) -> dict[str, ast.Module]:
        """The syntax tree of each module."""
        return {name: ast.parse(path.read_text("utf-8")) for name, path in self.files.items()}

    @cached_property
    def lines(self) -> dict[str, int]:
        """The number of lines of each module."""
        return {name: len(p.read_text("utf-8").splitlines()) for name, p in self.files.items()}

    @cached_property
    def uses(self) -> dict[str, set[str]]:
        """The modules of the package that each imports."""
        return {name: set(self._imported(name)) - {name} for name in self.trees}

    def _imported(self, name: str) -> Iterator[str]:
        for node in ast.walk(self.trees[name]):
            if isinstance(node, ast.Import):
                yield from (a.name for a in node.names if a.name in self.files)
            elif isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    if inner in self.files or node.module in self.files:
                        yield inner if inner in self.files else node.module

    def folder(self, name: str) -> str:
        """The folder of a module."""
        return str(self.files[name].parent.relative_to(self.root))

    @cached_property
    def rooms(self) -> dict[str, list[str]]:
        """Folder: its modules, but for ``__init__``."""
        found: dict[str, list[str]] = defaultdict(list)
        for name, path in self.files.items():
            if path.name != "__init__.py":
                found[self.folder(name)].append(name)
        return dict(found)

    def floors(self, names: set[str]) -> int:
        """The longest chain of imports among some modules."""
        known: dict[str, int] = {}

        def height(name: str, path: tuple[str, ...] = ()) -> int:
            if name in path:
                return 0
            if name not in known:
                below = (height(n, (*path, name)) for n in self.uses[name] & names)
                known[name] = 1 + max(below, default=0)
            return known[name]

        return max(map(height, names), default=0)

    @cached_property
    def single(self) -> list[str]:
        """Small modules with one single user."""
        users: dict[str, set[str]] = defaultdict(set)
        for name, used in self.uses.items():
            for other in used:
                users[other].add(name)
        return [
            n for n, p in self.files.items()
            if len(users[n]) == 1 and self.lines[n] < SMALL and p.name != "__init__.py"
        ]  # fmt: skip

    @cached_property
    def functions(self) -> list[tuple[str, str, int, int]]:
        """Module, function, lines and complexity of each."""
        return [
            (name, node.name, (node.end_lineno or 0) - node.lineno + 1, complexity(node))
            for name, tree in self.trees.items()
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]

    @cached_property
    def namesakes(self) -> list[str]:
        """Modules that bear the name of a function or class in them."""
        return [
            name for name, tree in self.trees.items()
            if any(getattr(node, "name", None) == name.rpartition(".")[2] for node in tree.body)
        ]  # fmt: skip

    @cached_property
    def types(self) -> dict[str, list[str]]:
        """Public class: the modules that define it, where they are several."""
        homes: dict[str, list[str]] = defaultdict(list)
        for name, tree in self.trees.items():
            for node in tree.body:
                if isinstance(node, ast.ClassDef) and node.name[0] != "_":
                    homes[node.name].append(name)
        return {kind: several for kind, several in homes.items() if len(several) > 1}

    @cached_property
    def tolerances(self) -> list[tuple[str, int]]:
        """Places outside ``agreement`` that compare with a tolerance of their own."""
        return [
            (name, line) for name, tree in self.trees.items()
            if not name.endswith(".agreement") for line in tolerances(tree)
        ]  # fmt: skip

    @cached_property
    def prose(self) -> list[tuple[str, int]]:
        """Places that decide on a sentence of ours."""
        return [(name, line) for name, tree in self.trees.items() for line in on_prose(tree)]


def complexity(function: ast.AST) -> int:
    """One more than the branches of a function (McCabe 1976), those of inner functions too."""
    branches = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.match_case)
    return 1 + sum(isinstance(node, branches) for node in ast.walk(function))


def tolerances(tree: ast.Module) -> list[int]:
    """Lines that call ``allclose`` or ``isclose``, or compare with a number below 1/100."""
    small = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign) and is_small(node.value)
        for target in ast.walk(node.targets[0])
        if isinstance(target, ast.Name)
    }
    found = []
    for node in ast.walk(tree):
        sides = (node.left, *node.comparators) if isinstance(node, ast.Compare) else ()
        parts = [part for side in sides for part in ast.walk(side)]
        named = any(isinstance(part, ast.Name) and part.id in small for part in parts)
        if (
            named
            or any(map(is_small, parts))
            or (isinstance(node, ast.Call) and called(node) in ("allclose", "isclose"))
        ):
            found.append(node.lineno)
    return found


def is_small(node: ast.AST) -> bool:
    """A number between 0 and 1/100, or a tuple with one."""
    if isinstance(node, ast.Tuple):
        return any(map(is_small, node.elts))
    return isinstance(node, ast.Constant) and type(node.value) is float and 0 < node.value < 0.01


def called(call: ast.Call) -> str:
    """The last name of what is called."""
    what = call.func
    return what.attr if isinstance(what, ast.Attribute) else getattr(what, "id", "")


def on_prose(tree: ast.Module) -> list[int]:
    """Lines that search or split a sentence of ours, or compare it or a trial's name with text."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            receiver = node.func.value if isinstance(node.func, ast.Attribute) else None
            of_ours = receiver is not None and is_prose(receiver) and called(node) in READERS
            searched = (
                isinstance(receiver, ast.Name) and receiver.id == "re"
                and any(is_prose(argument) for argument in node.args[1:])
            )  # fmt: skip
            if of_ours or searched:
                found.append(node.lineno)
        elif isinstance(node, ast.Compare):
            sides = (node.left, *node.comparators)
            written = any(isinstance(side, ast.Constant | ast.JoinedStr) for side in sides)
            listed = isinstance(node.ops[0], ast.In | ast.NotIn) and is_name(node.left)
            if any(map(is_prose, sides)) and (written or listed):
                found.append(node.lineno)
    return found


def is_prose(node: ast.AST) -> bool:
    """``remark.text``, ``term.reading``; or what ``is_name`` says."""
    return (isinstance(node, ast.Attribute) and node.attr in PROSE) or is_name(node)


def is_name(node: ast.AST) -> bool:
    """What a trial is called: ``comparison.trial``, ``trial.name``, ``t.name``."""
    if not isinstance(node, ast.Attribute):
        return False
    owner = node.value.id if isinstance(node.value, ast.Name) else ""
    return node.attr == "trial" or (node.attr == "name" and owner in ("trial", "t"))


def figures(house: House) -> dict[str, str]:
    """What the table shows, by its rows."""
    inside = {room: house.floors(set(names)) for room, names in house.rooms.items()}
    most = max(house.rooms, key=lambda room: len(house.rooms[room]))
    highest = max(inside, key=lambda room: inside[room])
    long = [f for f in house.functions if f[2] > LONG]
    branchy = [f for f in house.functions if f[3] > COMPLEX]
    return {
        "files, lines": f"{len(house.files)}, {sum(house.lines.values())}",
        "largest file": str(max(house.lines.values())),
        "most modules in a folder": f"{len(house.rooms[most])} {most}",
        "floors in a room": f"{inside[highest]} {highest}",
        "floors in all": str(house.floors(set(house.files))),
        "small modules with one user": str(len(house.single)),
        f"functions over {LONG} lines": str(len(long)),
        f"functions over complexity {COMPLEX}": str(len(branchy)),
        "modules named like a function or class": str(len(house.namesakes)),
        "public types with two meanings": str(len(house.types)),
        "second_* files": str(sum(".second_" in name for name in house.files)),
        "tolerances outside agreement": str(len(house.tolerances)),
        "decisions on prose": str(len(house.prose)),
    }


def main(roots: list[Path]) -> None:
    """Print the figures of each checkout, a column each, then the rooms of each."""
    houses = [House(root) for root in roots]
    columns = [figures(house) for house in houses]
    for row in columns[0]:
        print(f"{row:40s}" + "".join(f"{column[row]:28s}" for column in columns))
    for house in houses:
        print()
        for room, names in sorted(house.rooms.items()):
            lines = sum(house.lines[name] for name in names)
            print(f"{room:30s} {len(names):3d} modules {lines:6d} lines")


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]] or [ROOT])
