"""Sequences whose past foretells a known share, and a hand-built featurizer that finds it."""

from __future__ import annotations

import torch
from planted import generator, randn, unit_rows

from steerlab.bases import TemporalFeaturizer

DIM, KNOWN = 16, 8


def steady(sequences: int, tokens: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """``x_t = v + n_t``: a unit vector of the sequence ``[sequence, dim]``, and unit noise orthogonal to all.

    The vectors lie in the first half of the dimensions, the noise in the other eight.
    """
    g = generator(seed)
    v = unit_rows(randn(sequences, KNOWN, g=g))
    noise = unit_rows(randn(sequences, tokens, DIM - KNOWN, g=g))
    x = torch.cat([v[:, None].expand(-1, tokens, -1), noise], -1)
    return x, torch.cat([v, torch.zeros(sequences, DIM - KNOWN, dtype=v.dtype)], -1)


def averaging(seed: int = 0) -> TemporalFeaturizer:
    """``D = [Q^T, -Q^T]``, which loses nothing, uniform attention and identity values."""
    q = torch.linalg.qr(randn(DIM, DIM, g=generator(seed))).Q
    atoms = 2 * DIM
    eye, none = torch.eye(atoms, dtype=torch.float64), torch.zeros(atoms, dtype=torch.float64)
    weights = {
        "decoder": torch.cat([q, -q]),
        "bias": torch.zeros(DIM, dtype=torch.float64),
        **{name: torch.zeros(4, atoms, dtype=torch.float64) for name in ("query", "key")},
        **{f"{name}_bias": torch.zeros(4, dtype=torch.float64) for name in ("query", "key")},
        **{name: eye for name in ("value", "output")},
        **{f"{name}_bias": none for name in ("value", "output")},
    }
    return TemporalFeaturizer(weights, heads=4, skip=0)


def untrained(dim: int = 12, atoms: int = 24, *, k: int | None = 5, skip: int = 0) -> TemporalFeaturizer:
    """Random weights without biases of the attention."""
    g = generator(5)
    shapes = {"decoder": (atoms, dim), "query": (8, atoms), "key": (8, atoms)}
    shapes |= {"value": (atoms, atoms), "output": (atoms, atoms)}
    weights = {name: randn(*shape, g=g) for name, shape in shapes.items()}
    weights["bias"] = randn(dim, g=g)
    weights |= {
        f"{name}_bias": torch.zeros(len(weights[name]), dtype=torch.float64)
        for name in ("query", "key", "value", "output")
    }
    return TemporalFeaturizer(weights, heads=4, k=k, scale=0.7, skip=skip)
