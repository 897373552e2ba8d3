"""What a forward takes, by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable


def parameter_names(function: Callable) -> list[str]:
    """Names of the positional parameters of a function."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [name for name, p in inspect.signature(function).parameters.items() if p.kind in kinds]
