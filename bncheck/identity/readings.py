"""As which layer somebody's code may be read, in which layout, with which ddof and eps.

One space for all who look for a reading: by the outputs of a forward pass, by gradients of first
or of second order. What the user said narrows it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bncheck.algebra.layers import LAYERS, layer, options
from bncheck.algebra.program import Program
from bncheck.calculus.derivation import Derivation
from bncheck.identity.settings import Settings
from bncheck.numbers import layout as layouts
from bncheck.numbers.layout import Layout
from bncheck.numbers.trials import USUAL_EPS
from bncheck.subject.messages import Backward
from bncheck.telling.codes import Finding
from bncheck.telling.errors import CannotAsk


@dataclass(frozen=True)
class Reading:
    """Somebody's code as a layer: ``program`` in a layout.

    ``ddof``: None where the layer has none; ``eps``: the user's own where it cannot be set, else
    None; ``derivation``: the layer's, or of second order, None until it is needed.

    ``known`` is False where no layer fits; then ``program`` is the nearest one, and ``distance``
    the largest difference of the outputs. ``ignored``: the code takes an eps, and its forward pass
    makes no use of it.
    """

    program: Program
    layout: Layout
    ddof: int | None = None
    eps: float | None = None
    derivation: Derivation | None = None
    known: bool = True
    distance: float = 0.0
    findings: tuple[Finding, ...] = ()
    ignored: bool = False

    @property
    def found(self) -> Derivation:
        """The derivation, where it has been made."""
        assert self.derivation is not None, f"{self.program.name} was not derived"
        return self.derivation

    @property
    def forward(self) -> Program:
        """The program whose values go in: in second order with the backward pass behind it."""
        return self.derivation.forward if self.derivation else self.program


def list_readings(
    backward: Backward, settings: Settings, hint: str | None, by_outputs: bool
) -> list[Reading]:
    """All of them, underived, in the order in which they are tried.

    ``hint``: the layer that the code is called, tried first. By outputs, which tell one layer from
    another, the others follow, the usual layouts of all before the unusual ones; else it is
    believed, and the layouts of one layer are tried before the next layer.
    Raises ``CannotAsk`` where what the user said leaves none.
    """
    said = settings.layer
    if said is not None and not by_outputs and backward.kind != "double":
        return [_as_said(said, backward, settings)]
    names = [hint] if hint and not by_outputs else sorted(LAYERS, key=lambda name: name != hint)
    if said is not None:
        names = [said.name]
    found: list[Reading] = []
    problem: CannotAsk | None = None
    for name in names:
        try:
            found += _of_layer(name, backward, settings)
        except CannotAsk as error:
            problem = problem or error
    if problem and not found:
        raise problem
    if by_outputs:
        found.sort(key=lambda r: (hint not in (None, r.program.name), _rarity(r.layout)))
    return found


def own_eps(backward: Backward, settings: Settings) -> tuple[float | None, ...]:
    """The eps that the code may have: None where it can be set, or has gone into what it takes."""
    if settings.eps is not None:
        return (settings.eps,)
    if backward.eps_settable or {"rstd", "sd"} & {*backward.takes}:
        return (None,)
    return USUAL_EPS


def _as_said(program: Program, backward: Backward, settings: Settings) -> Reading:
    """The layer that the user named, in its usual layout if none was named."""
    choices = options(program.name) if LAYERS.get(program.name) == program else {}
    chosen: dict[str, Any] = {}
    if "gamma" not in backward.takes and "affine" in choices:
        chosen["affine"] = False
    if settings.ddof is not None and "ddof" in choices:
        chosen["ddof"] = settings.ddof
    program = layer(program.name, **chosen) if chosen else program
    at = layouts.named(program, settings.layout) if settings.layout else layouts.usual(program)
    return Reading(program, at, settings.ddof, settings.eps)


def _of_layer(name: str, backward: Backward, settings: Settings) -> Iterator[Reading]:
    for variants in _variants(name, backward, settings):
        for at in _layouts(backward, variants[0][1], settings.layout):
            for ddof, program in variants:
                yield Reading(program, at, ddof, settings.eps)


def _variants(
    name: str, backward: Backward, settings: Settings
) -> Iterator[list[tuple[int | None, Program]]]:
    """Programs with the same inputs, beside their ddof."""
    said = settings.layer
    if said is not None and LAYERS.get(name) != said:
        yield [(None, said)]
        return
    choices = options(name)
    if settings.ddof and "ddof" not in choices:
        raise CannotAsk(f"{name} has no ddof")
    there = choices.get("ddof", (None,))
    ddofs = there if settings.ddof is None or there == (None,) else (settings.ddof,)
    for affine in _affine(backward, choices):
        chosen = {} if affine is None else {"affine": affine}
        yield [(d, layer(name, **chosen, **({} if d is None else {"ddof": d}))) for d in ddofs]


def _affine(backward: Backward, choices: Mapping[str, Any]) -> tuple[bool | None, ...]:
    if "affine" not in choices:
        return (None,)
    if backward.has_object:
        return (True, False)
    return ("gamma" in backward.takes,)


def _layouts(backward: Backward, program: Program, said: str | None) -> Iterable[Layout]:
    """With parameters and statistics as they usually are, then where these keep all axes."""
    there = [layouts.named(program, said)] if said else list(layouts.layouts(program))
    images = re.search(r"spatial|2d|conv|image|channel|cnn", backward.name, re.IGNORECASE)
    if images or program.joined:  # channels come in groups where there are many: in images
        there.sort(key=lambda at: len(at.order) != 4)
    return (*there, *map(layouts.with_kept, there))


def _rarity(at: Layout) -> int:
    return int(at.kept) + 2 * at.rare
