"""Findings, and every code that one can have: its level, its sentences, an example of each.

A finding is a code with arguments until it is written out; no decision reads a sentence. A row of
``CODES`` is all that a new code needs. A code is stable; one that is said in several ways has a
sentence for each ``form``, the usual one first.

A sentence is a ``str.format`` template; behind the name of an argument stands an example of it:
``"{name=dx} has shape {shape=(4,)!r}"``. A part in ``[[...]]`` is left out where an argument that
it names is missing or empty: ``"eps is forgotten[[ in {where=dx}]]"``. Several things are joined by
what stands behind the colon, by default a comma: ``"{names=mean, var: and } are ignored"``. A
finding among the arguments is written as its own sentence.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from string import Formatter
from typing import Any, Literal

Level = Literal["remark", "cause", "note"]
"""What a finding does: a cause makes a gradient wrong or inaccurate, a remark fails under
``--strict``, a note is only told."""


@dataclass(frozen=True)
class Code:
    """``sentences``: a template for each form; that of a single one is ``""``."""

    level: Level
    sentences: Mapping[str, str]


@dataclass(frozen=True)
class Finding:
    """A code with what its sentence needs: names, numbers, formulas; never a sentence of ours."""

    code: str
    form: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The sentence."""
        return str(self)

    def __str__(self) -> str:
        def part(match: re.Match[str]) -> str:
            names = re.findall(r"\{(\w+)", match[1])
            there = all(self.arguments.get(name) not in (None, "", (), []) for name in names)
            return match[1] if there else ""

        template = re.sub(r"\[\[(.*?)\]\]", part, CODES[self.code].sentences[self.form])
        return _Sentence().vformat(template, (), self.arguments)

    def __hash__(self) -> int:
        return hash((self.code, self.form, str(sorted(self.arguments.items()))))


class _Sentence(Formatter):
    """``str.format`` that joins several things, and passes over the examples."""

    def get_field(self, field_name: str, args: Any, kwargs: Mapping[str, Any]) -> Any:
        name = field_name.partition("=")[0]
        return kwargs[name], name

    def format_field(self, value: Any, format_spec: str) -> str:
        if isinstance(value, tuple | list):
            return (format_spec or ", ").join(map(str, value))
        return str(super().format_field(value, format_spec))


def found(code: str, form: str = "", **arguments: Any) -> Finding:
    """A finding of a code that there is; raises ``KeyError`` for another, or another form."""
    _ = CODES[code].sentences[form]
    return Finding(code, form, {n: v for n, v in arguments.items() if v is not None})


Sentences = dict[str, str | dict[str, str]]
"""By code: its sentence, or one for each form."""

_DEFECT = (
    "{kind=IndexError} in bncheck ({where=line 9}): {error=out of range}; this is a defect of "
    "bncheck, please report it"
)
_EXPECTED = "{name=dx} has shape {shape=(3, 4)!r}; expected {expected=(4, 3)!r}"
_FORWARD = "the forward pass is {layer=batch norm} with "

_REMARKS: Sentences = {
    # subject: loading and calling somebody's code
    "aliases-input": "{name=dx} shares its memory with {source=dy}",
    "bound-again": "line {line=9} binds {name=backward} again and was not run; --import runs the "
    "whole file",
    "defect": {
        "": _DEFECT,
        "explaining": "why {gradient=dx} is wrong could not be told: " + _DEFECT,
        "contradiction": "{error=two witnesses disagree}",
    },
    "defined-twice": "{name=f} is defined on lines {first=3} and {last=9}; the last one counts",
    "dx-shape": {
        "": "{name=dx} has shape {shape=(3, 4)!r}; x has {expected=(4, 3)!r}",
        "double": _EXPECTED,
    },
    "input-overwritten": "the call overwrites its argument {names=dy, x}",
    "not-checked": "{count=4} values are returned; all but dx belong to parameters not found",
    "argument-guessed": (
        "{names=block} is not known to bncheck and was given {value=2}; the gradients are the same "
        "with another number"
    ),
    "more-results": (
        "returns {count=4} values; {more=1} of them are none of the gradients: not checked"
    ),
    "numpy-2": "np.{name=float} was removed from NumPy; bncheck supplied it",
    "param-shape": {
        "": "{name=dgamma} has shape {shape=(1, 3)!r}; its parameter has {expected=(3,)!r}",
        "double": _EXPECTED,
    },
    "return-order": {
        "": "returns ({order=dx, dbeta, dgamma})",
        "parameters": "returns dbeta before dgamma",
    },
    "reused-buffer": "{name=dx} is overwritten by the next call: it lives in a buffer used again",
    "not-explained": "why {gradient=dx} is wrong could not be told: {error=it took too long}",
    "updates-parameters": "backward updates the parameters; their gradients are read off the "
    "update",
    # identity: which layer it is
    "forward-inaccurate": "the forward pass is right to {digits=7:.0f} digits only (single "
    "precision?)",
    "computes-short": "computes in {type=float32}: it is judged by that arithmetic",
    "eps-ignored": "the forward pass makes no use of the eps that it is given; it has eps = "
    "{eps=1e-5:.3g}",
    "forward-eps-outside": _FORWARD + "eps added to {root=sd}, not under the root",
    "forward-eps-twice": _FORWARD + "eps added twice: under the root and to it",
    "forward-eps-squared": _FORWARD + "eps squared",
    "forward-gamma-plus-1": _FORWARD + "1 + gamma where gamma stands",
    "forward-unknown": {
        "": "the forward pass is none that bncheck knows",
        "undivided": "the forward pass never divides by the standard deviation; it is no "
        "{layer=batch norm}",
        "one-scale": "the forward pass divides every group by the same number, {scale=2.5:.4g}; "
        "it is no {layer=batch norm}",
        "another-scale": "the forward pass is linear in x in every group, and yet no "
        "{layer=batch norm}: another scale",
    },
    "other-layout": "not over {layout=(N, D)}: {why=dx has another shape}",
    "running-frozen": "{names=mean, var: and }: never updated by a forward pass in training mode",
    "running-unknown": "{names=mean, var: and }: not a old + b new of the batch's statistic, for "
    "any a and b",
    "running-weights": "{name=mean} is {weights=0.9 old + 0.2 new}: the weights add up to "
    "{whole=1.1:.6g}, not 1",
    "evaluation-updates": "evaluation mode changes the running statistics",
    "evaluation-differs": {
        "uses": "evaluation mode uses them",
        "eps-beside": "evaluation mode uses them, and eps beside the deviation",
        "eps-under": "evaluation mode uses them, with eps under the root",
        "eps-again": "evaluation mode uses them but adds eps once more",
        "unbiased": "evaluation mode uses them, the variance times m/(m - 1)",
        "no-eps": "evaluation mode uses them but leaves eps out",
        "no-root": "evaluation mode uses them but divides by the variance",
        "batch": "evaluation mode uses the statistics of the batch, not the running ones",
        "unknown": "evaluation mode is not the transform by the running statistics",
    },
    # verdict: what was seen
    "fails-on": {
        "": "fails where {trial=m = 1}: {error=division by zero}",
        "read-only": "fails on read-only arrays: {error=assignment destination is read-only}",
    },
    "not-returned": "{gradient=dgamma} is not returned and was not checked",
    "dtype-changed": "gradients are {found=float64} where the inputs are {given=float32}: {of=dx}",
    "forward-differs": "the forward pass is not {layer=batch norm} where {trial=m = 1}",
    "batch-average": "{gradient=dgamma} is divided by the batch size, which was accepted",
    "loses-digits": "digits are lost where {trial=the mean is large}",
    "first-differs": "{first=backward}, of which differences were taken, is another layer's",
}

ROOTS = ("sd", "rms", "norm")
"""The standard deviation by its names in the layers; in a layer of one's own it is ``root``."""

_IN = "[[, in {where=dx}]]"
_OF_FORWARD = "[[, in the factor {factor=1/s}]][[, in {operand=xhat}]][[ of {step=dx}]]"
"""Where a value of another forward pass stands: in a factor, in one step of the backward pass."""

_TERMS = "{terms=−dβ/m, −dγ·x̂/m: and }"
_LETTER = "[[, in {count=1} of {of=3} terms]][[, in " + _TERMS + "]]"
_OF_ROOT: Sentences = {
    "missing": {
        "": "the division by {root=sd} is missing" + _IN,
        "letter": "a division by {letter=s} is forgotten" + _LETTER,
    },
    "twice": {"letter": "a division by {letter=s} once too often" + _LETTER},
    "multiplied": "multiplied by {root=sd}, not divided" + _IN,
    "root": "the root of {root=sd} is taken twice" + _IN,
}
"""What can be wrong with a standard deviation, whatever its name."""

_OFF = "{off=twice too large, in −dβ/m; half, in −dγ·x̂/m:; }"
_STANDS = "{other=x} stands where {operand=xhat} belongs"
_DIGITS = "right mathematics, lost digits where {trial=m = 1}: {digits=7:.0f} digits are right; "
_RESHAPED = "reshaped where an axis should be moved, or the other way round"
_SUMMED = "{problem=dx has shape (4, 3), expected (3,)}: it is summed over "

_CAUSES: Sentences = {
    # kinds of failure
    "shape": {
        "": "{gradient=dx} has shape {shape=(3, 4)!s}, expected {expected=(4, 3)!s}",
        "summed": _SUMMED + "{over=D} where {right=N} belongs",
        "unsummed": _SUMMED + "nothing where {right=N} belongs",
    },
    "inaccurate": {
        "dtype": _DIGITS + "the result is {types=float32, float16: and }",
        "everywhere": _DIGITS + "on every input: float32 or a rough constant inside?",
        "mean": _DIGITS + "squares of a large mean cancel (raw moments, E[x^2] - mean^2?)",
        "cancel": _DIGITS + "terms that nearly cancel are subtracted",
    },
    "not-own-gradient": {
        "": "not the derivative of its own forward pass",
        "other": "it is the gradient of {layer=layer norm}, and not that of its own forward pass",
    },
    "state": {
        "": "right for the first batch and wrong for the second: it uses what the layer keeps "
        "from batch to batch (running statistics?) where the batch's own belong",
        # as remarks
        "again": "{name=dx} differs when the same call is made again: state, or chance",
        "stale": "{name=dx} of a second batch in the same object is not that of a fresh one: it "
        "is stale",
        "output": "the output depends on the batches before: on running statistics?",
    },
    "corner": "right elsewhere, wrong where {trial=m = 1}",
    "not-finite": "NaN or infinity where {trial=m = 1}",
    "integers": "the result is {dtype=int64}: fractions are cut off",
    "exchanged": "dgamma and dbeta are exchanged",
    "not-zero": "no gradient depends on beta: it should be 0",
    # a path, a term, the whole
    "path-missing": "the path through the {statistic=variance} is missing",
    "paths-missing": "the statistics are held constant: the paths through them are missing",
    "path-sign": "the sign of the path through the {statistic=variance} is flipped",
    "term-missing": {
        "term": "the term {term=−dβ/m} is missing",
        "part": "{part=−dβ/m} is missing" + _IN,
        "terms": _OFF,
    },
    "term-sign": {"term": "the term {term=−dβ/m} has the wrong sign", "terms": _OFF},
    "term-factor": {"terms": _OFF},
    "factor": {
        "whole": "{gradient=dx} is {factor=1.5:.9g} times the right value",
        "term-twice": "the term {term=−dβ/m} is taken twice",
        "term-half": "the term {term=−dβ/m} is taken half",
        "part-twice": "{part=−dβ/m} is taken twice" + _IN,
        "part-half": "{part=−dβ/m} is taken half" + _IN,
    },
    "sign": {
        "whole": "{gradient=dx} has the wrong sign",
        "part": "the sign of {part=−dβ/m} is flipped" + _IN,
    },
    "zero": "{gradient=dx} is zero",
    "handed-on": "{gradient=dx} is {upstream=dy}, handed on as it came",
    "divided-by-count": "{gradient=dgamma} is divided by {count=m}",
    "times-count": "{gradient=dgamma} is multiplied by {count=m}",
    # counts
    "count-minus-1": "divided by {length=m} - 1 where {length} belongs, in " + _TERMS,
    "count-plus-1": "divided by {length=m} where {length} - 1 belongs, in " + _TERMS,
    "count-axis": "divided by {other=D} where {length=m} belongs, in " + _TERMS,
    "mean-of-mean": "divided by {length=m} once too often, in " + _TERMS,
    "sum-for-mean": f"a sum where a mean belongs[[, in {_TERMS}]]{_IN}",
    "mean-for-sum": "a mean where a sum belongs" + _IN,
    "count": "{other=D} stands where {length=m} belongs" + _IN,
    # operands
    "gamma-missing": {
        "": "gamma is forgotten" + _IN,
        "letter": "{letter=γ} is forgotten" + _LETTER,
    },
    "gamma-twice": {
        "": "gamma is counted twice" + _IN,
        "sums": "gamma is counted twice: inside the sums and outside",
        "letter": "{letter=γ} once too often" + _LETTER,
    },
    "gamma-outside": "gamma stands outside the sums; it belongs inside, with dy",
    "gamma-extra": "gamma*{upstream=dy} stands where {upstream} belongs" + _IN,
    "gamma-updated": "right for another gamma: it is changed before dx is computed from it",
    "gamma-other": {
        "": "{other=1/gamma} stands where gamma belongs",
        "any": "right for another gamma: {other=1.5, 2}, ..., where gamma is {given=1, 1}, ...",
    },
    "beta-for-gamma": "beta stands where gamma belongs" + _IN,
    "operand": {
        "": _STANDS + _IN,
        "undivided": _STANDS + ": the division by {root=sd} is missing" + _IN,
        "divided": _STANDS + ": divided by {root=sd} once too often" + _IN,
        "beta": _STANDS + ": beta is not subtracted from y" + _IN,
        "centred": "x stands where x - mu belongs" + _IN,
    },
    "power": {"": _STANDS + _IN, "nothing": "nothing stands where {operand=xhat} belongs" + _IN},
    "multiplied": "multiplied by {operand=sd}, not divided" + _IN,
    **{f"{root}-{what}": said for root in (*ROOTS, "root") for what, said in _OF_ROOT.items()},
    # another forward pass
    "ddof": {
        "": "the variance is over {over=m - 1}" + _OF_FORWARD,
        "kept": "the variance is over {over=m - 1}, but not in what follows",
    },
    "eps-missing": "eps is forgotten[[ in {at=sd}]]" + _IN + _OF_FORWARD,
    "eps-other": "eps is {eps=1e-8:g}, whatever it was given" + _OF_FORWARD,
    "eps-in-backward-only": "backward uses the eps that it is given, and the forward pass does not",
    "eps-outside": "eps is added to {root=sd}, not under the root" + _OF_FORWARD,
    "eps-beside": {
        "": "the formula holds for eps under the root; the forward pass adds it to {root=sd}",
        "whole": "eps stands under the root; the forward pass adds it to {root=sd}",
    },
    "eps-twice": {
        "outside": "eps is added twice in {root=sd}" + _OF_FORWARD,
        "inside": "eps is added twice under the root of {root=sd}" + _OF_FORWARD,
    },
    "eps-sign": "eps is subtracted in {root=sd}" + _OF_FORWARD,
    "eps-squared": "eps is squared in {root=sd}" + _OF_FORWARD,
    "root-twice": "the root is taken twice in {root=sd}" + _OF_FORWARD,
    "variance-for-sd": {
        "square": "{root=sd}**2 stands where {root} belongs: the root is missing" + _IN,
        "forward": "the root is missing in {root=sd}" + _OF_FORWARD,
    },
    "mean-not-subtracted": "the mean is not subtracted in {value=var}" + _OF_FORWARD,
    "other-layer": {
        "first": "it is the backward pass of {layer=layer norm}",
        "second": "it is the double backward pass of {layer=layer norm}",
    },
    # other inputs
    "direction-ignored": {
        "": "{directions=ddx} is ignored",
        "several": "{directions=ddx, ddgamma: and } are ignored",
    },
    "direction-sign": "the sign of {direction=ddx} is flipped",
    "one-for-all": "one {statistic=variance} for all groups",
    "first-for-all": "the {statistic=variance} of the first group for all",
    "last-for-all": "the {statistic=variance} of the last group for all",
    "statistic-left-out": {
        "zero": "the {statistic=mean} is left at 0",
        "one": "the {statistic=variance} is left at 1",
    },
    "masked": {
        "negative": "no gradient where {value=y} is negative: the mask of a ReLU is left in",
        "positive": "no gradient where {value=y} is positive: the mask of a ReLU is left in",
    },
    "row-lost": {
        "last": "the last row of the upstream gradient is not seen",
        "first": "the first row of the upstream gradient is not seen",
    },
    "rows-lost": "only the first rows of the upstream gradient are seen",
    "diagonal": "only the diagonal of the Jacobian: sums over the group are left out",
    "partial-mean": "the sums and counts are over {over=N} where {right=N, H, W} belong",
    "running-variance": "[[{partial=half of the rows}; and ]]a running variance, here "
    "{start=0.9:.3g} + {slope=0.1:.3g}*var, stands where the batch's belongs",
    # axes
    "axis": {
        "mean": "a mean over {over=D} where one over {right=N} belongs, in {sums=dβ, dγ: and }",
        "sum": "a sum over {over=D} where one over {right=N} belongs, in {sums=dβ, dγ: and }",
    },
    "reordered": {
        "values": "{gradient=dx} holds the right values in another order: " + _RESHAPED,
        "upstream": "{upstream=dy} is read in another order: " + _RESHAPED,
    },
    # several at once, or none
    "two-changes": "{first=gamma is forgotten}; and {second=dx has the wrong sign}",
    "unexplained": {
        "": "no change of the program explains it: {places=only at [0], 3 of 9 entries are off:; }",
        "second": "no change of one kind explains it: {places=only at [0], cut off at 1:; }",
    },
    # place: what would mend it
    "edit": {
        "": "line {line=24}[[ of {file=layers.py}]]: `{old=m - 1}` should be `{new=m}`",
        "there": "`{old=m - 1}` should be `{new=m}`",
    },
}

_LINE = "line {line=24}[[ of {file=layers.py}]], {name=dx}: "
_COUNTED = "[[, and divided by {length=m} once too often]]"

_NOTES: Sentences = {
    # subject: loading somebody's code
    "missing-import": "line {line=1}: {name=torch} is not there",
    "undefined": "line {line=1}: {name=SCALE} could not be defined: {error=No such file}",
    # parts of a cause: terms by their readings, and where it is
    "terms-off": f"{{reading=half}}[[, in {_TERMS}]][[, in {{count=1}} of {{of=3}} terms]]",
    "term-reading": {
        "ok": "ok",
        "missing": "missing",
        "sign": "sign flipped",
        "twice": "twice too large",
        "half": "half",
        "minus-twice": "minus twice",
        "sum": "{length=m} times: a sum where a mean belongs",
        "mean": "1/{length=m}: divided by {length} once too often",
        "minus-1": "{length=m}/({length} - 1): divided by {less=m - 1}",
        "for-minus-1": "({length=m} - 1)/{length}: divided by {length} for {less=m - 1}",
        "instead": "divided by {other=D} where {length=m} belongs",
        "times": "{count=m} times",
        "over": "1/{count=m} times",
        "extra": "{name=γ}: {name} once too often",
        "lacking": "1/{name=γ}: {name} is missing",
        "multiplied": "multiplied by {name=s}, not divided" + _COUNTED,
        "squared": "divided by {name=s}**2, not by {name}" + _COUNTED,
        "var-multiplied": "multiplied by var, not divided by {name=s}" + _COUNTED,
        "var-divided": "divided by var, not by {name=s}" + _COUNTED,
        "eps": "eps is forgotten",
        "eps-cubed": "eps is forgotten, cubed",
        "same": "{factor=1.234:.9g} times, the same in every group",
        "fraction": "{factor=2/3} times",
        "number": "{factor=1.234:.6g} times",
        "each-group": "another factor in each group",
        "each-trial": "another factor in each trial",
    },
    "average-convention": "the average over the batch is a convention: --batch-average accepts it",
    "where": {
        "square": "only when {sizes=m, D: = }",
        "odd": "only when {size=m} is odd",
        "even": "only when {size=m} is even",
        "large": "only when {size=m} is large: {size} >= {least=8}, not {most=7}",
        "entries": "only at {entries=[0, 1], [0, 2]: and }",
        "last": "only in the last {kind=row}, {axis=N}",
        "from": "only from {start=32} on, in {axis=N}",
        "up-to": "only up to {end=32}, in {axis=N}",
        "at": "only at {place=0}, in {axis=N}",
        "below": "only where {value=x} is below about {limit=0.5:.2g}",
        "above": "only where {value=x} is above about {limit=0.5:.2g}",
        "greater": "only where {value=x} > {limit=0.5:.3g}",
        "less": "only where {value=x} < {limit=0.5:.3g}",
        "clipped": "cut off at {limit=1:.4g}",
        "digits": "off by {error=1e-8:.1e} of its size: arithmetic of few digits inside?",
        "count": "{off=3} of {entries=9} entries are off",
    },
    # place: the line
    "line": {
        "": _LINE + "not the right value",
        "part": _LINE + "not the whole of it",
        "multiple": _LINE + "{factor=2} x the right value",
        "number": _LINE + "{value=2.5:.6g} where {right=3:.6g} belongs",
    },
    "line-before": "{name=dmu} on line {line=23} is right",
    "line-beside": "{name=dmu} on line {line=23} is not right either",
}

_LEVELS: dict[Level, Sentences] = {"remark": _REMARKS, "cause": _CAUSES, "note": _NOTES}

CODES: dict[str, Code] = {
    code: Code(level, {"": said} if isinstance(said, str) else said)
    for level, table in _LEVELS.items()
    for code, said in table.items()
}
"""All of them, by code."""
