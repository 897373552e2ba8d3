"""Which edits can be sent: nnsight rebuilds code from its source, and some code does not survive that."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from steerlab.errors import SteerlabError
from steerlab.sites import Site

# Packages on the server: what they define travels by name.
SERVER = (
    "builtins",
    "torch",
    "numpy",
    "transformers",
    "nnsight",
    "abc",
    "functools",
    "typing",
    "dataclasses",
)


def check_portable(site: Site, edit: Any) -> set[str]:
    """Refuse an edit whose code would change its meaning, or break, when it is rebuilt from source.

    Returns
    -------
    set of str
        The packages whose code the edit brings along.
    """
    homes = set()
    for owner, function in _code_of(edit):
        code = getattr(function, "__code__", None)
        if code is None:
            continue
        homes.add(function.__module__.partition(".")[0])
        if "__class__" in code.co_freevars:
            reason = "uses super() without arguments"
        elif owner and any(name.startswith(f"_{owner.lstrip('_')}__") for name in code.co_names):
            reason = "uses a private __name"
        elif hasattr(function, "__wrapped__") and function.__name__ != "__repr__":  # dataclasses make theirs
            reason = "is wrapped by a decorator, which would be lost"
        else:
            continue
        raise SteerlabError(
            f"{site}: {edit!r} cannot be sent: {function.__qualname__} {reason}, and nnsight rebuilds code "
            "from its source; write it without that"
        )
    return homes - set(SERVER)


def _code_of(value: Any) -> Iterator[tuple[str, Any]]:
    """Every function that an edit brings along, with the name of its class or an empty one."""
    if hasattr(value, "__code__") or hasattr(value, "__wrapped__"):
        yield "", value
        return
    if isinstance(value, (list, tuple)):
        for one in value:
            yield from _code_of(one)
        return
    for cls in type(value).__mro__:
        if cls.__module__.partition(".")[0] not in SERVER:
            yield from (
                (cls.__name__, f) for name, f in vars(cls).items() if name != "__init__" and callable(f)
            )
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _code_of(getattr(value, field.name))
