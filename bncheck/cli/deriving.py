"""``derive`` and ``layers``: what is asked of the calculus."""

from typing import Any

from bncheck.cli import files, options
from bncheck.writers.formats import DERIVED


def derive(
    layer: options.Layer = "batch-norm",
    batch_size: options.BatchSize = None,
    ddof: options.Ddof = None,
    affine: options.Affine = None,
    variance: options.Variance = None,
    mode: options.Modes = None,
    order: options.Order = 1,
    wrt: options.Wrt = None,
    form: options.DerivedForm = "text",
    output: options.Output = None,
) -> None:
    """Derive a layer's gradients, for every batch size or for one."""
    from bncheck.calculus.passes import derived, modes

    direction, running = modes(tuple(mode or ()))
    chosen = options.variant(ddof=ddof, affine=affine, variance=variance, mode=running)
    program = files.program(layer, chosen)
    names = tuple(name for given in wrt or () for name in given.split(","))
    found = derived(program, names, batch_size, order, direction)
    text = written(found, form, to_file=output is not None)
    if output is None:
        files.tell(text)
    else:
        files.save(output, text)


def written(found: Any, form: str, to_file: bool) -> str:
    """A derivation in a format; as text, for the terminal or as it stands in a file."""
    if form == "text" and not to_file:
        from bncheck.telling import terminal
        from bncheck.writers.text import page

        return terminal.drawn(terminal.derivation, page(found))
    chosen = DERIVED[form]
    if not chosen.checked:
        return chosen.write(found, None)
    from bncheck.theory.checked import evidence

    return chosen.write(found, evidence(found))


def layers() -> None:
    """List the layers and their variants."""
    from bncheck.algebra.layers import LAYERS
    from bncheck.algebra.layers import options as variants
    from bncheck.telling import terminal
    from bncheck.writers.text import shapes

    def spelled(name: str) -> str:
        found = variants(name).items()
        return ", ".join(f"{k}: {'/'.join(map(_word, v))}" for k, v in found) or "none"

    rows = [(name, shapes(program), spelled(name)) for name, program in LAYERS.items()]
    files.tell(terminal.drawn(terminal.listed, ("layer", "shapes", "variants"), rows))


def _word(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)
