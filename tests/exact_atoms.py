"""Dictionaries whose codes are known in closed form, and toys whose outputs are."""

from __future__ import annotations

import torch
from torch import nn

import steerlab as sl
from steerlab.bases import Linear, Relu

TEXTS = ["the cat sat on the mat", ["a dog ran", "today is Monday and the king is in Paris"]]


def tied(atoms: torch.Tensor, site: str | None = None, **more) -> sl.Dictionary:
    """Codes ``relu(x D^T)``: exact inference where atoms are orthonormal."""
    encoder = Linear(atoms.T.contiguous(), torch.zeros(len(atoms), dtype=atoms.dtype), Relu())
    return sl.Dictionary(decoder=atoms, encoder=encoder, facts=sl.Facts(site=site), **more)


def mirrored(dim: int, site: str | None = None, dtype: torch.dtype = torch.float32) -> sl.Dictionary:
    """Every axis and its mirror image: ``z = (relu(x), relu(-x))``, without any error."""
    eye = torch.eye(dim, dtype=dtype)
    return tied(torch.cat([eye, -eye]), site)


class Sum(nn.Module):
    """``y = (x0 - 1/2) (x1 - 1/2) + x2`` of an activation that is its input."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3, bias=False, dtype=torch.float64)
        nn.init.eye_(self.inner.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.inner(x)
        return ((inner[:, 0] - 0.5) * (inner[:, 1] - 0.5) + inner[:, 2])[:, None]


def cases(model: sl.Model, site: str) -> torch.Tensor:
    """Activations ``[entry, dim]`` of `TEXTS` after the first token, one text at a time."""
    single = [TEXTS[0], *TEXTS[1]]
    return torch.cat([model.capture(text, site)[site][0, 1:] for text in single])
