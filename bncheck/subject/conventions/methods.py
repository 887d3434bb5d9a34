"""Things in a namespace by their names: which is a backward pass, and what belongs to it."""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from types import CodeType, FunctionType
from typing import Any

from bncheck.subject.names import (
    BACKWARDS,
    FORWARDS,
    is_backward,
    is_other_layer,
    layer_hint,
)
from bncheck.subject.signature import roles_of


def backward_method(cls: type) -> str | None:
    """The method that is a backward pass."""
    return _method(cls, BACKWARDS, _takes_dy) or _only(cls, r"backw[ao]rd|back_?prop")


def further(cls: type) -> list[str]:
    """Methods that are the same backward pass in another way: ``backward_alt`` of ``backward``."""
    back = backward_method(cls)
    if back is None or _inherited(cls, back):
        return []
    arguments = [*roles_of(getattr(cls, back))]
    return [
        n for n, o in vars(cls).items()
        if n != back and n.startswith(back) and not _PART.search(n.removeprefix(back))
        and isinstance(o, FunctionType | staticmethod) and [*roles_of(getattr(cls, n))] == arguments
    ]  # fmt: skip


_PART = re.compile(r"param|weight|bias|update|step|grad|gamma|beta|hook|double|back", re.IGNORECASE)
"""What is no backward pass of its own, but a part of one, or comes after it."""


def _takes_dy(method: Callable[..., Any]) -> bool:
    """Whether one of its parameters may be dy: ``backward(rate)`` is an update."""
    try:
        roles = {n: r for n, r in roles_of(method).items() if n != "self"}
    except (TypeError, ValueError):
        return True
    return not roles or not set(roles.values()) <= {"rate", "momentum", "optimizer", "training"}


def forward_method(cls: type) -> str | None:
    """The method that is a forward pass."""
    there = _method(cls, FORWARDS) or _only(cls, r"forw[ao]rd")
    back = None if there else backward_method(cls)
    own = {n: getattr(cls, n) for n in dir(cls) if not _inherited(cls, n)} if back else {}
    other = partner(str(back), own) if back else None
    return there or next((n for n, method in own.items() if other and method is other), None)


def _method(cls: type, names: Iterable[str], fits: Callable[..., bool] = callable) -> str | None:
    plain = {n.replace("_", "").lower(): n for n in reversed(dir(cls)) if not _inherited(cls, n)}
    for name in names:
        there = plain.get(name.replace("_", ""))
        if there is not None and callable(getattr(cls, there)) and fits(getattr(cls, there)):
            return there
    return None


def _only(cls: type, words: str) -> str | None:
    """The one method that has such a word in its name: ``batch_norm_forward``, say."""
    there = [
        n for n in dir(cls)
        if re.search(words, n, re.IGNORECASE) and inspect.isfunction(getattr(cls, n))
        and not _inherited(cls, n)
    ]  # fmt: skip
    return there[0] if len(there) == 1 else None


def _inherited(cls: type, name: str) -> bool:
    """Whether it comes from ``object`` or from torch, which have methods of such names."""
    for base in cls.__mro__:
        if name in vars(base):
            return base is object or (base.__module__ or "").split(".")[0] in ("torch", "abc")
    return True


def likely(own: Mapping[str, Any]) -> list[str]:
    """The backward passes; those of other layers (affine, ReLU, ...) left out where others are."""
    likely = [n for n, o in own.items() if _looks_like_backward(n, o)]
    hinted = [n for n in likely if layer_hint(n)]
    return hinted or [n for n in likely if not is_other_layer(n)] or []


def partner(name: str, own: Mapping[str, Any]) -> Callable[..., Any] | None:
    """The forward pass that belongs to a backward pass, by its name."""
    tries = [name.replace(a, b) for a, b in _OPPOSITES if a in name]
    tries += [t for other in tries for t in (other.removesuffix("_alt"), other.rpartition("_")[0])]
    for other in tries:
        if other != name and inspect.isfunction(own.get(other)):
            return own[other]
    forwards = [
        o for n, o in own.items() if re.search("forw[ao]rd", n.lower()) and inspect.isfunction(o)
    ]
    hint = layer_hint(name)
    alike = [f for f in forwards if layer_hint(f.__name__) == hint]
    if len(alike) == 1:
        return alike[0]
    unnamed = [f for f in forwards if layer_hint(f.__name__) is None]
    if forwards:
        return unnamed[0] if len(forwards) == len(unnamed) == 1 else None
    others = [o for n, o in own.items() if inspect.isfunction(o) and _TRAINING.search(n)]
    alike = [f for f in others if layer_hint(f.__name__) in (hint, None)]
    return alike[0] if len(alike) == 1 else None


_TRAINING = re.compile(r"train|fwd|apply|call", re.IGNORECASE)

_OPPOSITES = (
    ("backward", "forward"), ("Backward", "Forward"), ("BACKWARD", "FORWARD"), ("bwd", "fwd"),
    ("backword", "forword"), ("backword", "forward"),
    ("backprop", "forward"), ("_backward", ""), ("_bwd", ""), ("back_pass", "forward_pass"),
    ("BackPass", "ForwardPass"), ("bprop", "fprop"), ("_grad", ""), ("grad_", ""), ("_vjp", ""),
)  # fmt: skip


def _looks_like_backward(name: str, thing: Any) -> bool:
    if isinstance(thing, type):
        return forward_method(thing) is not None and backward_method(thing) is not None
    return is_backward(name)


def gives_its_backward(name: str, thing: Any) -> bool:
    """Whether a function that is no backward pass itself has one inside, to return."""
    if not inspect.isfunction(thing) or is_backward(name):
        return False
    inside = [c.co_name for c in thing.__code__.co_consts if isinstance(c, CodeType)]
    return any(map(is_backward, inside))


def is_own(thing: Any, namespace: Mapping[str, Any]) -> bool:
    """Defined here, and not imported from elsewhere."""
    if not (inspect.isfunction(thing) or isinstance(thing, type)):
        return False
    return bool(thing.__module__ == namespace.get("__name__"))


def is_static(cls: type, method: str) -> bool:
    """Whether a method needs no object."""
    return isinstance(inspect.getattr_static(cls, method), staticmethod)
