"""dictionary_learning and its forks: ``ae.pt`` with ``config.json``, or a hub folder of the same classes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from steerlab.bases.dictionary import Dictionary
from steerlab.bases.encoders import Gated, Linear
from steerlab.bases.facts import Facts
from steerlab.bases.folds import unit_rows
from steerlab.bases.formats import shared_code
from steerlab.bases.formats.config import choice, table, whole, word
from steerlab.bases.formats.files import Source, Weights
from steerlab.bases.formats.format import register
from steerlab.bases.norms import Norm, Same, Standardise
from steerlab.bases.rules import JumpRelu, Relu, Rule, TopK
from steerlab.errors import SteerlabError

CONFIG, WEIGHTS, HUB_WEIGHTS = "config.json", "ae.pt", "model.safetensors"
COMPILED = "_orig_mod."  # before every name of what was saved while compiled
SITES = (("resid", "resid"), ("mlp", "mlp"), ("attention", "attn"), ("attn", "attn"))


def _auto_encoder(weights: Weights, dict_class: str) -> Dictionary:
    encoder, decoder = _linear(weights, Relu())
    bias = weights.take("bias", decoder.shape[1])
    # its own loader gives codes for rows of length 1
    return unit_rows(Dictionary(decoder=decoder, encoder=encoder, bias=bias, pre_bias=bias))


def _auto_encoder_new(weights: Weights, dict_class: str) -> Dictionary:
    encoder, decoder = _linear(weights, Relu())
    return Dictionary(decoder=decoder, encoder=encoder, bias=weights.take("decoder.bias", decoder.shape[1]))


def _gated(weights: Weights, dict_class: str) -> Dictionary:
    weight = weights.take("encoder.weight", None, None).T.contiguous()
    dim, atoms = weight.shape
    vectors = (weights.take(name, atoms) for name in ("gate_bias", "mag_bias", "r_mag"))
    bias = weights.take("decoder_bias", dim)
    decoder = weights.take("decoder.weight", dim, atoms).T.contiguous()
    return Dictionary(decoder=decoder, encoder=Gated(weight, *vectors), bias=bias, pre_bias=bias)


def _jump_relu(weights: Weights, dict_class: str) -> Dictionary:
    weight = weights.take("W_enc", None, None)
    dim, atoms = weight.shape
    rule = JumpRelu(weights.take("threshold", atoms))
    return Dictionary(
        decoder=weights.take("W_dec", atoms, dim),
        encoder=Linear(weight, weights.take("b_enc", atoms), rule),
        bias=weights.take("b_dec", dim),
    )


def _counted(weights: Weights, dict_class: str) -> Dictionary:
    encoder, decoder = _linear(weights, _count_rule(weights, dict_class))
    bias = weights.take("b_dec", decoder.shape[1])
    norm = _norm(weights, decoder.shape[1])
    return Dictionary(decoder=decoder, encoder=encoder, bias=bias, pre_bias=bias, norm=norm)


def _matryoshka(weights: Weights, dict_class: str) -> Dictionary:
    weight = weights.take("W_enc", None, None)
    dim, atoms = weight.shape
    encoder = Linear(weight, weights.take("b_enc", atoms), _count_rule(weights, dict_class))
    bias = weights.take("b_dec", dim)
    return Dictionary(decoder=weights.take("W_dec", atoms, dim), encoder=encoder, bias=bias, pre_bias=bias)


CLASSES: dict[str, Callable[[Weights, str], Dictionary]] = {
    "AutoEncoder": _auto_encoder,
    "AutoEncoderNew": _auto_encoder_new,
    "GatedAutoEncoder": _gated,
    "AutoEncoderTopK": _counted,
    "BatchTopKSAE": _counted,
    "MatryoshkaBatchTopKSAE": _matryoshka,
    "JumpReluAutoEncoder": _jump_relu,
    "CrossCoder": shared_code.build,
    "BatchTopKCrossCoder": shared_code.build,
}
# Keys that only one class has, in the order in which they are asked.
SIGNS = (
    ({"group_sizes"}, "MatryoshkaBatchTopKSAE"),
    ({"gate_bias", "mag_bias"}, "GatedAutoEncoder"),
    ({"W_enc", "threshold"}, "JumpReluAutoEncoder"),
    ({"bias", "encoder.weight"}, "AutoEncoder"),
)


def _recognises(source: Source) -> bool:
    if WEIGHTS in source.names:
        return True
    if HUB_WEIGHTS not in source.names or source.beside(CONFIG) is None:
        return False
    try:
        cfg = source.json(CONFIG)
    except SteerlabError:
        return False
    return {"activation_dim", "dict_size"} <= set(cfg)


def _read(source: Source, options: Mapping[str, Any]) -> Dictionary:
    hub = WEIGHTS not in source.names
    name = HUB_WEIGHTS if hub else WEIGHTS
    weights = _plain(source.weights(name))
    cfg = source.json(CONFIG) if source.beside(CONFIG) else {}
    trainer = cfg if hub else table(cfg, "trainer")
    dict_class = options.get("dict_class") or trainer.get("dict_class") or _guessed(weights)
    build = CLASSES[choice(dict_class, CLASSES, f"{source.shown}: dict_class")]
    dictionary = build(weights, dict_class)
    if hub and dict_class in ("GatedAutoEncoder", "JumpReluAutoEncoder"):
        dictionary = unit_rows(dictionary)  # the fork with hub folders counts codes so
    facts = _facts(source, name, trainer, dict_class)
    if dict_class in ("BatchTopKSAE", "MatryoshkaBatchTopKSAE", "BatchTopKCrossCoder"):
        facts = replace(facts, assumptions=(*facts.assumptions, *_unset(weights)))
    return replace(dictionary, facts=facts)


def _plain(weights: Weights) -> Weights:
    if not all(name.startswith(COMPILED) for name in weights):
        return weights
    return Weights({name.removeprefix(COMPILED): t for name, t in weights.tensors.items()}, weights.file)


def _guessed(weights: Weights) -> str:
    names = set(weights)
    for signs, dict_class in SIGNS:
        if signs <= names:
            return dict_class
    encoder = weights.tensors.get("encoder.weight")
    if encoder is not None and encoder.ndim == 3:
        return "BatchTopKCrossCoder" if "threshold" in names else "CrossCoder"
    if {"encoder.weight", "decoder.bias"} <= names:
        return "AutoEncoderNew"
    if {"encoder.weight", "k"} <= names:
        raise SteerlabError(
            f"{weights.file} may be an AutoEncoderTopK or a BatchTopKSAE, and no {CONFIG} beside it says "
            "which: give dict_class=..."
        )
    raise SteerlabError(f"{weights.file} has the keys of no class that is known: {sorted(names)[:12]}")


def _linear(weights: Weights, rule: Rule) -> tuple[Linear, torch.Tensor]:
    weight = weights.take("encoder.weight", None, None).T.contiguous()
    dim, atoms = weight.shape
    decoder = weights.take("decoder.weight", dim, atoms).T.contiguous()
    return Linear(weight, weights.take("encoder.bias", atoms), rule), decoder


def _count_rule(weights: Weights, dict_class: str) -> Rule:
    threshold = weights.number("threshold") if "threshold" in weights else -1.0
    if dict_class != "AutoEncoderTopK" and threshold >= 0:
        return JumpRelu(torch.tensor([threshold]))
    return TopK(whole({"k": weights.number("k")}, "k", weights.file))


def _unset(weights: Weights) -> tuple[str, ...]:
    if "threshold" not in weights or weights.number("threshold") < 0:
        return ("its threshold was never set: the k strongest of every row are kept instead",)
    return ()


def _norm(weights: Weights, dim: int) -> Norm:
    """What one fork stores as buffers; NaN stands for none."""
    if "activation_mean" not in weights or bool(weights.tensors["activation_mean"].isnan().any()):
        return Same()
    mean, std = weights.take("activation_mean", dim), weights.take("activation_std", dim)
    scale = weights.number("activation_global_scale")
    # a scale of exactly 1 is what the fork stores where it divides each dimension by its own deviation
    return Standardise(mean, std + 1e-8 if scale == 1 else torch.tensor([1 / scale]))


def _facts(source: Source, name: str, trainer: Mapping[str, Any], dict_class: str) -> Facts:
    submodule, layer = word(trainer, "submodule_name"), trainer.get("layer")
    streams = [stream for start, stream in SITES if re.match(start, submodule or "")]
    site = f"blocks.{layer}.{streams[0]}" if streams and isinstance(layer, int) else None
    return Facts(
        site=site,
        model=word(trainer, "lm_name"),
        source="dictionary_learning",
        l0=float(trainer["k"]) if isinstance(trainer.get("k"), int) else None,
        fingerprint=source.fingerprint(name),
        assumptions=() if site else (f"no site: submodule {submodule!r} of layer {layer!r}",),
    )


register(
    "dictionary_learning",
    "dictionary_learning and forks: ae.pt and config.json",
    _recognises,
    _read,
    options=("dict_class",),
)
