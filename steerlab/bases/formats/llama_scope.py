"""Llama Scope (arXiv 2410.20526), whose weights live in scaled units, and its later R1-distill files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from steerlab.bases.dictionary import Dictionary
from steerlab.bases.encoders import Linear
from steerlab.bases.facts import Facts
from steerlab.bases.formats.config import choice, number, table, word
from steerlab.bases.formats.files import Source, Weights
from steerlab.bases.formats.format import register
from steerlab.bases.formats.hook_names import BEFORE_GAIN, lens_site, said
from steerlab.bases.input_norms import InputRms
from steerlab.bases.norms import Norm, Same
from steerlab.bases.rules import JumpRelu, Relu, Rule
from steerlab.errors import SteerlabError

CONFIG, WEIGHTS = "hyperparams.json", "checkpoints/final.safetensors"
DISTILLED_CONFIG, DISTILLED = "config.json", "sae_weights.safetensors"
KEYS = {"encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias"}
LOG_THRESHOLD = "log_jumprelu_threshold"
NORM = "dataset_average_activation_norm"

# The stored threshold is one number, and nothing stored says which number it is compared with.
SPACES = {
    "decoded": "active where pre * |decoder row| / s_out, the length an atom adds, exceeds it (our own)",
    "scaled": "compared with the pre-activation after multiplication by s_in",
    "raw": "compared with the pre-activation as it is",
}


def _recognises(source: Source) -> bool:
    return source.has(CONFIG) and (source.folder / WEIGHTS).is_file()


def _read(source: Source, options: Mapping[str, Any]) -> Dictionary:
    config, weights = source.json(CONFIG), source.weights(WEIGHTS)
    choice(config.get("norm_activation"), ("dataset-wise",), f"{CONFIG}: norm_activation")
    averages = table(config, NORM)
    lengths = [number(averages, side, f"{CONFIG}: {NORM}") for side in ("in", "out")]
    space = choice(options.get("threshold_space", "decoded"), SPACES, "threshold_space")
    rows = weights.take("decoder.weight", None, None).T
    scales = weights.take("encoder.weight", len(rows), None).shape[1] ** 0.5, rows.shape[1] ** 0.5
    scales = scales[0] / lengths[0], scales[1] / lengths[1]
    act = choice(config.get("act_fn", "jumprelu"), ("jumprelu", "relu"), f"{CONFIG}: act_fn")
    rule: Rule = Relu()
    if act == "jumprelu":
        stored = number(config, "jump_relu_threshold", CONFIG)
        rule = JumpRelu(_threshold(stored, space, scales, rows))
    facts = _facts(source, WEIGHTS, config, (f"the threshold is {space}: {SPACES[space]}",))
    return folded(config, weights, rule, scales, facts)


def _threshold(stored: float, space: str, scales: tuple[float, float], rows: torch.Tensor) -> torch.Tensor:
    """Thresholds of pre-activations, ``[atom]`` or ``[1]``."""
    if space == "decoded":
        return stored * scales[1] / rows.norm(dim=1).clamp_min(1e-30)
    return torch.tensor([stored * scales[0] if space == "scaled" else stored])


def folded(
    config: Mapping[str, Any], weights: Weights, rule: Rule, scales: tuple[float, float], facts: Facts
) -> Dictionary:
    """The dictionary of raw activations: ``pre = (s_in x) W + b``, ``x_hat = (z D + b) / s_out``.

    Codes are the published ones; a transcoder has two scales.
    """
    rows = weights.take("decoder.weight", None, None).T.contiguous()
    atoms, dim = rows.shape
    weight = weights.take("encoder.weight", atoms, None).T.contiguous()
    bias = weights.take("decoder.bias", dim) / scales[1]
    encoder = Linear(weight * scales[0], weights.take("encoder.bias", atoms), rule)
    subtracted = bool(config.get("apply_decoder_bias_to_pre_encoder", False))
    if subtracted and facts.reads is not None:
        raise SteerlabError("a transcoder that subtracts the bias of another site is not known")
    return Dictionary(
        decoder=rows / scales[1],
        encoder=encoder,
        bias=bias,
        pre_bias=bias if subtracted else None,
        norm=input_norm(config),
        facts=facts,
    )


def input_norm(config: Mapping[str, Any]) -> Norm:
    """What is done to the stream before a transcoder reads it."""
    return InputRms(1e-5) if BEFORE_GAIN.fullmatch(word(config, "hook_point_in") or "") else Same()


def _facts(source: Source, file: str, config: Mapping[str, Any], assumptions: tuple[str, ...]) -> Facts:
    reads, writes = (word(config, f"hook_point_{side}") for side in ("in", "out"))
    inner = BEFORE_GAIN.fullmatch(reads or "")
    before = f"blocks.{inner[1]}.resid_mid" if inner else reads and lens_site(reads)
    if inner:
        assumptions += ("it reads x / rms(x) before the gain, which is made from blocks.N.resid_mid",)
    l0 = config.get("top_k")
    return Facts(
        site=writes and lens_site(writes),
        reads=None if reads == writes else before,
        model=_model(source),
        source="llama-scope",
        l0=float(l0) if isinstance(l0, int) else None,
        fingerprint=source.fingerprint(file),
        assumptions=assumptions,
    )


def _model(source: Source) -> str | None:
    if said(r"(Llama3_1-8B-Base)", source.folder):
        return "meta-llama/Llama-3.1-8B"
    return "deepseek-ai/DeepSeek-R1-Distill-Llama-8B" if said(r"(R1-[Dd]istill)", source.folder) else None


def _recognises_distilled(source: Source) -> bool:
    return source.has(DISTILLED) and source.keys(DISTILLED) >= {*KEYS, LOG_THRESHOLD}


def _read_distilled(source: Source, options: Mapping[str, Any]) -> Dictionary:
    weights = source.weights(DISTILLED)
    config = source.json(DISTILLED_CONFIG) if source.beside(DISTILLED_CONFIG) else {}
    threshold = weights.take(LOG_THRESHOLD).exp().reshape(-1)
    scales, assumption = (1.0, 1.0), "the threshold is compared with the pre-activation as it is"
    if word(config, "norm_activation") == "dataset-wise":
        averages = table(config, NORM)
        lengths = [number(averages, side, f"{DISTILLED_CONFIG}: {NORM}") for side in ("in", "out")]
        dim, reads = weights.take("decoder.weight").shape[0], weights.take("encoder.weight").shape[1]
        scales = reads**0.5 / lengths[0], dim**0.5 / lengths[1]
    if len(threshold) not in (1, len(weights.take("encoder.bias"))):
        raise SteerlabError(f"{DISTILLED}: {LOG_THRESHOLD} holds {len(threshold)} thresholds")
    facts = _facts(source, DISTILLED, config, (assumption,))
    return folded(config, weights, JumpRelu(threshold), scales, facts)


register(
    "llama-scope",
    "Llama Scope: hyperparams.json and checkpoints/final.safetensors",
    _recognises,
    _read,
    options=("threshold_space",),
)
register(
    "llama-scope-r1",
    "Llama Scope for R1-distill: sae_weights.safetensors with log_jumprelu_threshold",
    _recognises_distilled,
    _read_distilled,
)
