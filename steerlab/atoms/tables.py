"""Small tables of text: aligned columns of words and numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def shown(value: Any) -> str:
    """A number at three digits, anything else as it prints itself."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def table(titles: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Rows under their titles; columns of numbers are set to the right, all others to the left.

    Examples
    --------
    >>> print(table(["site", "R2"], [["blocks.1.resid", 0.51234], ["final", 1.0]]))
    site               R2
    blocks.1.resid  0.512
    final               1
    """
    rows = [list(row) for row in rows]
    right = [bool(rows) and all(isinstance(row[i], (int, float)) for row in rows) for i in range(len(titles))]
    lines = [list(titles), *([shown(value) for value in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(titles))]
    return "\n".join(
        "  ".join(
            text.rjust(width) if flush else text.ljust(width)
            for text, width, flush in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )
