"""What goes wrong and how it is said: one error, one warning, and help with names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SteerlabError(Exception):
    """A mistake in what was asked. The message names the culprit and what to write instead."""


class SteerlabWarning(UserWarning):
    """Something ran, but probably not as meant."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the known name closest to `name`, or an empty string."""
    close = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def listing(names: Iterable[str], most: int = 12) -> str:
    """Join names for a message, the rest counted rather than printed."""
    names = [str(name) for name in names]
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
