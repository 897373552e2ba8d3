"""Random dictionaries in the layouts of their publishers, each with its forward pass in float64 numpy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.numpy import save_file

Forward = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class Published(NamedTuple):
    """A folder or file, what loading it needs beside, and ``x -> (codes, reconstruction)``."""

    path: Path
    weights: Path
    forward: Forward
    options: dict = {}


class Draw:
    """Random float32 arrays; what a reference computes with is what the files hold."""

    def __init__(self, dim: int, atoms: int) -> None:
        self.rng = np.random.default_rng(dim + atoms)
        self.dim, self.atoms = dim, atoms

    def __call__(self, *shape: int, scale: float = 1.0) -> np.ndarray:
        return (scale * self.rng.standard_normal(shape)).astype(np.float32)

    def usual(self) -> tuple[np.ndarray, ...]:
        """Encoder ``[dim, atom]``, its bias, decoder ``[atom, dim]``, its bias."""
        d, c = self.dim, self.atoms
        return self(d, c, scale=0.5), self(c, scale=0.3), self(c, d, scale=0.4), self(d, scale=0.5)


def wide(*arrays: np.ndarray) -> list[np.ndarray]:
    return [a.astype(np.float64) for a in arrays]


def top(pre: np.ndarray, k: int, rank: np.ndarray | None = None) -> np.ndarray:
    """The k strongest of each row and 0 elsewhere."""
    strength = pre if rank is None else pre * rank
    kept = np.argsort(-strength, axis=1)[:, :k]
    out = np.zeros_like(pre)
    np.put_along_axis(out, kept, np.take_along_axis(pre, kept, 1), 1)
    return out


def jump(pre: np.ndarray, threshold: np.ndarray | float) -> np.ndarray:
    return pre * (pre > threshold)


def row_norm(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centred over the unbiased deviation and 1e-5, with the mean and the deviation."""
    mean = x.mean(1, keepdims=True)
    std = x.std(1, keepdims=True, ddof=1)
    return (x - mean) / (std + 1e-5), mean, std


def write_json(file: Path, content: dict) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def write_safetensors(file: Path, tensors: dict[str, np.ndarray]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ascontiguousarray(t) for name, t in tensors.items()}, file)


def write_torch(file: Path, tensors: dict) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save({n: torch.tensor(t) if isinstance(t, np.ndarray) else t for n, t in tensors.items()}, file)
