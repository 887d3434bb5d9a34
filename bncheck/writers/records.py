"""Derivations and statements as data, for other programs: ``--format json``."""

import json
from typing import Any

from sympy import Expr, sstr

from bncheck.algebra.notation import indices_of, name_of, size
from bncheck.algebra.program import Line, Program, Step
from bncheck.calculus.derivation import Derivation, Rewriting, normalised
from bncheck.calculus.jacobians import explicit, jacobian, jacobian_line
from bncheck.theory.statements import Evidence, Judgement
from bncheck.writers.formulas.latex import latex_of
from bncheck.writers.jacobian_matrix import group_size, has_sizes
from bncheck.writers.statements import LATEX, conditions, formula

SCHEMA = 1
"""Counts up with every change that a reader of the JSON would notice."""

LARGEST = 16
"""Rows of the largest Jacobian that is written entry by entry; beyond, its rule says it all."""


def record(found: Derivation, known: Evidence | None = None) -> dict[str, Any]:
    """Programs, rewritings, cache and Jacobians; expressions as ``sstr`` and as LaTeX.

    ``known``: how each equation is known, as its ``check`` (``proved``, ``exact``, ``refuted``),
    and the identities of the layer.

    ``given`` are the upstream gradients or tangents, ``results`` what is derived. In second order
    ``forward`` has the backward pass behind it, and there are no Jacobians.
    """
    plain = found.order == 1 and found.mode == "reverse"
    forward, layer = found.forward, found.layer
    return {
        "schema": SCHEMA,
        "layer": layer.name,
        "title": forward.title if found.mode == "reverse" else found.chain.title,
        "order": found.order,
        "mode": found.mode,
        "axes": [{"index": str(i), "size": str(size(i))} for i in forward.axes],
        "normalised": [str(i) for i in normalised(forward)],
        "inputs": [_operand(a) for a in forward.inputs],
        "outputs": [_operand(a) for a in forward.outputs],
        "given": [_operand(a) for a in found.upstream],
        "results": [_operand(a) for a in found.closed.outputs],
        "forward": _steps(forward, layer),
        "chain": _steps(found.chain, layer, known),
        "closed": _steps(found.closed, layer, known),
        "rewritings": [
            {**_equation(Step(r.target, r.expr), layer), "reason": r.reason, **_check(r, known)}
            for r in found.rewritings
        ],
        "cache": [name_of(a) for a in found.cached],
        "jacobians": [_jacobian(found, name_of(a), known) for a in found.wrt] if plain else [],
        **({"identities": list(map(judgement, known.identities))} if known else {}),
    }


def _check(step: Step | Rewriting | Line, known: Evidence | None) -> dict[str, str]:
    """How an equation is known; nothing for one that only gives a sum its name."""
    verdict = known.lines.get(Line(step.target, step.expr)) if known else None
    return {"check": verdict} if verdict else {}


def _operand(operand: Any) -> dict[str, Any]:
    return {
        "name": name_of(operand),
        "indices": [str(i) for i in indices_of(operand)],
        "shape": [str(size(i)) for i in indices_of(operand)],
    }


def _steps(
    program: Program, forward: Program, known: Evidence | None = None
) -> list[dict[str, Any]]:
    return [
        {**_equation(step, forward), "note": step.note, **_check(step, known)}
        for step in program.steps
    ]


def _equation(step: Step, forward: Program) -> dict[str, Any]:
    return {
        "name": name_of(step.target),
        "target": sstr(step.target),
        **_written(step.expr, forward, indices_of(step.target)),
    }


def _written(expr: Expr, forward: Program, free: tuple[Any, ...] = ()) -> dict[str, str]:
    return {"expr": sstr(expr), "latex": latex_of(expr, free, forward.tensors)}


def _jacobian(found: Derivation, name: str, known: Evidence | None) -> dict[str, Any]:
    at = jacobian(found, name)
    record = {
        "wrt": name,
        "row": sstr(at.row),
        "column": sstr(at.column),
        "entry": _written(at.entry, found.forward),
        **(_check(jacobian_line(found, name), known) if known else {}),
    }
    if not has_sizes(found):
        return record
    if group_size(found) > LARGEST:
        return {**record, "matrix": None, "left_out": f"more than {LARGEST} rows"}
    entries = explicit(found, name)
    rows = [[sstr(e) for e in entries.row(r)] for r in range(entries.rows)]
    return {**record, "matrix": rows}


def judgement(one: Judgement) -> dict[str, Any]:
    """A statement and what became of it, numbers as exact text."""
    said = one.statement
    return {
        "name": said.name,
        "statement": formula(said),
        "where": list(conditions(said)),
        "latex": formula(said, LATEX),
        "where_latex": list(conditions(said, LATEX)),
        "printed": said.printed,
        "note": said.note,
        "verdict": one.verdict,
        "expected": "true" if said.holds else "refuted",
        "as_expected": one.as_expected,
        "left": str(one.trial.left),
        "right": str(one.trial.right),
        "residual": str(one.residual),
        "example": {name: str(number) for name, number in said.at.items()},
    }


def as_json(data: Any) -> str:
    """Data as text."""
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"
