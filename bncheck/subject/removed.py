"""Names that NumPy 2 removed, for code that is older."""

import re

import numpy as np

REMOVED = {
    "float": float, "int": int, "bool": bool, "object": object, "complex": complex, "str": str,
    "float_": "float64", "complex_": "complex128", "NaN": "nan", "NAN": "nan", "Inf": "inf",
    "infty": "inf", "product": "prod", "cumproduct": "cumprod", "alltrue": "all",
    "sometrue": "any", "in1d": "isin", "row_stack": "vstack", "trapz": "trapezoid",
}  # fmt: skip
"""Names that NumPy 2 removed, and what they meant."""


def supply(text: str) -> tuple[str, ...]:
    """Put back those that the text uses; what was put back."""
    notes = []
    for name, meaning in REMOVED.items():
        if name not in vars(np) and re.search(rf"\b(np|numpy)\.{name}\b", text):
            setattr(np, name, getattr(np, meaning) if isinstance(meaning, str) else meaning)
            notes.append(f"np.{name} was removed from NumPy; bncheck supplied it")
    return tuple(notes)
