"""Embeddings of paired images and texts, and the aligned dictionary that is trained on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tqdm.auto import tqdm

from steerlab.bases import Dictionary
from steerlab.bases.norms import ConstantLength
from steerlab.errors import SteerlabError
from steerlab.fitting import Fitting, fit_dictionary
from steerlab.keeping import keeper, kept
from steerlab.model import Model
from steerlab.numerics.modality import (
    EnergyShares,
    ModalityClasses,
    energy_shares,
    modality_classes,
    modality_score,
)

CHUNK = 1024  # rows that are encoded at once
TRAINED, RATE = 256, 5e-3  # pairs of a step of the training, and its peak rate


@dataclass(frozen=True, eq=False)
class Shared:
    """A dictionary with what is known of its atoms from pairs.

    Attributes
    ----------
    dictionary : Dictionary
        Of embeddings.
    images, texts : Tensor
        Energies ``[atom]`` of either side.
    score : Tensor
        The images' share, ``[atom]``; -1 for dead atoms.
    classes : ModalityClasses
        Masks: `first` of images alone, `second` of texts alone.
    shares : EnergyShares
        Parts of the energy.
    """

    dictionary: Dictionary
    images: torch.Tensor
    texts: torch.Tensor
    score: torch.Tensor
    classes: ModalityClasses
    shares: EnergyShares

    @property
    def bimodal(self) -> torch.Tensor:
        """Numbers of the shared atoms."""
        return self.classes.shared.nonzero()[:, 0]

    @property
    def unimodal(self) -> torch.Tensor:
        """Numbers of the living atoms of one side alone."""
        return (self.classes.first | self.classes.second).nonzero()[:, 0]


def check_pairs(name: str, data: Any) -> tuple[Sequence[str], Sequence[Any]]:
    """Texts and images, as many of one as of the other."""
    if not isinstance(data, tuple) or len(data) != 2 or len(data[0]) != len(data[1]):
        raise SteerlabError(f"{name} asks of pairs: (texts, images), as many of one as of the other")
    return data


def embedded(model: Model, data: Any, at: Sequence[str], batch: int) -> torch.Tensor:
    """Embeddings ``[pair, 2, dim]`` in float32 on the CPU, images first: all that is kept of a pair.

    Parameters
    ----------
    model : Model
        Of two towers.
    data : tuple
        Texts and images, matched by row.
    at : sequence of str
        The sites of the images' and of the texts' embeddings.
    batch : int
        Pairs of a forward.
    """
    texts, images = data
    found = []
    for start in tqdm(range(0, len(texts), batch), desc="embedding", disable=None, leave=False):
        part = (texts[start : start + batch], images[start : start + batch])

        def both(part: Any = part) -> torch.Tensor:
            acts = model.capture(part, at=list(at))
            return torch.stack([acts[site].detach().float().cpu() for site in at], 1)

        found.append(kept(f"embeddings at {at} from {start}", both))
    return torch.cat(found)


def lengths(x: torch.Tensor) -> torch.Tensor:
    """Lengths of rows, ``[..., 1]``."""
    return x.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)


def aligned_settings(k: int, steps: int, *, seed: int = 0, align: float = 0.3, gap: float = 3.0) -> Fitting:
    """Settings of the training; embeddings are not centred, so that atoms may carry their means."""
    return Fitting(k=k, steps=steps, batch=TRAINED, lr=RATE, align=align, gap=gap, seed=seed, centre=False)


def learnt(pairs: torch.Tensor, atoms: int, settings: Fitting) -> Dictionary:
    """An aligned dictionary of embeddings brought to length 1; a run that was cut off goes on with it.

    Parameters
    ----------
    pairs : Tensor
        ``[pair, 2, dim]``.
    atoms : int
        How many atoms.
    settings : Fitting
        Of ``kind="aligned-topk"``.
    """
    mine = keeper()
    folder = None if mine is None else mine.folder / "aligned-dictionary"
    made = fit_dictionary(
        pairs / lengths(pairs), atoms, kind="aligned-topk", settings=settings, folder=folder
    )
    return dataclasses.replace(made, norm=ConstantLength(1.0))


def shared_of(dictionary: Dictionary, pairs: torch.Tensor, eps: float) -> Shared:
    """Energies, scores and classes of the atoms from embeddings ``[pair, 2, dim]``.

    Codes are those of embeddings brought to length 1 where the dictionary measures rows so, else of the
    embeddings as they are.
    """
    sums = torch.zeros(2, len(dictionary), dtype=torch.float64)
    for some in pairs.split(CHUNK):
        sums += dictionary.encode(some).double().square().sum(0)
    images, texts = sums / len(pairs)
    score = modality_score(images, texts)
    classes = modality_classes(score, eps=eps)
    return Shared(dictionary, images, texts, score, classes, energy_shares(classes, images, second=texts))
