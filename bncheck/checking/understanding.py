"""Which layer a backward pass belongs to: by its forward pass, as said, or by its gradients."""

from dataclasses import replace
from pathlib import Path

from bncheck.calculus.derivation import Derivation
from bncheck.checking import layout as layouts
from bncheck.checking.convention import Candidate
from bncheck.checking.identify import Asked, Identity, identify, program_of
from bncheck.checking.judge import judge
from bncheck.checking.names import layer_hint
from bncheck.checking.reference import derivation_of
from bncheck.checking.trials import trials
from bncheck.checking.work import Work
from bncheck.errors import CannotAsk
from bncheck.layers import LAYERS
from bncheck.layers import layer as layer_by_name
from bncheck.layers import options as options_of


def understood(work: Work, candidate: Candidate) -> tuple[Identity, Derivation]:
    """Which layer it is, and that layer's derivation; the differences are the witness here."""
    stem = Path(work.place.partition(":")[0]).stem
    hint = candidate.layer_hint or layer_hint(stem)
    if candidate.has_forward:
        identity = identify(work.subject, candidate, hint, work.asked)
        return identity, derivation_of(identity.program)
    if work.asked.program is not None:
        identity = as_said(work.asked)
        return identity, derivation_of(identity.program)
    return by_gradients(work, candidate, hint)


def as_said(asked: Asked) -> Identity:
    """The layer that the user named."""
    assert asked.program is not None
    at = layouts.named(asked.program, asked.layout) if asked.layout else None
    program = asked.program
    if asked.ddof is not None and "ddof" in options_of(program.name):
        program = layer_by_name(program.name, ddof=asked.ddof)
    return Identity(program, at or layouts.usual(program), asked.ddof, asked.eps, known=True)


def by_gradients(work: Work, candidate: Candidate, hint: str | None) -> tuple[Identity, Derivation]:
    """Without a forward pass: the layer whose gradients these are, else the one it is called."""
    affine = "gamma" in candidate.takes
    names = sorted(LAYERS, key=lambda name: (name != hint, name != "batch-norm"))
    fallback: tuple[Identity, Derivation] | None = None
    problem: CannotAsk | None = None
    asked = work.asked
    for name in names if hint is None else [hint]:
        for ddof in (0, 1) if asked.ddof is None else (asked.ddof,):
            try:
                program = program_of(name, affine, ddof)
                found = derivation_of(program)
                there = layouts.layouts(program)
                if asked.layout:
                    there = (layouts.named(program, asked.layout),)
                there += tuple(layouts.with_kept(at) for at in there)
            except CannotAsk as error:
                problem = problem or error
                continue
            for at in there:
                eps = _fixed_eps(candidate) if asked.eps is None else asked.eps
                identity = Identity(program, at, ddof, eps, known=True)
                verdict = _first_verdict(work, candidate, identity, found)
                if verdict in ("right", "inaccurate"):
                    return identity, found
                if verdict is not None:
                    fallback = fallback or (identity, found)
    if fallback is None and asked.layout and problem is not None:
        raise problem
    if fallback is None:
        program = program_of(hint or "batch-norm", affine, 0)
        at = layouts.usual(program)
        identity = Identity(program, at, 0, _fixed_eps(candidate), known=True)
        fallback = identity, derivation_of(program)
    return fallback


def _first_verdict(
    work: Work, candidate: Candidate, identity: Identity, found: Derivation
) -> str | None:
    """The verdict on the first trial alone; None where it cannot be run."""
    first = next(trials(found.forward, identity.eps, layout=identity.layout))
    first = replace(first, differences=False)
    try:
        report = judge(work.subject, candidate, found, identity, [first], diagnosed=False)
    except CannotAsk:
        return None
    return report.verdict


def _fixed_eps(candidate: Candidate) -> float | None:
    return None if candidate.eps_settable else 1e-5
