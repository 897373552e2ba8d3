"""Dictionaries of what the transformer blocks of SDXL add (arXiv 2410.22366), with the means of codes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

from steerlab.bases.dictionary import Dictionary
from steerlab.bases.facts import Facts, Stats
from steerlab.bases.formats.config import table, whole
from steerlab.bases.formats.files import Source, Weights
from steerlab.bases.formats.format import register
from steerlab.bases.formats.hook_names import folders
from steerlab.bases.formats.openai import KEYS, tied
from steerlab.bases.rules import TopK
from steerlab.errors import SteerlabError

CONFIG, WEIGHTS = "config.json", "state_dict.pth"


def _inner(source: Source) -> Weights:
    """The state dict inside the one that is stored."""
    outer = source.weights(WEIGHTS)
    return Weights(table(outer.other, "state_dict"), WEIGHTS)


def _recognises(source: Source) -> bool:
    return source.has(CONFIG, WEIGHTS) and "state_dict" in source.keys(WEIGHTS)


def _read(source: Source, options: Mapping[str, Any]) -> Dictionary:
    config, weights = source.json(CONFIG), _inner(source)
    missing = sorted(KEYS - set(weights))
    if missing:
        raise SteerlabError(f"{WEIGHTS}: its state_dict has no {missing[0]}")
    k = whole(config, "k", CONFIG)
    # The published order is the k strongest first and ReLU after it; values are those of ReLU first.
    decoder, encoder, bias = tied(weights, TopK(k))
    site = unet_site(folders(source.folder))
    facts = Facts(
        site=None if site is None else f"{site}.update",
        model="stabilityai/sdxl-turbo",
        source="sdxl-unbox",
        l0=float(k),
        fingerprint=source.fingerprint(WEIGHTS),
        assumptions=("it explains what a block adds: its output less its input, at every position",),
    )
    stats = _stats(source, len(decoder))
    return Dictionary(decoder=decoder, encoder=encoder, bias=bias, pre_bias=bias, facts=facts, stats=stats)


def unet_site(text: str) -> str | None:
    """``unet.down.2.1`` from a text with ``unet.down_blocks.2.attentions.1``, or its short forms."""
    found = re.findall(r"unet\.(down|up)(?:_blocks)?\.(\d+)(?:\.attentions)?\.(\d+)", text)
    if found:
        return "unet." + ".".join(found[-1])
    found = re.findall(r"unet\.mid(?:_block)?(?:\.attentions)?\.(\d+)", text)
    return f"unet.mid.{found[-1]}" if found else None


def _stats(source: Source, atoms: int) -> Stats | None:
    """Mean and deviation of every code, which is what the published strengths are multiples of."""
    figures: dict[str, torch.Tensor] = {}
    for name in ("mean", "std"):
        if source.has(f"{name}.pt"):
            figures[name] = source.weights(f"{name}.pt").take("tensor").reshape(-1)
            if len(figures[name]) != atoms:
                raise SteerlabError(f"{name}.pt holds {len(figures[name])} numbers for {atoms} atoms")
    return Stats(**figures) if "mean" in figures else None


register("sdxl-unbox", "sdxl-unbox: config.json, state_dict.pth, mean.pt, std.pt", _recognises, _read)
