"""The questions in order for a double backward pass."""

from pathlib import Path

import numpy as np

from bncheck.calculus.passes import derived_once
from bncheck.identity.by_outputs import Identity, identify
from bncheck.identity.second_identity import by_second_gradients
from bncheck.numbers.given import own_trials
from bncheck.numbers.second_trials import directed, second_trials
from bncheck.settings import Work, at_most
from bncheck.subject.messages import Backward
from bncheck.subject.names import layer_hint
from bncheck.telling.errors import CannotAsk
from bncheck.telling.report import Report
from bncheck.verdict.judge import judge


def double_report(work: Work, candidate: Backward) -> Report:
    """The report on a double backward pass."""
    identity = _identity(work, candidate)
    found, options = derived_once(identity.program, 2, seen=True), work.options
    made = second_trials(found, identity, candidate.takes, options.seed, options.trials)
    rng = np.random.default_rng(options.seed)
    own = [directed(found, identity, candidate.takes, trial, rng, work.given)
           for trial in own_trials(identity, work.given)]  # fmt: skip
    drawn = [*(at_most(trial, own) for trial in made), *own]
    return judge(work.subject, candidate, found, identity, drawn, lines=False)


def _identity(work: Work, candidate: Backward) -> Identity:
    """By the forward pass, if that is of a layer; else by the second gradients themselves."""
    hint = candidate.layer_hint or layer_hint(Path(work.place.partition(":")[0]).stem)
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
