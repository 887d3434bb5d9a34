"""The confusion table of the diagnosis: every mistake of ``tests/mistakes.py``, and what is said.

    python -m tests.benchmarks.diagnosis

Six layers, two phrasings of the code each; a mistake is named where the code of the diagnosis is
one that its maker accepts.
"""

from collections import Counter

from tests.mistakes import every
from tests.test_diagnosis import explained


def main() -> None:
    """Print a row for each kind of mistake: how often it was named, and by which codes."""
    named: Counter[str] = Counter()
    said: dict[str, Counter[str]] = {}
    for name, layer, backward, _, accepted in every():
        kind = name.partition(": ")[2]
        codes = [cause.code for cause in explained(layer, backward)] or ["right"]
        said.setdefault(kind, Counter())[" and ".join(codes)] += 1
        named[kind] += len(codes) == 1 and codes[0] in accepted
    for kind, counts in said.items():
        whole = sum(counts.values())
        codes = ", ".join(f"{code} {n}" for code, n in counts.most_common())
        print(f"{named[kind]:3d} of {whole:3d}  {kind:32s} {codes}")
    total = sum(sum(counts.values()) for counts in said.values())
    print(f"{sum(named.values())} of {total} named")


if __name__ == "__main__":
    main()
