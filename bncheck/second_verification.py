"""The questions in order for a double backward pass."""

from bncheck.calculus.passes import derived_once
from bncheck.identity.by_outputs import Identity, identify
from bncheck.identity.second_identity import by_second_gradients
from bncheck.numbers.inputs import own_trial
from bncheck.numbers.trials import drawn
from bncheck.settings import Work, at_most
from bncheck.subject.messages import Backward
from bncheck.subject.names import double_role, layer_hint, role
from bncheck.telling.errors import CannotAsk
from bncheck.telling.report import Report
from bncheck.verdict.judge import judge


def double_report(work: Work, candidate: Backward) -> Report:
    """The report on a double backward pass."""
    identity = _identity(work, candidate)
    found, options = derived_once(identity.program, 2, seen=True), work.options
    at, eps, takes = identity.layout, identity.eps, candidate.takes
    made = drawn(found, eps, options.seed, at, options.trials, takes)
    own = [own_trial(found, at, eps, work.given, _role, takes, options.seed)] if work.given else []
    every = [*(at_most(trial, own) for trial in made), *own]
    return judge(work.subject, candidate, found, identity, every, lines=False)


def _role(name: str) -> str | None:
    return double_role(name) or role(name)


def _identity(work: Work, candidate: Backward) -> Identity:
    """By the forward pass, if that is of a layer; else by the second gradients themselves."""
    hint = candidate.layer_hint or layer_hint(work.target.stem)
    alone = "cache" not in candidate.takes and not candidate.has_object
    if candidate.has_forward:
        try:
            identity = identify(work.subject, candidate, hint, work.asked)
        except CannotAsk:
            if not alone:
                raise
        else:
            if identity.known or not alone:
                return identity
    return by_second_gradients(work.subject, candidate, hint, work.asked)
