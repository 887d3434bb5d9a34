"""The questions in order: which layer is it, what does its backward pass return, is it that
gradient, and if not, why and on which line?
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from traceback import extract_tb
from typing import Any

import numpy as np

from bncheck.algebra.layers import LAYERS
from bncheck.algebra.layers import layer as layer_by_name
from bncheck.algebra.notation import name_of
from bncheck.algebra.program import Program
from bncheck.calculus.derivation import Derivation
from bncheck.calculus.passes import derived_once
from bncheck.cause.causes import explain
from bncheck.cause.terms import fit
from bncheck.identity import by_gradients, by_outputs
from bncheck.identity.assignment import BETA
from bncheck.identity.crossing import Bench
from bncheck.identity.readings import Reading, list_readings
from bncheck.identity.running import inferred
from bncheck.identity.settings import Settings
from bncheck.numbers import layout as layouts
from bncheck.numbers.agreement import RECOMPUTED
from bncheck.numbers.observation import Observation, Trial
from bncheck.numbers.trials import drawn, own_trial
from bncheck.place.lines import Search, locate, mends
from bncheck.subject.messages import Backward, Edit, Subject, Target
from bncheck.subject.names import DIRECTIONS, double_role, layer_hint, role
from bncheck.subject.questions import CallableSubject, FileSubject
from bncheck.telling.codes import Finding, found
from bncheck.telling.errors import WRONG_SHAPES, CannotAsk, Disagreement, Refused
from bncheck.telling.report import WORST_FIRST, Cause, Report, Verdict
from bncheck.verdict.illustrations import heat, smallest
from bncheck.verdict.judgement import Verdicts, judge, once
from bncheck.verdict.observations import Record, observe

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
    tried besides the built-in trials. ``options``: see ``Settings``. Raises ``CannotAsk`` where
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
    settings = Settings(layer=_program(layer), **options)
    subject: Subject
    if isinstance(target, str):
        target = FileSubject(target, settings.timeout, settings.names, settings.ordinary)
    if isinstance(target, FileSubject):
        subject, place = target, target.target
    else:
        subject = CallableSubject(target, forward, first)
        place = Target.of(target)
    try:
        job = _Job(subject, place, inputs or {})
        reports = [_verified(job, backward, settings) for backward in subject.candidates()]
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
    return verify_all("bncheck.verdict.references")


@dataclass(frozen=True)
class _Job:
    """What is verified: the code, where it is, and the user's own inputs."""

    subject: Subject
    target: Target
    given: Mapping[str, Any]


def _verified(job: _Job, backward: Backward, settings: Settings) -> Report:
    """The report on one backward pass; code that refuses a large eps is asked with a small one.

    A defect of bncheck is said in this report, and the other backward passes keep theirs.
    """
    try:
        report = _asked(job, backward, settings)
    except CannotAsk as refusal:
        report = Report("", "cannot call", assumed=str(refusal))
        if backward.kind == "class" and settings.eps is None and _is_about_eps(refusal):
            with suppress(CannotAsk):
                report = _asked(job, backward, replace(settings, eps=SMALL_EPS))
    except Exception as error:
        report = Report("", "cannot tell", remarks=(_defect(error),))
    report = replace(
        report, target=job.target.shown(backward.name), line=backward.line,
        name=backward.name, file=backward.file,
    )  # fmt: skip
    return _noted(report, backward, job.subject.notes)


def _defect(error: Exception, of: str = "") -> Finding:
    """What went wrong in bncheck, and where; ``of``: the gradient that was being explained."""
    form = "contradiction" if isinstance(error, Disagreement) else "explaining" if of else ""
    at = extract_tb(error.__traceback__)[-1]
    where = f"{Path(at.filename).name}:{at.lineno}"
    return found(
        "defect", form, gradient=of, kind=type(error).__name__, error=str(error), where=where
    )


@contextmanager
def _apart(gradient: str, said: list[Finding]) -> Iterator[None]:
    """What goes wrong in explaining a gradient is said, and its verdict stands."""
    try:
        yield
    except CannotAsk as refusal:
        said.append(found("not-explained", gradient=gradient, error=str(refusal)))
    except Exception as error:
        said.append(_defect(error, gradient))


def _is_about_eps(refusal: CannotAsk) -> bool:
    return isinstance(refusal, Refused) and "eps" in refusal.speaks_of


def _asked(job: _Job, backward: Backward, settings: Settings) -> Report:
    """The report as the likeliest reading; where that one's shapes do not fit, and the forward
    pass allows other layouts, in one of these. Raises ``CannotAsk`` where none can be called.
    """
    if backward.problem:
        raise CannotAsk(backward.problem)
    reading = _reading(job, backward, settings)
    report: Report | None = None
    why: Finding | Refused | None
    try:
        report = _judged(job, backward, reading, settings)
        why = next((c.finding for c in report.diagnosis if c.code == "shape"), None)
    except Refused as refusal:
        if _is_about_eps(refusal) or not refusal.kinds & WRONG_SHAPES:
            raise
        why = refusal
    said = settings.layout is not None or settings.layer is not None
    if why is not None and backward.has_forward and reading.known and not said:
        other = _elsewhere(job, backward, reading, settings, report)
        if other is not None:
            remark = found("other-layout", layout=reading.layout.name, why=str(why))
            return replace(other, remarks=(*other.remarks, remark))
    if isinstance(why, Refused):
        raise why
    assert report is not None
    if settings.layout is None and backward.has_forward and reading.known:
        return _everywhere(job, backward, reading, settings, report)
    return report


def _everywhere(
    job: _Job, backward: Backward, reading: Reading, settings: Settings, report: Report
) -> Report:
    """The report in the worst of the layouts that the code accepts, with the verdict in each."""
    if backward.kind == "double":
        return report
    derivation = derived_once(reading.program)
    bench = Bench(job.subject, backward, replace(reading, derivation=derivation))
    each: dict[str, Verdict] = {reading.layout.name: report.verdict}
    worst = report
    for there, seen in by_outputs.accepted(bench):
        name = there.reading.layout.name
        each[name] = "right"
        if not by_outputs.is_off(seen):
            continue
        try:
            made = _judged(job, backward, there.reading, settings)
        except CannotAsk as refusal:  # off on a few trials, and it fails on the others
            made = Report("", "cannot call", layout=name, assumed=str(refusal))
        each[name] = made.verdict
        if WORST_FIRST.index(made.verdict) < WORST_FIRST.index(worst.verdict):
            worst = made
    return replace(worst, layouts=tuple(each.items())) if len(each) > 1 else report


def _elsewhere(
    job: _Job, backward: Backward, reading: Reading, settings: Settings, report: Report | None
) -> Report | None:
    """The report in the first other layout in which all gradients are returned in their shapes."""
    returned = {g.name for g in report.gradients} if report else set()
    program = reading.program
    space = list_readings(backward, replace(settings, layer=_usual(program)), None, by_outputs=True)
    for at in layouts.layouts(program):
        if at.name == reading.layout.name:
            continue
        with suppress(CannotAsk):
            there = [r for r in space if r.layout.name == at.name]
            other = by_outputs.recognise(job.subject, backward, there, settings)
            made = _judged(job, backward, other, settings)
            fewer = returned - {g.name for g in made.gradients}
            if made.layer and not fewer and all(c.code != "shape" for c in made.diagnosis):
                return made
    return None


def _usual(program: Program) -> Program:
    """The layer of that name of ours; the program itself, where there is none."""
    return LAYERS.get(program.name, program)


def _reading(job: _Job, backward: Backward, settings: Settings) -> Reading:
    """By the forward pass, if there is one; a double backward pass whose forward pass is of no
    layer, and that needs nothing of it, by its gradients.
    """
    hint = backward.layer_hint or layer_hint(job.target.stem)
    alone = backward.kind == "double" and not backward.has_object and "cache" not in backward.takes
    if backward.has_forward:
        space = list_readings(backward, settings, hint, by_outputs=True)
        try:
            reading = by_outputs.recognise(job.subject, backward, space, settings)
        except CannotAsk:
            if not alone:
                raise
        else:
            if reading.known or not alone:
                return reading
    space = list_readings(backward, settings, hint, by_outputs=False)
    return by_gradients.recognise(job.subject, backward, space, settings, _explained)


def _explained(derivation: Derivation, one: Observation) -> int:
    """How far the terms of the first gradient explain it."""
    name = name_of(derivation.chain.outputs[0])
    if name not in one.gradients:
        return 0
    if one.gradients[name].shape != one.reference.gradients[name].shape:
        return 0
    fitted = fit(derivation, name, [one])
    return 0 if not fitted.terms else 1 if fitted.unread else 2


def _judged(job: _Job, backward: Backward, reading: Reading, settings: Settings) -> Report:
    """The report on a backward pass, read like this; raises ``CannotAsk`` where it cannot be run
    on the trials that show the mathematics.
    """
    double = backward.kind == "double"
    derivation = derived_once(reading.program, 2 if double else 1, seen=double)
    reading = replace(reading, derivation=derivation)
    bench = Bench(job.subject, backward, reading)
    short = reading.known and reading.distance > RECOMPUTED and by_outputs.is_short(bench)
    if short:
        remark = found("computes-short", type="float32")
        bench = replace(bench, reading=replace(reading, findings=(*reading.findings, remark)))
    record = observe(bench, _trials(job, backward, reading, settings, short))
    verdicts = judge(record, settings.averaged)
    bench, wrong = record.bench, verdicts.wrong
    running, more = inferred(bench)
    names = [g.name for g in wrong if g.verdict == "wrong"]
    by_hand = next((n for n in names if n != BETA and n not in verdicts.shapes), None)
    causes, said = _causes(record, verdicts, settings)
    example = picture = None
    with _apart(by_hand or "", said):
        example = smallest(bench, by_hand, verdicts.worst[by_hand]) if by_hand else None
    with _apart(", ".join(names), said):
        picture = next(filter(None, (heat(derivation, record.easy, n) for n in names)), None)
    return Report(
        target=backward.name,
        verdict=min((g.verdict for g in verdicts.results), key=WORST_FIRST.index),
        order=derivation.order,
        layer=reading.program.name if reading.known else None,
        layout=reading.layout.name,
        eps=reading.eps,
        ddof=reading.ddof,
        assumed=_assumed(record),
        gradients=verdicts.results,
        remarks=(*verdicts.findings, *more, *once(said)),
        diagnosis=causes,
        trials=record.trials,
        running=running,
        counterexample=example,
        failure=bench.inputs(verdicts.worst[wrong[0].name]) if wrong else None,
        picture=picture,
    )


def _causes(
    record: Record, verdicts: Verdicts, settings: Settings
) -> tuple[tuple[Cause, ...], list[Finding]]:
    """Why each wrong gradient is wrong, in first order on which line, if that was asked for; and
    what went wrong in finding out.
    """
    reading, derivation = record.bench.reading, record.bench.reading.found
    looked_into = settings.lines and reading.known and derivation.order == 1
    search = Search(derivation, record.bench, record.easy, {}) if looked_into else None
    wrong = [g.name for g in verdicts.wrong if g.verdict == "wrong"]
    edits: dict[str, Edit] = {}
    said: list[Finding] = []
    causes: list[Cause] = []
    with _apart(", ".join(wrong), said):
        edits = mends(search, wrong) if search and wrong else {}
    for g in verdicts.wrong:
        with _apart(g.name, said):
            cause = explain(
                derivation, g, record.easy, verdicts.worst[g.name], reading.layout,
                own=reading.known, ignored=reading.ignored, shape=verdicts.shapes.get(g.name),
                mended=g.name in edits, hard=record.hard,
            )  # fmt: skip
            causes.append(cause)
    with _apart(", ".join(wrong), said):
        causes = [*locate(causes, search, edits)] if search else causes
    return tuple(causes), said


def _trials(
    job: _Job, backward: Backward, reading: Reading, settings: Settings, short: bool
) -> tuple[Trial, ...]:
    """Ours, then the user's own; with those in short arithmetic no more than float32 is asked, nor
    of code that computes in it: ``short``.
    """
    at, eps, seed = reading.layout, reading.eps, settings.seed
    takes: tuple[str, ...] = ()
    if reading.found.order == 2:
        takes = tuple(r for r in DIRECTIONS if r in backward.takes)
    made = drawn(reading.found, eps, seed, at, settings.trials, takes)
    given: tuple[Trial, ...] = ()
    if job.given:
        named = _double_role if reading.found.order == 2 else role
        own = own_trial(reading.found, at, eps, job.given, named, backward.takes, seed)
        if own.dtype.itemsize > 8:  # the bounds are computed in float64
            own = replace(own, at_most=np.dtype(np.float64))
        given, short = (own,), short or own.dtype.itemsize <= 4
    if short:
        made = tuple(replace(trial, at_most=np.dtype(np.float32)) for trial in made)
    return (*made, *given)


def _double_role(name: str) -> str | None:
    return double_role(name) or role(name)


def _assumed(record: Record) -> str:
    """How the code was called and read, in one line."""
    bench, reading = record.bench, record.bench.reading
    eps = "" if reading.eps is None else f", eps = {reading.eps:.6g}"
    ddof = "" if reading.ddof is None else f", ddof = {reading.ddof}"
    over = f" over {', '.join(layouts.fields(reading.layout))}" if reading.layout.name else ""
    layer = f"{reading.program.title.lower() or reading.program.name}{over}{ddof}{eps}"
    called = bench.backward.description
    if not reading.known:
        return f"forward pass of no known layer (nearest: {layer}); {called}"
    if bench.program.first:
        called += f"; returns ({', '.join(bench.order)})"
        if any(not one.of_reference for one in record.measured.values()):
            called += f"; differences of {bench.backward.first}"
    return f"{layer}; {called}"


def _noted(report: Report, backward: Backward, notes: tuple[Finding, ...]) -> Report:
    """What loading ran into: remarks where it bears on this backward pass, else notes."""

    def bears_on_it(note: Finding) -> bool:
        twice = note.code in ("defined-twice", "bound-again")
        own = twice and note.arguments["name"] == backward.name.partition(".")[0]
        return own or note.code == "numpy-2"

    remarks = filter(bears_on_it, notes)
    rest = tuple(note.text for note in notes if not bears_on_it(note))
    report = replace(report, remarks=(*report.remarks, *remarks), notes=rest)
    if report.verdict == "right" and any(r.code == "bound-again" for r in report.remarks):
        return replace(report, verdict="cannot tell")  # it is not what Python would call
    return report


def _program(asked: str | Program | None) -> Program | None:
    return layer_by_name(asked) if isinstance(asked, str) else asked
