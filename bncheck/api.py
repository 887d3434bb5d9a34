"""The public functions: the same from Python as from the command line."""

from typing import Any, Literal

from sympy import ImmutableDenseMatrix

from bncheck.algebra.layers import LAYERS, layer
from bncheck.algebra.program import Program
from bncheck.calculus.derivation import Derivation
from bncheck.calculus.jacobians import Jacobian, explicit
from bncheck.calculus.jacobians import jacobian as symbolic_jacobian
from bncheck.calculus.passes import derived, modes
from bncheck.telling.errors import CannotAsk
from bncheck.telling.formats import as_html
from bncheck.telling.report import Report
from bncheck.theory.checked import evidence
from bncheck.verification import assert_gradients, verify
from bncheck.writers import numpy_source
from bncheck.writers.documents import document, fragment, markdown
from bncheck.writers.formulas.latex import latex_of
from bncheck.writers.graph import GRAPHS

__all__ = [
    "LAYERS",
    "Program",
    "assert_gradients",
    "derive",
    "jacobian",
    "to_graph",
    "to_latex",
    "to_numpy",
    "verify",
]

Layer = str | Program | Derivation


def derive(
    layer: Layer = "batch-norm",
    *,
    batch_size: int | None = None,
    wrt: tuple[str, ...] | list[str] | str = (),
    order: int = 1,
    mode: str | tuple[str, ...] = (),
    **variant: Any,
) -> Derivation:
    """Derive the gradients of a layer, a name out of ``LAYERS`` or a ``Program`` of your own.

    ``batch_size``: the number of values that are normalised together (m for batch norm, D for
    layer norm); without it the result holds for every size. ``wrt``: the inputs whose gradients
    are wanted. ``order=2``: the double backward pass, gradients of the gradients. ``mode``:
    ``"forward"`` for how the output moves with the inputs; ``"training"`` or ``"evaluation"`` of a
    built-in layer; a tuple for both. ``variant``: ``ddof``, ``affine``, ``variance``.
    Raises ``CannotAsk`` for what does not exist, ``Disagreement`` where the exact witness
    disagrees.
    """
    if isinstance(layer, Derivation):
        layer = layer.layer
    direction, running = modes((mode,) if isinstance(mode, str) else tuple(mode))
    variant |= {"mode": running} if running else {}
    if isinstance(layer, Program) and variant:
        raise CannotAsk(f"a Program has no variants; {', '.join(variant)} is for built-in layers")
    program = layer if isinstance(layer, Program) else _built_in(layer, variant)
    names = (wrt,) if isinstance(wrt, str) else tuple(wrt)
    return derived(program, names, batch_size, order, direction)


def jacobian(
    layer: Layer = "batch-norm", wrt: str | None = None, *, batch_size: int | None = None,
    **variant: Any,
) -> Jacobian | ImmutableDenseMatrix:  # fmt: skip
    """The Jacobian of the output by one input, the first by default.

    Without a batch size an indexed expression with Kronecker deltas; with one the SymPy matrix
    of one group, (m, m) for batch norm, in the named values of the forward pass.
    """
    found = _derived(layer, batch_size, variant)
    name = wrt or str(found.wrt[0].base.label)
    if batch_size is not None:
        return explicit(found, name)
    return symbolic_jacobian(found, name)


def to_numpy(layer: Layer = "batch-norm", **variant: Any) -> Any:
    """``.forward``, ``.backward`` and ``.jacobian`` as callables, and their ``.source``.

    With ``order=2`` also ``.double_backward`` and ``.hessian_vector``; with ``mode="forward"``
    ``.forward`` and ``.jvp``.
    """
    return numpy_source.functions(_derived(layer, None, variant))


def to_latex(
    layer: Layer = "batch-norm",
    form: Literal["document", "fragment", "markdown"] = "document",
    **variant: Any,
) -> str:
    """The derivation as a LaTeX document, a fragment to include, or Markdown.

    Every equation is checked, and the layer's identities stand at the end with their proofs.
    """
    forms = {"document": document, "fragment": fragment, "markdown": markdown}
    found = _derived(layer, None, variant)
    return _chosen(forms, form)(found, evidence(found))


def to_graph(
    layer: Layer = "batch-norm",
    form: Literal["mermaid", "dot", "tikz"] = "mermaid",
    **variant: Any,
) -> str:
    """The computation graph of the forward pass."""
    if isinstance(layer, Derivation):
        layer = layer.layer
    program = layer if isinstance(layer, Program) else _built_in(layer, variant)
    return _chosen(GRAPHS, form)(program)


def _derived(layer: Layer, batch_size: int | None, variant: dict[str, Any]) -> Derivation:
    if isinstance(layer, Derivation) and batch_size is None and not variant:
        return layer
    return derive(layer, batch_size=batch_size, **variant)


def _built_in(name: str, variant: dict[str, Any]) -> Program:
    return layer(name, **variant)


def _chosen(forms: dict[str, Any], form: str) -> Any:
    if form not in forms:
        raise CannotAsk(f"no form is called {form!r}; there are {', '.join(forms)}")
    return forms[form]


def _program_latex(program: Program) -> str:
    rows = (f"{latex_of(s.target)} &= {latex_of(s.expr)}" for s in program.steps)
    return "$$\\begin{aligned} " + r" \\ ".join(rows) + " \\end{aligned}$$"


# A notebook shows mathematics. The methods are added here, because the floors below know
# nothing of how a program is written down.
setattr(Program, "_repr_latex_", _program_latex)  # noqa: B010
setattr(Derivation, "_repr_latex_", lambda self: _program_latex(self.closed))  # noqa: B010
setattr(  # noqa: B010
    Jacobian, "_repr_latex_",
    lambda self: rf"$$\frac{{\partial {latex_of(self.row)}}}{{\partial {latex_of(self.column)}}}"
    f" = {latex_of(self.entry)}$$",
)  # fmt: skip
setattr(Report, "_repr_html_", as_html)  # noqa: B010
