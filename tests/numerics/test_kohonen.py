"""Kohonen maps on surfaces of known topology, medoids, and how far apart points are."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from steerlab.numerics.kohonen import Kohonen, kohonen_map, medoids, spacing


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def square(count: int) -> torch.Tensor:
    flat = torch.rand(count, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.cat([flat, torch.zeros(count, 1, dtype=torch.float64)], -1)


def test_a_flat_square_is_laid_out_without_a_fold_and_a_sphere_is_not():
    """References: 64 nodes, 20000 updates: .120 and 0 % for the square, .181 and 6.5 % for the sphere."""
    flat, ball = square(3000), normalize(random(3000, 3), dim=-1)
    plain, torn = (kohonen_map(points, (8, 8), steps=8000) for points in (flat, ball))
    assert plain.quantisation_error(flat) == pytest.approx(0.120, abs=0.02)
    assert plain.topographic_error(flat) < 0.02
    assert torn.quantisation_error(ball) == pytest.approx(0.19, abs=0.03)
    assert torn.topographic_error(ball) > 0.03


def test_errors_of_a_map_by_hand():
    nodes = torch.tensor([[0.0], [1.0], [2.0], [3.0]], dtype=torch.float64)
    points = torch.tensor([[0.0], [3.0]], dtype=torch.float64)
    ordered, shuffled = Kohonen(nodes.view(1, 4, 1)), Kohonen(nodes[[0, 2, 3, 1]].view(1, 4, 1))
    assert ordered.quantisation_error(points + 0.3) == pytest.approx(0.3 / 1.5)
    assert ordered.topographic_error(points) == 0
    assert shuffled.topographic_error(points) == 0.5  # 0 and 1 are apart, 3 and 2 are not


def test_medoids_are_points_and_the_nearest_ones():
    points, places = random(200, 3), random(9, 3, seed=1)
    found = points[medoids(points, places)]
    for place, point in zip(places, found, strict=True):
        assert float((points - place).norm(dim=-1).min()) == pytest.approx(float((point - place).norm()))


def test_spacing_of_a_line():
    points = torch.arange(50.0)[:, None].double()
    points[-1] = 1000.0
    assert spacing(points, 0.5) == 1.0 and spacing(points, 1.0) == 952.0


def test_a_map_needs_points():
    with pytest.raises(ValueError, match="three points or more"):
        kohonen_map(torch.zeros(2, 3))
