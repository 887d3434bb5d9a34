"""What a verification, or an examination of tests, finds: plain data, for whoever tells it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from bncheck.telling.codes import Finding

Verdict = Literal["right", "inaccurate", "wrong", "cannot tell", "cannot call"]

WORST_FIRST: tuple[Verdict, ...] = ("cannot call", "wrong", "inaccurate", "cannot tell", "right")


@dataclass(frozen=True)
class Comparison:
    """Two witnesses of one gradient, at the place where they differ most.

    ``ulps``: the difference in units in the last place of the user's dtype, taken at the
    largest value of the gradient's own feature; ``of_bound``: the difference divided by what
    rounding allows there (1 is the limit); ``at``: the index, from 0 as in NumPy; ``first`` and
    ``second``: both values; ``trial``: the inputs on which it was seen.
    """

    first_witness: str
    second_witness: str
    ulps: float
    of_bound: float
    at: tuple[int, ...]
    first: float
    second: float
    trial: str
    verdict: Verdict

    @property
    def of_reference(self) -> bool:
        """Whether the second is of bncheck's own pass, for want of the user's."""
        return self.second_witness.endswith("of the reference")

    def __str__(self) -> str:
        values = f"{self.first_witness} {self.first:.6g}, {self.second_witness} {self.second:.6g}"
        apart = f"{self.ulps:.2g} ULPs, {self.of_bound:.2g} of the bound"
        return f"{values} at {list(self.at)} where {self.trial}: {apart}"


@dataclass(frozen=True)
class GradientResult:
    """One gradient (``dx``, ``dgamma``, ``dbeta``): its comparisons and what follows."""

    name: str
    comparisons: tuple[Comparison, ...]
    verdict: Verdict


@dataclass(frozen=True)
class Term:
    """One term of the closed form: the factor found in the user's gradient, and its reading.

    ``uncertainty``: one standard error of the factor found.
    """

    formula: str
    found: float
    expected: float
    reading: Finding
    uncertainty: float = 0.0

    @property
    def right(self) -> bool:
        """Whether the factor is the expected one."""
        return self.reading.form == "ok"

    def __str__(self) -> str:
        factors = f"{self.found:.6g} x found, {self.expected:g} x expected"
        return f"{self.formula}: {factors} ({self.reading})"


@dataclass(frozen=True)
class Cause:
    """Why a gradient is wrong: a finding, the terms with their factors, the right formula.

    ``limits``: where it does not hold, and what can be done; ``line``: where the backward pass
    first goes wrong, in the user's file; ``place``: what is wrong there.
    """

    gradient: str
    finding: Finding
    limits: tuple[Finding, ...] = ()
    terms: tuple[Term, ...] = ()
    formula: str = ""
    line: int | None = None
    place: tuple[Finding, ...] = ()

    @property
    def code(self) -> str:
        """The code of the finding."""
        return self.finding.code

    @property
    def text(self) -> str:
        """The finding and its limits, written out."""
        return "; ".join(map(str, (self.finding, *self.limits)))

    @property
    def line_text(self) -> str:
        """What is wrong on the line, written out."""
        return "; ".join(map(str, self.place))

    @property
    def below(self) -> tuple[str, ...]:
        """What is said below it: the line, the terms, the right formula."""
        line = (self.line_text,) if self.line_text else ()
        right = (f"right: {self.formula}",) if self.formula else ()
        return (*line, *map(str, self.terms), *right)


@dataclass(frozen=True)
class Counterexample:
    """A small input by role, in the user's layout, with the right gradient and the user's.

    The numbers of the gradients are texts: fractions where they are fractions.
    """

    gradient: str
    inputs: dict[str, Any]
    right: Any
    yours: Any

    @property
    def given(self) -> str:
        """The inputs."""
        return ", ".join(f"{name} = {_plain(value)}" for name, value in self.inputs.items())

    @property
    def found(self) -> str:
        """What comes out, and what should."""
        right, yours = _plain(self.right), _plain(self.yours)
        return f"{self.gradient} should be {right}, yours is {yours}"

    @property
    def snippet(self) -> str:
        """A test to paste, for a person to fill in the call."""
        lines = ["import numpy as np", "", "", f"def test_{self.gradient}():"]
        for name, value in self.inputs.items():
            made = f"np.array({value})" if isinstance(value, list) else repr(value)
            lines.append(f"    {name} = {made}")
        lines.append(f"    {self.gradient} = ...  # your backward pass on these")
        lines.append(f"    expected = np.array({_plain(self.right).replace('/', ' / ')})")
        lines.append(f"    np.testing.assert_allclose({self.gradient}, expected, rtol=1e-9)")
        return "\n".join(lines) + "\n"


def _plain(value: Any) -> str:
    """Lists and numbers without quotes, whole numbers without a point."""
    if isinstance(value, list):
        return "[" + ", ".join(map(_plain, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


SHADES = ((0.0, "·"), (0.01, "░"), (0.1, "▒"), (1.0, "▓"), (float("inf"), "█"))
"""The sign of an entry by its error, up to so much of the gradient's largest value."""


@dataclass(frozen=True)
class Heat:
    """A picture of where a gradient is off: ``cells`` are errors, 0 where rounding explains them.

    ``down`` and ``across``: the axes and their lengths; ``down`` is empty for an array of one axis.
    An error is relative to the largest value of the gradient.
    """

    gradient: str
    down: str
    across: str
    cells: tuple[tuple[float, ...], ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """A line that says what is what, and the rows."""
        axes = f"{self.down} down, {self.across} across" if self.down else self.across
        told = f"{self.gradient}, {axes}: · right ░ 1% ▒ 10% ▓ 100% █ more"
        return (told, *(" ".join(map(_shade, row)) for row in self.cells))


def _shade(error: float) -> str:
    return next(sign for limit, sign in SHADES if error <= limit)


Kind = Literal["refusal", "how", "gradient", "remark", "cause", "where", "smallest"]


@dataclass(frozen=True)
class Part:
    """One thing that a report says: its label, its text, and the lines that belong below it.

    ``of``: the gradient or the cause itself, for a form that has a table for it.
    """

    kind: Kind
    label: str
    text: str
    below: tuple[str, ...] = ()
    of: Any = None

    def __str__(self) -> str:
        return f"{self.label}: {self.text}" if self.label else self.text


@dataclass(frozen=True)
class Report:
    """The verdict on one backward pass, and everything that led to it.

    ``target``: what was asked, as it is shown; ``file`` and ``name``: where the backward pass
    stands, and what it is called there (a callable has no file).
    ``eps``: the one that is written into the code, None where it can be given; ``assumed``: how
    the code was called and read, in one line; ``order``: 2 for a double backward pass;
    ``running``: the convention of its running
    statistics and of its evaluation mode, where it has them; ``notes``: what loading it ran
    into; ``printed``: what the code printed; ``failure``: inputs by role on which it goes wrong;
    ``picture``: where the first wrong gradient is off, if that is not everywhere; ``layouts``: the
    verdict in each, where the code accepts several; all else is of the worst.
    """

    target: str
    verdict: Verdict
    line: int | None = None
    layer: str | None = None
    layout: str | None = None
    eps: float | None = None
    ddof: int | None = None
    assumed: str = ""
    gradients: tuple[GradientResult, ...] = ()
    remarks: tuple[Finding, ...] = ()
    diagnosis: tuple[Cause, ...] = ()
    trials: tuple[str, ...] = field(default=())
    notes: tuple[str, ...] = ()
    printed: str = ""
    counterexample: Counterexample | None = None
    running: str = ""
    order: int = 1
    failure: dict[str, Any] | None = field(default=None, repr=False, compare=False)
    picture: Heat | None = None
    file: str = ""
    name: str = ""
    layouts: tuple[tuple[str, Verdict], ...] = ()

    def __str__(self) -> str:
        """The report as plain text."""
        lines = [f"{self.headline}: {self.target} line {self.line or '?'}"]
        for part in self.parts:
            lines += [f"  {part}", *(f"    {line}" for line in part.below)]
        return "\n".join(lines)

    @property
    def headline(self) -> str:
        """The verdict, the layout that it is of where there are several, and what was not found."""
        missing = [r.arguments["gradient"] for r in self.remarks if r.code == "not-returned"]
        over = f" over {self.layout}" if self.layouts and self.verdict != "right" else ""
        found = f", but {', '.join(missing)} not found" if missing else ""
        return f"{self.verdict}{over}{found}"

    @property
    def parts(self) -> tuple[Part, ...]:
        """What there is to say after the verdict, in order; every form is made of these."""
        return tuple(self._parts())

    def _parts(self) -> Iterator[Part]:
        if self.assumed:
            yield Part("refusal" if self.verdict == "cannot call" else "how", "", self.assumed)
        if self.layouts:
            yield Part("how", "", "; ".join(f"over {name}: {v}" for name, v in self.layouts))
        if self.running:
            yield Part("how", "", self.running)
        for one in self.gradients:
            yield Part("gradient", one.name, one.verdict, tuple(map(str, one.comparisons)), one)
        for remark in self.remarks:
            yield Part("remark", "remark", remark.text)
        for cause in self.diagnosis:
            yield Part("cause", cause.gradient, cause.text, cause.below, cause)
        if self.picture:
            told, *rows = self.picture.lines
            yield Part("where", "where", told, tuple(rows))
        if self.counterexample:
            given, found = self.counterexample.given, self.counterexample.found
            yield Part("smallest", "smallest", given, (found,))

    def code(self, strict: bool = False) -> int:
        """The exit code; ``strict``: remarks fail, too."""
        return self.exit_code or int(strict and bool(self.remarks))

    @property
    def exit_code(self) -> int:
        """0 right, 1 wrong or inaccurate, 2 where the question could not be asked, 3 where bncheck
        has a defect.
        """
        if any(remark.code == "defect" for remark in self.remarks):
            return 3
        codes = {"right": 0, "wrong": 1, "inaccurate": 1, "cannot tell": 2, "cannot call": 2}
        return codes[self.verdict]


@dataclass(frozen=True)
class Mutant:
    """One mistake put in a function: whether its tests caught it, and what would have.

    ``gradients``: those that the mistake changes; ``by``: the first failure; ``remedy``: the input
    that shows the mistake, where they did not.
    """

    code: str
    text: str
    gradients: tuple[str, ...]
    caught: bool
    by: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Examination:
    """What somebody's tests are worth: every mistake, and the errors that they let pass.

    ``tolerances``: by gradient, the largest power of ten of a relative error that passes; None
    where any error does, since no test compares that gradient. ``asked``: calls of the function
    on which the mistakes were put, out of ``calls``.
    """

    tests: str
    replaced: str
    layer: str
    count: int
    asked: int
    calls: int
    mutants: tuple[Mutant, ...]
    tolerances: Mapping[str, float | None]

    @property
    def caught(self) -> int:
        """How many mistakes the tests caught."""
        return sum(m.caught for m in self.mutants)

    @property
    def exit_code(self) -> int:
        """0 where all mistakes were caught, else 1."""
        return int(self.caught < len(self.mutants))
