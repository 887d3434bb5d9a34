"""How often the line that is named is the line that was changed, of all mistakes of tests/staged.

    python tests/benchmarks/lines.py

Prints the misses and the shares, of the sources that were seen while writing and of the others.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bncheck.verification import verify
from tests.staged import SEEN, every_mistake, wrong


def main() -> None:
    """Print every miss, then a share for each of the two sets."""
    right: dict[bool, list[bool]] = {True: [], False: []}
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, old, new) in enumerate(every_mistake()):
            path = Path(folder) / f"case{number}.py"
            source, line = wrong(name, old, new)
            path.write_text(source)
            (found, *_) = verify(str(path)).diagnosis
            right[name in SEEN].append(found.line == line)
            if found.line != line:
                print(f"{name}: {old!r} -> {new!r}: line {line}, named {found.line_text!r}")
    for seen, results in right.items():
        print(f"{'seen' if seen else 'unseen'}: {sum(results)} of {len(results)}")


if __name__ == "__main__":
    main()
