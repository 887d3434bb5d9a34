"""An optimizer that only looks on: which gradient does backward hand it for which parameter?"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np


class Watch:
    """Stands in for an optimizer: notes each gradient that it is given.

    What it gives back is a parameter that has moved, so that its use after the update shows.
    """

    def __init__(self, parameters: Callable[[], Iterator[tuple[str, Any]]]) -> None:
        self.parameters, self.seen = parameters, dict[str, Any]()
        self.lr = self.learning_rate = 1.0

    def __copy__(self) -> "Watch":
        return self

    def __deepcopy__(self, memo: Any) -> "Watch":
        return self

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """An update: a step against the gradient."""
        arrays = [a for a in (*args, *kwargs.values()) if isinstance(a, np.ndarray)]
        if len(arrays) < 2:
            return self if not arrays else arrays[0]
        for name, value in self.parameters():
            for one, other in (arrays[:2], arrays[1::-1]):
                if value is one:
                    self.seen["d" + name] = np.array(other)
                    return one - other.reshape(one.shape) if one.size == other.size else one
        return arrays[0]
