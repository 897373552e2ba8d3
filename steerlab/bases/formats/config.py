"""What the configurations of strangers say: numbers, words and choices, with errors that name the file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from steerlab.errors import SteerlabError, listing, nearest


def whole(config: Mapping[str, Any], key: str, file: str) -> int:
    """A positive integer that must be there."""
    value = config.get(key)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise SteerlabError(f"{file}: {key} is {value!r}, expected a positive whole number")
    return value


def real(config: Mapping[str, Any], key: str, file: str) -> float:
    """A finite number that must be there."""
    value = config.get(key)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not abs(value) < float("inf"):
        raise SteerlabError(f"{file}: {key} is {value!r}, expected a number")
    return float(value)


def number(config: Mapping[str, Any], key: str, file: str) -> float:
    """A positive number that must be there."""
    value = real(config, key, file)
    if value <= 0:
        raise SteerlabError(f"{file}: {key} is {value!r}, expected a positive number")
    return value


def word(config: Mapping[str, Any], key: str) -> str | None:
    """A text, or None where there is none."""
    value = config.get(key)
    return value if isinstance(value, str) and value else None


def table(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A table inside the configuration; empty where there is none."""
    value = config.get(key)
    return value if isinstance(value, Mapping) else {}


def choice(value: object, known: Iterable[str], what: str) -> str:
    """One of some words."""
    known = list(known)
    if value not in known:
        near = nearest(str(value), known)
        raise SteerlabError(f"{what} is {value!r}{near} (known: {listing(known, 20)})")
    return str(value)
