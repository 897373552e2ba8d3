"""ReLU transcoders for circuit tracing: a safetensors file a block, with or without a skip connection."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

from steerlab.bases.dictionary import Dictionary
from steerlab.bases.encoders import Linear
from steerlab.bases.facts import Facts
from steerlab.bases.formats.config import choice
from steerlab.bases.formats.files import Source, Weights, read_safetensors
from steerlab.bases.formats.format import register
from steerlab.bases.formats.hook_names import lens_site, said
from steerlab.bases.rules import Relu
from steerlab.errors import SteerlabError

KEYS = {"W_enc", "W_dec", "b_enc", "b_dec"}
LAYOUTS = ("atom first", "dim first")


def _file(source: Source) -> str | None:
    """The one safetensors file, unless a configuration beside it makes it another format's."""
    files = source.ending(".safetensors")
    return files[0] if len(files) == 1 and not source.ending("cfg.json", "config.json") else None


def _recognises(source: Source) -> bool:
    file = _file(source)
    if file is None:
        return False
    try:
        if read_safetensors(source.folder / file, header_only=True)[1]:
            return False  # a header of its own: not written by those who publish these
    except SteerlabError:
        return False
    keys = source.keys(file)
    if not (keys >= KEYS and keys <= {*KEYS, "W_skip"}):
        return False
    return source.weights(file).tensors["W_enc"].shape[:1] == source.weights(file).tensors["b_enc"].shape


def _read(source: Source, options: Mapping[str, Any]) -> Dictionary:
    file = _file(source) or source.names[0]
    weights = source.weights(file)
    bias, offset = weights.take("b_dec", None), weights.take("b_enc", None)
    weight = weights.take("W_enc", len(offset), None).T.contiguous()
    rows, skip = _rows(weights, (len(offset), len(bias)), options), weights.maybe("W_skip")
    block = said(r"[/_.-]layer_?(\d+)\.safetensors$", source.folder / file)
    reads, assumptions = _reads(block, options, skips=skip is not None)
    facts = Facts(
        site=None if block is None else f"blocks.{block}.mlp",
        reads=reads,
        source="transcoders",
        fingerprint=source.fingerprint(file),
        assumptions=assumptions,
    )
    if skip is not None:
        skip = weights.take("W_skip", len(bias), weight.shape[0]).T.contiguous()
    return Dictionary(decoder=rows, encoder=Linear(weight, offset, Relu()), bias=bias, skip=skip, facts=facts)


def _reads(block: str | None, options: Mapping[str, Any], *, skips: bool) -> tuple[str, tuple[str, ...]]:
    """Where codes are read. The published sets say it in a file for all blocks, by kind of set alike."""
    if "reads" in options:
        reads = lens_site(options["reads"])
        if reads is None:
            raise SteerlabError(f"reads={options['reads']!r} is not a site, such as 'blocks.3.resid_mid'")
        return reads, ()
    if block is None:
        raise SteerlabError("the file's name does not say its block (layer_3.safetensors): give reads=")
    reads = f"blocks.{block}.resid_mid" if skips else f"module:model.layers.{block}.mlp:input"
    return reads, (f"it reads {reads}, as published sets of this kind do; reads= names another site",)


def _rows(weights: Weights, shape: tuple[int, int], options: Mapping[str, Any]) -> torch.Tensor:
    """The decoder ``[atom, dim]``; files with a skip connection hold it turned."""
    atoms, dim = shape
    found = weights.take("W_dec", None, None)
    fits = {"atom first": found.shape == (atoms, dim), "dim first": found.shape == (dim, atoms)}
    if "decoder" in options:
        layout = choice(options["decoder"], LAYOUTS, "decoder")
    elif all(fits.values()):  # as many atoms as dimensions: the shape says nothing
        layout = "dim first" if "W_skip" in weights else "atom first"
    else:
        layout = "dim first" if fits["dim first"] else "atom first"
    if not fits[layout]:
        raise SteerlabError(
            f"{weights.file}: W_dec has shape {list(found.shape)}; with {atoms} atoms and {dim} dimensions "
            f"it is [{atoms}, {dim}] or [{dim}, {atoms}]"
        )
    return found if layout == "atom first" else found.T.contiguous()


def _recognises_layers(source: Source) -> bool:
    return any(re.fullmatch(r"W_(enc|dec)_\d+\.safetensors", name) for name in source.names)


def _refuse_layers(source: Source, options: Mapping[str, Any]) -> Dictionary:
    raise SteerlabError(
        f"{source.shown} holds a cross-layer transcoder: each of its atoms writes into every later block "
        "with a decoder of its own. Added up they would write something else; take the rows you need from "
        "W_dec_N.safetensors as vectors and Add them at their blocks"
    )


register(
    "transcoders",
    "circuit-tracer and mwhanna transcoders: layer_N.safetensors with W_enc, W_dec, b_enc, b_dec",
    _recognises,
    _read,
    options=("decoder", "reads"),
)
register(
    "clt",
    "W_enc_N and W_dec_N.safetensors: recognised, and refused with the reason",
    _recognises_layers,
    _refuse_layers,
)
