"""Fixtures of sparsify, written by it: ``pip install eai-sparsify``, then run this file (some 10 seconds)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch

os.environ["SPARSIFY_DISABLE_TRITON"] = "1"  # its own decoder then runs without a GPU

from sparsify import SparseCoder, SparseCoderConfig
from writing import ATOMS, DIM, expect, folder, inputs, note, shaken

# Folder: what its configuration says.
CASES = {
    "layers.3": {"k": 7},
    "layers.5.mlp": {"k": 7, "multi_topk": True, "normalize_decoder": False},
    "h.1.attn": {"k": 6, "activation": "groupmax"},
    "layers.7.mlp": {"k": 7, "transcode": True},
    "layers.8.mlp": {"k": 7, "transcode": True, "skip_connection": True},
    "embed_tokens": {"k": 5, "expansion_factor": 3, "num_latents": 0},
}


def dense(coder: SparseCoder, x: torch.Tensor) -> torch.Tensor:
    encoded = coder.encode(x)
    return torch.zeros(len(x), ATOMS).scatter(-1, encoded.top_indices, encoded.top_acts)


def write_case(where: Path, case: str) -> None:
    settings = {"num_latents": ATOMS, **CASES[case]}
    coder = shaken(SparseCoder(DIM, SparseCoderConfig(**settings)))
    coder.save_to_disk(where / case)
    x = inputs()
    codes, coder.cfg.multi_topk = dense(coder, x), False  # its forward then decodes 4 k codes, for training
    expect(where / case, x, codes, coder(x).sae_out)


def write_signed(where: Path) -> None:
    """The old field `signed`, which releases of today ignore: its codes are written out by hand."""
    coder = shaken(SparseCoder(DIM, SparseCoderConfig(num_latents=ATOMS, k=7)))
    case = where / "layers.9"
    coder.save_to_disk(case)
    config = json.loads((case / "cfg.json").read_text())
    (case / "cfg.json").write_text(json.dumps({**config, "signed": True}))
    x = inputs()
    pre = coder.encoder(x - coder.b_dec)
    index = pre.abs().topk(7).indices
    codes = torch.zeros_like(pre).scatter(-1, index, pre.gather(-1, index))
    expect(case, x, codes, codes @ coder.W_dec + coder.b_dec)


def main() -> None:
    torch.cuda.is_bf16_supported = lambda: False  # its forward asks even where there is no GPU
    where = folder("sparsify")
    for case in CASES:
        write_case(where, case)
    write_signed(where)
    note(where, "eai-sparsify")


if __name__ == "__main__":
    main()
