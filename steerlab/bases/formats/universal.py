"""Universal autoencoders (arXiv 2502.03714): one checkpoint a model, one code for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from steerlab.bases.dictionary import Dictionary
from steerlab.bases.formats import overcomplete
from steerlab.bases.formats.config import number, real
from steerlab.bases.formats.files import Source
from steerlab.bases.formats.format import register
from steerlab.bases.norms import Standardise
from steerlab.errors import SteerlabError
from steerlab.numerics.codes import decode_sparse

# What its activations were standardised with, where the authors print it; files hold none of it.
PUBLISHED = "SigLIP -0.03054 and 2.23152, DINOv2 0.03290 and 2.47406, ViT -0.02863 and 2.13765"
PUBLISHED_SETTINGS = {"method": "topk", "k": 32, "normalization": "l2"}


def carry(delta: torch.Tensor, members: Mapping[str, Dictionary]) -> dict[str, torch.Tensor]:
    """One change of the shared code as a difference of activations in every member, ``[..., dim]`` each.

    ``std_j (delta D_j)``: what an edit of the code, found in one model, adds to the activations of another.
    The paper trains the shared code; this use of it is our own.

    Parameters
    ----------
    delta : Tensor
        Difference of codes, ``[..., atom]``.
    members : mapping
        Dictionaries that share the code, by any name.
    """
    differences = {}
    for name, member in members.items():
        if member.norm.measures:
            raise SteerlabError(f"{name}: {type(member.norm).__name__} needs the activation that is edited")
        if delta.shape[-1] != len(member):
            raise SteerlabError(f"{name} has {len(member)} atoms, the code {delta.shape[-1]}")
        near = member.near(delta)
        differences[name] = near.norm.undo_step(decode_sparse(delta, near.decoder), None)
    return differences


def _read(source: Source, options: Mapping[str, Any]) -> Dictionary:
    missing = [name for name in ("mean", "std") if options.get(name) is None]
    if missing:
        raise SteerlabError(
            f"{source.shown} does not hold what its activations were standardised with: give "
            f"{' and '.join(f'{name}=...' for name in missing)} (published for three models: {PUBLISHED})"
        )
    norm = Standardise(
        torch.tensor([real(options, "mean", "options")]), torch.tensor([number(options, "std", "options")])
    )
    inner = PUBLISHED_SETTINGS | {
        name: value for name, value in options.items() if name not in ("mean", "std")
    }
    return overcomplete.read_state(source, inner, norm, "universal")


register(
    "universal",
    "Universal autoencoders: uni_<model>_checkpoint_<epoch>.pth",
    overcomplete.is_universal,
    _read,
    options=("mean", "std", *overcomplete.OPTIONS),
)
