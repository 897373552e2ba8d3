"""Similarities of representations: invariances, planted mixtures, and float64 references in samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from scipy.stats import ortho_group, spearmanr

from steerlab.numerics.similarity import (
    Moments,
    hsic,
    linear_cka,
    regression_r2,
    rsa,
    shared_directions,
    unbiased_cka,
)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pair(n: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    x = random(n, 7) * torch.arange(1.0, 8) + 3
    return x, x @ random(7, 5, seed=1) + 4 * random(n, 5, seed=2) - 1


def cka_of_samples(x: torch.Tensor, y: torch.Tensor) -> float:
    """The samples-by-samples form of arXiv 1905.00414 in numpy."""
    k, l_ = (z.numpy() @ z.numpy().T for z in (x, y))
    h = np.eye(len(k)) - 1 / len(k)
    k, l_ = h @ k @ h, h @ l_ @ h
    return float((k * l_).sum() / np.sqrt((k * k).sum() * (l_ * l_).sum()))


def hsic_of_samples(x: torch.Tensor, y: torch.Tensor) -> float:
    """The unbiased estimate as Song et al. write it, in numpy."""
    n = len(x)
    k, l_ = (z.numpy() @ z.numpy().T for z in (x, y))
    np.fill_diagonal(k, 0)
    np.fill_diagonal(l_, 0)
    one = np.ones(n)
    last = one @ k @ one * (one @ l_ @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (one @ k @ l_ @ one)
    return float((np.trace(k @ l_) + last) / (n * (n - 3)))


def test_cka_from_moments_is_that_of_the_samples():
    x, y = pair()
    moments = Moments.of([x, y])
    assert linear_cka(moments, 0, 1) == pytest.approx(cka_of_samples(x, y), rel=1e-10)
    assert linear_cka(moments, 0, 0) == pytest.approx(1, rel=1e-12)
    for i, j in ((0, 1), (0, 0), (1, 1)):
        expected = hsic_of_samples((x, y)[i], (x, y)[j])
        assert hsic(moments, i, j) == pytest.approx(expected, rel=1e-9)
    expected = hsic_of_samples(x, y) / (hsic_of_samples(x, x) * hsic_of_samples(y, y)) ** 0.5
    assert unbiased_cka(moments, 0, 1) == pytest.approx(expected, rel=1e-9)


def test_moments_of_a_stream_are_those_of_the_whole():
    x, y = pair()
    parts = [Moments.of([x[i : i + 7].float(), y[i : i + 7].float()]) for i in range(0, 60, 7)]
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merge(part)
    whole = Moments.of([x.float(), y.float()])
    for name in ("sums", "products", "weighted", "squares"):
        assert torch.allclose(getattr(merged, name), getattr(whole, name), rtol=1e-12), name
    assert merged.count == 60 and merged.products.shape == (12, 12)


def test_cka_does_not_see_rotations_and_scaling():
    x, y = pair()
    turn = torch.as_tensor(ortho_group.rvs(7, random_state=0))
    base = Moments.of([x, y])
    turned = Moments.of([3.7 * (x @ turn) + 10, y])
    for of in (linear_cka, unbiased_cka):
        assert of(turned, 0, 1) == pytest.approx(of(base, 0, 1), rel=1e-8)
        assert of(Moments.of([x, -2 * (x @ turn)]), 0, 1) == pytest.approx(1, rel=1e-8)
    stretched = Moments.of([x * torch.linspace(1, 9, 7), y])
    assert linear_cka(stretched, 0, 1) != pytest.approx(linear_cka(base, 0, 1), rel=1e-2)


@pytest.mark.parametrize("part", [0.2, 0.5, 0.8])
def test_cka_of_a_known_mixture(part):
    """y holds x in ``part`` of its variance: the population's CKA is part / sqrt(part^2 + (1 - part)^2)."""
    x, noise = random(20000, 6), random(20000, 6, seed=1)
    y = torch.cat([part**0.5 * x, (1 - part) ** 0.5 * noise], 1)
    expected = part / (part**2 + (1 - part) ** 2) ** 0.5
    assert unbiased_cka(Moments.of([x, y]), 0, 1) == pytest.approx(expected, abs=0.01)


def test_with_few_samples_only_the_unbiased_form_is_near_zero():
    plain, fair = [], []
    for seed in range(40):
        moments = Moments.of([random(24, 60, seed=2 * seed), random(24, 60, seed=2 * seed + 1)])
        plain.append(linear_cka(moments, 0, 1))
        fair.append(unbiased_cka(moments, 0, 1))
    assert np.mean(plain) > 0.6
    assert abs(np.mean(fair)) < 3 * np.std(fair) / 40**0.5 + 1e-3 and np.std(fair) < 0.2


def test_regression_from_moments_is_that_of_the_samples():
    x, y = pair(80)
    fit, held = Moments.of([x[:50], y[:50]]), Moments.of([x[50:], y[50:]])
    a, b = x[:50].numpy(), y[:50].numpy()
    centred = a - a.mean(0)
    own = centred.T @ centred
    ridge = 0.05 * np.diag(own).mean() * np.eye(7)
    w = np.linalg.solve(own + ridge, centred.T @ (b - b.mean(0)))
    said = (x[50:].numpy() - a.mean(0)) @ w + b.mean(0)
    late = y[50:].numpy()
    expected = 1 - ((late - said) ** 2).sum() / ((late - late.mean(0)) ** 2).sum()
    found = regression_r2(fit, held, source=0, target=1, ridge=0.05)
    assert found == pytest.approx(expected, rel=1e-9)


def test_regression_finds_a_linear_map_and_no_other():
    x = random(400, 8)
    y, strange = x @ random(8, 3, seed=1) + 5, random(400, 3, seed=2)
    fit, held = Moments.of([x[:200], y[:200], strange[:200]]), Moments.of([x[200:], y[200:], strange[200:]])
    assert regression_r2(fit, held, source=0, target=1, ridge=1e-9) == pytest.approx(1, abs=1e-6)
    assert regression_r2(fit, held, source=1, target=0) < 0.6  # three numbers cannot hold eight
    assert regression_r2(fit, held, source=0, target=2) < 0.02


@pytest.mark.parametrize("distance", ["euclidean", "correlation"])
def test_rsa_is_that_of_scipy(distance):
    x, y = pair(30)
    y[5] = y[6]  # equal distances
    expected = spearmanr(pdist(x.numpy(), distance), pdist(y.numpy(), distance)).statistic
    assert rsa(x, y, distance=distance) == pytest.approx(expected, rel=1e-9)


def test_rsa_does_not_see_rotations_and_scaling():
    x, y = pair(30)
    turn = torch.as_tensor(ortho_group.rvs(7, random_state=1))
    assert rsa(5 * (x @ turn) + 1, y) == pytest.approx(rsa(x, y), abs=1e-9)
    assert rsa(x, x @ turn) == pytest.approx(1, abs=1e-9)
    grid = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    assert rsa(grid, grid**2) == pytest.approx(spearmanr([1, 2, 3, 1, 2, 1], [1, 4, 9, 3, 8, 5]).statistic)


def test_shared_directions_are_the_planted_ones():
    """Two coordinates of x, loud or quiet, come back in y; everything else is noise."""
    x = random(5000, 10) * torch.linspace(4, 0.5, 10)
    y = random(5000, 6, seed=1)
    y[:, 2], y[:, 4] = 3 * x[:, 0] + 0.1 * y[:, 2], -x[:, 9] + 0.2 * y[:, 4]
    found = shared_directions(Moments.of([x, y]), 0, 1, rank=3, ridge=1e-6)
    planted = [np.corrcoef(x[:, i], y[:, j])[0, 1] ** 2 for i, j in ((0, 2), (9, 4))]
    assert (found.correlations[:2] ** 2).tolist() == pytest.approx(planted, abs=2e-3)
    assert float(found.correlations[2]) < 0.1
    assert float(found.first[0, 0].abs()) > 0.99 and float(found.second[0, 2].abs()) > 0.99
    assert float(found.first[1, 9].abs()) > 0.99 and float(found.second[1, 4].abs()) > 0.99
    a, b = x @ found.first[1], y @ found.second[1]
    assert np.corrcoef(a, b)[0, 1] == pytest.approx(float(found.correlations[1]), abs=1e-4)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="same samples"):
        Moments.of([random(3, 2), random(4, 2)])
    with pytest.raises(ValueError, match="at most 8192"):
        Moments.of([torch.zeros(1, 5000), torch.zeros(1, 5000)])
    with pytest.raises(ValueError, match="not of the same things"):
        Moments.of([random(3, 2)]).merge(Moments.of([random(3, 4)]))
    with pytest.raises(ValueError, match="4 samples"):
        unbiased_cka(Moments.of([random(3, 2)]), 0, 0)
    with pytest.raises(ValueError, match="3 or more"):
        rsa(random(2, 2), random(2, 2))
    with pytest.raises(ValueError, match="euclidean"):
        rsa(random(4, 2), random(4, 2), distance="cosine")
