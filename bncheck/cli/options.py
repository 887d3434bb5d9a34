"""Every option and argument of the commands, once: its type, its names, what it is for."""

import inspect
from collections.abc import Callable
from dataclasses import Field, fields
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from bncheck.identity.settings import Settings
from bncheck.telling.formats import FORMS
from bncheck.writers.formats import DERIVED, STATED

if TYPE_CHECKING:
    Verified = str
    Derived = str
    Stated = str
else:
    Verified = StrEnum("Verified", [(name, name) for name in FORMS])
    Derived = StrEnum("Derived", [(name, name) for name in DERIVED])
    Stated = StrEnum("Stated", [(name, name) for name in STATED])

# -- of derivations and identities ----------------------------------------------------------------
Layer = Annotated[
    str, typer.Argument(help="A layer's name, or FILE.py:NAME of a Program of your own.")
]
Ddof = Annotated[int | None, typer.Option(help="0: variance over m; 1: over m - 1.")]
Affine = Annotated[
    bool | None, typer.Option("--affine/--no-affine", help="With gamma and beta, or without.")
]
Variance = Annotated[
    str | None, typer.Option(help="centred, or raw: mean of squares minus squared mean.")
]
Mode = Annotated[str | None, typer.Option(help="training, or evaluation.")]
Modes = Annotated[
    list[str] | None,
    typer.Option("--mode", help="training, or evaluation; forward: how y moves. May be repeated."),
]
BatchSize = Annotated[
    int | None,
    typer.Option("-m", "--batch-size", help="How many values are normalised together."),
]
Order = Annotated[
    int, typer.Option(help="1: gradients; 2: their gradients, the double backward pass.")
]
Wrt = Annotated[
    list[str] | None, typer.Option(help="Input to take the gradient of; may be repeated.")
]
DerivedForm = Annotated[Derived, typer.Option("--format", help="What to write.")]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", help="Write to this file, not the terminal.")
]
Power = Annotated[
    bool, typer.Option("--power", help="Which wrong gradients each identity catches.")
]
About = Annotated[
    str, typer.Argument(help="Only those with this text in what is told about them: 36, Deb.")
]
RationalSeed = Annotated[int, typer.Option("--seed", help="Of the random rationals.")]
StatedForm = Annotated[Stated, typer.Option("--format", help="What to write.")]

# -- of somebody's code ---------------------------------------------------------------------------
Target = Annotated[
    str | None,
    typer.Argument(
        help="FILE.py, FILE.ipynb, FILE.py:name or package.module:name; without one, ours."
    ),
]
Inputs = Annotated[
    Path | None,
    typer.Option(help="An .npz with x, gamma, beta, dy, eps of a real run, tried as well."),
]
Strict = Annotated[bool, typer.Option("--strict", help="Remarks fail, too.")]
VerifiedForm = Annotated[Verified, typer.Option("--format", help="What to write.")]
AsJson = Annotated[bool, typer.Option("--json", help="The same as --format json.")]
SaveFailure = Annotated[
    Path | None, typer.Option(help="Write the inputs of the worst failure here, for --inputs.")
]
Snippet = Annotated[
    Path | None, typer.Option(help="Write the smallest counterexample here, as a test.")
]
AskedLayer = Annotated[
    str | None,
    typer.Option("--layer", help="Which layer it is, where bncheck should not find out."),
]
Names = Annotated[
    list[str] | None,
    typer.Option("--name", help="PARAMETER=ROLE, say G=dy, where a name is unusual; may be "
                 "repeated."),
]  # fmt: skip
ShowOutput = Annotated[
    bool, typer.Option("--show-output", help="Show what the code prints (on stderr).")
]

# -- of somebody's tests --------------------------------------------------------------------------
Tests = Annotated[
    str, typer.Argument(help="Your tests, as pytest takes them: test_file.py[::test_name].")
]
Replace = Annotated[
    str,
    typer.Option(help="The backward pass that they test: FILE.py:name or package.module:name."),
]
RunTimeout = Annotated[float, typer.Option("--timeout", help="Seconds for one run of the tests.")]
Everything = Annotated[
    bool, typer.Option("--all", help="List the mistakes that they catch as well.")
]


def variant(**asked: Any) -> dict[str, Any]:
    """The variant of a layer that was asked for: without what was left open."""
    return {name: value for name, value in asked.items() if value is not None}


Command = Callable[..., None]


def with_settings(command: Command) -> Command:
    """A command whose ``**chosen`` are the options of ``Settings``, as Typer has to see them."""
    signature = inspect.signature(command, eval_str=True)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    kinds: dict[str, Any] = get_type_hints(Settings, localns={"Program": Any})
    there = [_parameter(one, kinds[one.name]) for one in fields(Settings) if one.metadata]
    whole = signature.replace(parameters=[*own, *there])
    setattr(command, "__signature__", whole)  # noqa: B010
    command.__annotations__ = {p.name: p.annotation for p in whole.parameters.values()}
    return command


def _parameter(one: Field[Any], kind: Any) -> inspect.Parameter:
    """A field as a parameter that Typer makes an option of."""
    told = one.metadata
    asked = typer.Option(*told["names"], help=told["purpose"], **told["limits"])
    return inspect.Parameter(
        one.name, inspect.Parameter.KEYWORD_ONLY, default=one.default,
        annotation=Annotated[kind, asked],
    )  # fmt: skip
