"""The confusion table of the diagnosis: every mistake of ``tests/mistakes.py``, and what is said.

    python -m tests.benchmarks.diagnosis

Six layers, two phrasings of the code each; a mistake is named where the code of the diagnosis is
one that its maker accepts.
"""

from collections import Counter

from bncheck.verification import verify
from tests.mistakes import every


def main() -> None:
    """Print a row for each kind of mistake: how often it was named, and by which codes."""
    named: Counter[str] = Counter()
    said: dict[str, Counter[str]] = {}
    for name, layer, backward, gradient, accepted in every():
        kind = name.partition(": ")[2]
        report = verify(backward, layer=layer)
        codes = [d.code for d in report.diagnosis if d.gradient == gradient] or [report.verdict]
        said.setdefault(kind, Counter())[codes[0]] += 1
        named[kind] += codes[0] in accepted
    for kind, counts in said.items():
        whole = sum(counts.values())
        codes = ", ".join(f"{code} {n}" for code, n in counts.most_common())
        print(f"{named[kind]:3d} of {whole:3d}  {kind:32s} {codes}")
    total = sum(sum(counts.values()) for counts in said.values())
    print(f"{sum(named.values())} of {total} named")


if __name__ == "__main__":
    main()
