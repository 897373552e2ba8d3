"""Random dictionaries of every encoder for the tests, and a numpy reference that shares no code with them."""

from __future__ import annotations

import numpy as np
import torch

from steerlab.bases import (
    BatchTopK,
    BlockTopK,
    Dictionary,
    Distances,
    Gated,
    GroupMax,
    JumpRelu,
    Linear,
    Pursuit,
    Relu,
    TopK,
)

DIM, ATOMS = 16, 64


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


WEIGHT, OFFSET = random(DIM, ATOMS, seed=1), 0.3 * random(ATOMS, seed=2)
DECODER = random(ATOMS, DIM, seed=3) / DIM**0.5
BIAS, PRE = random(DIM, seed=4), random(DIM, seed=5)
THRESHOLD = random(ATOMS, seed=6).abs()
RANK = DECODER.norm(dim=1)
X = random(2, 5, DIM, seed=7)

RULES = {
    "relu": Relu(),
    "jumprelu": JumpRelu(THRESHOLD),
    "jumprelu, one threshold": JumpRelu(torch.tensor([0.7], dtype=torch.float64)),
    "top-k": TopK(5),
    "top-k by magnitude": TopK(5, relu=False, absolute=True),
    "top-k by the decoder's norm": TopK(5, rank_by=RANK),
    "top-k before relu": TopK(5, relu=False),
    "batch top-k": BatchTopK(5),
    "group max": GroupMax(8),
    "blocks": BlockTopK(2, 4),
}
ENCODERS = {name: Linear(WEIGHT, OFFSET, rule) for name, rule in RULES.items()} | {
    "gated": Gated(WEIGHT, OFFSET, OFFSET.flip(0), 0.2 * random(ATOMS, seed=8)),
    "pursuit": Pursuit(6),
    "distances": Distances(0.5 * DECODER, torch.tensor(0.4, dtype=torch.float64)),
}


def made(name: str, **more) -> Dictionary:
    """A dictionary with this encoder, a bias before and one after."""
    return Dictionary(decoder=DECODER, encoder=ENCODERS[name], bias=BIAS, pre_bias=PRE, **more)


def reference_codes(name: str, x: torch.Tensor) -> np.ndarray:
    """Codes of rows ``[..., dim]`` by numpy, one row at a time."""
    flat = x.numpy().reshape(-1, DIM) - PRE.numpy()
    w, b, d = WEIGHT.numpy(), OFFSET.numpy(), DECODER.numpy()
    pre = flat @ w + b
    if name == "batch top-k":
        relu = np.maximum(pre, 0)
        edge = np.sort(relu.ravel())[-5 * len(flat)]
        return np.where(relu >= edge, relu, 0).reshape(*x.shape[:-1], ATOMS)
    rows = [_row(name, p, r, (w, d)) for p, r in zip(pre, flat, strict=True)]
    return np.stack(rows).reshape(*x.shape[:-1], ATOMS)


def _row(name: str, pre: np.ndarray, x: np.ndarray, matrices: tuple) -> np.ndarray:
    w, d = matrices
    relu = np.maximum(pre, 0)
    if name == "relu":
        return relu
    if name.startswith("jumprelu"):
        return np.where(pre > (0.7 if "one" in name else THRESHOLD.numpy()), relu, 0)
    if name.startswith("top-k"):
        strength = {"top-k by magnitude": np.abs(pre), "top-k before relu": pre}.get(name, relu)
        strength = strength * (RANK.numpy() if "norm" in name else 1)
        values = pre if name in ("top-k by magnitude", "top-k before relu") else relu
        return np.where(strength >= np.sort(strength)[-5], values, 0)
    if name == "group max":
        return np.concatenate([np.where(g == g.max(), g, 0) for g in np.split(relu, 8)])
    if name == "blocks":
        parts = pre.reshape(-1, 4)
        length = np.linalg.norm(parts, axis=1)
        return np.where((length >= np.sort(length)[-2])[:, None], parts, 0).ravel()
    if name == "gated":
        gate, scale, mag = OFFSET.numpy(), ENCODERS["gated"].log_scale.numpy(), OFFSET.flip(0).numpy()
        return np.where(x @ w + gate > 0, np.maximum((x @ w) * np.exp(scale) + mag, 0), 0)
    if name == "pursuit":
        codes, left, length = np.zeros(ATOMS), x.copy(), np.linalg.norm(d, axis=1)
        for _ in range(6):
            along = d @ left / length
            j = along.argmax()
            codes[j] += along[j] / length[j]
            left = left - along[j] / length[j] * d[j]
        return codes
    return _simplex(-0.4 * ((x - 0.5 * d) ** 2).sum(1))


def _simplex(scores: np.ndarray) -> np.ndarray:
    """The nearest point of the simplex, by bisection on its threshold."""
    low, high = scores.min() - 1, scores.max()
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.maximum(scores - middle, 0).sum() > 1 else (low, middle)
    return np.maximum(scores - (low + high) / 2, 0)
