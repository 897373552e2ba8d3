"""Two records side by side: what they found, and what about the runs differs."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from steerlab.records.record import Record
from steerlab.report import Evidence, Table


def compare(first: Record, second: Record) -> Table:
    """Two records side by side.

    Returns
    -------
    Table
        Columns ``part``, ``name``, ``first``, ``second``: all evidence, by claim, and of the recipe, the
        seed, the status, the versions and the machine what differs. What one of them lacks is empty.
    """
    rows: list[tuple[str, str, str, str]] = []
    parts = [(part, _side(part, first), _side(part, second)) for part in _SIDES]
    for part, left, right in parts:
        for name in [*left, *(name for name in right if name not in left)]:
            pair = left.get(name, ""), right.get(name, "")
            if part == "evidence" or pair[0] != pair[1]:
                rows.append((part, name, *pair))
    columns = zip(*rows, strict=True) if rows else [(), (), (), ()]
    names = ("part", "name", "first", "second")
    return {name: list(values) for name, values in zip(names, columns, strict=True)}


def size(one: Evidence) -> str:
    """The numbers of a finding, without what it claims."""
    return str(replace(one, claim="")).partition(": ")[2]


def _side(part: str, record: Record) -> dict[str, str]:
    """What a record has to say of one part, by name."""
    return dict(_SIDES[part](record))


def _evidence(record: Record) -> Iterator[tuple[str, str]]:
    found = record.report().evidence if record.stamp.status == "finished" else ()
    counts: dict[str, int] = {}
    for one in found:
        counts[one.claim] = counts.get(one.claim, 0) + 1
        again = f" ({counts[one.claim]})" if counts[one.claim] > 1 else ""
        yield one.claim + again, f"[{one.rung}] {size(one)}"


def _recipe(record: Record) -> Iterator[tuple[str, str]]:
    """Keys with dots, so that a line is compared with its own whatever the order."""
    try:
        yield from _leaves(tomllib.loads(record.recipe), "")
    except (tomllib.TOMLDecodeError, RecursionError):
        for number, line in enumerate(record.recipe.splitlines(), start=1):
            yield f"line {number}", line


def _leaves(value: Any, at: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{at}.{key}" if at else key)
    elif isinstance(value, list) and any(isinstance(inner, (dict, list)) for inner in value):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{at}[{index}]")
    else:
        yield at, repr(value)


_SIDES = {
    "run": lambda r: [("status", r.stamp.status), ("reason", r.stamp.reason), ("seed", str(r.stamp.seed))],
    "evidence": _evidence,
    "recipe": _recipe,
    "versions": lambda record: record.stamp.versions.items(),
    "machine": lambda record: record.stamp.platform.items(),
}
