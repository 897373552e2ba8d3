"""Values as plain data: a tree of dataclasses to JSON and named tensors, and back, running no code."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch

from steerlab.errors import SteerlabError, listing, nearest

Kinds = Mapping[str, type]
# What JSON has no word for; each is written as {"$name": arguments}.
_WRITTEN_AS = {slice: lambda s: [s.start, s.stop, s.step], range: lambda r: [r.start, r.stop, r.step]}
_READ_AS = {"$slice": lambda a: slice(*a), "$range": lambda a: range(*a), "$tuple": tuple}


def mapped(tree: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """The same dataclass with `change` applied to every tensor in its fields, nested ones included."""
    if isinstance(tree, torch.Tensor):
        return change(tree)
    if not dataclasses.is_dataclass(tree) or isinstance(tree, type):
        return tree
    values = {f.name: getattr(tree, f.name) for f in dataclasses.fields(tree) if f.init}
    changed = {name: mapped(value, change) for name, value in values.items()}
    if all(changed[name] is values[name] for name in values):
        return tree
    return dataclasses.replace(tree, **changed)


def parts_of(value: Any) -> tuple[str, dict[str, Any]] | None:
    """The kind of a value and the arguments that make it again; None for what has no such form.

    A class says it by a method ``stored``; for other dataclasses it is their fields.
    """
    stored = getattr(type(value), "stored", None)
    if stored is not None:
        return stored(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [f for f in dataclasses.fields(value) if f.init]
        given = {f.name: getattr(value, f.name) for f in fields if getattr(value, f.name) is not f.default}
        return type(value).__name__, given
    return None


def written(value: Any, kinds: Kinds) -> tuple[Any, dict[str, torch.Tensor]]:
    """JSON of `value`, and its tensors under the path where each stands; see `_Writer.plain`."""
    writer = _Writer(kinds)
    return writer.plain(value, ""), writer.tensors


def built(plain: Any, tensors: Mapping[str, torch.Tensor], kinds: Kinds, file: str = "the file") -> Any:
    """The value of what `written` made; only classes of `kinds` are constructed. `file` is for messages."""
    return _Builder(tensors, kinds, file).value(plain, "")


class _Writer:
    """Numbers, texts, lists, dicts with text keys, slices, ranges, tensors, and values of `kinds`.

    What stands in the tree twice is written once.
    """

    def __init__(self, kinds: Kinds) -> None:
        self.kinds = kinds
        self.tensors: dict[str, torch.Tensor] = {}
        self.seen: dict[int, tuple[str, Any]] = {}  # the value is kept, so that its id stays its own

    def plain(self, value: Any, path: str) -> Any:
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, (list, tuple)):
            items = [self.plain(item, _below(path, i)) for i, item in enumerate(value)]
            return items if isinstance(value, list) else {"$tuple": items}
        if type(value) in _WRITTEN_AS:
            return {f"${type(value).__name__}": _WRITTEN_AS[type(value)](value)}
        if isinstance(value, Mapping):
            return {str(key): self.plain(item, _below(path, key)) for key, item in value.items()}
        known = self.seen.setdefault(id(value), (path, value))
        if isinstance(value, torch.Tensor):
            self.tensors[known[0] or "tensor"] = value
            return {"$tensor": known[0] or "tensor"}
        if known[0] != path:
            return {"$same": known[0]}
        parts = parts_of(value)
        if parts is None or parts[0] not in self.kinds:
            name = getattr(value, "__name__", None) or type(value).__name__
            raise SteerlabError(
                f"{path or 'the value'} holds {name}, which is code or an object that no safe file can hold; "
                f"what can be saved: {listing(sorted(self.kinds), 40)}"
            )
        kind, arguments = parts
        return {"kind": kind} | {n: self.plain(item, _below(path, n)) for n, item in arguments.items()}


class _Builder:
    """The values of plain data, each made from its own kind and nothing else."""

    def __init__(self, tensors: Mapping[str, torch.Tensor], kinds: Kinds, file: str) -> None:
        self.tensors, self.kinds, self.file = tensors, kinds, file
        self.made: dict[str, Any] = {}

    def value(self, plain: Any, path: str) -> Any:
        if isinstance(plain, list):
            return [self.value(item, _below(path, i)) for i, item in enumerate(plain)]
        if not isinstance(plain, dict):
            return plain
        if len(plain) == 1 and (mark := next(iter(plain))).startswith("$"):
            return self._marked(mark, plain[mark], path)
        inner = {key: self.value(item, _below(path, key)) for key, item in plain.items() if key != "kind"}
        if "kind" not in plain:
            return inner
        self.made[path] = self._constructed(plain["kind"], inner, path)
        return self.made[path]

    def _constructed(self, kind: Any, inner: dict[str, Any], path: str) -> Any:
        where = f"{self.file}, {path}" if path else self.file
        if not isinstance(kind, str) or kind not in self.kinds:
            near = nearest(str(kind), self.kinds)
            raise SteerlabError(f"{where}: no kind {kind!r}{near} (known: {listing(sorted(self.kinds), 40)})")
        try:
            return self.kinds[kind](**inner)
        except SteerlabError as fact:
            raise SteerlabError(f"{where}: {fact}") from None
        except Exception as fault:  # what a constructor makes of wrong values depends on the kind
            raise SteerlabError(
                f"{where}: these are not the parameters of {kind}: {type(fault).__name__}: {fault}"
            ) from None

    def _marked(self, mark: str, inner: Any, path: str) -> Any:
        where = f"{self.file}, {path}" if path else self.file
        if mark in ("$tensor", "$same"):
            found = self.tensors if mark == "$tensor" else self.made
            if not isinstance(inner, str) or inner not in found:
                raise SteerlabError(f"{where}: the file has no {mark[1:]} {inner!r}")
            return found[inner]
        if mark not in _READ_AS or not isinstance(inner, list):
            raise SteerlabError(f"{where}: {mark!r} is not a mark of this format")
        try:
            return _READ_AS[mark]([self.value(item, _below(path, i)) for i, item in enumerate(inner)])
        except (TypeError, ValueError):
            raise SteerlabError(f"{where}: {inner!r} does not make a {mark[1:]}") from None


def _below(path: str, name: Any) -> str:
    return f"{path}.{name}" if path else str(name)
