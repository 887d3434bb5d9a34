"""What a value should be, going by the name that the user gave it: ``dvar``, ``ivar``, ``N``."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bncheck.place.values import Known, Library
from bncheck.subject.messages import Assigned
from bncheck.subject.names import gradient, role

_GRADIENT = re.compile(
    r"^(?:d_?l_?d_?|grad_?|delta_?|[dg]_?)(?P<a>.+)$|^(?P<b>.+?)_?(?:grad|gradient)\d*$",
    re.IGNORECASE,
)
SHORT = {"v": "var", "m": "mean", "s": "sd", "x": "x"}
"""What ``dv``, ``dm``, ``ds`` are the gradients of, where nothing else is called so."""

_STRICT = ("mean", "var", "sd", "rstd", "xhat", "centred", "eps")


@dataclass(frozen=True)
class Expected:
    """``name``: ``dvar`` or ``var``, as the program has it; ``values``: any of these is right.

    ``others``: what else may belong there where it is not.
    """

    name: str
    values: tuple[Known, ...]
    others: tuple[Known, ...] = ()

    @property
    def tried(self) -> tuple[Known, ...]:
        """What is put in its place, the likeliest first."""
        return (*self.values, *self.others)


def expected(
    library: Library, made: Assigned, names: Mapping[str, str], again: bool
) -> Expected | None:
    """What the name asks for, if it says anything; ``names``: the user's, of the forward pass.

    ``again``: a later line adds to it, so that a part is right, too.
    """
    name = re.sub(r"\W+$", "", re.split(r"\.|\[['\"]", made.name)[-1])
    if made.returned:
        return None
    if made.values[0].size == 1 and len(made.values) == 1:
        return _number(library, made, name)
    known = gradient(name)
    if known in library.wholes:
        return _gradient(library, known, again, numbered=False)
    node = library.roles.get(role(name) or "") if len(name) > 1 else None
    if node and role(name) in _STRICT and node in library.nodes:
        return Expected(node, (library.nodes[node],))
    found = _GRADIENT.match(name)
    inner = (found["a"] or found["b"]) if found else ""
    for stem in dict.fromkeys((inner, inner.rstrip("0123456789_"))):
        node = _node(library, stem, names)
        if node and "d" + node in library.wholes:
            return _gradient(library, "d" + node, again, numbered=stem != inner)
    return None


def _node(library: Library, stem: str, names: Mapping[str, str]) -> str | None:
    """A value of the forward pass, by what the user calls it there, or by a usual name."""
    if stem.lower() in names:
        return names[stem.lower()]
    if stem in SHORT:
        return library.roles.get(SHORT[stem])
    return library.roles.get(role(stem) or "") if len(stem) > 1 else None


def _gradient(library: Library, name: str, again: bool, numbered: bool) -> Expected:
    parts = library.parts.get(name, ()) if again or numbered else ()
    sums = library.sums.get(name, ()) if again else ()
    return Expected(name, (library.wholes[name], *parts, *sums))


def _number(library: Library, made: Assigned, name: str) -> Expected | None:
    """A count or eps: right by its name, or any other count may belong there."""
    value = float(made.values.flat[0])
    if role(name) == "eps" and "eps" in library.nodes:
        return Expected("eps", (library.nodes["eps"],))
    if not value.is_integer() or "," in made.text.partition("=")[0]:
        return None
    counts = _counts(library)
    if role(name) == "width" and value == library.width and value != counts[0]:
        return None
    first, *others = (Known("count", np.asarray(float(c))) for c in counts)
    return Expected("count", (first,), tuple(others))


def _counts(library: Library) -> list[int]:
    """Products of sizes; the number of values that are normalised together comes first."""
    counts = [1]
    for n in library.counts.values():
        counts += [c * n for c in counts]
    return list(dict.fromkeys((library.together, *counts[1:])))
