"""One registry for everything that can be added: families, edits, formats, analyzers."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from steerlab.errors import SteerlabError, listing, nearest

T = TypeVar("T")


class Registry(Generic[T]):
    """Named things of one kind, with those that other packages bring by entry point.

    Parameters
    ----------
    kind : str
        What the registry holds, in the singular; used in messages.
    group : str
        Entry point group read once, on first use. A plug-in that fails to load is kept in
        `faults` and never stops the others.

    Examples
    --------
    >>> colours = Registry("colour", "steerlab.colours")
    >>> colours.add("red", 1)
    1
    >>> colours["red"]
    1
    """

    def __init__(self, kind: str, group: str) -> None:
        self.kind = kind
        self.group = group
        self.faults: dict[str, str] = {}
        self._items: dict[str, T] = {}
        self._read_plugins = False

    def __getstate__(self) -> dict[str, Any]:
        """An edit that is sent to a server brings this registry along, but not all that others have added."""
        return vars(self) | {"_items": {}, "_read_plugins": True}

    def add(self, name: str, item: T, *, replace: bool = False) -> T:
        """Register `item` under `name`; a name is taken once unless it is replaced on purpose."""
        if not replace and self._items.get(name, item) is not item:
            raise SteerlabError(f"{self.kind} {name!r} is registered already")
        self._items[name] = item
        return item

    def remove(self, name: str) -> None:
        """Forget `name`."""
        self[name]
        del self._items[name]

    def __getitem__(self, name: str) -> T:
        items = self._all()
        if name not in items:
            raise SteerlabError(
                f"no {self.kind} named {name!r}{nearest(name, items)} (known: {listing(sorted(items))})"
            )
        return items[name]

    def __contains__(self, name: object) -> bool:
        return name in self._all()

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def values(self) -> list[T]:
        """Every registered item, in the order of registration."""
        return list(self._all().values())

    def _all(self) -> dict[str, T]:
        if not self._read_plugins:
            self._read_plugins = True
            for point in entry_points(group=self.group):
                self._load(point)
        return self._items

    def _load(self, point) -> None:
        try:
            self._items.setdefault(point.name, point.load())
        except Exception as fault:  # a stranger's package may fail in any way; it is listed, not fatal
            self.faults[point.name] = f"{point.value}: {type(fault).__name__}: {fault}"
