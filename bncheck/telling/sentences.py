"""Every code of a remark, a cause or a refusal: its level and its sentences.

A row of ``CODES`` is all that a new one needs. ``code`` is stable; a code that is said in several
ways has a sentence for each ``form``.

A sentence is a ``str.format`` template. A part in ``[[...]]`` is left out where an argument that it
names is missing or empty: ``"eps is forgotten[[ in {where}]]"``. Several things are joined by what
stands after the colon, by default a comma: ``"{names: and } are ignored"``. A finding among the
arguments is written as its own sentence.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Level = Literal["remark", "cause", "refusal", "note"]
"""What a finding does: a cause makes a gradient wrong or inaccurate, a remark fails under
``--strict``, a refusal says why there is no verdict, a note is only told."""


@dataclass(frozen=True)
class Code:
    """``sentences``: a template, or one for each form; the first is the usual one."""

    level: Level
    sentences: str | Mapping[str, str]

    @property
    def forms(self) -> tuple[str, ...]:
        """Those that it is said in; ``""`` where there is one sentence."""
        return ("",) if isinstance(self.sentences, str) else tuple(self.sentences)

    def template(self, form: str) -> str:
        """The template of a form; raises ``KeyError`` where there is none."""
        if isinstance(self.sentences, str):
            return {"": self.sentences}[form]
        return self.sentences[form]


# -- subject: loading and calling somebody's code ------------------------------------------------
_SUBJECT: dict[str, Code] = {
    "aliases-input": Code("remark", "{name} shares its memory with {source}"),
    "bound-again": Code(
        "remark", "line {line} binds {name} again and was not run; --import runs the whole file"
    ),
    "defect": Code("remark", {
        "": "{kind} in bncheck ({where}): {error}; this is a defect of bncheck, please report it",
        "explaining": "why {gradient} is wrong could not be told: {kind} in bncheck ({where}): "
        "{error}; this is a defect of bncheck, please report it",
        "contradiction": "{error}",
    }),
    "defined-twice": Code(
        "remark", "{name} is defined on lines {first} and {last}; the last one counts"
    ),
    "dx-shape": Code("remark", {
        "": "{name} has shape {shape!r}; x has {expected!r}",
        "double": "{name} has shape {shape!r}; expected {expected!r}",
    }),
    "input-overwritten": Code("remark", "the call overwrites its argument {names}"),
    "missing-import": Code("note", "line {line}: {name} is not there"),
    "not-checked": Code(
        "remark", "{count} values are returned; all but dx belong to parameters not found"
    ),
    "more-results": Code(
        "remark", "returns {count} values; {more} of them are none of the gradients: not checked"
    ),
    "numpy-2": Code("remark", "np.{name} was removed from NumPy; bncheck supplied it"),
    "param-shape": Code("remark", {
        "": "{name} has shape {shape!r}; its parameter has {expected!r}",
        "double": "{name} has shape {shape!r}; expected {expected!r}",
    }),
    "return-order": Code("remark", {
        "": "returns ({order})",
        "parameters": "returns dbeta before dgamma",
    }),
    "reused-buffer": Code(
        "remark", "{name} is overwritten by the next call: it lives in a buffer used again"
    ),
    "undefined": Code("note", "line {line}: {name} could not be defined: {error}"),
    "not-explained": Code("remark", "why {gradient} is wrong could not be told: {error}"),
    "updates-parameters": Code(
        "remark", "backward updates the parameters; their gradients are read off the update"
    ),
}  # fmt: skip

# -- identity: which layer it is -----------------------------------------------------------------
_FORWARD = "the forward pass is {layer} with "
_IDENTITY: dict[str, Code] = {
    "forward-inaccurate": Code(
        "remark",
        "the forward pass is right to {digits:.0f} digits only (single precision?)",
    ),
    "computes-short": Code("remark", "computes in {type}: it is judged by that arithmetic"),
    "eps-ignored": Code(
        "remark",
        "the forward pass makes no use of the eps that it is given; it has eps = {eps:.3g}",
    ),
    "forward-eps-outside": Code("remark", _FORWARD + "eps added to {root}, not under the root"),
    "forward-eps-twice": Code("remark", _FORWARD + "eps added twice: under the root and to it"),
    "forward-eps-squared": Code("remark", _FORWARD + "eps squared"),
    "forward-gamma-plus-1": Code("remark", _FORWARD + "1 + gamma where gamma stands"),
    "forward-unknown": Code(
        "remark",
        {
            "": "the forward pass is none that bncheck knows",
            "undivided": "the forward pass never divides by the standard deviation; it is no "
            "{layer}",
            "one-scale": "the forward pass divides every group by the same number, {scale:.4g}; "
            "it is no {layer}",
            "another-scale": "the forward pass is linear in x in every group, and yet no {layer}: "
            "another scale",
        },
    ),
    "other-layout": Code("remark", "not over {layout}: {why}"),
    "running-frozen": Code(
        "remark", "{names: and }: never updated by a forward pass in training mode"
    ),
    "running-unknown": Code(
        "remark", "{names: and }: not a old + b new of the batch's statistic, for any a and b"
    ),
    "running-weights": Code(
        "remark", "{name} is {weights}: the weights add up to {whole:.6g}, not 1"
    ),
    "evaluation-updates": Code("remark", "evaluation mode changes the running statistics"),
    "evaluation-differs": Code(
        "remark",
        {
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
    ),
}

# -- verdict: what was seen ----------------------------------------------------------------------
_VERDICT: dict[str, Code] = {
    "fails-on": Code(
        "remark",
        {
            "": "fails where {trial}: {error}",
            "read-only": "fails on read-only arrays: {error}",
        },
    ),
    "not-returned": Code("remark", "{gradient} is not returned and was not checked"),
    "dtype-changed": Code("remark", "gradients are {found} where the inputs are {given}: {of}"),
    "forward-differs": Code("remark", "the forward pass is not {layer} where {trial}"),
    "batch-average": Code("remark", "{gradient} is divided by the batch size, which was accepted"),
    "loses-digits": Code("remark", "digits are lost where {trial}"),
    "first-differs": Code("remark", "{first}, of which differences were taken, is another layer's"),
}

ROOTS = ("sd", "rms", "norm")
"""The standard deviation by its names in the layers; in a layer of one's own it is ``root``."""

_IN = "[[, in {where}]]"
_OF_FORWARD = "[[, in the factor {factor}]][[, in {operand}]][[ of {step}]]"
"""Where a value of another forward pass stands: in a factor, in one step of the backward pass."""

_DIGITS = "right mathematics, lost digits where {trial}: {digits:.0f} digits are right; "
_RESHAPED = "reshaped where an axis should be moved, or the other way round"
_LETTER = "[[, in {count} of {of} terms]][[, in {terms: and }]]"
_COUNTED = "[[, and divided by {length} once too often]]"


def _cause(**sentences: str) -> Code:
    """One with several forms; the name of the usual one is ``usual``."""
    forms = {name.replace("_", "-"): text for name, text in sentences.items()}
    return Code("cause", {"" if name == "usual" else name: text for name, text in forms.items()})


def _of_root(name: str) -> dict[str, Code]:
    """What can be wrong with a standard deviation of this name."""
    return {
        f"{name}-missing": _cause(
            usual=f"the division by {{root}} is missing{_IN}",
            letter=f"a division by {{letter}} is forgotten{_LETTER}",
        ),
        f"{name}-twice": _cause(letter=f"a division by {{letter}} once too often{_LETTER}"),
        f"{name}-multiplied": _cause(usual=f"multiplied by {{root}}, not divided{_IN}"),
        f"{name}-root": _cause(usual=f"the root of {{root}} is taken twice{_IN}"),
    }


# -- cause: why a gradient is wrong --------------------------------------------------------------
_CAUSE: dict[str, Code] = {
    # kinds of failure
    "shape": _cause(
        usual="{gradient} has shape {shape!s}, expected {expected!s}",
        summed="{problem}: it is summed over {over} where {right} belongs",
        unsummed="{problem}: it is summed over nothing where {right} belongs",
    ),
    "inaccurate": _cause(
        dtype=f"{_DIGITS}the result is {{types: and }}",
        everywhere=f"{_DIGITS}on every input: float32 or a rough constant inside?",
        mean=f"{_DIGITS}squares of a large mean cancel (raw moments, E[x^2] - mean^2?)",
        cancel=f"{_DIGITS}terms that nearly cancel are subtracted",
    ),
    "not-own-gradient": _cause(
        usual="not the derivative of its own forward pass",
        other="it is the gradient of {layer}, and not that of its own forward pass",
    ),
    "state": _cause(
        usual="right for the first batch and wrong for the second: it uses what the layer keeps "
        "from batch to batch (running statistics?) where the batch's own belong",
        # as remarks
        again="{name} differs when the same call is made again: state, or chance",
        stale="{name} of a second batch in the same object is not that of a fresh one: it is stale",
        output="the output depends on the batches before: on running statistics?",
    ),
    "corner": _cause(usual="right elsewhere, wrong where {trial}"),
    "not-finite": _cause(usual="NaN or infinity where {trial}"),
    "integers": _cause(usual="the result is {dtype}: fractions are cut off"),
    "exchanged": _cause(usual="dgamma and dbeta are exchanged"),
    "not-zero": _cause(usual="no gradient depends on beta: it should be 0"),
    # a path, a term, the whole
    "path-missing": _cause(usual="the path through the {statistic} is missing"),
    "paths-missing": _cause(
        usual="the statistics are held constant: the paths through them are missing"
    ),
    "path-sign": _cause(usual="the sign of the path through the {statistic} is flipped"),
    "term-missing": _cause(
        term="the term {term} is missing", part="{part} is missing" + _IN, terms="{off:; }"
    ),
    "term-sign": _cause(term="the term {term} has the wrong sign", terms="{off:; }"),
    "term-factor": _cause(terms="{off:; }"),
    "factor": _cause(
        whole="{gradient} is {factor:.9g} times the right value",
        term_twice="the term {term} is taken twice",
        term_half="the term {term} is taken half",
        part_twice="{part} is taken twice" + _IN,
        part_half="{part} is taken half" + _IN,
    ),
    "sign": _cause(
        whole="{gradient} has the wrong sign", part="the sign of {part} is flipped" + _IN
    ),
    "zero": _cause(usual="{gradient} is zero"),
    "handed-on": _cause(usual="{gradient} is {upstream}, handed on as it came"),
    "divided-by-count": _cause(usual="{gradient} is divided by {count}"),
    "times-count": _cause(usual="{gradient} is multiplied by {count}"),
    # counts
    "count-minus-1": _cause(
        usual="divided by {length} - 1 where {length} belongs, in {terms: and }"
    ),
    "count-plus-1": _cause(
        usual="divided by {length} where {length} - 1 belongs, in {terms: and }"
    ),
    "count-axis": _cause(usual="divided by {other} where {length} belongs, in {terms: and }"),
    "mean-of-mean": _cause(usual="divided by {length} once too often, in {terms: and }"),
    "sum-for-mean": _cause(usual="a sum where a mean belongs[[, in {terms: and }]]" + _IN),
    "mean-for-sum": _cause(usual="a mean where a sum belongs" + _IN),
    "count": _cause(usual="{other} stands where {length} belongs" + _IN),
    # operands
    "gamma-missing": _cause(
        usual="gamma is forgotten" + _IN, letter="{letter} is forgotten" + _LETTER
    ),
    "gamma-twice": _cause(
        usual="gamma is counted twice" + _IN,
        sums="gamma is counted twice: inside the sums and outside",
        letter="{letter} once too often" + _LETTER,
    ),
    "gamma-outside": _cause(usual="gamma stands outside the sums; it belongs inside, with dy"),
    "gamma-extra": _cause(usual="gamma*{upstream} stands where {upstream} belongs" + _IN),
    "gamma-updated": _cause(
        usual="right for another gamma: it is changed before dx is computed from it"
    ),
    "gamma-other": _cause(
        usual="{other} stands where gamma belongs",
        any="right for another gamma: {other}, ..., where gamma is {given}, ...",
    ),
    "beta-for-gamma": _cause(usual="beta stands where gamma belongs" + _IN),
    "operand": _cause(
        usual="{other} stands where {operand} belongs" + _IN,
        undivided="{other} stands where {operand} belongs: the division by {root} is missing" + _IN,
        divided="{other} stands where {operand} belongs: divided by {root} once too often" + _IN,
        beta="{other} stands where {operand} belongs: beta is not subtracted from y" + _IN,
        centred="x stands where x - mu belongs" + _IN,
    ),
    "power": _cause(
        usual="{other} stands where {operand} belongs" + _IN,
        nothing="nothing stands where {operand} belongs" + _IN,
    ),
    "multiplied": _cause(usual="multiplied by {operand}, not divided" + _IN),
    **_of_root("sd"),
    **_of_root("rms"),
    **_of_root("norm"),
    **_of_root("root"),
    # another forward pass
    "ddof": _cause(
        usual="the variance is over {over}" + _OF_FORWARD,
        kept="the variance is over {over}, but not in what follows",
    ),
    "eps-missing": _cause(usual="eps is forgotten[[ in {at}]]" + _IN + _OF_FORWARD),
    "eps-other": _cause(usual="eps is {eps:g}, whatever it was given" + _OF_FORWARD),
    "eps-in-backward-only": _cause(
        usual="backward uses the eps that it is given, and the forward pass does not"
    ),
    "eps-outside": _cause(usual="eps is added to {root}, not under the root" + _OF_FORWARD),
    "eps-beside": _cause(
        usual="the formula holds for eps under the root; the forward pass adds it to {root}",
        whole="eps stands under the root; the forward pass adds it to {root}",
    ),
    "eps-twice": _cause(
        outside="eps is added twice in {root}" + _OF_FORWARD,
        inside="eps is added twice under the root of {root}" + _OF_FORWARD,
    ),
    "eps-sign": _cause(usual="eps is subtracted in {root}" + _OF_FORWARD),
    "eps-squared": _cause(usual="eps is squared in {root}" + _OF_FORWARD),
    "root-twice": _cause(usual="the root is taken twice in {root}" + _OF_FORWARD),
    "variance-for-sd": _cause(
        square="{root}**2 stands where {root} belongs: the root is missing" + _IN,
        forward="the root is missing in {root}" + _OF_FORWARD,
    ),
    "mean-not-subtracted": _cause(usual="the mean is not subtracted in {value}" + _OF_FORWARD),
    "other-layer": _cause(
        first="it is the backward pass of {layer}",
        second="it is the double backward pass of {layer}",
    ),
    # other inputs
    "direction-ignored": _cause(
        usual="{directions} is ignored", several="{directions: and } are ignored"
    ),
    "direction-sign": _cause(usual="the sign of {direction} is flipped"),
    "one-for-all": _cause(usual="one {statistic} for all groups"),
    "first-for-all": _cause(usual="the {statistic} of the first group for all"),
    "last-for-all": _cause(usual="the {statistic} of the last group for all"),
    "statistic-left-out": _cause(
        zero="the {statistic} is left at 0", one="the {statistic} is left at 1"
    ),
    "masked": _cause(
        negative="no gradient where {value} is negative: the mask of a ReLU is left in",
        positive="no gradient where {value} is positive: the mask of a ReLU is left in",
    ),
    "row-lost": _cause(
        last="the last row of the upstream gradient is not seen",
        first="the first row of the upstream gradient is not seen",
    ),
    "rows-lost": _cause(usual="only the first rows of the upstream gradient are seen"),
    "diagonal": _cause(usual="only the diagonal of the Jacobian: sums over the group are left out"),
    "partial-mean": _cause(usual="the sums and counts are over {over} where {right} belong"),
    "running-variance": _cause(
        usual="[[{partial}; and ]]a running variance, here {start:.3g} + {slope:.3g}*var, "
        "stands where the batch's belongs"
    ),
    # axes
    "axis": _cause(
        mean="a mean over {over} where one over {right} belongs, in {sums: and }",
        sum="a sum over {over} where one over {right} belongs, in {sums: and }",
    ),
    "reordered": _cause(
        values=f"{{gradient}} holds the right values in another order: {_RESHAPED}",
        upstream=f"{{upstream}} is read in another order: {_RESHAPED}",
    ),
    # several at once, or none
    "two-changes": _cause(usual="{first}; and {second}"),
    "unexplained": _cause(
        usual="no change of the program explains it: {places:; }",
        second="no change of one kind explains it: {places:; }",
    ),
    # parts of a cause: terms by their readings, and where it is
    "terms-off": Code("note", "{reading}[[, in {terms: and }]][[, in {count} of {of} terms]]"),
    "term-reading": Code(
        "note",
        {
            "ok": "ok",
            "missing": "missing",
            "sign": "sign flipped",
            "twice": "twice too large",
            "half": "half",
            "minus-twice": "minus twice",
            "sum": "{length} times: a sum where a mean belongs",
            "mean": "1/{length}: divided by {length} once too often",
            "minus-1": "{length}/({length} - 1): divided by {less}",
            "for-minus-1": "({length} - 1)/{length}: divided by {length} for {less}",
            "instead": "divided by {other} where {length} belongs",
            "times": "{count} times",
            "over": "1/{count} times",
            "extra": "{name}: {name} once too often",
            "lacking": "1/{name}: {name} is missing",
            "multiplied": f"multiplied by {{name}}, not divided{_COUNTED}",
            "squared": f"divided by {{name}}**2, not by {{name}}{_COUNTED}",
            "var-multiplied": f"multiplied by var, not divided by {{name}}{_COUNTED}",
            "var-divided": f"divided by var, not by {{name}}{_COUNTED}",
            "eps": "eps is forgotten",
            "eps-cubed": "eps is forgotten, cubed",
            "same": "{factor:.9g} times, the same in every group",
            "fraction": "{factor} times",
            "number": "{factor:.6g} times",
            "each-group": "another factor in each group",
            "each-trial": "another factor in each trial",
        },
    ),
    "average-convention": Code(
        "note", "the average over the batch is a convention: --batch-average accepts it"
    ),
    "where": Code(
        "note",
        {
            "square": "only when {sizes: = }",
            "odd": "only when {size} is odd",
            "even": "only when {size} is even",
            "large": "only when {size} is large: {size} >= {least}, not {most}",
            "entries": "only at {entries: and }",
            "last": "only in the last {kind}, {axis}",
            "from": "only from {start} on, in {axis}",
            "up-to": "only up to {end}, in {axis}",
            "at": "only at {place}, in {axis}",
            "below": "only where {value} is below about {limit:.2g}",
            "above": "only where {value} is above about {limit:.2g}",
            "greater": "only where {value} > {limit:.3g}",
            "less": "only where {value} < {limit:.3g}",
            "clipped": "cut off at {limit:.4g}",
            "digits": "off by {error:.1e} of its size: arithmetic of few digits inside?",
            "count": "{off} of {entries} entries are off",
        },
    ),
}

# -- place: the line ------------------------------------------------------------------------------
_PLACE: dict[str, Code] = {
    "line": Code(
        "note",
        {
            "": "line {line}[[ of {file}]], {name}: not the right value",
            "part": "line {line}[[ of {file}]], {name}: not the whole of it",
            "multiple": "line {line}[[ of {file}]], {name}: {factor} x the right value",
            "number": "line {line}[[ of {file}]], {name}: {value:.6g} where {right:.6g} belongs",
        },
    ),
    "line-before": Code("note", "{name} on line {line} is right"),
    "line-beside": Code("note", "{name} on line {line} is not right either"),
    "edit": _cause(
        usual="line {line}[[ of {file}]]: `{old}` should be `{new}`",
        there="`{old}` should be `{new}`",
    ),
}  # fmt: skip

CODES: dict[str, Code] = {**_SUBJECT, **_IDENTITY, **_VERDICT, **_CAUSE, **_PLACE}
"""All of them, by code."""
