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


def written(value: Any, tensors: dict[str, torch.Tensor], kinds: Kinds, path: str = "") -> Any:
    """JSON of `value`; its tensors are put into `tensors` under the path where they stand.

    Parameters
    ----------
    value : object
        Numbers, texts, lists, dicts with text keys, slices, ranges, tensors, and values of `kinds`.
    tensors : dict
        Filled.
    kinds : mapping
        The classes that may be written, by name.
    path : str
        Where the value stands, for names and messages.
    """
    where = path or "the value"
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, torch.Tensor):
        return {"$tensor": _kept(value, tensors, path or "tensor")}
    if isinstance(value, (list, tuple)):
        items = [written(item, tensors, kinds, f"{path}.{i}".lstrip(".")) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    if type(value) in _WRITTEN_AS:
        return {f"${type(value).__name__}": _WRITTEN_AS[type(value)](value)}
    if isinstance(value, Mapping):
        return {
            str(key): written(item, tensors, kinds, f"{path}.{key}".lstrip("."))
            for key, item in value.items()
        }
    parts = parts_of(value)
    if parts is None or parts[0] not in kinds:
        name = getattr(value, "__name__", None) or type(value).__name__
        raise SteerlabError(
            f"{where} holds {name}, which is code or an object that no safe file can hold; "
            f"what can be saved: {listing(sorted(kinds))}"
        )
    kind, arguments = parts
    return {"kind": kind} | {
        name: written(item, tensors, kinds, f"{path}.{name}".lstrip(".")) for name, item in arguments.items()
    }


def built(plain: Any, tensors: Mapping[str, torch.Tensor], kinds: Kinds, path: str = "") -> Any:
    """The value of what `written` made; only classes of `kinds` are constructed."""
    where = path or "the file"
    if isinstance(plain, list):
        return [built(item, tensors, kinds, f"{path}.{i}".lstrip(".")) for i, item in enumerate(plain)]
    if not isinstance(plain, dict):
        return plain
    if len(plain) == 1 and (mark := next(iter(plain))).startswith("$"):
        return _unmarked(mark, plain[mark], tensors, kinds, path)
    inner = {
        key: built(item, tensors, kinds, f"{path}.{key}".lstrip("."))
        for key, item in plain.items()
        if key != "kind"
    }
    if "kind" not in plain:
        return inner
    kind = plain["kind"]
    if kind not in kinds:
        near = nearest(str(kind), kinds)
        raise SteerlabError(f"{where}: no kind {kind!r}{near} (known: {listing(sorted(kinds))})")
    try:
        return kinds[kind](**inner)
    except SteerlabError:
        raise
    except (TypeError, ValueError, AttributeError, RuntimeError, IndexError) as fault:
        raise SteerlabError(f"{where}: these are not the parameters of {kind}: {fault}") from None


def _unmarked(mark: str, inner: Any, tensors: Mapping[str, torch.Tensor], kinds: Kinds, path: str) -> Any:
    where = path or "the file"
    if mark == "$tensor":
        if not isinstance(inner, str) or inner not in tensors:
            raise SteerlabError(f"{where}: the file has no tensor {inner!r}")
        return tensors[inner]
    if mark not in _READ_AS or not isinstance(inner, list):
        raise SteerlabError(f"{where}: {mark!r} is not a mark of this format")
    try:
        return _READ_AS[mark](built(inner, tensors, kinds, path))
    except (TypeError, ValueError):
        raise SteerlabError(f"{where}: {inner!r} does not make a {mark[1:]}") from None


def _kept(tensor: torch.Tensor, tensors: dict[str, torch.Tensor], name: str) -> str:
    """Put a tensor into `tensors` once, however often it stands in the tree."""
    for known, kept in tensors.items():
        if kept is tensor:
            return known
    tensors[name] = tensor
    return name
