"""The questions in order: what is this code, how is it called, which layer does it compute, is
its backward pass that layer's gradient, and if not, what is wrong with it?
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bncheck.algebra.program import Program
from bncheck.calculus.derivation import Derivation
from bncheck.checking import layout as layouts
from bncheck.checking.case import Case
from bncheck.checking.convention import Candidate
from bncheck.checking.given import own_trials
from bncheck.checking.identify import Asked, Identity, identify
from bncheck.checking.inference import inferred
from bncheck.checking.judge import judge
from bncheck.checking.names import layer_hint
from bncheck.checking.readings import by_gradients
from bncheck.checking.reference import derivation_of
from bncheck.checking.results import WORST_FIRST, Remark, Report
from bncheck.checking.subject import CallableSubject, FileSubject, Subject
from bncheck.checking.trials import Trial, drawn
from bncheck.errors import CannotAsk
from bncheck.layers import layer as layer_by_name
from bncheck.layers import options as options_of

Forward = Callable[..., Any]

SMALL_EPS = 1e-12
"""What code gets that refuses a larger eps."""


@dataclass(frozen=True)
class Options:
    """What a user may say about a verification, besides the target.

    ``timeout``: seconds for one call; ``seed``, ``trials``: of the random inputs, and how many
    of random sizes are added; ``names``: what parameters are (``{"G": "dy"}``); ``ordinary``:
    import a file as Python would; ``averaged``: accept parameter gradients divided by the batch
    size; ``lines``: name the line that is wrong; ``layout``, ``eps``, ``ddof``: what bncheck would
    otherwise find out.
    """

    timeout: float = 30.0
    seed: int = 0
    trials: int = 0
    names: Mapping[str, str] = field(default_factory=dict)
    ordinary: bool = False
    averaged: bool = False
    layout: str | None = None
    eps: float | None = None
    ddof: int | None = None
    lines: bool = True

    def __post_init__(self) -> None:
        """Raises ``CannotAsk`` for numbers that mean nothing."""
        for name, value, fits, expected in (
            ("timeout", self.timeout, self.timeout > 0, "a number of seconds above 0"),
            ("seed", self.seed, self.seed >= 0, "a whole number from 0 on"),
            ("trials", self.trials, self.trials >= 0, "a whole number from 0 on"),
            ("eps", self.eps, self.eps is None or 0 <= self.eps < np.inf, "a number from 0 on"),
            ("ddof", self.ddof, self.ddof in (None, 0, 1), "0 or 1"),
        ):
            if not fits:
                raise CannotAsk(f"{name} is {value}; expected {expected}")


def verify(
    target: str | Callable[..., Any],
    *,
    layer: str | Program | None = None,
    forward: Forward | None = None,
    inputs: Mapping[str, Any] | None = None,
    timeout: float = 30.0,
    **options: Any,
) -> Report:
    """Verify one backward pass; of several in a file, the report of the worst.

    ``target``: ``FILE.py``, ``FILE.ipynb``, ``FILE.py:name``, ``package.module:name``, or a
    callable ``backward(dy, x, gamma, beta, eps)`` in any order of recognised names, which is run
    in this process. ``layer``: which layer it is, where bncheck should not find out.
    ``forward``: the forward pass that belongs to a callable. ``inputs``: arrays by those names,
    tried besides the built-in trials. ``options``: see ``Options``. Raises ``CannotAsk`` where
    the target cannot be loaded; a call that fails is the verdict ``"cannot call"``.
    """
    reports = verify_all(
        target, layer=layer, forward=forward, inputs=inputs, timeout=timeout, **options
    )
    return min(reports, key=lambda r: WORST_FIRST.index(r.verdict))


def verify_all(
    target: str | Callable[..., Any],
    *,
    layer: str | Program | None = None,
    forward: Forward | None = None,
    inputs: Mapping[str, Any] | None = None,
    **options: Any,
) -> tuple[Report, ...]:
    """The report of every backward pass that the target holds, in the order of the file."""
    chosen = Options(**options)
    subject: Subject
    if isinstance(target, str):
        subject = FileSubject(target, chosen.timeout, chosen.names, chosen.ordinary)
        place = target
    else:
        subject = CallableSubject(target, forward)
        place = getattr(target, "__name__", type(target).__name__)
    try:
        asked = Asked(_program(layer), chosen.layout, chosen.ddof, chosen.eps)
        work = _Work(subject, asked, chosen, inputs or {}, place)
        found = subject.candidates()
        reports = (_noted(_verified(work, c), c, subject.notes) for c in found)
        return tuple(replace(r, printed=subject.printed) for r in reports)
    finally:
        subject.close()


def assert_gradients(
    backward: Callable[..., Any],
    forward: Forward | None = None,
    *,
    layer: str | Program | None = None,
    inputs: Mapping[str, Any] | None = None,
    strict: bool = False,
    **options: Any,
) -> Report:
    """For a test suite: raise ``AssertionError``, the report as its message, unless right.

    ``strict``: remarks fail as well. The arguments are those of ``verify``.
    """
    report = verify(backward, layer=layer, forward=forward, inputs=inputs, **options)
    if report.code(strict):
        raise AssertionError(str(report))
    return report


def references() -> tuple[Report, ...]:
    """The reports of the reference implementations that ship with bncheck."""
    return verify_all("bncheck.checking.references")


@dataclass(frozen=True)
class _Work:
    """One verification: the code, what the user said and gave, and where the code is."""

    subject: Subject
    asked: Asked
    options: Options
    given: Mapping[str, Any]
    place: str


def _verified(work: _Work, candidate: Candidate) -> Report:
    """The report; code that refuses a large eps is asked once more with a small one."""
    report = _asked(work, candidate)
    refused = report.verdict == "cannot call" and re.search(r"\beps", report.assumed, re.IGNORECASE)
    if refused and candidate.kind == "class" and work.asked.eps is None:
        small = _asked(replace(work, asked=replace(work.asked, eps=SMALL_EPS)), candidate)
        return report if small.verdict == "cannot call" else small
    if candidate.has_forward and work.asked.layout is None and work.asked.program is None:
        return _otherwise(work, candidate, report)
    return report


def _otherwise(work: _Work, candidate: Candidate, report: Report) -> Report:
    """The report in another layout, where the forward pass allows several and this one fails."""
    shapes = [d.text for d in report.diagnosis if d.code == "shape"]
    failed = re.search(r"raised (ValueError|IndexError|AxisError)[^(]*", report.assumed)
    if not shapes and not (failed and report.verdict == "cannot call"):
        return report
    try:
        identity, _ = _understood(work, candidate)
    except CannotAsk:
        return report
    for at in layouts.layouts(identity.program) if identity.known else ():
        if at.name == identity.layout.name:
            continue
        asked = replace(work.asked, program=identity.program, layout=at.name)
        other = _asked(replace(work, asked=asked), candidate)
        if other.layer and all(d.code != "shape" for d in other.diagnosis):
            why = shapes[0] if shapes else report.assumed
            said = Remark("other-layout", f"not over {identity.layout.name}: {why}")
            return replace(other, remarks=(*other.remarks, said))
    return report


def _asked(work: _Work, candidate: Candidate) -> Report:
    target = _place(work.place, candidate)
    options = work.options
    try:
        identity, found = _understood(work, candidate)
        eps = identity.eps
        made = drawn(found.forward, eps, options.seed, identity.layout, options.trials)
        own = list(own_trials(identity, work.given))
        every = [*(_at_most(trial, own) for trial in made), *own]
        report = judge(
            work.subject, candidate, found, identity, every,
            averaged=options.averaged, lines=options.lines,
        )  # fmt: skip
        running, more = inferred(Case(work.subject, candidate, found, identity))
    except CannotAsk as error:
        return Report(target, "cannot call", line=candidate.line, assumed=str(error))
    remarks = (*report.remarks, *more)
    return replace(report, target=target, line=candidate.line, running=running, remarks=remarks)


def _noted(report: Report, candidate: Candidate, notes: tuple[str, ...]) -> Report:
    """What loading ran into: remarks where it bears on this backward pass, else notes."""
    remarks = [Remark("numpy-2", note) for note in notes if note.startswith("np.")]
    twice = f"{candidate.name} is defined on lines"
    remarks += [Remark("defined-twice", note) for note in notes if note.startswith(twice)]
    said = {remark.text for remark in remarks}
    rest = tuple(note for note in notes if note not in said)
    return replace(report, remarks=(*report.remarks, *remarks), notes=rest)


def _understood(work: _Work, candidate: Candidate) -> tuple[Identity, Derivation]:
    """Which layer it is, and that layer's derivation; the differences are the witness here."""
    stem = Path(work.place.partition(":")[0]).stem
    hint = candidate.layer_hint or layer_hint(stem)
    if candidate.has_forward:
        identity = identify(work.subject, candidate, hint, work.asked)
        return identity, derivation_of(identity.program)
    asked = work.asked
    if asked.program is not None:
        at = layouts.named(asked.program, asked.layout) if asked.layout else None
        program = asked.program
        if asked.ddof is not None and "ddof" in options_of(program.name):
            program = layer_by_name(program.name, ddof=asked.ddof)
        eps = asked.eps if asked.eps is not None else None
        identity = Identity(program, at or layouts.usual(program), asked.ddof, eps, known=True)
        return identity, derivation_of(program)
    return by_gradients(work.subject, candidate, hint, asked)


def _program(asked: str | Program | None) -> Program | None:
    return layer_by_name(asked) if isinstance(asked, str) else asked


def _at_most(trial: Trial, own: list[Trial]) -> Trial:
    """With inputs of the user's in short arithmetic no more than float32 can be asked for."""
    short = any(one.dtype.itemsize <= 4 for one in own)
    return replace(trial, at_most=np.dtype(np.float32)) if short else trial


def _place(place: str, candidate: Candidate) -> str:
    return place if place.endswith(candidate.name) else f"{place}:{candidate.name}"
