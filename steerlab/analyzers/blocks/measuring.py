"""Description length and fullness of featurizers on held-out activations."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from steerlab.bases import Dictionary
from steerlab.numerics.blocks import block_norms
from steerlab.numerics.description import BlockMoments, description_length, gathered
from steerlab.numerics.ranks import fullness
from steerlab.report import Table

_CHUNK = 2048


def moments_of(dictionary: Dictionary, size: int, rows: torch.Tensor) -> tuple[BlockMoments, float]:
    """Moments of codes and residuals of rows ``[row, dim]``, and how many blocks are active on average."""
    moments, active = BlockMoments(dictionary.decoder, size), 0.0

    def batches():
        nonlocal active
        for some in rows.split(_CHUNK):
            codes = dictionary.encode(some)
            active += float((block_norms(codes, size) > 0).sum())
            yield some, codes, dictionary.decode(codes, some)

    gathered(moments, batches())
    return moments, active / len(rows)


def bits_table(found: Mapping[str, tuple[BlockMoments, float]], share: float, trained: int) -> Table:
    """One row a featurizer: bits an activation, R2, and active coordinates."""
    table: dict[str, list] = {"featurizer": list(found)}
    lengths = [
        description_length(moments, active, share=share, rows=trained) for moments, active in found.values()
    ]
    for name in ("support", "code", "residual", "dictionary", "total"):
        table[name] = torch.tensor([getattr(one, name) for one in lengths])
    table["R2"] = torch.tensor([moments.explained() for moments, _ in found.values()])
    table["active blocks"] = torch.tensor([active for _, active in found.values()])
    table["active coordinates"] = torch.tensor([active * m.size for m, active in found.values()])
    return table


def fullness_table(moments: BlockMoments) -> Table:
    """One row a block that fired: how often, how much of the variance, and how many dimensions it uses."""
    fired = moments.fired > 0
    spectra = moments.spectra(centred=False)[fired]
    share = moments.fired[fired] / moments.rows
    energy = share * spectra.sum(-1)
    return {
        "block": fired.nonzero()[:, 0],
        "fires": share,
        "energy": energy / energy.sum(),
        **fullness(spectra),
    }
