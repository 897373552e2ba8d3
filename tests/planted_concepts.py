"""Sparse concepts that two or three models write along directions of their own."""

from __future__ import annotations

import torch
from torch.nn.functional import normalize

DIMS = (16, 24, 12)


def shared_concepts(
    count: int, *, concepts: int = 64, active: int = 6, dims: tuple[int, ...] = DIMS, seed: int = 0
) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
    """Codes ``[sample, concept]``, atoms ``[concept, dim]`` of each model, activations ``[sample, dim]``."""
    generator = torch.Generator().manual_seed(seed)
    codes = 0.5 + torch.rand(count, concepts, generator=generator)
    on = torch.rand(count, concepts, generator=generator).topk(active, 1).indices
    codes = codes * torch.zeros_like(codes).scatter(1, on, 1.0)
    atoms = [
        normalize(torch.randn(concepts, dim, generator=torch.Generator().manual_seed(100 + i)), dim=1)
        for i, dim in enumerate(dims)
    ]
    return codes, atoms, [codes @ one for one in atoms]
