"""Oracle: the README itself; every command is run and every block of Python executed.

Digits may differ in their last places from machine to machine, so numbers are compared as such.
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


def _shape(lines):
    """Words and layout without the digits of numbers that are the result of rounding."""
    joined = [re.sub(r"[-−]?\b\d+(\.\d+)?(e[-+]?\d+)?\b", "#", line.rstrip()) for line in lines]
    return [re.sub(r" +", " ", line) for line in joined if line.strip()]


@pytest.mark.parametrize(("command", "expected"), COMMANDS, ids=lambda c: " ".join(c[:3]))
def test_every_command_prints_what_the_readme_shows(bncheck, command, expected):
    printed = _shape(bncheck(*command).stdout.split("\n"))
    for part in "\n".join(expected).split("...\n"):
        wanted = _shape(part.removesuffix("...").split("\n"))
        starts = [k for k in range(len(printed)) if printed[k : k + len(wanted)] == wanted]
        assert starts, part


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
