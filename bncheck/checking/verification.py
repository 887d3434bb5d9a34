"""The questions in order: what is this code, how is it called, which layer does it compute, is
its backward pass that layer's gradient, and if not, what is wrong with it?
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bncheck.algebra.notation import name_of
from bncheck.algebra.program import Program
from bncheck.calculus.derivation import Derivation, derivation
from bncheck.checking import layout
from bncheck.checking.convention import Candidate
from bncheck.checking.identify import Identity, identify
from bncheck.checking.judge import judge
from bncheck.checking.names import layer_hint
from bncheck.checking.results import WORST_FIRST, Report
from bncheck.checking.subject import CallableSubject, FileSubject, Subject
from bncheck.checking.trials import Trial, trials
from bncheck.errors import CannotAsk
from bncheck.layers import LAYERS
from bncheck.layers import layer as layer_by_name

Forward = Callable[..., Any]


def verify(
    target: str | Callable[..., Any],
    *,
    layer: str | Program | None = None,
    forward: Forward | None = None,
    inputs: Mapping[str, Any] | None = None,
    timeout: float = 30.0,
) -> Report:
    """Verify one backward pass; of several in a file, the report of the worst.

    ``target``: ``FILE.py``, ``FILE.py:name``, ``package.module:name``, or a callable
    ``backward(dy, x, gamma, beta, eps)`` in any order of recognised names, which is run in this
    process. ``layer``: which layer it is, where bncheck should not find out. ``forward``: the
    forward pass that belongs to a callable. ``inputs``: arrays by those names, tried besides
    the built-in trials. ``timeout``: seconds for one call. Raises ``CannotAsk`` where the
    target cannot be loaded; a call that fails is the verdict ``"cannot call"``.
    """
    reports = verify_all(target, layer=layer, forward=forward, inputs=inputs, timeout=timeout)
    return min(reports, key=lambda r: WORST_FIRST.index(r.verdict))


def verify_all(
    target: str | Callable[..., Any],
    *,
    layer: str | Program | None = None,
    forward: Forward | None = None,
    inputs: Mapping[str, Any] | None = None,
    timeout: float = 30.0,
) -> tuple[Report, ...]:
    """The report of every backward pass that the target holds, in the order of the file."""
    subject: Subject
    if isinstance(target, str):
        subject = FileSubject(target, timeout)
        place = target
    else:
        subject = CallableSubject(target, forward)
        place = getattr(target, "__name__", type(target).__name__)
    try:
        asked = _program(layer)
        return tuple(
            _verified(subject, candidate, asked, inputs or {}, place)
            for candidate in subject.candidates()
        )
    finally:
        subject.close()


def references() -> tuple[Report, ...]:
    """The reports of the reference implementations that ship with bncheck."""
    return verify_all("bncheck.checking.references")


def _verified(
    subject: Subject,
    candidate: Candidate,
    asked: Program | None,
    given: Mapping[str, Any],
    place: str,
) -> Report:
    target = _place(place, candidate)
    try:
        identity, found = _understood(subject, candidate, asked, place)
        eps = identity.eps
        drawn = [*trials(found.forward, eps), *_own(found.forward, given, eps)]
        report = judge(subject, candidate, found, identity, drawn)
    except CannotAsk as error:
        return Report(target, "cannot call", line=candidate.line, assumed=str(error))
    return Report(
        **{**vars(report), "target": target, "line": candidate.line},
    )


def _understood(
    subject: Subject, candidate: Candidate, asked: Program | None, place: str
) -> tuple[Identity, Derivation]:
    """Which layer it is, and that layer's derivation."""
    if asked is not None:
        return Identity(asked, None, None, known=True), derivation(asked)
    hint = candidate.layer_hint or layer_hint(Path(place.partition(":")[0]).stem)
    if candidate.has_forward:
        identity = identify(subject, candidate, hint)
        return identity, derivation(identity.program)
    return _by_gradients(subject, candidate, hint)


def _by_gradients(
    subject: Subject, candidate: Candidate, hint: str | None
) -> tuple[Identity, Derivation]:
    """Without a forward pass: the layer whose gradients these are, else the one it is called."""
    affine = "gamma" in candidate.takes
    names = sorted(LAYERS, key=lambda name: (name != hint, name != "batch-norm"))
    fallback: tuple[Identity, Derivation] | None = None
    for name in names if hint is None else [hint]:
        for ddof in (0, 1):
            try:
                program = _variant(name, affine, ddof)
                found = derivation(program)
                identity = Identity(program, ddof, _fixed_eps(candidate), known=True)
                first = next(trials(program, identity.eps))
                report = judge(subject, candidate, found, identity, [first], diagnosed=False)
            except CannotAsk:
                continue
            if report.verdict in ("right", "inaccurate"):
                return identity, found
            fallback = fallback or (identity, found)
    if fallback is None:
        program = _variant(hint or "batch-norm", affine, 0)
        fallback = Identity(program, 0, _fixed_eps(candidate), known=True), derivation(program)
    return fallback


def _fixed_eps(candidate: Candidate) -> float | None:
    return None if candidate.eps_settable else 1e-5


def _variant(name: str, affine: bool, ddof: int) -> Program:
    from bncheck.layers import options

    wanted = {"affine": affine, "ddof": ddof}
    variant = {k: v for k, v in wanted.items() if k in options(name)}
    if ddof and "ddof" not in variant:
        raise CannotAsk(f"{name} has no ddof")
    return layer_by_name(name, **variant)


def _program(asked: str | Program | None) -> Program | None:
    return layer_by_name(asked) if isinstance(asked, str) else asked


def _own(program: Program, given: Mapping[str, Any], eps: float | None) -> Iterable[Trial]:
    if not given:
        return
    values = layout.own_values(program, given)
    if eps is not None:
        values["eps"] = eps
    values.setdefault("eps", 1e-5)
    first, upstream = name_of(program.inputs[0]), "d" + name_of(program.outputs[0])
    if first not in values:
        raise CannotAsk(f"inputs hold {', '.join(given)}, but no x")
    values = {k: np.asarray(v) if np.ndim(v) else v for k, v in values.items()}
    rng = np.random.default_rng(0)
    values.setdefault(upstream, rng.standard_normal(np.shape(values[first])))
    for parameter in program.wrt[1:]:
        width = np.shape(values[first])[-1]
        values.setdefault(name_of(parameter), rng.uniform(0.4, 0.9, width))
    yield Trial("your inputs", values, easy=False, own=True)


def _place(place: str, candidate: Candidate) -> str:
    return place if place.endswith(candidate.name) else f"{place}:{candidate.name}"
