"""The wrong backward passes: ``WRONG``; what each is, in the modules imported here."""

from tests.cases.case import Case, draw, edited
from tests.cases.contract import CONTRACT
from tests.cases.corners import CORNERS
from tests.cases.digits import DIGITS
from tests.cases.edits import EDITS
from tests.cases.state import STATE


def _edit(kind, name, way, old, new, why):
    function = edited(way, name.replace(" ", "_"), (old, new))
    return Case(name, kind, why, "wrong", lambda: function, draw)


def _corner(kind, function, options, change, why):
    def inputs():
        drawn = draw(**options)
        if change is not None:
            change(drawn)
        return drawn

    name = function.__name__.replace("_", " ")
    return Case(name, kind, why, "wrong", lambda: function, inputs)


def _contract(make, options, why):
    name = make().__name__.replace("_", " ")
    return Case(name, "contract", why, "remark", make, lambda: draw(**options))


WRONG = (
    *(_edit(*row) for row in EDITS),
    *(_corner(*row) for row in (*CORNERS, *DIGITS)),
    *(_contract(*row) for row in (*CONTRACT, *STATE)),
)
