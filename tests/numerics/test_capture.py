"""Capture curves of a circle held whole and of one in tiles, beside the methods' figures and closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from planted_circle import CEILING, circle, on_circle, tile_directions, top_one

from steerlab.numerics.capture import (
    affine_capture,
    affine_r2,
    code_capture,
    elbow,
    pca_capture,
    random_capture,
    span_capture,
)
from steerlab.numerics.similarity import Moments


def covariance(x: torch.Tensor) -> torch.Tensor:
    return (x - x.mean(0)).T @ (x - x.mean(0))


def test_span_capture_cannot_tell_two_axes_from_eight_tiles_and_code_capture_can():
    data = circle()
    both = covariance(data.x)
    spans = [span_capture(both, atoms) for atoms in (data.axes, data.tiles)]
    for curve in spans:
        assert curve.explained.tolist() == pytest.approx([0.489, 0.976], abs=0.012)
        assert curve.needed(0.95) == curve.elbow == 2
    held = code_capture(Moments.of([data.x, data.axis_codes]), data.axes)
    tiled = code_capture(Moments.of([data.x, data.tile_codes]), data.tiles, enough=1.0)
    assert held.explained.tolist() == pytest.approx([0.489, 0.976], abs=0.012)
    assert held.total == pytest.approx(CEILING, abs=0.003)
    expected = [0.139, 0.297, 0.444, 0.572, 0.670, 0.750, 0.829, 0.927]
    assert tiled.explained.tolist() == pytest.approx(expected, abs=0.025)
    assert (held.needed(0.92), tiled.needed(0.92)) == (2, 8)
    assert set(tiled.chosen.tolist()) == set(range(8))  # distractors gain nothing


def test_distractors_alone_get_a_third_with_eight_atoms():
    data = circle()
    curve = span_capture(covariance(data.x), data.axes[2:], most=8)
    assert curve.total == pytest.approx(0.34, abs=0.04)


@pytest.mark.parametrize(
    ("count", "expected"),
    [(3, 0.7067), (4, 0.8183), (6, 0.9135), (8, 0.9502), (12, 0.9775), (16, 0.9873), (32, 0.9968)],
)
def test_one_of_m_atoms_on_a_circle_explains_what_the_closed_form_says(count, expected):
    points = on_circle((torch.arange(4608, dtype=torch.float64) + 0.5) * 2 * math.pi / 4608)
    atoms = tile_directions(count)
    codes = top_one(points @ atoms.T)
    curve = code_capture(Moments.of([points, codes]), atoms, enough=1.0)
    assert expected == pytest.approx(0.5 + count * math.sin(2 * math.pi / count) / (4 * math.pi), abs=1e-4)
    assert curve.total == pytest.approx(expected, abs=1e-4)
    missed = (points - codes @ atoms).square().sum() / points.square().sum()
    assert curve.total == pytest.approx(1 - float(missed), abs=1e-6)


def test_capture_is_greedy_regression_in_float64():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(60, 9, generator=generator) @ torch.randn(9, 9, generator=generator) + 3
    atoms = torch.randn(14, 9, generator=generator)
    wide, chosen = x.double() - x.double().mean(0), []
    curve = span_capture(covariance(x.double()), atoms, enough=1.0)
    for place in range(9):
        frame = torch.linalg.qr(atoms[chosen].double().T).Q if chosen else wide.new_zeros(9, 0)
        left = wide - wide @ frame @ frame.T
        scores = (left @ torch.nn.functional.normalize(atoms.double(), dim=1).T).square().sum(0)
        scores[chosen] = -1
        chosen.append(int(scores.argmax()))
        frame = torch.linalg.qr(atoms[chosen].double().T).Q
        explained = 1 - float((wide - wide @ frame @ frame.T).square().sum() / wide.square().sum())
        assert float(curve.explained[place]) == pytest.approx(explained, abs=1e-9)
    assert curve.chosen.tolist() == chosen
    assert curve.total == pytest.approx(1, abs=1e-9)


def test_the_affine_refit_is_that_of_least_squares_and_forgives_the_scale_of_codes():
    data = circle()
    codes = 0.2 * data.axis_codes + 1.0
    moments = Moments.of([data.x, codes])
    design = torch.cat([codes[:, :2], torch.ones(len(codes), 1, dtype=torch.float64)], 1)
    left = data.x - design @ torch.linalg.lstsq(design, data.x).solution
    expected = 1 - float(left.square().sum() / covariance(data.x).trace())
    assert affine_r2(moments, [0, 1]) == pytest.approx(expected, abs=1e-9)
    assert affine_capture(moments, [0, 1]).total > 0.97
    assert code_capture(moments, data.axes).total < 0.4  # 1 - (1 - .2)^2 of the circle, without the refit
    assert affine_r2(moments, []) == 0.0


def test_moments_of_batches_are_those_of_the_whole():
    data = circle()
    parts = [Moments.of([x, z]) for x, z in zip(data.x.split(90), data.tile_codes.split(90), strict=True)]
    joined = parts[0]
    for part in parts[1:]:
        joined = joined.merge(part)
    whole = code_capture(Moments.of([data.x, data.tile_codes]), data.tiles)
    torch.testing.assert_close(code_capture(joined, data.tiles).explained, whole.explained)


def test_baselines_bound_what_atoms_can_do():
    data = circle()
    both = covariance(data.x)
    best, frame = pca_capture(both), random_capture(both, 64, orthogonal=True)
    assert best.explained[1].item() == pytest.approx(CEILING, abs=0.003)
    assert frame.total == pytest.approx(1, abs=1e-9)  # a whole frame spans everything
    assert frame.explained[7].item() == pytest.approx(8 / 64, abs=0.12)
    chosen = random_capture(both, 256, most=8)
    assert frame.explained[7] < chosen.total < best.explained[7]
    assert random_capture(both, 256, most=8).total == chosen.total


def test_an_elbow_is_farthest_from_the_chord():
    assert elbow(torch.tensor([0.1, 0.6, 0.9, 0.92, 0.94, 0.95])) == 3
    assert (elbow(torch.tensor([0.3])), elbow(torch.tensor([0.4, 0.4, 0.4]))) == (1, 1)


def test_what_cannot_be_captured_is_said():
    with pytest.raises(ValueError, match="no variance to explain"):
        span_capture(torch.zeros(3, 3), torch.eye(3))
    with pytest.raises(ValueError, match="not of samples and codes of"):
        code_capture(Moments.of([torch.randn(5, 3), torch.randn(5, 2)]), torch.eye(3))
