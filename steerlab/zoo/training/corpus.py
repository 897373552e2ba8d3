"""A corpus that a language model writes itself, batch by batch, each from a seed of its own."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from steerlab.model import Model
from steerlab.zoo.training.openings import openings

__all__ = ["written"]

_NEW_TOKENS = 112
_AT_ONCE = 128
_TEMPERATURE = 0.95


def written(lm: Model, batches: int, folder: Path) -> list[dict[str, torch.Tensor]]:
    """Let the model write texts, or read those that it wrote before.

    Parameters
    ----------
    lm : Model
        A language model with a tokenizer that pads on the left. While it writes it computes in bfloat16.
    batches : int
        How many batches of 128 texts, of about 120 tokens each.
    folder : Path
        Keeps one file a batch, so that a run that was stopped goes on where it was.

    Returns
    -------
    list of dict
        ``input_ids`` and ``attention_mask``, ``[text, token]``, padded on the left and on the right.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"batch-{number:03}.safetensors" for number in range(batches)]
    missing = [number for number, file in enumerate(files) if not file.exists()]
    if missing:
        lm.module.bfloat16()
        for number in tqdm(missing, desc="writing", disable=None):
            fresh = files[number].with_suffix(".new")
            save_file(_batch(lm, number), fresh)
            fresh.replace(files[number])
        lm.module.float()
    return [load_file(file) for file in files]


def _batch(lm: Model, number: int) -> dict[str, torch.Tensor]:
    """One batch of texts; its seed is its number."""
    tokenizer = lm.processor
    begun = openings(_AT_ONCE, torch.Generator().manual_seed(number))
    texts = [_as_chat(tokenizer, text) if is_chat else text for text, is_chat in begun]
    asked = tokenizer(texts, return_tensors="pt", padding=True)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(number)
        ids = lm.module.generate(
            **asked,
            do_sample=True,
            temperature=_TEMPERATURE,
            top_k=0,
            top_p=0.98,  # without the last two per cent the text stays text
            max_new_tokens=_NEW_TOKENS,
            pad_token_id=tokenizer.pad_token_id,
        )
    width = asked["input_ids"].shape[1]
    # The token that ends a turn is the padding too: what follows its first appearance is no text.
    ended = (ids[:, width:] == tokenizer.eos_token_id).long().cumsum(1)
    before = torch.cat([torch.zeros_like(ended[:, :1]), ended[:, :-1]], dim=1)
    mask = torch.cat([asked["attention_mask"], (before == 0).long()], dim=1)
    return {"input_ids": ids.int().contiguous(), "attention_mask": mask.to(torch.uint8).contiguous()}


def _as_chat(tokenizer: object, text: str) -> str:
    turns = [{"role": "user", "content": text}]
    return tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
