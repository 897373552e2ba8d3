"""Crosscoders of two models (ckkissane's replication): one code for both, read from both side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from steerlab.bases.dictionary import Dictionary
from steerlab.bases.encoders import Linear
from steerlab.bases.facts import Facts
from steerlab.bases.formats.config import word
from steerlab.bases.formats.files import Source
from steerlab.bases.formats.format import register
from steerlab.bases.formats.hook_names import lens_site
from steerlab.bases.rules import Relu
from steerlab.errors import SteerlabError

CONFIG, WEIGHTS = "cfg.json", "cc_weights.pt"
UNSCALED = (
    "activations of each model have to be multiplied by sqrt(dim) over their mean length first; the factor "
    "is not stored: give scales="
)


def _recognises(source: Source) -> bool:
    return source.has(CONFIG, WEIGHTS)


def _read(source: Source, options: Mapping[str, Any]) -> Dictionary:
    config, weights = source.json(CONFIG), source.weights(WEIGHTS)
    weight = weights.take("W_enc", None, None, None)
    models, dim, atoms = weight.shape
    rows = weights.take("W_dec", atoms, models, dim)
    bias = weights.take("b_dec", models, dim)
    scales = _scales(options, models)
    assumptions = (UNSCALED,) if scales is None else ()
    if scales is not None:
        weight, rows, bias = weight * scales[:, None, None], rows / scales[:, None], bias / scales[:, None]
    member = options.get("member")
    if member is not None:
        if isinstance(member, bool) or not isinstance(member, int) or not 0 <= member < models:
            raise SteerlabError(f"member={member!r}: this crosscoder has the members 0 to {models - 1}")
        rows, bias = rows[:, member : member + 1], bias[member : member + 1]
        assumptions += (f"it reads all {models} members side by side and writes member {member}",)
    else:
        assumptions += (f"it reads and writes all {models} members side by side, [..., {models * dim}]",)
    hook = word(config, "hook_point")
    facts = Facts(
        site=hook and lens_site(hook) if member is not None else None,
        source="crosscoder",
        fingerprint=source.fingerprint(WEIGHTS),
        assumptions=assumptions,
    )
    encoder = Linear(weight.flatten(0, 1).contiguous(), weights.take("b_enc", atoms), Relu())
    return Dictionary(decoder=rows.flatten(1).contiguous(), encoder=encoder, bias=bias.flatten(), facts=facts)


def _scales(options: Mapping[str, Any], models: int) -> torch.Tensor | None:
    """The factor of each model's activations, ``[model]``."""
    given = options.get("scales")
    if given is None:
        return None
    fits = isinstance(given, (list, tuple)) and len(given) == models
    if not fits or not all(isinstance(s, (int, float)) and 0 < s < float("inf") for s in given):
        raise SteerlabError(f"scales={given!r}: give {models} positive numbers, one a model")
    return torch.tensor([float(scale) for scale in given])


register(
    "crosscoder",
    "crosscoders of two models: cfg.json and cc_weights.pt",
    _recognises,
    _read,
    options=("member", "scales"),
)
