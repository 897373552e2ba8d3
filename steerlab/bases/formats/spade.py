"""SpaDE (arXiv 2503.01822): codes are a point of the simplex, by distances to prototypes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from steerlab.bases.dictionary import Dictionary
from steerlab.bases.encoders import Distances
from steerlab.bases.facts import Facts
from steerlab.bases.formats.files import Source
from steerlab.bases.formats.format import register
from steerlab.errors import SteerlabError

KEYS = {"Ae", "Ad", "lambda_pre"}


def _file(source: Source) -> str | None:
    files = source.ending(".pt", ".pth", ".safetensors")
    return files[0] if len(files) == 1 else None


def _recognises(source: Source) -> bool:
    file = _file(source)
    return file is not None and source.keys(file) >= KEYS


def _read(source: Source, options: Mapping[str, Any]) -> Dictionary:
    file = _file(source) or source.names[0]
    weights = source.weights(file)
    prototypes = weights.take("Ae", None, None)
    atoms, dim = prototypes.shape
    rows = weights.take("Ad", dim, atoms).T.contiguous()
    before = weights.take("lambda_pre").double()
    if before.numel() != 1:
        raise SteerlabError(f"{file}: lambda_pre holds {before.numel()} numbers, expected one")
    scale = torch.nn.functional.softplus(before).float().reshape(1)
    widths = {"be": atoms, "bd": dim}
    unused = [name for name, n in widths.items() if name in weights and bool(weights.take(name, n).any())]
    facts = Facts(
        source="spade",
        fingerprint=source.fingerprint(file),
        assumptions=tuple(f"{name} is stored but takes no part in the published forward" for name in unused),
    )
    renormalise = options.get("renormalise", True)
    if not isinstance(renormalise, bool):
        raise SteerlabError(f"renormalise={renormalise!r}: give True or False")
    return Dictionary(decoder=rows, encoder=Distances(prototypes, scale, renormalise), facts=facts)


register("spade", "SpaDE: a state dict with Ae, Ad, lambda_pre", _recognises, _read, options=("renormalise",))
