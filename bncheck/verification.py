"""The questions in order: what is this code, how is it called, which layer does it compute, is
its backward pass that layer's gradient, and if not, what is wrong with it?
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from bncheck.algebra.layers import layer as layer_by_name
from bncheck.algebra.program import Program
from bncheck.identity.by_outputs import Asked
from bncheck.identity.running import inferred
from bncheck.identity.understanding import understood
from bncheck.numbers import layout as layouts
from bncheck.numbers.inputs import own_trial
from bncheck.numbers.trials import drawn
from bncheck.second_verification import double_report
from bncheck.settings import Options, Work, at_most
from bncheck.subject.messages import Backward, Subject
from bncheck.subject.names import role
from bncheck.subject.questions import CallableSubject, FileSubject
from bncheck.subject.target import Target
from bncheck.telling.codes import Finding
from bncheck.telling.errors import CannotAsk
from bncheck.telling.report import WORST_FIRST, Remark, Report
from bncheck.verdict.bench import Case
from bncheck.verdict.judge import judge

Pass = Callable[..., Any]

SMALL_EPS = 1e-12
"""What code gets that refuses a larger eps."""


def verify(
    target: str | Callable[..., Any],
    *,
    layer: str | Program | None = None,
    forward: Pass | None = None,
    first: Pass | None = None,
    inputs: Mapping[str, Any] | None = None,
    timeout: float = 30.0,
    **options: Any,
) -> Report:
    """Verify one backward pass; of several in a file, the report of the worst.

    ``target``: ``FILE.py``, ``FILE.ipynb``, ``FILE.py:name``, ``package.module:name``, or a
    callable ``backward(dy, x, gamma, beta, eps)`` in any order of recognised names, which is run
    in this process. ``layer``: which layer it is, where bncheck should not find out.
    ``forward``: the forward pass that belongs to a callable; ``first``: the backward pass of
    which it is the double one. ``inputs``: arrays by those names,
    tried besides the built-in trials. ``options``: see ``Options``. Raises ``CannotAsk`` where
    the target cannot be loaded; a call that fails is the verdict ``"cannot call"``.
    """
    reports = verify_all(
        target, layer=layer, forward=forward, first=first, inputs=inputs, timeout=timeout,
        **options,
    )  # fmt: skip
    return min(reports, key=lambda r: WORST_FIRST.index(r.verdict))


def verify_all(
    target: str | FileSubject | Callable[..., Any],
    *,
    layer: str | Program | None = None,
    forward: Pass | None = None,
    first: Pass | None = None,
    inputs: Mapping[str, Any] | None = None,
    **options: Any,
) -> tuple[Report, ...]:
    """The report of every backward pass that the target holds, in the order of the file.

    A ``FileSubject`` is a file whose child process has been started already.
    """
    chosen = Options(**options)
    subject: Subject
    if isinstance(target, str):
        target = FileSubject(target, chosen.timeout, chosen.names, chosen.ordinary)
    if isinstance(target, FileSubject):
        subject, place = target, target.target
    else:
        subject = CallableSubject(target, forward, first)
        place = Target.of(target)
    try:
        asked = Asked(_program(layer), chosen.layout, chosen.ddof, chosen.eps)
        work = Work(subject, asked, chosen, inputs or {}, place)
        found = subject.candidates()
        reports = [
            replace(_noted(_verified(work, c), c, subject.notes), name=c.name, file=c.file)
            for c in found
        ]
        return tuple(replace(r, printed=subject.printed) for r in reports)
    finally:
        subject.close()


def assert_gradients(
    backward: Callable[..., Any],
    forward: Pass | None = None,
    *,
    first: Pass | None = None,
    layer: str | Program | None = None,
    inputs: Mapping[str, Any] | None = None,
    strict: bool = False,
    **options: Any,
) -> Report:
    """For a test suite: raise ``AssertionError``, the report as its message, unless right.

    ``strict``: remarks fail as well. The arguments are those of ``verify``.
    """
    report = verify(backward, layer=layer, forward=forward, first=first, inputs=inputs, **options)
    if report.code(strict):
        raise AssertionError(str(report))
    return report


def references() -> tuple[Report, ...]:
    """The reports of the reference implementations that ship with bncheck."""
    return verify_all("bncheck.references")


def _verified(work: Work, candidate: Backward) -> Report:
    """The report; code that refuses a large eps is asked once more with a small one."""
    report = _asked(work, candidate)
    refused = report.verdict == "cannot call" and re.search(r"\beps", report.assumed, re.IGNORECASE)
    if refused and candidate.kind == "class" and work.asked.eps is None:
        small = _asked(replace(work, asked=replace(work.asked, eps=SMALL_EPS)), candidate)
        return report if small.verdict == "cannot call" else small
    if candidate.has_forward and work.asked.layout is None and work.asked.program is None:
        return _otherwise(work, candidate, report)
    return report


def _otherwise(work: Work, candidate: Backward, report: Report) -> Report:
    """The report in another layout, where the forward pass allows several and this one fails."""
    shapes = [d.text for d in report.diagnosis if d.code == "shape"]
    failed = re.search(r"raised (ValueError|IndexError|AxisError)[^(]*", report.assumed)
    if not shapes and not (failed and report.verdict == "cannot call"):
        return report
    try:
        identity, _ = understood(work, candidate)
    except CannotAsk:
        return report
    for at in layouts.layouts(identity.program) if identity.known else ():
        if at.name == identity.layout.name:
            continue
        asked = replace(work.asked, program=identity.program, layout=at.name)
        other = _asked(replace(work, asked=asked), candidate)
        fewer = {g.name for g in report.gradients} - {g.name for g in other.gradients}
        if other.layer and not fewer and all(d.code != "shape" for d in other.diagnosis):
            why = shapes[0] if shapes else report.assumed
            said = Remark("other-layout", f"not over {identity.layout.name}: {why}")
            return replace(other, remarks=(*other.remarks, said))
    return report


def _asked(work: Work, candidate: Backward) -> Report:
    target = work.target.shown(candidate.name)
    options = work.options
    try:
        if candidate.problem:
            raise CannotAsk(candidate.problem)
        if candidate.kind == "double":
            report = double_report(work, candidate)
            return replace(report, target=target, line=candidate.line)
        identity, found = understood(work, candidate)
        eps = identity.eps
        made = drawn(found, eps, options.seed, identity.layout, options.trials)
        own = [own_trial(found, identity.layout, eps, work.given, role)] if work.given else []
        every = [*(at_most(trial, own) for trial in made), *own]
        report = judge(
            work.subject, candidate, found, identity, every,
            averaged=options.averaged, lines=options.lines,
        )  # fmt: skip
        running, more = inferred(Case(work.subject, candidate, found, identity))
    except CannotAsk as error:
        return Report(target, "cannot call", line=candidate.line, assumed=str(error))
    remarks = (*report.remarks, *more)
    return replace(report, target=target, line=candidate.line, running=running, remarks=remarks)


def _noted(report: Report, candidate: Backward, notes: tuple[Finding, ...]) -> Report:
    """What loading ran into: remarks where it bears on this backward pass, else notes."""

    def bears_on_it(note: Finding) -> bool:
        twice = note.code == "defined-twice" and note.arguments["name"] == candidate.name
        return twice or note.code == "numpy-2"

    remarks = filter(bears_on_it, notes)
    rest = tuple(note.text for note in notes if not bears_on_it(note))
    return replace(report, remarks=(*report.remarks, *remarks), notes=rest)


def _program(asked: str | Program | None) -> Program | None:
    return layer_by_name(asked) if isinstance(asked, str) else asked
