"""A user's own layer: a ``Program`` in a Python file, imported as Python imports it."""

import importlib.util
from pathlib import Path

from bncheck.algebra.program import Program
from bncheck.subject.target import Target
from bncheck.telling.errors import BncheckError, CannotAsk


def program(target: str) -> Program:
    """The program called ``NAME`` in ``FILE.py:NAME``, or the only one in ``FILE.py``.

    Raises ``CannotAsk`` where the file does not import or holds no such program.
    """
    asked = Target.parse(target)
    path, name = Path(asked.place), asked.name
    if not path.is_file():
        raise CannotAsk(f"{path} does not exist; expected FILE.py:NAME with a Program in it")
    spec = importlib.util.spec_from_file_location(f"_own_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BncheckError as error:
        raise CannotAsk(f"{path}: {error}") from None
    except Exception as error:
        raise CannotAsk(f"{path} cannot be imported: {type(error).__name__}: {error}") from None
    own = {n: p for n, p in vars(module).items() if isinstance(p, Program)}
    if not name and len(own) == 1:
        return next(iter(own.values()))
    if name not in own:
        there = ", ".join(own) or "none"
        raise CannotAsk(f"{path} has no Program called {name or ''!r}; its programs are: {there}")
    return own[name]
