"""ViT-Prisma's vision dictionaries: ``config.json`` beside ``weights.pt``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steerlab.bases.dictionary import Dictionary
from steerlab.bases.encoders import Encoder, Gated, Linear
from steerlab.bases.facts import Facts
from steerlab.bases.formats.config import choice, table, whole, word
from steerlab.bases.formats.files import Source, Weights
from steerlab.bases.formats.format import register
from steerlab.bases.norms import ConstantLength, LayerNorm, Norm, Same
from steerlab.bases.rules import Relu, TopK
from steerlab.errors import SteerlabError

CONFIG, WEIGHTS = "config.json", "weights.pt"
NORMS: dict[str, Norm] = {
    "none": Same(),
    "layer_norm": LayerNorm(),
    "constant_norm_rescale": ConstantLength(),
}


def _recognises(source: Source) -> bool:
    return WEIGHTS in source.names and source.beside(CONFIG) is not None


def _read(source: Source, options: Mapping[str, Any]) -> Dictionary:
    cfg, weights = source.json(CONFIG), _held(source)
    dim, atoms = weights.take("W_enc", None, None).shape
    transcoder = bool(cfg.get("is_transcoder", False))
    bias, norm = weights.take("b_dec", dim), _norm(cfg, transcoder)
    decoder = weights.take("W_dec", atoms, None if transcoder else dim)
    skip = weights.maybe("W_skip", decoder.shape[1], dim) if transcoder else None
    return Dictionary(
        decoder=decoder,
        encoder=_encoder(cfg, weights, (dim, atoms)),
        bias=weights.take("b_dec_out", decoder.shape[1]) if transcoder else bias,
        pre_bias=bias,
        norm=norm,
        skip=None if skip is None else skip.T.contiguous(),
        facts=_facts(cfg, source, transcoder),
    )


def _held(source: Source) -> Weights:
    """The state dict, also where it lies beside a configuration in one file."""
    weights = source.weights(WEIGHTS)
    inner = weights.other.get("state_dict")
    return Weights(inner, WEIGHTS) if isinstance(inner, Mapping) else weights


def _encoder(cfg: Mapping[str, Any], weights: Weights, size: tuple[int, int]) -> Encoder:
    dim, atoms = size
    weight = weights.take("W_enc", dim, atoms)
    kind = choice(cfg.get("architecture", "standard"), ("standard", "gated"), f"{CONFIG}: architecture")
    activation = cfg.get("activation_fn_str", "relu")
    if kind == "gated":
        choice(activation, ("relu",), f"{CONFIG}: activation of a gated dictionary")
        return Gated(weight, *(weights.take(name, atoms) for name in ("b_gate", "b_mag", "r_mag")))
    choice(activation, ("relu", "topk"), f"{CONFIG}: activation_fn_str")
    rule = TopK(whole(table(cfg, "activation_fn_kwargs"), "k", CONFIG)) if activation == "topk" else Relu()
    return Linear(weight, weights.take("b_enc", atoms), rule)


def _norm(cfg: Mapping[str, Any], transcoder: bool) -> Norm:
    kind = choice(cfg.get("normalize_activations") or "none", NORMS, f"{CONFIG}: normalize_activations")
    if transcoder and kind != "none":
        raise SteerlabError(
            f"{CONFIG}: a transcoder with normalize_activations={kind!r}: how its output is brought back is "
            "not stored"
        )
    return NORMS[kind]


def _facts(cfg: Mapping[str, Any], source: Source, transcoder: bool) -> Facts:
    site = word(cfg, "hook_point") or _built(cfg)
    reads = None
    if transcoder:
        out = word(cfg, "out_hook_point") or word(cfg, "hook_point_out")
        reads, site = site or "an input that its file does not name", out
    trained = {"cls_token_only": "the class token", "use_patches_only": "patches"}
    return Facts(
        site=site,
        reads=reads,
        model=word(cfg, "model_name"),
        source="prisma",
        fingerprint=source.fingerprint(WEIGHTS),
        assumptions=tuple(f"trained on {what} alone" for flag, what in trained.items() if cfg.get(flag)),
    )


def _built(cfg: Mapping[str, Any]) -> str | None:
    """The hook's name from the layer and the kind, where only those are stored."""
    layer = cfg.get("hook_point_layer")
    layer = layer[0] if isinstance(layer, list) and len(layer) == 1 else layer
    kind = word(cfg, "layer_subtype")
    return f"blocks.{layer}.{kind}" if isinstance(layer, int) and kind else None


register("prisma", "ViT-Prisma: config.json and weights.pt", _recognises, _read)
