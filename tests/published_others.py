"""The other published layouts: dictionaries of images, of two models, of distances and of blocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from published import Draw, Published, row_norm, top, wide, write_json, write_safetensors, write_torch


def sdxl_unbox(
    root: Path, draw: Draw, block: str = "unet.down_blocks.2.attentions.1", k: int = 10
) -> Published:
    w, b, d, c = draw.usual()
    folder = root / f"{block}_k{k}_hidden5120_auxk256_bs4096_lr0.0001" / "final"
    sizes = {"n_dirs_local": draw.atoms, "d_model": draw.dim, "k": k, "auxk": 256}
    write_json(folder / "config.json", sizes | {"dead_steps_threshold": 10_000_000})
    state = {"encoder.weight": w.T, "decoder.weight": d.T, "pre_bias": c, "latent_bias": b}
    state = {name: torch.tensor(np.ascontiguousarray(t)) for name, t in state.items()}
    write_torch(folder / "state_dict.pth", {"state_dict": state})
    mean, std = np.abs(draw(draw.atoms)), np.abs(draw(draw.atoms))
    torch.save(torch.tensor(mean), folder / "mean.pt")
    torch.save(torch.tensor(std), folder / "std.pt")
    w, b, d, c = wide(w, b, d, c)

    def forward(x):
        z = np.maximum(top((x - c) @ w + b, k), 0)
        return z, z @ d + c

    return Published(folder, folder / "state_dict.pth", forward)


def saeuron(root: Path, draw: Draw, unit: bool = True) -> Published:
    w, b, d, c = draw.usual()
    folder = root / "unet.up_blocks.1.attentions.1"
    config = {"expansion_factor": 16, "normalize_decoder": True, "num_latents": 0, "k": 6, "d_in": draw.dim}
    config |= {"batch_topk": True, "sample_topk": False, "input_unit_norm": unit, "multi_topk": False}
    write_json(folder / "cfg.json", config)
    tensors = {"encoder.weight": w.T, "encoder.bias": b, "W_dec": d, "b_dec": c}
    write_safetensors(folder / "sae.safetensors", tensors)
    w, b, d, c = wide(w, b, d, c)

    def forward(x):
        n, mean, std = row_norm(x) if unit else (x, 0.0, 1.0)
        z = top(np.maximum((n - c) @ w + b, 0), 6)
        return z, (z @ d + c) * std + mean

    return Published(folder, folder / "sae.safetensors", forward)


def crosscoder(root: Path, draw: Draw) -> Published:
    half = draw.dim // 2
    w, b = draw(2, half, draw.atoms, scale=0.5), draw(draw.atoms, scale=0.3)
    d, c = draw(draw.atoms, 2, half, scale=0.4), draw(2, half)
    folder = root / "blocks.14.hook_resid_pre"
    write_json(folder / "cfg.json", {"d_in": half, "dict_size": draw.atoms, "hook_point": folder.name})
    write_torch(folder / "cc_weights.pt", {"W_enc": w, "b_enc": b, "W_dec": d, "b_dec": c})
    w, b, d, c = wide(w, b, d, c)

    def forward(x):
        models = np.stack([0.5 * x[:, :half], 2.0 * x[:, half:]], 1)
        z = np.maximum(np.einsum("nmd,mdc->nc", models, w) + b, 0)
        out = np.einsum("nc,cmd->nmd", z, d) + c
        return z, np.concatenate([out[:, 0] / 0.5, out[:, 1] / 2.0], 1)

    return Published(folder, folder / "cc_weights.pt", forward, {"scales": [0.5, 2.0]})


def spade(root: Path, draw: Draw) -> Published:
    prototypes, d = draw(draw.atoms, draw.dim), draw(draw.dim, draw.atoms)
    state = {"Ae": prototypes, "be": np.zeros(draw.atoms, np.float32), "Ad": d}
    state |= {"bd": np.zeros(draw.dim, np.float32), "lambda_pre": np.array(-3.0, np.float32)}
    write_torch(root / "spade.pt", state)
    prototypes, d = wide(prototypes, d)
    scale = np.log1p(np.exp(-3.0))

    def forward(x):
        scores = -scale * ((x[:, None] - prototypes[None]) ** 2).sum(-1)
        z = np.stack([simplex(row) for row in scores])
        return z, z @ d.T

    return Published(root / "spade.pt", root / "spade.pt", forward)


def simplex(scores: np.ndarray) -> np.ndarray:
    """The nearest point of the simplex, its shift found by bisection: ``sum max(s - t, 0) = 1``."""
    low, high = scores.max() - 1, scores.max()
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if np.maximum(scores - middle, 0).sum() > 1 else (low, middle)
    return np.maximum(scores - low, 0)


def blocks(root: Path, draw: Draw) -> Published:
    w, _, d, c = draw.usual()
    write_json(root / "blocks.json", {"block_size": 4, "active_blocks": 2, "site": "blocks.5.resid"})
    write_safetensors(root / "blocks.safetensors", {"W_enc": w, "W_dec": d, "b_dec": c})
    w, d, c = wide(w, d, c)

    def forward(x):
        pre = ((x - c) @ w).reshape(len(x), -1, 4)
        length = np.linalg.norm(pre, axis=2)
        kept = length >= np.sort(length, axis=1)[:, -2:-1]
        z = (pre * kept[..., None]).reshape(len(x), -1)
        return z, z @ d + c

    return Published(root, root / "blocks.safetensors", forward)
