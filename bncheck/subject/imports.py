"""Imports of the user's own files, where these import in turn what is not installed.

A helper beside the file that also plots is no reason not to check it: what is missing there
becomes a module whose contents fail only when they are used.
"""

import ast
import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MOST = 12
"""How many modules that are not installed one import may need."""


def carried_out(
    single: ast.stmt, namespace: dict[str, Any], stand_in: Callable[[str], Any]
) -> None:
    """Run one import statement; ``stand_in``: what replaces a name of a missing module.

    Raises what the import raises where the very thing asked for is missing, and not something
    that it imports itself.
    """
    asked = _top(single)
    code = compile(ast.Module([single], []), "<import>", "exec")
    absent = _Absent(stand_in)
    for _ in range(MOST):
        before = set(sys.modules)
        try:
            with _finder(absent):
                exec(code, namespace)
        except ModuleNotFoundError as error:
            name = (error.name or "").partition(".")[0]
            if name == "cupy" and "cupy" not in sys.modules:
                sys.modules["cupy"] = _cupy()
                continue
            if not name or name in (asked, *absent.names):
                raise
            absent.names.append(name)
            for other in set(sys.modules) - before:
                del sys.modules[other]  # what was loaded in part is loaded again
            continue
        return
    raise ImportError(f"{asked} needs more than {MOST} modules that are not installed")


def _cupy() -> types.ModuleType:
    """NumPy under the name of its twin for graphics processors."""
    import numpy as np

    twin = types.ModuleType("cupy")
    vars(twin).update(vars(np))
    vars(twin).update(__name__="cupy", asnumpy=np.asarray)
    return twin


def in_package(single: ast.ImportFrom, level: int, path: Path) -> ast.ImportFrom | None:
    """A relative import of a file in a package as an absolute one; None where there is none.

    The folder that holds the outermost package is put on the path for it.
    """
    here = path.resolve().parents
    if len(here) <= level or not (here[level - 1] / "__init__.py").exists():
        return None
    package, root = [here[level - 1].name], here[level]
    while (root / "__init__.py").exists() and root.parent != root:
        package, root = [root.name, *package], root.parent
    if not all(part.isidentifier() for part in package):
        return None
    if str(root) not in sys.path:
        sys.path.append(str(root))
    name = ".".join([*package, *filter(None, [single.module])])
    return ast.copy_location(ast.ImportFrom(name, single.names, 0), single)


def beside(single: ast.stmt, path: Path) -> ast.stmt | None:
    """``from package.file import name`` as ``from file import name``, if that file lies here."""
    if not isinstance(single, ast.ImportFrom) or not single.module:
        return None
    here, (alias,) = path.resolve().parent, single.names
    inner = single.module.rpartition(".")[2]
    if (here / f"{inner}.py").exists() and inner != single.module:
        return ast.copy_location(ast.ImportFrom(inner, [alias], 0), single)
    if (here / f"{alias.name}.py").exists():
        return ast.copy_location(ast.Import([alias]), single)
    return None


def _top(single: ast.stmt) -> str:
    name = single.names[0].name if isinstance(single, ast.Import) else ""
    name = (single.module or "") if isinstance(single, ast.ImportFrom) else name
    return name.partition(".")[0]


class _Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules of these names, and whatever is in them."""

    def __init__(self, stand_in: Callable[[str], Any]) -> None:
        self.names: list[str] = []
        self.stand_in = stand_in

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.partition(".")[0] not in self.names:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _Empty(spec.name, self.stand_in)

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing to run."""


class _Empty(types.ModuleType):
    """A module that is not there; all that is asked of it is a stand-in."""

    def __init__(self, name: str, stand_in: Callable[[str], Any]) -> None:
        super().__init__(name)
        self.__dict__["_stand_in"] = stand_in

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._stand_in(f"{self.__name__}.{name}")


@contextmanager
def _finder(absent: _Absent) -> Any:
    sys.meta_path.append(absent)
    try:
        yield
    finally:
        sys.meta_path.remove(absent)
