"""``identities`` and ``theorems``: what holds, and what is said to hold."""

import json
from typing import Any

import typer

from bncheck.cli import files, options
from bncheck.telling.errors import CannotAsk
from bncheck.writers.formats import STATED


def identities(
    layer: options.Layer = "batch-norm",
    ddof: options.Ddof = None,
    affine: options.Affine = None,
    variance: options.Variance = None,
    mode: options.Mode = None,
    power: options.Power = False,
    seed: options.RationalSeed = 0,
    form: options.StatedForm = "text",
) -> None:
    """What holds for a layer's gradients: each statement proved, or exact on rationals."""
    from bncheck.calculus.passes import derived_once
    from bncheck.theory.family.laws import identities as stated
    from bncheck.theory.judging import judge_all
    from bncheck.theory.parts import words

    chosen = options.variant(ddof=ddof, affine=affine, variance=variance, mode=mode)
    program = files.program(layer, chosen)
    if power:
        _tell_power(program, seed, form)
        return
    parts = words(derived_once(program))
    found = judge_all(stated(parts), parts, seed)
    _tell(f"{program.title or program.name}: identities", found, form)


def theorems(
    about: options.About = "",
    seed: options.RationalSeed = 0,
    form: options.StatedForm = "text",
) -> None:
    """What is published about batch norm: proved, or refuted with its counterexample."""
    from bncheck.algebra.layers import layer
    from bncheck.theory.published.claims import theorems as stated

    batch, raw = layer("batch-norm"), layer("batch-norm", variance="raw")
    over_less, weight = layer("batch-norm", ddof=1), layer("weight-norm")
    every = tuple(stated(batch, raw, over_less, weight, seed))
    found = [a for a in every if is_about(a.statement, about)]
    if not found:
        raise CannotAsk(
            f"no theorem has {about!r} in what is told about it; bncheck theorems lists all"
        )
    _tell("Theorems about batch norm", found, form)


def is_about(said: Any, text: str) -> bool:
    """Whether a statement has the text in its name, in its source or in what is told about it."""
    return any(text in part for part in (said.name, said.printed, said.note))


def _tell_power(program: Any, seed: int, form: str) -> None:
    """Write what identities catch, as text or JSON."""
    from bncheck.mutants import power

    if form not in ("text", "json"):
        raise CannotAsk(f"--power is written as text or json, not as {form}")
    found = power.measured(program, seed)
    if form == "json":
        record = power.as_record(found)
        files.tell(json.dumps(record, indent=2, ensure_ascii=False) + "\n")
        return
    from bncheck.telling.terminal import drawn, listed

    letters, rows = power.matrix(found)
    files.tell(
        drawn(listed, ("", "catch", "identity"), power.groups(found))
        + drawn(listed, (letters, f"{len(rows)} wrong backward passes"), rows)
        + f"together all of these: {'; '.join(found.enough)}\n"
    )


def _tell(title: str, found: Any, form: str) -> None:
    """Write what became of statements; exit code 3 where one is not what bncheck expects."""
    files.tell(STATED[form](title, found))
    if not all(one.as_expected for one in found):
        raise typer.Exit(3)
