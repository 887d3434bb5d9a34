"""What the command line costs beside what it has to import; ratios of one run, interleaved.

    python tests/benchmarks/startup.py [REPETITIONS]

The median of each command is divided by the median of its yardstick.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FIVE_LINES = """import typer
app = typer.Typer()
@app.command()
def hello(name: str = "you"): print(name)
app()
"""


def main(repetitions: int) -> None:
    """Print a table of ratios."""
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small.py"
        small.write_text(FIVE_LINES)
        run = [sys.executable]
        bncheck = [*run, "-m", "bncheck"]
        heavy = "import sympy, numpy, typer, rich.console"
        derive = [*bncheck, "derive"]
        large = [*derive, "-m", "512", "--format"]
        sympy = [*run, "-c", "import sympy"]
        numbers = [*run, "-c", "import sympy, numpy"]
        pairs = {
            "--help / a Typer program of five lines": (
                [*bncheck, "--help"],
                [*run, str(small), "--help"],
                1.3,
            ),
            "--version / import typer": (
                [*bncheck, "--version"],
                [*run, "-c", "import typer"],
                1.3,
            ),
            f"derive / {heavy}": (derive, [*run, "-c", heavy], 2.0),
            "derive --order 2 / import sympy": ([*derive, "--order", "2"], sympy, 3.0),
            "verify FILE / import sympy, numpy": (
                [*bncheck, "verify", "examples/right/plain.py"],
                numbers,
                3.0,
            ),
            "derive -m 512 --format numpy / import sympy": ([*large, "numpy"], sympy, 4.0),
            "derive -m 512 --format json / import sympy": ([*large, "json"], sympy, 4.0),
        }
        times: dict[str, tuple[list[float], list[float]]] = {n: ([], []) for n in pairs}
        for _ in range(repetitions):
            for name, (ours, yardstick, _) in pairs.items():
                times[name][0].append(_seconds(ours))
                times[name][1].append(_seconds(yardstick))
    for name, (ours, theirs) in times.items():
        a, b = statistics.median(ours), statistics.median(theirs)
        limit = pairs[name][2]
        print(f"{a / b:5.2f} (at most {limit})  {1e3 * a:4.0f} ms / {1e3 * b:4.0f} ms  {name}")


def _seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
