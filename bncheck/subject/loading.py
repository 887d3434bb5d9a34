"""Load the user's code: imports, definitions and constants; nothing else of the file is run.

A file is read, never imported: what it computes, plots or downloads at top level stays undone.
A missing import becomes a stand-in that fails only when it is used, naming itself.
"""

import ast
import importlib
import importlib.util
import io
import json
import linecache
import re
import sys
import tokenize
import types
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bncheck.subject.imports import beside, carried_out, in_package
from bncheck.subject.messages import Target
from bncheck.telling.codes import Finding, found
from bncheck.telling.errors import CannotAsk

MAKERS = frozenset({
    "namedtuple", "NamedTuple", "TypeVar", "NewType", "partial", "getLogger", "finfo", "device",
    "float", "int", "bool", "str", "complex", "tuple", "list", "dict", "set", "frozenset", "range",
    "len", "abs", "min", "max", "sum", "round", "sqrt", "exp", "log", "pow", "array", "asarray",
    "zeros", "ones", "full", "arange", "eye", "float16", "float32", "float64", "dtype", "tensor",
    "is_available", "default_rng", "RandomState", "Decimal", "Fraction",
})  # fmt: skip
"""What a constant may call: it makes a value, and reads and writes nothing."""


LONGEST = 400
"""Characters of an exception's message that are shown."""

LARGEST = 5_000_000
"""Bytes of source that are read; hand-written code is far below."""


REMOVED = {
    "float": float, "int": int, "bool": bool, "object": object, "complex": complex, "str": str,
    "float_": "float64", "complex_": "complex128", "NaN": "nan", "NAN": "nan", "Inf": "inf",
    "infty": "inf", "product": "prod", "cumproduct": "cumprod", "alltrue": "all",
    "sometrue": "any", "in1d": "isin", "row_stack": "vstack", "trapz": "trapezoid",
}  # fmt: skip
"""Names that NumPy 2 removed, and what they meant."""


@dataclass(frozen=True)
class Source:
    """What was loaded: the namespace, what is worth saying about how it was loaded, its file."""

    namespace: dict[str, Any]
    notes: tuple[Finding, ...]
    file: str


class Missing:
    """Stands in for what could not be imported; it fails when it is used, not before."""

    def __init__(self, name: str, why: str) -> None:
        self._name, self._why = name, why

    def __getattr__(self, attribute: str) -> "Missing":
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        return Missing(f"{self._name}.{attribute}", self._why)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Fail, naming itself; as a decorator, leave what it decorates as it is."""
        if len(args) == 1 and not kwargs and isinstance(args[0], (types.FunctionType, type)):
            return args[0]
        raise ImportError(f"{self._name} is needed here, but it could not be imported: {self._why}")

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[Any, ...]:
        return ()


def load(target: Target, ordinary: bool = False) -> Source:
    """The definitions of a file or module; raises ``CannotAsk`` where it cannot be loaded.

    ``ordinary``: import a file as Python would, all of it.
    """
    if not target.is_file:
        sys.path.insert(0, str(Path.cwd()))
        module = _module(target.place)
        return Source(vars(module), (), _near(getattr(module, "__file__", None) or ""))
    path = Path(target.place)
    text = text_of(path)
    if path.suffix == ".ipynb":
        text = code_of(text, path)
        lines = text.splitlines(keepends=True)
        linecache.cache[str(path)] = (len(text), None, lines, str(path))
    elif ordinary:
        _parsed(text, path)
        return _imported(path)
    tree = _parsed(text, path)
    notes = supply(text)
    here = path.resolve()
    sys.path.insert(0, str(here.parent))
    sys.path += [str(folder) for folder in here.parents[1:5]]  # for imports of its own package
    module = types.ModuleType(f"_checked_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    for node in tree.body:
        notes += _run(node, module, path)
    _prepare(tree, path)
    return Source(vars(module), (*notes, *_defined_twice(tree)), str(path))


def _prepare(tree: ast.Module, path: Path) -> None:
    """Import now what functions import when they are called; whether it is there they will say."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            for node in function.body:
                if isinstance(node, ast.Import | ast.ImportFrom):
                    _import(node, types.ModuleType("_unused"), path)


def _imported(path: Path) -> Source:
    sys.path.insert(0, str(path.resolve().parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise CannotAsk(f"{path} cannot be imported: {described(error)}") from None
    return Source(vars(module), (), str(path))


def _near(file: str) -> str:
    """The file as a path from here, where it lies below."""
    here = Path.cwd()
    return str(Path(file).relative_to(here)) if here in Path(file).parents else file


def _module(name: str) -> types.ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise CannotAsk(f"module {name} cannot be imported: {described(error)}") from None


def _parsed(text: str, path: Path) -> ast.Module:
    try:
        return ast.parse(text, str(path))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        where = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        if "print" in reason:
            reason += " (is it Python 2?)"
        raise CannotAsk(f"{path}{where} does not parse: {reason}") from None


def _run(node: ast.stmt, module: types.ModuleType, path: Path) -> tuple[Finding, ...]:
    """Run one top-level statement if it only imports, defines or names a constant."""
    if not _is_run(node):
        return _bound_again(node, module)
    if isinstance(node, ast.Import | ast.ImportFrom):
        return _import(node, module, path)
    if isinstance(node, ast.If):
        return _chosen(node, module, path)
    if isinstance(node, ast.Try):
        return _attempted(node, module, path)
    try:
        code = compile(ast.Module([node], []), str(path), "exec", dont_inherit=True)
        exec(code, vars(module))
    except Exception as error:
        if bare := _without_missing(node, module):
            return _run(bare, module, path)
        name = getattr(node, "name", "a constant")
        said = found("undefined", line=node.lineno, name=name, error=described(error))
        return (said, *_bound_again(node, module))
    return ()


def _is_run(node: ast.stmt) -> bool:
    """Whether a statement only imports, defines, binds, or chooses among statements that do."""
    kinds = ast.Import | ast.ImportFrom | ast.Try | ast.FunctionDef | ast.ClassDef
    if isinstance(node, ast.If):
        return not any(
            isinstance(part, ast.Await | ast.Yield | ast.NamedExpr)
            or (isinstance(part, ast.Call) and _called(part) not in MAKERS)
            for part in ast.walk(node.test)
        )
    return isinstance(node, kinds) or _is_constant(node) or _wraps(node)


def _wraps(node: ast.stmt) -> bool:
    """Whether it does what a decorator does: ``backward = twice(backward)``."""
    if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)):
        return False
    given = {part.id for part in node.value.args if isinstance(part, ast.Name)}
    return all(isinstance(target, ast.Name) and target.id in given for target in node.targets)


def _chosen(node: ast.If, module: types.ModuleType, path: Path) -> tuple[Finding, ...]:
    """The branch that Python would take; where that cannot be told, what it may have bound."""
    try:
        test = compile(ast.Expression(node.test), str(path), "eval", dont_inherit=True)
        branch = node.body if eval(test, vars(module)) else node.orelse
    except Exception:
        return _bound_again(node, module)
    return tuple(note for inner in branch for note in _run(inner, module, path))


def _attempted(node: ast.Try, module: types.ModuleType, path: Path) -> tuple[Finding, ...]:
    """The body; where an import in it fails, also what is done then."""
    notes = [note for inner in node.body for note in _run(inner, module, path)]
    if any(note.code == "missing-import" for note in notes):
        then = next(iter(node.handlers), ast.ExceptHandler(None, None, [])).body
    else:
        then = node.orelse
    for inner in (*then, *node.finalbody):
        notes += _run(inner, module, path)
    return tuple(notes)


def _bound_again(node: ast.stmt, module: types.ModuleType) -> tuple[Finding, ...]:
    """The definitions that a statement which is not run binds again."""
    return tuple(
        found("bound-again", name=name, line=node.lineno)
        for name in dict.fromkeys(_binds(node))
        if isinstance(vars(module).get(name), types.FunctionType | type)
    )


def _binds(node: ast.AST) -> Iterator[str]:
    """The names of the module that a statement may bind; not those inside its functions."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
        return
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    if isinstance(node, ast.alias):
        yield (node.asname or node.name).partition(".")[0]
    if not isinstance(node, ast.Lambda | ast.comprehension):
        for part in ast.iter_child_nodes(node):
            yield from _binds(part)


def _without_missing(node: ast.stmt, module: types.ModuleType) -> ast.stmt | None:
    """A definition without the decorators that could not be imported; None where there are none."""
    if not isinstance(node, ast.FunctionDef | ast.ClassDef):
        return None
    there = [
        d for d in node.decorator_list
        if not any(
            isinstance(part, ast.Name) and isinstance(vars(module).get(part.id), Missing)
            for part in ast.walk(d)
        )
    ]  # fmt: skip
    if len(there) == len(node.decorator_list):
        return None
    node.decorator_list = there
    return node


def _is_constant(node: ast.stmt) -> bool:
    if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
        return isinstance(node.value, ast.Lambda) or not any(
            isinstance(part, ast.Await | ast.Yield | ast.NamedExpr)
            or (isinstance(part, ast.Call) and _called(part) not in MAKERS)
            for part in ast.walk(node.value)
        )
    return False


def _called(call: ast.Call) -> str:
    """The last name of what is called: ``finfo`` of ``np.finfo``."""
    what = call.func
    return what.attr if isinstance(what, ast.Attribute) else getattr(what, "id", "")


def _import(
    node: ast.Import | ast.ImportFrom, module: types.ModuleType, path: Path
) -> tuple[Finding, ...]:
    notes: list[Finding] = []
    for alias in node.names:
        try:
            _carry_out(node, alias, module, path)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            name = (alias.asname or alias.name).split(".")[0]
            if name != "*":
                vars(module)[name] = Missing(_full_name(node, alias), described(error))
            notes.append(found("missing-import", line=node.lineno, name=_full_name(node, alias)))
    return tuple(notes)


def _carry_out(
    node: ast.Import | ast.ImportFrom, alias: ast.alias, module: types.ModuleType, path: Path
) -> None:
    """One import on its own; a relative one in its package, or else beside the file."""

    def stand_in(name: str) -> Missing:
        return Missing(name, f"ModuleNotFoundError: No module named {name.partition('.')[0]!r}")

    if isinstance(node, ast.ImportFrom) and node.level:
        own = ast.copy_location(ast.ImportFrom(node.module, [alias], 0), node)
        inside = in_package(own, node.level, path)
        if inside is not None:
            with suppress(Exception):
                return carried_out(inside, vars(module), stand_in)
    single = _single(node, alias)
    try:
        carried_out(single, vars(module), stand_in)
    except ModuleNotFoundError:
        alone = beside(single, path)
        if alone is None:
            raise
        carried_out(alone, vars(module), stand_in)


def _single(node: ast.Import | ast.ImportFrom, alias: ast.alias) -> ast.stmt:
    """The import as a statement; a relative one as if its folder were on the path."""
    if isinstance(node, ast.Import):
        return ast.copy_location(ast.Import([alias]), node)
    if node.level and not node.module:
        return ast.copy_location(ast.Import([alias]), node)
    return ast.copy_location(ast.ImportFrom(node.module, [alias], 0), node)


def _full_name(node: ast.Import | ast.ImportFrom, alias: ast.alias) -> str:
    return f"{node.module or '.'}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name


def _defined_twice(tree: ast.Module) -> tuple[Finding, ...]:
    seen: dict[str, int] = {}
    notes = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            if node.name in seen:
                first, last = seen[node.name], node.lineno
                notes.append(found("defined-twice", name=node.name, first=first, last=last))
            seen[node.name] = node.lineno
    return tuple(notes)


def text_of(path: Path) -> str:
    """Raises ``CannotAsk`` for what is no text, or too much of it."""
    if path.is_dir():
        raise CannotAsk(f"{path} is a directory; name a Python file in it")
    if not path.exists():
        raise CannotAsk(f"{path} does not exist; expected a Python file")
    if not path.is_file():
        raise CannotAsk(f"{path} is no regular file; expected a Python file")
    try:
        if path.stat().st_size > LARGEST:
            size = path.stat().st_size / 1e6
            raise CannotAsk(f"{path} has {size:.0f} MB; expected source code of at most 5 MB")
        data = path.read_bytes()
    except OSError as error:
        raise CannotAsk(f"{path} cannot be read: {error.strerror}") from None
    if b"\0" in data:
        raise CannotAsk(f"{path} is a binary file; expected Python source code")
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = data.decode(encoding)
    except (SyntaxError, UnicodeDecodeError, LookupError) as error:
        raise CannotAsk(f"{path} is not valid text: {error}; save it as UTF-8") from None
    if not text.strip():
        raise CannotAsk(f"{path} is empty; expected a backward pass to verify")
    return text


def code_of(text: str, path: Path) -> str:
    """The code cells of a notebook as one file; each error shows its line in that."""
    try:
        cells = json.loads(text)["cells"]
        parts = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError):
        raise CannotAsk(f"{path} is no notebook that bncheck can read: no cells") from None
    return "\n\n".join(part for part in map(_without_magic, parts) if part)


def _without_magic(cell: str) -> str:
    """A cell without shell and magic lines; one that still does not parse is left out."""
    lines = ("pass" if line.lstrip()[:1] in ("%", "!", "?") and not line[:1].isspace()
             else line for line in cell.splitlines())  # fmt: skip
    code = "\n".join(lines)
    try:
        ast.parse(code)
    except SyntaxError:
        return ""
    return code


def supply(text: str) -> tuple[Finding, ...]:
    """Put back those that the text uses; what was put back."""
    notes = []
    for name, meaning in REMOVED.items():
        if name not in vars(np) and re.search(rf"\b(np|numpy)\.{name}\b", text):
            setattr(np, name, getattr(np, meaning) if isinstance(meaning, str) else meaning)
            notes.append(found("numpy-2", name=name))
    return tuple(notes)


def described(error: BaseException) -> str:
    """An exception of the user's in one line that can be printed, however it is made."""
    kind = type(error).__name__
    try:
        text = " ".join(str(error).split()).encode(errors="backslashreplace").decode()
    except BaseException as another:
        text = f"its message cannot be shown: {type(another).__name__}"
    text = text if len(text) <= LONGEST else text[:LONGEST] + " ..."
    return f"{kind}: {text}" if text else kind
