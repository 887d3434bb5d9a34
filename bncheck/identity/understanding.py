"""Which layer a backward pass belongs to: by its forward pass, as said, or by its gradients."""

from bncheck.algebra.layers import layer as layer_by_name
from bncheck.algebra.layers import options as options_of
from bncheck.calculus.derivation import Derivation
from bncheck.calculus.passes import derived_once
from bncheck.identity.by_gradients import by_gradients
from bncheck.identity.by_outputs import Asked, Identity, identify
from bncheck.numbers import layout as layouts
from bncheck.settings import Work
from bncheck.subject.messages import Backward
from bncheck.subject.names import layer_hint


def understood(work: Work, candidate: Backward) -> tuple[Identity, Derivation]:
    """Which layer it is, and that layer's derivation; the differences are the witness here."""
    hint = candidate.layer_hint or layer_hint(work.target.stem)
    if candidate.has_forward:
        identity = identify(work.subject, candidate, hint, work.asked)
        return identity, derived_once(identity.program)
    if work.asked.program is not None:
        identity = as_said(work.asked)
        return identity, derived_once(identity.program)
    return by_gradients(work.subject, candidate, hint, work.asked)


def as_said(asked: Asked) -> Identity:
    """The layer that the user named."""
    assert asked.program is not None
    at = layouts.named(asked.program, asked.layout) if asked.layout else None
    program = asked.program
    if asked.ddof is not None and "ddof" in options_of(program.name):
        program = layer_by_name(program.name, ddof=asked.ddof)
    return Identity(program, at or layouts.usual(program), asked.ddof, asked.eps, known=True)
