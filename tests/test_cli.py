"""Oracle: the exit codes and messages of the developers' page, seen from outside the process."""

import json
import re
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
import typer

from bncheck import __version__
from bncheck.algebra.layers import LAYERS
from bncheck.cli.commands import app
from bncheck.telling.formats import FORMS
from bncheck.writers.formats import DERIVED
from tests.conftest import ROOT


def test_version_and_help(bncheck):
    assert bncheck("--version").stdout == f"bncheck {__version__}\n"
    shown = bncheck("--help").stdout
    assert all(command in shown for command in ("derive", "layers", "verify"))


def test_every_command_and_option_says_what_it_does():
    for command in typer.main.get_command(app).commands.values():
        assert command.help
        assert all(getattr(p, "help", None) for p in command.params), command.name


def test_layers_are_listed(bncheck):
    shown = bncheck("layers").stdout
    assert all(name in shown for name in LAYERS)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["derive", "bach-norm"], 2, "no layer is called 'bach-norm'; there are batch-norm"),
        (["derive", "rms-norm", "--ddof", "1"], 2, "rms-norm has no variant 'ddof'"),
        (["derive", "--ddof", "3"], 2, "ddof is 3; it can be 0, 1"),
        (["derive", "-m", "0"], 2, "it has to be 1 or more"),
        (["derive", "-m", "1", "--ddof", "1"], 2, "divides by zero"),
        (["derive", "--wrt", "delta"], 2, "no input 'delta'"),
        (["derive", "--format", "pdf"], 2, "pdf"),
        (["derive", "-m", "three"], 2, "parse string as an integer"),
        (["derive", "none.py:MINE"], 2, "none.py does not exist"),
        (["derive", "examples/power_norm.py:MINE"], 2, "its programs are: POWER_NORM"),
        (["derive", "examples/power_norm.py", "--ddof", "1"], 2, "is for built-in layers"),
        (["derive", "-o", "no/such/folder/x.tex"], 2, "cannot be written"),
        (["verify", "none.py"], 2, "none.py does not exist"),
        (["verify", "examples"], 2, "is a directory"),
        (["verify", "examples/right/plain.py:g"], 2, "no function or class 'g'"),
        (["verify", "examples/right/plain.py", "--layer", "x"], 2, "no layer is called 'x'"),
        (["frobnicate"], 2, "No such command"),
    ],
)
def test_what_cannot_be_asked_exits_2_with_one_message(bncheck, arguments, code, said):
    done = bncheck(*arguments)
    assert done.returncode == code
    assert said in re.sub(r"\s+", " ", done.stderr)
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_program_that_does_not_import_or_means_nothing(bncheck, tmp_path):
    (tmp_path / "a.py").write_text("import nothing_like_it")
    (tmp_path / "b.py").write_text(
        "from bncheck.algebra.notation import axis, tensor\n"
        "from bncheck.algebra.program import Program, Step\n"
        "i = axis('i', 'm'); x = tensor('x'); y = tensor('y')\n"
        "P = Program('p', (i,), (x[i],), (Step(y[i], tensor('z')[i]),), (y[i],))\n"
    )
    done = bncheck("derive", tmp_path / "a.py")
    assert (done.returncode, "cannot be imported" in done.stderr) == (2, True)
    done = bncheck("derive", tmp_path / "b.py")
    assert (done.returncode, "reads z" in done.stderr) == (2, True)


def test_nothing_to_call_exits_2(bncheck, tmp_path):
    path = tmp_path / "code.py"
    path.write_text("def backward(dy, x):\n    raise ValueError('no')\n")
    done = bncheck("verify", path)
    assert done.returncode == 2
    assert "raised ValueError: no" in done.stdout


def test_a_pipe_gets_no_colour(bncheck):
    for arguments in (["derive"], ["verify"], ["layers"]):
        assert "\x1b" not in bncheck(*arguments, env={"TERM": "xterm-256color"}).stdout


@pytest.mark.parametrize("form", DERIVED)
def test_every_format_to_a_file_and_to_the_terminal(bncheck, tmp_path, form):
    path = tmp_path / "out"
    done = bncheck("derive", "rms-norm", "--format", form, "-o", path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr == f"wrote {path}\n"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert bncheck("derive", "rms-norm", "--format", form).stdout == path.read_text()


def test_a_failed_write_leaves_the_old_file(bncheck, tmp_path):
    path = tmp_path / "out.tex"
    path.write_text("old")
    assert bncheck("derive", "-m", "0", "-o", path).returncode == 2
    assert path.read_text() == "old"


def test_json_and_numpy_for_a_large_batch(bncheck, tmp_path):
    record = json.loads(bncheck("derive", "-m", "512", "--format", "json").stdout)
    assert record["schema"] == 1
    assert record["jacobians"][0]["matrix"] is None
    assert "1/512" in record["closed"][-1]["expr"] or "/512" in record["closed"][-1]["expr"]
    text = bncheck("derive", "-m", "512", "--format", "numpy").stdout
    namespace = {}
    exec(text, namespace)
    y, _ = namespace["forward"](np.ones((512, 2)), np.ones(2), np.zeros(2), 1e-5)
    assert y.shape == (512, 2)


def test_variants_and_wrt_reach_the_derivation(bncheck):
    shown = bncheck("derive", "--ddof", "1", "--no-affine", "--variance", "raw").stdout
    assert "(m − 1)" in shown
    assert "γ" not in shown
    assert "running" in bncheck("derive", "--mode", "evaluation", "--format", "numpy").stdout
    only = bncheck("derive", "--wrt", "gamma,beta", "--format", "json").stdout
    assert [j["wrt"] for j in json.loads(only)["jacobians"]] == ["gamma", "beta"]


def test_an_unexpected_defect_exits_3_without_a_traceback(bncheck, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import bncheck.calculus.passes as d\n"
        "def broken(*a): raise IndexError('boom')\n"
        "d.backward = broken\n"
    )
    path = f"{tmp_path}:{ROOT}"
    done = bncheck("derive", env={"PYTHONPATH": path})
    assert done.returncode == 3
    assert "IndexError: boom. This is a defect of bncheck" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Traceback" in bncheck("derive", env={"PYTHONPATH": path, "BNCHECK_DEBUG": "1"}).stderr


def test_several_backward_passes_get_a_row_each(bncheck, tmp_path):
    path = tmp_path / "three.py"
    path.write_text(
        "".join(f"def backward_{k}(dy, x, gamma, beta, eps):\n    return dy, gamma, beta\n\n"
                for k in "abc")
    )  # fmt: skip
    done = bncheck("verify", path)
    assert done.returncode == 1
    assert all(f"backward_{k}" in done.stdout for k in "abc")


@pytest.mark.sampled(3)
@pytest.mark.parametrize("path", [(), ("examples/wrong/m_minus_1.py",)])
@pytest.mark.parametrize("form", FORMS)
def test_a_reader_that_has_gone_changes_no_exit_code(path, form):
    command = [sys.executable, "-m", "bncheck", "verify", *path, "--format", form]
    done = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    done.stdout.close()
    assert done.stderr.read() == b""
    done.stderr.close()
    assert done.wait() == len(path)


def test_the_version_needs_no_typer():
    code = "import sys; sys.argv[1:] = ['--version']; from bncheck.cli import main; main(); "
    code += "assert not {'typer', 'rich', 'numpy', 'sympy'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=ROOT)


def test_the_formats_of_verify_are_those_of_the_table(bncheck):
    refused = bncheck("verify", "--format", "pdf")
    assert refused.returncode == 2
    assert all(f"'{name}'" in refused.stderr for name in FORMS)


@pytest.mark.parametrize("form", ["text", "junit"])
def test_the_blamed_line_is_told_once(bncheck, form):
    path = "examples/wrong/m_minus_1.py"
    (found,) = json.loads(bncheck("verify", path, "--json").stdout)["results"][0]["diagnosis"]
    told = bncheck("verify", path, "--format", form).stdout
    if form == "junit":
        told = ElementTree.fromstring(told).find("testcase/failure").text
    assert told.count(found["line_text"]) == 1


def test_annotations_of_a_module_name_its_file(bncheck):
    shown = bncheck("verify", "bncheck.verdict.references", "--format", "github").stdout
    said = shown.splitlines()[0]
    file = re.search("file=([^,]*)", said)[1]
    assert (ROOT / file).samefile(ROOT / "bncheck/verdict/references.py")
    junit = ElementTree.fromstring(
        bncheck("verify", "bncheck.verdict.references", "--format", "junit").stdout
    )
    assert (ROOT / junit.find("testcase").get("file")).exists()
