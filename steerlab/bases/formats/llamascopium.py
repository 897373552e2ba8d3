"""The later OpenMOSS layout: ``W_E``, ``b_E``, ``W_D``, ``b_D`` with four rules and three normalisations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from steerlab.bases.dictionary import Dictionary
from steerlab.bases.encoders import Linear
from steerlab.bases.facts import Facts
from steerlab.bases.formats.config import choice, whole, word
from steerlab.bases.formats.files import Source, Weights
from steerlab.bases.formats.format import register
from steerlab.bases.formats.hook_names import BEFORE_GAIN, lens_site
from steerlab.bases.formats.llama_scope import NORM, input_norm
from steerlab.bases.norms import ConstantLength
from steerlab.bases.rules import BatchTopK, JumpRelu, Relu, Rule, TopK
from steerlab.errors import SteerlabError

CONFIG, FILES = "config.json", ("sae_weights.safetensors", "sae_weights.pt")
THRESHOLD = "activation_function.log_jumprelu_threshold"
RULES = ("relu", "jumprelu", "topk", "batchtopk")
NORMS = ("token-wise", "dataset-wise", "inference")


def _file(source: Source) -> str | None:
    return next((name for name in FILES if source.has(name)), None)


def _recognises(source: Source) -> bool:
    file = _file(source)
    return file is not None and source.keys(file) >= {"W_E", "b_E", "W_D"}


def _read(source: Source, options: Mapping[str, Any]) -> Dictionary:
    file = _file(source)
    config, weights = source.json(CONFIG), source.weights(file)
    _refuse_others(weights)
    rows = weights.take("W_D", None, None)
    atoms, dim = rows.shape
    weight = weights.take("W_E", None, atoms)
    hooks = [word(config, f"hook_point_{side}") for side in ("in", "out")]
    kind = choice(config.get("norm_activation", "inference"), NORMS, f"{CONFIG}: norm_activation")
    scales = 1.0, 1.0
    if kind == "dataset-wise":
        scales = _scale(weights, hooks[0], weight.shape[0]), _scale(weights, hooks[1], dim)
    norm = ConstantLength() if kind == "token-wise" else input_norm(config)
    crosses = hooks[0] != hooks[1]
    inner = BEFORE_GAIN.fullmatch(hooks[0] or "")
    if kind == "token-wise" and crosses:
        raise SteerlabError(f"{file}: a transcoder with norm_activation='token-wise' is not known")
    reads = f"blocks.{inner[1]}.resid_mid" if inner else hooks[0] and lens_site(hooks[0])
    k = config.get("top_k")
    facts = Facts(
        site=hooks[1] and lens_site(hooks[1]),
        reads=reads if crosses else None,
        model=word(config, "model_name"),
        source="llamascopium",
        l0=float(k) if isinstance(k, int) else None,
        fingerprint=source.fingerprint(file),
    )
    bias = weights.maybe("b_D", dim)
    bias = None if bias is None else bias / scales[1]
    subtracted = config.get("apply_decoder_bias_to_pre_encoder", False)
    return Dictionary(
        decoder=rows / scales[1],
        encoder=Linear(weight * scales[0], weights.take("b_E", atoms), _rule(config, weights, rows)),
        bias=bias,
        pre_bias=bias if subtracted else None,
        norm=norm,
        facts=facts,
    )


def _rule(config: Mapping[str, Any], weights: Weights, rows: torch.Tensor) -> Rule:
    """What makes codes sparse; strength is ``pre |d|`` where the config says so, and codes are ``pre``."""
    kind = choice(config.get("act_fn"), RULES, f"{CONFIG}: act_fn")
    length = rows.norm(dim=1) if config.get("sparsity_include_decoder_norm", True) else None
    if kind == "relu":
        return Relu()
    if kind == "jumprelu":
        threshold = weights.take(THRESHOLD).exp().reshape(-1)
        if len(threshold) not in (1, len(rows)):
            raise SteerlabError(f"{weights.file}: {THRESHOLD} holds {len(threshold)} thresholds")
        return JumpRelu(threshold if length is None else threshold / length.clamp_min(1e-30))
    k = whole(config, "top_k", CONFIG)
    return TopK(k, rank_by=length) if kind == "topk" else BatchTopK(k, rank_by=length)


def _scale(weights: Weights, hook: str | None, dim: int) -> float:
    """``sqrt(dim)`` over the mean length of the training data at a hook, which the weights hold."""
    length = weights.number(f"{NORM}.{hook}")
    if not 0 < length < float("inf"):
        raise SteerlabError(f"{weights.file}: {NORM}.{hook} is {length}")
    return dim**0.5 / length


def _refuse_others(weights: Weights) -> None:
    if "W_E_glu" in weights:
        raise SteerlabError(f"{weights.file} has a gated linear encoder (W_E_glu), which is not read here")
    shapes = [list(weights.take(name).shape) for name in ("W_E", "W_D")]
    if any(len(shape) != 2 for shape in shapes):
        raise SteerlabError(
            f"{weights.file} holds a crosscoder or a cross-layer transcoder (W_E {shapes[0]}, "
            f"W_D {shapes[1]}): its codes need several activations at once"
        )


register(
    "llamascopium",
    "OpenMOSS llamascopium: config.json and sae_weights with W_E, b_E, W_D, b_D",
    _recognises,
    _read,
)
