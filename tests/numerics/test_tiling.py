"""Receptive fields, tuning and the verdict on a circle that two atoms hold and that eight atoms tile."""

from __future__ import annotations

import math

import pytest
import torch
from planted_circle import circle, on_circle, tile_directions, top_one

from steerlab.numerics.tiling import receptive_spread, regime, support, tau, tuning


def test_spread_is_one_everywhere_and_small_for_a_patch():
    points = on_circle(torch.arange(720, dtype=torch.float64) * 2 * math.pi / 720)
    everywhere = torch.ones(720, 1, dtype=torch.bool)
    tiles = top_one(points @ tile_directions(8).T) != 0
    spread = receptive_spread(points, torch.cat([everywhere, tiles], 1))
    # chords: median 2 sin(pi / 4), mean 4 / pi; of a patch of 45 degrees the median gap is its width / 3.414
    assert float(spread[0]) == pytest.approx(math.sqrt(2) * math.pi / 4, abs=0.01)
    assert spread[1:].tolist() == pytest.approx([math.pi / 4 / 3.414 / (4 / math.pi)] * 8, abs=0.01)
    assert bool(receptive_spread(points, torch.zeros(720, 1, dtype=torch.bool)).isnan().all())
    assert receptive_spread(points, torch.arange(720)[:, None] == 5).tolist() == [0.0]


def test_tuning_curves_are_means_of_values():
    data = circle()
    labels = (data.angles / (2 * math.pi) * 8 + 0.5).long() % 8
    curves = tuning(data.tile_codes, labels)
    assert curves.shape == (8, 68)
    for value in range(8):
        torch.testing.assert_close(curves[value], data.tile_codes[labels == value].mean(0))
    assert curves[:, :8].argmax(0).tolist() == list(range(8))
    assert int(support(curves != 0)) == 8
    assert int(support(curves != 0, share=0.5)) == 0
    with pytest.raises(ValueError, match="no sample has the value 1"):
        tuning(torch.ones(2, 3), torch.tensor([0, 2]))


def test_the_verdict_follows_atoms_needed_and_patches():
    assert regime(2, 2, spread=1.1).label == "global"
    assert regime(2, 8, spread=0.2, positive=0.0).label == "tiling"
    assert regime(2, 8, spread=0.2, positive=0.6).label == "dilution"
    assert regime(2, 8, spread=0.9).label == "dilution"
    assert regime(6, 7, spread=0.0, positive=0.0).label == "tiling"
    assert regime(2, None, spread=0.6).label == "dilution"
    assert regime(None, None, spread=1.0).label == "undecided"
    assert regime(2, 7, spread=0.2).ratio == 3.5


def test_tau_counts_codes_for_each_dimension_that_is_active():
    assert tau(8, 4, [2, 2, 2]) == 1.0
    assert tau(3, 4, [1, 2]) == 0.5
