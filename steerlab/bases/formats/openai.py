"""OpenAI's autoencoders of GPT-2 (arXiv 2406.04093): one ``.pt`` state dict, ReLU or top-k."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steerlab.bases.dictionary import Dictionary
from steerlab.bases.encoders import Linear
from steerlab.bases.facts import Facts
from steerlab.bases.formats.config import choice, whole
from steerlab.bases.formats.files import Source, Weights
from steerlab.bases.formats.format import register
from steerlab.bases.formats.hook_names import said
from steerlab.bases.norms import LayerNorm, Same
from steerlab.bases.rules import Relu, TopK

KEYS = {"encoder.weight", "decoder.weight", "pre_bias", "latent_bias"}
# Folders such as ``gpt2-small/resid_delta_mlp_v5_32k/autoencoders/8.pt``. A delta is what a sublayer adds.
STREAMS = {
    "mlp_post_act": "mlp.act",
    "resid_delta_attn": "attn",
    "resid_delta_mlp": "mlp",
    "resid_post_attn": "resid_mid",
    "resid_post_mlp": "resid",
}


def _file(source: Source) -> str | None:
    files = source.ending(".pt")
    return files[0] if len(files) == 1 else None


def _recognises(source: Source) -> bool:
    file = _file(source)
    return file is not None and source.keys(file) >= {*KEYS, "activation"}


def _read(source: Source, options: Mapping[str, Any]) -> Dictionary:
    file = _file(source) or source.names[0]
    weights = source.weights(file)
    kind = choice(weights.other.get("activation"), ("ReLU", "TopK"), f"{file}: activation")
    state = weights.other.get("activation_state_dict") or {}
    rule, norm = Relu(), Same()
    if kind == "TopK":
        after = choice(state.get("postact_fn", "ReLU"), ("ReLU", "Identity"), f"{file}: postact_fn")
        rule = TopK(whole(state, "k", f"{file}: activation_state_dict"), relu=after == "ReLU")
        norm = LayerNorm(eps=1e-5, unbiased=True)  # their preprocessing, of the top-k releases alone
    stream = said(rf"/({'|'.join(STREAMS)})(?:_v\d\w*)?/", source.folder / file)
    block = said(r"/(\d+)\.pt$", source.folder / file)
    facts = Facts(
        site=f"blocks.{block}.{STREAMS[stream]}" if stream and block else None,
        model="openai-community/gpt2" if stream else None,
        source="openai",
        l0=float(rule.k) if kind == "TopK" else None,
        fingerprint=source.fingerprint(file),
        assumptions=("every activation is normalised by its own mean and deviation",) * (kind == "TopK"),
    )
    decoder, encoder, bias = tied(weights, rule)
    return Dictionary(decoder=decoder, encoder=encoder, bias=bias, pre_bias=bias, norm=norm, facts=facts)


def tied(weights: Weights, rule: Relu | TopK) -> tuple:
    """Decoder ``[atom, dim]``, encoder, and the one bias that is subtracted first and added at the end."""
    decoder = weights.take("decoder.weight", None, None).T.contiguous()
    atoms, dim = decoder.shape
    weight = weights.take("encoder.weight", atoms, dim).T.contiguous()
    encoder = Linear(weight, weights.take("latent_bias", atoms), rule)
    return decoder, encoder, weights.take("pre_bias", dim)


register("openai", "OpenAI's sparse_autoencoder: one .pt file", _recognises, _read)
