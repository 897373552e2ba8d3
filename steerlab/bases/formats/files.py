"""Files of strangers: JSON and tensors read without running anything, with errors that name the culprit."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import zipfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy
import torch
from safetensors import SafetensorError, safe_open

from steerlab.errors import SteerlabError, listing, nearest

PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl")


class Weights:
    """Tensors of one file by name; what is missing, of another shape or not a number is an error."""

    def __init__(self, tensors: Mapping[str, Any], file: str) -> None:
        self.tensors = {name: t for name, t in tensors.items() if isinstance(t, torch.Tensor)}
        self.other = {name: value for name, value in tensors.items() if name not in self.tensors}
        self.file = file

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def __iter__(self):
        return iter(self.tensors)

    def take(self, name: str, *shape: int | None) -> torch.Tensor:
        """A tensor in float32, of this shape where one is given (None for any length of an axis)."""
        if name not in self.tensors:
            raise SteerlabError(
                f"{self.file} has no tensor {name!r}{nearest(name, self.tensors)} "
                f"(it holds: {listing(sorted(self.tensors), 12)})"
            )
        tensor = self.tensors[name]
        if not tensor.is_floating_point():
            raise SteerlabError(f"{self.file}: {name} holds {tensor.dtype} numbers, not floating ones")
        fits = len(shape) == tensor.ndim and all(
            want in (None, have) for want, have in zip(shape, tensor.shape, strict=True)
        )
        if shape and not fits:
            wanted = ", ".join("any" if n is None else str(n) for n in shape)
            raise SteerlabError(f"{self.file}: {name} has shape {list(tensor.shape)}, expected [{wanted}]")
        tensor = tensor.detach().float()
        bad = int((~torch.isfinite(tensor)).sum())
        if bad:
            raise SteerlabError(f"{self.file}: {name}: {bad} of {tensor.numel()} entries are NaN or infinite")
        return tensor.contiguous()

    def number(self, name: str) -> float:
        """A tensor of one number."""
        if name not in self.tensors or self.tensors[name].numel() != 1:
            raise SteerlabError(f"{self.file}: {name} is not one number")
        return float(self.tensors[name])

    def maybe(self, name: str, *shape: int | None) -> torch.Tensor | None:
        """As `take`, or None where the file has no such tensor."""
        return self.take(name, *shape) if name in self.tensors else None


class Source:
    """A file, or a folder with the files of one dictionary.

    Attributes
    ----------
    folder : Path
        Where the files are.
    names : list of str
        Files of the folder itself; for a single file that one alone.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise SteerlabError(f"{path}: no such file or folder")
        self.path = path
        self.folder = path if path.is_dir() else path.parent
        self.names = sorted(p.name for p in path.iterdir() if p.is_file()) if path.is_dir() else [path.name]
        self._read: dict[str, Any] = {}

    def has(self, *names: str) -> bool:
        """Whether all these files are there."""
        return set(names) <= set(self.names)

    def beside(self, *names: str) -> str | None:
        """The first of these files that is there; for a single file also those beside it."""
        return next((name for name in names if (self.folder / name).is_file()), None)

    def ending(self, *suffixes: str) -> list[str]:
        """Files with one of these suffixes."""
        return [name for name in self.names if name.endswith(suffixes)]

    def json(self, name: str) -> dict[str, Any]:
        """A JSON object."""
        return self._once(name, "JSON", self._json)

    def weights(self, name: str) -> Weights:
        """All tensors of a safetensors, npz or torch file."""
        return self._once(name, "weights", self._weights)

    def keys(self, name: str) -> set[str]:
        """Names of the tensors in a file; empty where it cannot be read as one."""
        try:
            if name.endswith((".safetensors", ".npz")):  # their headers alone say them
                return self._once(name, "names", _names_in)
            weights = self.weights(name)
        except SteerlabError:
            return set()
        return {*weights.tensors, *weights.other}

    def fingerprint(self, name: str) -> str:
        """SHA-256 of a file."""
        with (self.folder / name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @cached_property
    def shown(self) -> str:
        """The path as errors name it."""
        return str(self.path)

    def _once(self, name: str, kind: str, read) -> Any:
        key = f"{kind}:{name}"
        if key not in self._read:
            file = self.folder / name
            if not file.is_file():
                raise SteerlabError(f"{self.shown}: there is no file {name}{nearest(name, self.names)}")
            self._read[key] = read(file)
        return self._read[key]

    def _json(self, file: Path) -> dict[str, Any]:
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as fault:
            raise SteerlabError(f"{file.name} is not JSON: {fault}") from None
        if not isinstance(content, dict):
            raise SteerlabError(f"{file.name} holds a JSON {type(content).__name__}, expected an object")
        return content

    def _weights(self, file: Path) -> Weights:
        if file.suffix == ".safetensors":
            return Weights(read_safetensors(file)[0], file.name)
        if file.suffix == ".npz":
            return Weights(_read_npz(file), file.name)
        if file.suffix in PICKLES:
            return Weights(_read_torch(file), file.name)
        raise SteerlabError(f"{file.name}: weights are read from .safetensors, .npz and {', '.join(PICKLES)}")


def read_safetensors(
    file: Path, *, header_only: bool = False
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors (none with `header_only`) and metadata of a safetensors file."""
    try:
        with safe_open(file, framework="pt") as opened:
            names = [] if header_only else list(opened.keys())
            return {name: opened.get_tensor(name) for name in names}, dict(opened.metadata() or {})
    except (SafetensorError, OSError, ValueError) as fault:
        raise SteerlabError(f"{file.name} is not a whole safetensors file: {fault}") from None


def _names_in(file: Path) -> set[str]:
    try:
        if file.suffix == ".npz":
            with zipfile.ZipFile(file) as opened:
                return {name.removesuffix(".npy") for name in opened.namelist()}
        with safe_open(file, framework="pt") as opened:
            return set(opened.keys())
    except (SafetensorError, OSError, ValueError, zipfile.BadZipFile) as fault:
        raise SteerlabError(f"{file.name}: {fault}") from None


def read_rows(file: Path, name: str, rows: list[int]) -> torch.Tensor:
    """Some rows of one tensor of a safetensors file, ``[m, ...]``; nothing else is read."""
    try:
        with safe_open(file, framework="pt") as opened:
            part = opened.get_slice(name)
            return torch.cat([part[row : row + 1] for row in rows])
    except (SafetensorError, OSError, ValueError) as fault:
        raise SteerlabError(f"{file.name}: {name}: {fault}") from None


def _read_npz(file: Path) -> dict[str, torch.Tensor]:
    try:
        with file.open("rb") as raw, numpy.load(raw, allow_pickle=False) as opened:  # closed if broken, too
            return {name: torch.from_numpy(numpy.ascontiguousarray(opened[name])) for name in opened.files}
    except (ValueError, OSError, EOFError, TypeError, KeyError, zipfile.BadZipFile) as fault:
        raise SteerlabError(f"{file.name} is not a whole npz file of numbers: {fault}") from None


def _named(fault: str) -> str:
    """What torch's message of a refused file names, in brackets; its advice to load the file is left out."""
    found = re.search(r"GLOBAL ([\w.]+)", fault)
    return f" ({found[1]})" if found else ""


def _read_torch(file: Path) -> dict[str, Any]:
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as fault:
        first = _named(str(fault))
        raise SteerlabError(
            f"{file.name} holds more than tensors and plain values, and loading it would run code{first}; "
            "nothing was run. Save its state dict as safetensors where you trust it"
        ) from None
    except Exception as fault:  # what torch raises for a broken file depends on where it breaks
        raise SteerlabError(
            f"{file.name} is not a whole torch file: {type(fault).__name__}: {fault}"
        ) from None
    if isinstance(content, torch.Tensor):
        return {"tensor": content}
    if not isinstance(content, dict):
        raise SteerlabError(f"{file.name} holds a {type(content).__name__}, expected a dict of tensors")
    return content
