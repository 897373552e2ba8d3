"""Gemma Scope: JumpReLU dictionaries of Gemma 2 (``params.npz``) and of Gemma 3 (with a ``config.json``)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

from steerlab.bases.dictionary import Dictionary
from steerlab.bases.encoders import Linear
from steerlab.bases.facts import Facts
from steerlab.bases.formats.config import choice, word
from steerlab.bases.formats.files import Source, Weights
from steerlab.bases.formats.format import register
from steerlab.bases.formats.hook_names import folders, module_site, said
from steerlab.bases.input_norms import InputRms
from steerlab.bases.rules import JumpRelu
from steerlab.errors import SteerlabError

FIRST, SECOND, CONFIG = "params.npz", "params.safetensors", "config.json"
NEEDED = {"w_enc", "w_dec", "b_enc", "b_dec", "threshold"}
STREAMS = {"res": "resid", "mlp": "mlp", "att": "heads", "transcoder": "mlp"}
KINDS = (*STREAMS, "embedding")
UNGAINED = (
    "the input is x / rms(x) before the gain of pre_feedforward_layernorm, which is where TransformerLens "
    "has ln2.hook_normalized; it is made from blocks.N.resid_mid, never from the output of that module"
)
EMBEDDING = (
    "trained on embeddings before Gemma's factor sqrt(dim); the bias of the decoder is taken as stored"
)
UNSAID = "no folder says which site this is; load_dictionary(..., site=) or the options kind and layer do"


def _recognises_first(source: Source) -> bool:
    return source.has(FIRST) and {key.lower() for key in source.keys(FIRST)} >= NEEDED


def _read_first(source: Source, options: Mapping[str, Any]) -> Dictionary:
    weights = _lower(source.weights(FIRST))
    decoder = weights.take("w_dec", None, None)
    encoder, decoder, bias = _parts(weights, *decoder.shape)
    kind, facts = _place(source, options)
    if kind == "embedding":
        root = decoder.shape[1] ** 0.5
        encoder, decoder = Linear(encoder.weight / root, encoder.bias, encoder.rule), decoder * root
    if kind == "transcoder":
        return Dictionary(decoder=decoder, encoder=encoder, bias=bias, norm=InputRms(), facts=facts)
    return Dictionary(decoder=decoder, encoder=encoder, bias=bias, facts=facts)


def _place(source: Source, options: Mapping[str, Any]) -> tuple[str | None, Facts]:
    """What the folders say: ``gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71``."""
    names = folders(source.folder)
    repository = re.search(r"gemma-scope-(2b|9b|27b)-(pt|it)-(res|mlp|att|transcoders)", names)
    kind, model = None, None
    if repository:
        kind = repository[3].removesuffix("s") if repository[3] == "transcoders" else repository[3]
        model = f"google/gemma-2-{repository[1]}" + ("-it" if repository[2] == "it" else "")
    if said(r"/(embedding)/", source.folder):
        kind = "embedding"
    if "kind" in options:
        kind = choice(options["kind"], KINDS, "kind")
    layer = said(r"/layer_(\d+)", source.folder)
    layer = int(layer) if layer is not None else None
    if "layer" in options:
        layer = options["layer"]
        if isinstance(layer, bool) or not isinstance(layer, int) or layer < 0:
            raise SteerlabError(f"layer={layer!r}: give the number of a block, from 0 on")
    site, reads, assumptions = None, None, ()
    if kind == "embedding":
        site, assumptions = "embed", (EMBEDDING,)
    elif kind is None or layer is None:
        assumptions = (UNSAID,)
    else:
        site = f"blocks.{layer}.{STREAMS[kind]}"
    if kind == "transcoder":
        reads = None if layer is None else f"blocks.{layer}.resid_mid"
        assumptions += (UNGAINED,)
    l0 = said(r"average_l0_(\d+)", source.folder)
    facts = Facts(
        site=site,
        reads=reads,
        model=model,
        source="gemma-scope",
        l0=None if l0 is None else float(l0),
        fingerprint=source.fingerprint(FIRST),
        assumptions=assumptions,
    )
    return kind, facts


def _recognises_second(source: Source) -> bool:
    return source.has(SECOND) and source.beside(CONFIG) is not None and source.keys(SECOND) >= NEEDED


def _read_second(source: Source, options: Mapping[str, Any]) -> Dictionary:
    config, weights = source.json(CONFIG), source.weights(SECOND)
    choice(config.get("architecture"), ("jump_relu",), f"{CONFIG}: architecture")
    shape = weights.take("w_dec").shape
    hooks = [word(config, f"hf_hook_point_{side}") for side in ("in", "out")]
    if len(shape) != 2 or None in hooks:
        raise SteerlabError(
            f"{SECOND} holds a decoder of shape {list(shape)} for the sites {hooks}: an atom that writes "
            "into several blocks is no dictionary of one site, and its rows added up are none either"
        )
    encoder, decoder, bias = _parts(weights, *shape)
    skip = None
    if config.get("affine_connection"):
        skip = weights.take("affine_skip_connection", encoder.weight.shape[0], shape[1])
    site, reads = module_site(hooks[1]), module_site(hooks[0])
    l0 = config.get("l0")
    facts = Facts(
        site=site,
        reads=None if hooks[0] == hooks[1] else reads,
        model=word(config, "model_name"),
        source="gemma-scope-2",
        l0=float(l0) if isinstance(l0, (int, float)) else None,
        fingerprint=source.fingerprint(SECOND),
        assumptions=("applied to unscaled activations, with no bias subtracted first",),
    )
    return Dictionary(decoder=decoder, encoder=encoder, bias=bias, skip=skip, facts=facts)


def _parts(weights: Weights, atoms: int, dim: int) -> tuple[Linear, torch.Tensor, torch.Tensor]:
    """Encoder, decoder ``[atom, dim]`` and its bias."""
    rule = JumpRelu(weights.take("threshold", atoms))
    encoder = Linear(weights.take("w_enc", None, atoms), weights.take("b_enc", atoms), rule)
    return encoder, weights.take("w_dec", atoms, dim), weights.take("b_dec", dim)


def _lower(weights: Weights) -> Weights:
    """The same tensors; some files write ``W_enc`` and some ``w_enc``."""
    return Weights({name.lower(): tensor for name, tensor in weights.tensors.items()}, weights.file)


register(
    "gemma-scope",
    "Gemma Scope, Gemma 2: params.npz in folders that name site, width and L0",
    _recognises_first,
    _read_first,
    options=("kind", "layer"),
)
register(
    "gemma-scope-2",
    "Gemma Scope 2, Gemma 3: config.json and params.safetensors",
    _recognises_second,
    _read_second,
)
