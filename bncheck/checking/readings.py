"""Wrong code without a forward pass can be read in several layouts: which one is meant?"""

from collections.abc import Sequence

from bncheck.algebra.notation import name_of
from bncheck.calculus.derivation import Derivation
from bncheck.checking import layout
from bncheck.checking.case import Case, user_inputs
from bncheck.checking.convention import Candidate
from bncheck.checking.identify import Identity
from bncheck.checking.reference import reference
from bncheck.checking.subject import Subject
from bncheck.checking.terms import Seen, fit
from bncheck.checking.trials import trials

Reading = tuple[Identity, Derivation]


def likeliest(subject: Subject, candidate: Candidate, there: Sequence[Reading]) -> Reading | None:
    """The first of whose terms the user's numbers are made; the first of all where none is."""
    for identity, found in there if len(there) > 1 else ():
        case = Case(subject, candidate, found, identity)
        if _is_made_of_terms(case):
            return identity, found
    return there[0] if there else None


def _is_made_of_terms(case: Case) -> bool:
    found, at = case.found, case.identity.layout
    trial = next(trials(found.forward, case.identity.eps, layout=at))
    outcome = case.subject.call(case.candidate.name, user_inputs(case, trial.values, trial))
    truth = reference(found, trial.values, trial.judged)
    theirs = layout.from_user(at, found.forward, outcome.gradients, trial.values, trial.parts)
    name = name_of(found.chain.outputs[0])
    if name not in theirs or theirs[name].shape != truth.gradients[name].shape:
        return False
    return bool(fit(found, name, Seen(trial.values, truth, theirs, trial.parts)))
