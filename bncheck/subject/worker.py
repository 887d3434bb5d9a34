"""The child process in which the user's code runs: load, list, call, reply.

Started as ``python -m bncheck.subject.worker REQUESTS REPLIES OPTIONS``: two file
descriptors of its own, so that whatever the code prints goes elsewhere, and options as JSON.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from bncheck.subject import calling, rewriting, tracing, wire
from bncheck.subject.conventions import find
from bncheck.subject.conventions.implementations import Implementation
from bncheck.subject.exceptions import refusal
from bncheck.subject.loading import load
from bncheck.subject.messages import Replacement
from bncheck.subject.target import Target
from bncheck.telling.codes import Finding
from bncheck.telling.errors import CannotAsk

MEMORY_SHARE = 0.75
"""How much of the machine's memory the user's code may address."""


def main(requests: int, replies: int, options: Mapping[str, Any]) -> None:
    """Serve requests until there are no more."""
    parent = os.getpid()
    _limit_memory()
    with os.fdopen(requests, "rb") as questions, os.fdopen(replies, "wb") as answers:
        target = Target(**options["target"])
        served = _loaded(target, options)
        while True:
            try:
                question = wire.receive(questions)
            except EOFError:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(0)  # what the code would still do at the end, nobody waits for
            answer = _answer(served, question, target)
            if os.getpid() != parent:
                os._exit(0)  # the user's code forked: only one of us may speak
            wire.send(answers, answer)


def _limit_memory() -> None:
    """Let greedy code meet a MemoryError rather than the machine's killer of processes."""
    try:
        import resource

        whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (int(whole * MEMORY_SHARE), -1))
    except (ImportError, ValueError, OSError, AttributeError):
        return  # not everywhere can it be limited


def _loaded(
    target: Target, options: Mapping[str, Any]
) -> Callable[[], tuple[list[Implementation], tuple[Finding, ...]]]:
    """Load once; an error is kept and said when asked."""
    try:
        source = load(target, options["ordinary"])
        there = find(source.namespace, target.name, target.place, options["names"])
        found = [replace(f, summary=replace(f.summary, file=source.file)) for f in there]
    except BaseException as error:
        kept = error
        return lambda: _raise(kept)
    return lambda: (found, source.notes)


def _raise(error: BaseException) -> tuple[list[Implementation], tuple[Finding, ...]]:
    raise error


def _answer(
    served: Callable[[], tuple[list[Implementation], tuple[Finding, ...]]],
    question: dict[str, Any],
    target: Target,
) -> dict[str, Any]:
    try:
        with np.errstate(all="ignore"):
            return {"ok": _carried_out(*served(), question)}
    except CannotAsk as error:
        return {"error": str(error)}
    except BaseException as error:
        said = refusal(error, question.get("name") or f"{target}:")
        known = sorted(said.kinds), sorted(said.speaks_of), said.file, said.line
        return {"error": str(said), "refused": known}


def _carried_out(
    found: list[Implementation], notes: tuple[Finding, ...], question: dict[str, Any]
) -> Any:
    if question["do"] == "list":
        return {
            "candidates": [asdict(f.summary) for f in found],
            "notes": [asdict(n) for n in notes],
        }
    chosen = next(f for f in found if f.summary.name == question["name"])
    if question["do"] == "forward":
        return calling.outputs(chosen, question["inputs"])
    if question["do"] == "firsts":
        return calling.first_gradients(chosen, question["inputs"])
    if question["do"] == "repeat":
        return [asdict(r) for r in calling.repeated(chosen, *question["inputs"])]
    if question["do"] == "trace":
        return tracing.as_plain(tracing.traced(chosen, question["inputs"]))
    if question["do"] == "replace":
        tries = [[Replacement(**r) for r in one] for one in question["tries"]]
        return tracing.replaced(chosen, question["inputs"], tries)
    if question["do"] == "rewrite":
        place = question["line"], question["variable"]
        made = rewriting.rewritten(chosen, question["inputs"], *place)
        return [vars(one) for one in made]
    if question["do"] == "running":
        return calling.running_statistics(chosen, question["inputs"])
    outcome = calling.call(chosen, question["inputs"], question["memory"])
    return {
        "y": outcome.y,
        "gradients": outcome.gradients,
        "remarks": [asdict(r) for r in outcome.remarks],
        "in_order": outcome.in_order,
    }


if __name__ == "__main__":
    sys.setrecursionlimit(3000)
    main(int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3]))
