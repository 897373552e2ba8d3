"""Cones and hulls: targets inside, half outside and opposite, and points of known distance."""

from __future__ import annotations

import math

import planted
import pytest
import torch
from scipy.optimize import minimize

from steerlab.numerics.cones import cone_containment, hull_projection, sparse_cone_containment

EYE = torch.eye(10, dtype=torch.float64)


def test_targets_inside_a_cone_are_contained():
    g = planted.generator(0)
    atoms = planted.randn(12, 8, g=g)
    inside = planted.sparse(5, 12, 3, g) @ atoms
    got = cone_containment(inside, atoms)
    torch.testing.assert_close(got.score, torch.ones(5, dtype=torch.float64), atol=1e-6, rtol=0)
    assert float(got.angle.max()) < 1e-6
    torch.testing.assert_close(got.codes @ atoms, inside)
    assert bool((got.codes >= 0).all())


def test_half_outside_opposite_and_orthogonal():
    targets = torch.stack([EYE[0] + EYE[8], -EYE[0], EYE[9], 3 * EYE[2]])
    got = cone_containment(targets, EYE[:8])
    expected = torch.tensor([1 - math.sqrt(0.5), 0, 0, 1], dtype=torch.float64)
    torch.testing.assert_close(got.score, expected, atol=1e-9, rtol=0)
    angles = torch.tensor([math.pi / 4, math.pi / 2, math.pi / 2, 0], dtype=torch.float64)
    torch.testing.assert_close(got.angle, angles, atol=1e-9, rtol=0)
    assert got.support.tolist() == [1, 0, 0, 1]


def test_more_atoms_never_contain_less():
    g = planted.generator(1)
    atoms, targets = planted.randn(40, 16, g=g), planted.randn(4, 16, g=g)
    scores = torch.stack([cone_containment(targets, atoms[:n]).score for n in (5, 10, 20, 40)])
    assert bool((scores.diff(dim=0) >= -1e-12).all())
    assert float(scores[-1].min()) > float(scores[0].max())


def test_the_sparse_version_uses_few_atoms_and_finds_planted_ones():
    g = planted.generator(2)
    atoms = planted.unit_rows(planted.randn(30, 64, g=g))
    codes = planted.sparse(6, 30, 3, g)
    targets = codes @ atoms
    got = sparse_cone_containment(targets, 5 * atoms, steps=3)  # atoms of any length do
    assert torch.equal(got.codes != 0, codes != 0)
    torch.testing.assert_close(5 * got.codes, codes)
    fewer = [sparse_cone_containment(targets, atoms, steps=s) for s in (1, 2, 3, 9)]
    assert [int(f.support.max()) for f in fewer] == [1, 2, 3, 3]  # it stops when nothing is left
    scores = torch.stack([f.score for f in fewer])
    assert bool((scores.diff(dim=0) > -1e-9).all())
    assert bool((scores <= cone_containment(targets, atoms).score + 1e-9).all())


def test_a_sparse_target_nothing_points_to_has_no_support():
    got = sparse_cone_containment(-EYE[:1], EYE[:8], steps=4)
    assert got.support.tolist() == [0] and got.score.tolist() == [0]
    with pytest.raises(ValueError, match="no direction"):
        cone_containment(torch.zeros(1, 10), EYE)


def test_points_of_a_hull_are_at_distance_zero_and_relaxed_ones_at_most_their_relaxation():
    g = planted.generator(3)
    vertices = planted.randn(30, 20, g=g)
    mixing = planted.rand(16, 30, g=g)
    inside = mixing / mixing.sum(1, keepdim=True) @ vertices
    weights, distance = hull_projection(inside, vertices)
    assert float(distance.max()) < 1e-10
    torch.testing.assert_close(weights.sum(1), torch.ones(16, dtype=torch.float64))
    assert bool((weights >= 0).all())
    step = planted.unit_rows(planted.randn(16, 20, g=g))
    assert float(hull_projection(inside + step, vertices)[1].max()) <= 1 + 1e-9
    assert float(hull_projection(10 * vertices, vertices)[1].min()) > 20


def test_hull_distances_of_a_square_by_hand():
    square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    points = torch.tensor([[0.5, 0.5], [3.0, 0.5], [4.0, 5.0], [-1e6, 0.0], [1.0, 1.0]])
    weights, distance = hull_projection(points, square)
    torch.testing.assert_close(distance, torch.tensor([0, 2, 5, 1e6, 0]).double(), atol=1e-6, rtol=1e-9)
    torch.testing.assert_close(weights[2] @ square.double(), torch.tensor([1.0, 1.0]).double())


def test_the_projection_agrees_with_a_general_solver():
    g = planted.generator(4)
    vertices, point = planted.randn(5, 6, g=g), planted.randn(1, 6, g=g)
    v, p = vertices.numpy(), point[0].numpy()
    solved = minimize(
        lambda w: ((w @ v - p) ** 2).sum(),
        [0.2] * 5,
        bounds=[(0, 1)] * 5,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        tol=1e-14,
    )
    assert float(hull_projection(point, vertices)[1]) == pytest.approx(solved.fun**0.5, abs=1e-6)
