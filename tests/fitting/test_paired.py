"""Dictionaries of pairs: where the gap between two overlapping modalities is put, and what is left of it."""

from __future__ import annotations

import functools

import pytest
import torch

from steerlab.fitting import Fitting, fit_dictionary
from steerlab.fitting.paired import gap_left
from steerlab.numerics.gaps import modality_gap, recall
from steerlab.numerics.modality import energy, modality_classes, modality_score


def overlapping(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Concepts that both sides show, and a small constant of the first side that lies among their directions.

    One more direction that no concept uses is 0.3 or -0.3, so that an encoder can tell the sides apart.
    """
    g = torch.Generator().manual_seed(0)
    atoms = torch.nn.functional.normalize(torch.randn(24, 23, generator=g), dim=-1)
    places = torch.rand(rows, 24, generator=g).topk(3).indices
    codes = torch.zeros(rows, 24).scatter(1, places, 0.5 + torch.rand(rows, 3, generator=g))
    among = 0.4 * torch.nn.functional.normalize(atoms[:4].sum(0), dim=0)
    sides = []
    for constant, side in ((among, 0.3), (torch.zeros(23), -0.3)):
        shown = codes * (1 + 0.1 * torch.randn(rows, 24, generator=g))
        seen = shown @ atoms + constant + 0.02 * torch.randn(rows, 23, generator=g)
        sides.append(torch.cat([seen, torch.full((rows, 1), side)], 1))
    return sides[0], sides[1]


@functools.cache
def without_unimodal(gap: float) -> tuple[float, float, float]:
    """Share of the gap that is left on new rows, recall without unimodal atoms, recall with them alone."""
    first, second = overlapping(2500)
    settings = Fitting(k=6, steps=300, batch=128, lr=1e-2, align=0.1, gap=gap, centre=False)
    sae = fit_dictionary((first[:2000], second[:2000]), 64, kind="aligned-topk", settings=settings)
    learnt = [energy(sae.encode(x[:2000])) for x in (first, second)]
    shared = modality_classes(modality_score(*learnt)).shared
    new = first[2000:], second[2000:]
    alone = [(sae.encode(x) * ~shared) @ sae.atoms for x in new]
    left = [x - one for x, one in zip(new, alone, strict=True)]
    return modality_gap(*left) / modality_gap(*new), recall(*left), recall(*alone)


def test_the_gap_goes_into_atoms_of_one_modality_when_it_is_asked_to():
    (before, *_), (after, found, alone) = without_unimodal(0.0), without_unimodal(3.0)
    assert before > 0.3 and after < 0.1
    assert found > 0.95 and alone < 0.05


def test_what_is_left_of_the_gap_is_the_error_and_what_is_shared():
    g = torch.Generator().manual_seed(1)
    atoms, codes = torch.randn(3, 5, generator=g), torch.rand(40, 2, 3, generator=g)
    codes[:, 1, 0], codes[:, 0, 1] = (
        0.0,
        0.0,
    )  # the first atom is of the first side alone, the second of the other
    x = codes @ atoms + 0.1 * torch.randn(40, 2, 5, generator=g)
    first, second = codes.square().mean(0)[:, 2]
    weight = 4 * first * second / (first + second) ** 2
    kept = x - codes @ torch.diag(torch.tensor([1.0, 1.0, 1.0 - weight])) @ atoms
    left = gap_left(codes, x - codes @ atoms, atoms)
    torch.testing.assert_close(left, kept.mean(0)[0] - kept.mean(0)[1])
    assert float(gap_left(codes.flip(1), (x - codes @ atoms).flip(1), atoms) @ left) == pytest.approx(
        -float(left @ left), rel=1e-5
    )
