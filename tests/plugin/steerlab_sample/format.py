"""A format of dictionaries: ``sample.safetensors`` with ``up`` [atom, dim] and ``down`` [atom, dim]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from steerlab.bases import Dictionary, Facts, Linear, Relu
from steerlab.bases.formats import Format
from steerlab.bases.formats.files import Source

FILE = "sample.safetensors"


def read(source: Source, options: Mapping[str, Any]) -> Dictionary:
    """A ReLU dictionary without biases."""
    weights = source.weights(FILE)
    down = weights.take("down", None, None)
    up = weights.take("up", *down.shape)
    encoder = Linear(up.T.contiguous(), torch.zeros(len(up)), Relu())
    return Dictionary(decoder=down, encoder=encoder, facts=Facts(site=options.get("at"), source="sample"))


SAMPLE = Format("sample", f"a sample: {FILE}", lambda source: source.has(FILE), read, ("at",))
