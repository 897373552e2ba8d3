"""Our own format: one safetensors file whose header holds the dictionary as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from steerlab.bases.debiased import Debiased
from steerlab.bases.dictionary import Dictionary
from steerlab.bases.encoders import ENCODERS
from steerlab.bases.facts import Facts, Stats
from steerlab.bases.formats.files import Source, read_safetensors
from steerlab.bases.formats.format import register
from steerlab.bases.greedy import Greedy
from steerlab.bases.input_norms import INPUT_NORMS
from steerlab.bases.layered import Hidden, Layer, Layered
from steerlab.bases.norms import NORMS
from steerlab.bases.rules import RULES
from steerlab.errors import SteerlabError
from steerlab.trees import built, written

KEY = "steerlab.dictionary"
VERSION = 1
KINDS = {
    "Dictionary": Dictionary,
    "Facts": Facts,
    "Stats": Stats,
    **ENCODERS,
    **RULES,
    **NORMS,
    **INPUT_NORMS,
    **{kind.__name__: kind for kind in (Debiased, Greedy, Layered, Hidden, Layer)},
}


def save(dictionary: Dictionary, file: Path, dtype: torch.dtype | None = None) -> None:
    """Write a dictionary; `dtype` (float16, say) makes the file smaller, and its codes coarser."""
    plain, tensors = written(dictionary, KINDS)
    if dtype is not None:
        tensors = {n: t.to(dtype) if t.is_floating_point() else t for n, t in tensors.items()}
    tensors = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(file.name + ".part")
    save_file(tensors, beside, metadata={KEY: json.dumps({"version": VERSION, "dictionary": plain})})
    beside.replace(file)


def _recognises(source: Source) -> bool:
    files = source.ending(".safetensors")
    if len(files) != 1:
        return False
    try:
        return KEY in read_safetensors(source.folder / files[0], header_only=True)[1]
    except SteerlabError:
        return False


def _read(source: Source, options: Mapping[str, Any]) -> Dictionary:
    name = source.ending(".safetensors")[0]
    tensors, header = read_safetensors(source.folder / name)
    try:
        content = json.loads(header[KEY])
        version, plain = content["version"], content["dictionary"]
    except (KeyError, TypeError, json.JSONDecodeError) as fault:
        raise SteerlabError(f"{name} has no dictionary in its header: {fault}") from None
    if version != VERSION:
        raise SteerlabError(f"{name} is of version {version}; this steerlab reads version {VERSION}")
    tensors = {n: t.float() if t.is_floating_point() else t for n, t in tensors.items()}
    value = built(plain, tensors, KINDS, name)
    if not isinstance(value, Dictionary):
        raise SteerlabError(f"{name} holds no dictionary but a {type(value).__name__}")
    return value


register("steerlab", "one .safetensors file with the dictionary in its header", _recognises, _read)
