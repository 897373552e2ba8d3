"""What the names in a recipe stood for when it ran: the weights, the data, the sites, the dictionaries."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from steerlab.errors import SteerlabError
from steerlab.recipe import Opened, kinds
from steerlab.trees import written

FORMAT, VERSION = "steerlab lock", 1
SAMPLED = 1024  # numbers of each parameter: another checkpoint differs in all of them
WHERE = ("at", "site")  # settings that name sites
Lock = Mapping[str, Any]


def lock_of(opened: Opened) -> dict[str, Any]:
    """What an opened recipe resolved to, as JSON holds it."""
    model, data = opened.model, opened.data
    settings, tensors = written(opened.analyzer, kinds())
    return {
        "format": FORMAT,
        "version": VERSION,
        "model": {
            "name": opened.recipe.model,
            "class": type(model.module).__name__,
            "family": model.family.name,
            "parameters": sum(p.numel() for _, p in _parameters(opened)),
            "sample": _digest((name, _sample(p)) for name, p in _parameters(opened)),
        },
        "data": {
            "kind": type(opened.recipe.data).__name__,
            "inputs": count(data),
            "sha256": _digest(_numbers(data)),
        },
        "analyzer": {
            "kind": type(opened.analyzer).__name__,
            "sha256": _digest([("", json.dumps(settings, sort_keys=True)), *sorted(tensors.items())]),
        },
        "sites": {at: [str(site) for site in model.sites(at)] for _, at in places(opened)},
    }


def places(opened: Opened) -> Iterator[tuple[str, str]]:
    """The settings that name sites, with what they name; places such as ``"blocks"`` are no sites."""
    for name in WHERE:
        at = getattr(opened.analyzer, name, None)
        if isinstance(at, str) and _names_sites(opened, at):
            yield name, at
    site = getattr(getattr(opened.analyzer, "dictionary", None), "site", None)
    if site is not None:
        yield "dictionary", str(site)


def _names_sites(opened: Opened, at: str) -> bool:
    try:
        return bool(opened.model.sites(at))
    except SteerlabError:  # the analyzer says what is wrong with it, if it is wrong
        return False


def count(data: Any) -> int:
    """How many inputs; of texts with their images, how many pairs."""
    if _paired(data):
        return len(data[0])
    return len(data) if isinstance(data, (list, tuple, torch.Tensor)) else 1


def first_of(data: Any) -> Any:
    """The first input, as the model takes it."""
    if _paired(data):
        return tuple(part[:1] for part in data)
    return data[:1] if isinstance(data, (list, tuple, torch.Tensor)) else data


def _paired(data: Any) -> bool:
    """Whether the inputs are texts and images: two sequences that are equally long."""
    rows = (list, tuple, torch.Tensor)
    both = isinstance(data, tuple) and len(data) == 2 and all(isinstance(part, rows) for part in data)
    return both and len(data[0]) == len(data[1])


def read_lock(path: str | Path) -> Lock:
    """A lock that a run left; nothing in it is run."""
    try:
        plain = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as fault:
        raise SteerlabError(f"{path}: not a lock that can be read: {fault}") from None
    if not isinstance(plain, dict) or plain.get("format") != FORMAT or plain.get("version") != VERSION:
        raise SteerlabError(f"{path}: this is no lock of version {VERSION}; a record's is its lock.json")
    return plain


def refuse_others(lock: Lock, found: Lock, file: str | Path) -> None:
    """Refuse to run what resolves to something else than what was locked."""
    named = [f"{part}: {was!r}, and now {now!r}" for part, was, now in _differences(lock, found, "")]
    if named:
        more = f" (and {len(named) - 4} more)" if len(named) > 4 else ""
        raise SteerlabError(f"{file} locks another run. {'; '.join(named[:4])}{more}")


def _differences(first: Any, second: Any, at: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        for key in {**first, **second}:
            yield from _differences(first.get(key), second.get(key), f"{at} {key}".strip())
    elif first != second:
        yield at, _short(first), _short(second)


def _short(value: Any) -> Any:
    many = isinstance(value, list) and len(value) > 3
    return f"{len(value)} of them" if many else value[:12] if isinstance(value, str) else value


def _parameters(opened: Opened) -> Iterator[tuple[str, torch.Tensor]]:
    for root, module in opened.model._roots.items():
        yield from module.named_parameters(prefix=root)


def _sample(parameter: torch.Tensor) -> torch.Tensor:
    """A few numbers of a parameter, from its beginning to its end; none of what holds no data."""
    if parameter.is_meta:
        return torch.empty(0)
    flat = parameter.detach().reshape(-1)
    return flat[:: max(1, flat.numel() // SAMPLED)][:SAMPLED]


def _numbers(data: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(data, Mapping):
        for key in data:
            yield from ((f"{key} {inner}", value) for inner, value in _numbers(data[key]))
    elif isinstance(data, (list, tuple)):
        for one in data:
            yield from _numbers(one)
    elif isinstance(data, (torch.Tensor, str)):
        yield "", data
    else:
        yield "", torch.from_numpy(np.array(data))  # a picture


def _digest(parts: Any) -> str:
    """SHA-256 of named tensors and texts: their names, shapes, dtypes and bytes."""
    found = hashlib.sha256()
    for name, value in parts:
        found.update(name.encode())
        if isinstance(value, torch.Tensor):
            found.update(f"{tuple(value.shape)} {value.dtype}".encode())
            found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        else:
            found.update(value.encode())
    return found.hexdigest()
