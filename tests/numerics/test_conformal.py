"""Metrics from energies, and densities as energies: calibrations, limits, and scipy's densities."""

from __future__ import annotations

import numpy as np
import planted
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from steerlab.numerics.conformal import Conformal, calibrated, midpoints, rescaled
from steerlab.numerics.mixtures import Mixture, kernel_density

KINDS = ("energy", "inverse_density")


@pytest.fixture
def blobs():
    """Two blobs far apart in four dimensions, and their density."""
    g = planted.generator(0)
    x = planted.randn(200, 4, g=g) + 12 * torch.arange(2).repeat_interleave(100)[:, None]
    return x, kernel_density(x, spread=0.7)


def test_a_mixture_is_that_of_scipy():
    g = planted.generator(1)
    centres, spreads = planted.randn(5, 3, g=g) + 50, planted.rand(5, g=g) + 0.2
    weights = planted.rand(5, g=g)
    x = planted.randn(40, 3, g=g) + 50
    each = [
        multivariate_normal(c.numpy(), float(s) ** 2).logpdf(x.numpy())
        for c, s in zip(centres, spreads, strict=True)
    ]
    wanted = -logsumexp(np.stack(each, -1), axis=-1, b=(weights / weights.sum()).numpy())
    made = Mixture(centres, spreads, weights)(x)
    np.testing.assert_allclose(made.numpy(), wanted, rtol=1e-9)
    shaped = Mixture(centres, spreads, weights)(x.reshape(4, 10, 3))
    torch.testing.assert_close(shaped.flatten(), made)


def test_far_away_an_energy_is_large_and_has_a_slope():
    x = torch.full((1, 2), 1e3, requires_grad=True)
    value = Mixture(torch.zeros(3, 2))(x)
    (slope,) = torch.autograd.grad(value.sum(), x)
    assert float(value.detach()) == pytest.approx(1e6, rel=1e-3) and float(slope[0, 0]) == pytest.approx(1e3)


def test_a_kernel_has_the_width_of_scott():
    x = 3 * planted.randn(500, 2, g=planted.generator(2))
    density = kernel_density(x)
    assert float(density.spreads[0]) == pytest.approx(3 * 500 ** (-1 / 6), rel=0.05)
    assert float(kernel_density(x, spread=0.5).spreads[0]) == 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_calibrated_it_is_one_on_the_data_and_a_thousand_off_them(blobs, kind):
    x, density = blobs
    off = (x[:100] + x[100:]) / 2  # between the blobs
    metric = calibrated(density, on=x, off=off, kind=kind)
    assert float(metric(x).quantile(0.5)) == pytest.approx(1, rel=0.05)
    assert float(metric(off).quantile(0.5)) == pytest.approx(1e3, rel=0.05)
    assert bool((metric(x * 100) > 0).all() and metric(x * 100).isfinite().all())
    if kind == "inverse_density":  # a density cannot fall below none
        assert float(metric(x * 100).max()) < 1.5e3


@pytest.mark.parametrize("kind", KINDS)
def test_rescaled_it_spans_the_tutorials_range(blobs, kind):
    x, density = blobs
    places = torch.cat([x, 3 * midpoints(x)])
    factors = rescaled(density, places, kind=kind)(places)
    least, most = {"energy": (1, 1001), "inverse_density": (1, 1000)}[kind]
    assert float(factors.min()) == pytest.approx(least, rel=1e-6)
    assert float(factors.max()) == pytest.approx(most, rel=1e-6)


def test_a_density_that_hardly_falls_is_not_forced_to_the_ceiling():
    density = Mixture(torch.zeros(1, 1, dtype=torch.float64))
    on, off = torch.zeros(1, 1).double(), torch.full((1, 1), 2.0).double()
    for metric in (
        calibrated(density, on=on, off=off, kind="inverse_density"),
        rescaled(density, torch.cat([on, off]), kind="inverse_density"),
    ):
        assert float(metric(off)) == pytest.approx(np.exp(2.0)) and float(metric(on)) == pytest.approx(1)


def test_only_the_ratio_of_its_two_numbers_shapes_it(blobs):
    x, density = blobs
    one, ten = (Conformal(density, "energy", 0.3 * c, 0.7 * c, 2.0)(x) for c in (1, 10))
    torch.testing.assert_close(ten, 10 * one)


def test_midpoints_are_those_of_samples():
    x = torch.tensor([[0.0], [4.0]])
    assert set(midpoints(x, count=50).flatten().tolist()) == {0.0, 2.0, 4.0}
    assert torch.equal(midpoints(x, seed=1), midpoints(x, seed=1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda e, x: Conformal(e, "density", 1.0, 1.0), "'energy' or 'inverse_density'"),
        (lambda e, x: Conformal(e, "energy", 0.0, 0.0), "one above"),
        (lambda e, x: calibrated(e, on=x, off=x, kind="energy"), "is not above that on them"),
        (lambda e, x: rescaled(e, x[:1], kind="energy"), "the same at all places"),
        (lambda e, x: Mixture(x, 0.0), "above 0"),
        (lambda e, x: Mixture(x, 1.0, torch.ones(3)), "a weight each"),
    ],
)
def test_what_is_no_metric_is_refused(blobs, make, message):
    x, density = blobs
    with pytest.raises(ValueError, match=message):
        make(density, x)
