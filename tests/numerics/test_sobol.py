"""Sobol indices against closed forms: linear, Ishigami, the g-function, and pure products."""

from __future__ import annotations

import math

import pytest
import torch

from steerlab.numerics.sobol import sobol_indices, sobol_masks


def measured(function, features, designs=2048, seed=0):
    return sobol_indices(function(sobol_masks(features, designs, seed=seed)), features)


def assert_close(got, expected, tolerance):
    torch.testing.assert_close(got, torch.as_tensor(expected, dtype=torch.float64), atol=tolerance, rtol=0)


def test_a_linear_function_has_no_interactions():
    weights = torch.tensor([1.0, 2.0, 0.0, -3.0], dtype=torch.float64)
    got = measured(lambda x: x @ weights + 1000, 4)
    expected = weights.square() / weights.square().sum()
    assert_close(got.first, expected, 2e-3)
    assert_close(got.total, expected, 2e-3)
    assert got.variance == pytest.approx(float(weights.square().sum()) / 12, rel=1e-2)
    assert got.total[2] == 0  # an ignored feature is exactly ignored


def test_ishigami():
    a, b = 7.0, 0.1

    def function(x):
        x = math.pi * (2 * x - 1)
        return x[:, 0].sin() + a * x[:, 1].sin() ** 2 + b * x[:, 2] ** 4 * x[:, 0].sin()

    v1 = (1 + b * math.pi**4 / 5) ** 2 / 2
    v2, v13 = a**2 / 8, b**2 * math.pi**8 * (1 / 18 - 1 / 50)
    v = v1 + v2 + v13
    got = measured(function, 3, designs=4096)
    assert_close(got.first, [v1 / v, v2 / v, 0], 0.01)
    assert_close(got.total, [(v1 + v13) / v, v2 / v, v13 / v], 0.01)
    assert got.variance == pytest.approx(v, rel=0.01)


def test_sobols_g_function():
    a = torch.tensor([0.0, 1.0, 4.5, 9.0, 99.0], dtype=torch.float64)
    got = measured(lambda x: (((4 * x - 2).abs() + a) / (1 + a)).prod(1), 5, designs=4096)
    part = 1 / (3 * (1 + a) ** 2)
    v = (1 + part).prod() - 1
    assert_close(got.first, part / v, 0.01)
    assert_close(got.total, part * (1 + part).prod() / (1 + part) / v, 0.01)


def test_a_product_is_all_interaction_where_its_factors_average_to_zero():
    got = measured(lambda x: (x[:, 0] - 0.5) * (x[:, 1] - 0.5), 3)
    assert_close(got.first, [0, 0, 0], 0.01)
    assert_close(got.total, [1, 1, 0], 0.02)
    # with means of one half, Var(x) = 1/12: first (1/48) / (1/9 - 1/16), total (1/36) / (the same)
    plain = measured(lambda x: x[:, 0] * x[:, 1], 2)
    v = 1 / 9 - 1 / 16
    assert_close(plain.first, [1 / 48 / v] * 2, 0.01)
    assert_close(plain.total, [1 / 36 / v] * 2, 0.01)
    assert bool((plain.total > plain.first + 0.1).all())


def test_standard_errors_cover_the_truth_and_shrink_with_the_design():
    weights = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    expected = weights.square() / weights.square().sum()
    inside, errors = [], {}
    for designs in (64, 1024):
        for seed in range(20):
            got = measured(lambda x: x @ weights, 3, designs=designs, seed=seed)
            inside.append((got.first - expected).abs() <= 2 * got.first_error)
            inside.append((got.total - expected).abs() <= 2 * got.total_error)
            errors[designs] = float(got.first_error.mean() + got.total_error.mean())
    assert float(torch.stack(inside).double().mean()) >= 0.95
    assert errors[1024] == pytest.approx(errors[64] / 4, rel=0.4)


def test_the_estimators_against_their_formulas():
    masks = sobol_masks(2, 32, seed=1)
    y = masks[:, 0] ** 2 + 3 * masks[:, 0] * masks[:, 1]
    got = sobol_indices(y, 2)
    a, b, one, two = y.numpy().reshape(4, 32)
    a, b, one, two = (z - (a.mean() + b.mean()) / 2 for z in (a, b, one, two))
    for i, mixed in enumerate((one, two)):
        middle = ((b + mixed) / 2).mean()
        janon = ((b * mixed).mean() - middle**2) / (((b**2 + mixed**2) / 2).mean() - middle**2)
        jansen = ((a - mixed) ** 2).mean() / 2 / ((a**2).mean() / 2 + (b**2).mean() / 2)
        assert float(got.first[i]) == pytest.approx(janon, abs=1e-12)
        assert float(got.total[i]) == pytest.approx(jansen, abs=1e-12)


def test_the_masks_are_two_samples_and_their_mixtures():
    masks = sobol_masks(3, 16, seed=2)
    assert masks.shape == (80, 3) and masks.dtype == torch.float64
    assert float(masks.min()) >= 0 and float(masks.max()) <= 1
    a, b, *mixed = masks.split(16)
    for i, block in enumerate(mixed):
        others = [j for j in range(3) if j != i]
        assert torch.equal(block[:, i], b[:, i]) and torch.equal(block[:, others], a[:, others])
    # a net: each sixteenth of the unit interval holds one point of every column of each sample
    for column in torch.cat([a, b], 1).T:
        assert (column * 16).floor().sort().values.tolist() == list(range(16))
    assert torch.equal(masks, sobol_masks(3, 16, seed=2))
    assert not torch.equal(masks, sobol_masks(3, 16, seed=3))


@pytest.mark.parametrize("level", [0.0, 0.1, -1e8])
def test_a_constant_is_moved_by_nothing(level):
    got = sobol_indices(torch.full((64 * 5,), level, dtype=torch.float64), 3)
    for part in (got.first, got.total, got.first_error, got.total_error):
        assert part.tolist() == [0, 0, 0]


def test_an_offset_changes_no_index():
    masks = sobol_masks(2, 128)
    y = masks.prod(1)
    torch.testing.assert_close(sobol_indices(y, 2).first, sobol_indices(y + 1e6, 2).first, atol=1e-6, rtol=0)


def test_mistakes_are_told():
    with pytest.raises(ValueError, match="a multiple of 5"):
        sobol_indices(torch.zeros(12), 3)
    with pytest.raises(ValueError, match="not 0"):
        sobol_masks(0, 8)
    with pytest.raises(ValueError, match="two rows"):
        sobol_masks(2, 1)
