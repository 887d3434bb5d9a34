"""Oracle: the README itself; every command is run and every block of Python executed.

Numbers are compared as numbers; by how much they may differ says ``_agree``.
"""

import re
import tomllib

import pytest

from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    (lines[0].removeprefix("$ bncheck ").split(), lines[1:])
    for kind, text in BLOCKS
    if kind == "console"
    for lines in [text.rstrip().split("\n")]
]


NUMBER = re.compile(r"[-−]?\b\d+(?:\.\d+)?(?:e[-+]?\d+)?\b")
COMPARED = re.compile(r"\S+ / \S+ .*\[.*\].* (right|wrong|inaccurate)$")
"""A row of witnesses: ULPs, share of the bound, a place, and both values there."""
NOISE = 10
"""ULPs by which two rows that are right may differ: their differences are rounding."""
FARTHEST = 99
PRINTED = {}


def _printed(bncheck, command):
    """What a command prints, without empty lines; each is run once."""
    key = " ".join(command)
    if key not in PRINTED:
        PRINTED[key] = [line for line in bncheck(*command).stdout.split("\n") if line.strip()]
    return PRINTED[key]


def _agree(shown, got):
    """Whether two lines have the same words, and numbers that agree.

    Whole numbers are equal. Of others the last digit may be another by one, as rounding differs
    from machine to machine. In a row that is right, where two witnesses differ by rounding only,
    they may differ most elsewhere: see ``_same_rounding``.
    """
    if _words(shown) != _words(got):
        return False
    numbers = [NUMBER.findall(line.replace("−", "-")) for line in (shown, got)]
    row = COMPARED.search(shown)
    return _same_rounding(*numbers) if row and row[1] == "right" else all(map(_near, *numbers))


def _words(line):
    return re.sub(r"[\s─]+", " ", NUMBER.sub("#", line)).strip()


def _near(shown, got):
    if not {".", "e"} & set(shown):
        return float(shown) == float(got)
    digits, _, power = shown.partition("e")
    last = 10.0 ** (int(power or 0) - len(digits.partition(".")[2]))
    return abs(float(shown) - float(got)) <= 1.001 * last


def _same_rounding(shown, got):
    """Few ULPs and less than the bound; at one place the same values, at another others.

    No trial has a place beyond ``FARTHEST``.
    """
    values = all(map(_near, shown[-2:], got[-2:]))
    return (
        abs(float(shown[0]) - float(got[0])) <= NOISE
        and max(float(shown[1]), float(got[1])) <= 1
        and values == (shown[2:-2] == got[2:-2])
        and max(map(int, shown[2:-2])) <= FARTHEST
        and all(_near(numbers[-2], numbers[-1]) for numbers in (shown, got))
    )


def _is_printed(expected, printed):
    """The first part of what is expected, between dots, that is not printed; None where all is."""
    for part in "\n".join(expected).split("...\n"):
        wanted = [line for line in part.removesuffix("...").split("\n") if line.strip()]
        starts = range(len(printed) - len(wanted) + 1)
        if not any(all(map(_agree, wanted, printed[k:])) for k in starts):
            return part
    return None


@pytest.mark.parametrize(("command", "expected"), COMMANDS, ids=lambda c: " ".join(c[:3]))
def test_every_command_prints_what_the_readme_shows(bncheck, command, expected):
    assert _is_printed(expected, _printed(bncheck, command)) is None


@pytest.mark.parametrize(("command", "expected"), COMMANDS, ids=lambda c: " ".join(c[:3]))
def test_any_number_changed_in_the_readme_is_noticed(bncheck, command, expected):
    printed, text = _printed(bncheck, command), "\n".join(expected)
    for number in NUMBER.finditer(text):
        sign, digits = re.match("([-−]?)(.*)", number[0]).groups()
        changed = f"{text[: number.start()]}{sign}7{digits}{text[number.end() :]}"
        assert _is_printed(changed.split("\n"), printed) is not None, changed


@pytest.mark.parametrize("text", [t for kind, t in BLOCKS if kind == "python"])
def test_every_block_of_python_runs(text, capsys):
    exec(compile(text, "README.md", "exec"), {})


def test_the_two_commands_are_on_the_first_screen():
    first_screen = README.split("\n")[:30]
    assert "pip install . && bncheck verify" in first_screen
    assert "pip install -e '.[test]' && pytest" in first_screen


def test_every_file_that_is_linked_exists():
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / link).exists(), link


def test_the_runtime_needs_four_packages():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.match(r"\w+", d)[0] for d in project["dependencies"]}
    assert names == {"sympy", "numpy", "typer", "rich"}
