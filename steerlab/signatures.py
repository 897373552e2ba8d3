"""What a forward takes, by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable


def parameter_names(function: Callable) -> list[str]:
    """Names of the positional parameters of a function."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [name for name, p in inspect.signature(function).parameters.items() if p.kind in kinds]
    # the forward that nnsight puts on a module shows the signature of the method before it was bound
    return names[1:] if names[:1] == ["self"] else names
