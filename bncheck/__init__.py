"""bncheck: is my hand-written normalization gradient right, and if not, where?

The public names are imported when they are first used, so that importing the package costs
nothing.
"""

from typing import Any

__version__ = "0.1.0"

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


def __getattr__(name: str) -> Any:
    if name in __all__:
        from bncheck import api

        return getattr(api, name)
    raise AttributeError(f"module 'bncheck' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
