"""Fitting manifolds: components, coordinates by each rule, smoothing, and the plane of something else."""

from __future__ import annotations

import numpy as np
import planted
import planted_ring
import pytest
import torch
from planted_ring import COUNT, TURN, ring
from scipy.interpolate import CubicSpline, make_smoothing_spline

from steerlab.bases import Shape, fit_manifold
from steerlab.errors import SteerlabWarning


def test_components_are_those_of_numpy_and_at_most_one_less_than_samples():
    x, labels = ring().x, ring().labels
    man = fit_manifold(x, labels, pca=16)
    _, _, vh = np.linalg.svd(x.numpy() - x.numpy().mean(0), full_matrices=False)
    assert abs(abs(man.frame.numpy() @ vh[:16].T) - np.eye(16)).max() < 1e-9
    np.testing.assert_allclose(man.mean.numpy(), x.numpy().mean(0), atol=1e-12)
    np.testing.assert_allclose(
        man.centroids.numpy(), [x.numpy()[labels.numpy() == i].mean(0) for i in range(7)], atol=1e-12
    )
    few = fit_manifold(x[::5], labels[::5])
    assert few.frame.shape == (13, 64) and few.facts["samples"] == 14
    # with every component there is nothing left of a sample to keep
    rest = x[::5] - few.subspace.explained(x[::5])
    assert float(rest.norm(dim=-1).max()) < 1e-4


def test_nothing_said_a_ring_is_found_and_goes_round_the_way_of_the_labels():
    found, told = fit_manifold(ring().x, ring().labels, pca=16), planted_ring.fitted()[0]
    assert found.periods == told.periods == (TURN,) and found.facts["coords"] == "suggested"
    steps = found.chart.shift(found.knots, found.knots.roll(-1, 0))
    assert float((steps - TURN / COUNT).abs().max()) < 0.05
    assert repr(found) == "Manifold(7 values, closed curve, dim=64)"


def test_an_order_makes_a_natural_spline_and_labels_its_knots():
    g = planted.generator(0)
    labels = torch.arange(12).repeat_interleave(4)
    age = labels.double()[:, None]
    x = torch.cat([age, 0.1 * age**2, age.sin(), 0.01 * planted.randn(48, 3, g=g)], -1)
    man = fit_manifold(x, labels, shape=Shape("ordinal"), pca=6)
    assert man.periods == (None,) and man.knots[:, 0].tolist() == list(range(12))
    at = np.linspace(0, 11, 50)
    values = man.values.numpy()
    reference = (
        CubicSpline(np.arange(12), values, bc_type="natural")(at) @ man.frame.numpy() + man.mean.numpy()
    )
    np.testing.assert_allclose(man.decode(torch.tensor(at)[:, None]).numpy(), reference, atol=1e-10)
    beyond = man.decode(torch.tensor([[11.0], [12.0], [13.0]], dtype=torch.float64))
    torch.testing.assert_close(beyond[2] - beyond[1], beyond[1] - beyond[0])


@pytest.mark.parametrize("weigh", [False, True])
def test_smoothing_is_scipys_and_may_weigh_values_by_the_root_of_their_samples(weigh):
    g = planted.generator(1)
    counts = torch.arange(9) + 1
    labels = torch.arange(9).repeat_interleave(counts)
    x = planted.randn(len(labels), 6, g=g) + labels[:, None]
    man = fit_manifold(x, labels, shape=Shape("ordinal", smooth=0.5, weigh=weigh), pca=5)
    weights = counts.double().sqrt().numpy() if weigh else None
    reference = make_smoothing_spline(np.arange(9), man.values.numpy(), w=weights, lam=0.5)
    at = np.linspace(0, 8, 33)
    made = (man.decode(torch.tensor(at)[:, None]) - man.mean) @ man.frame.T
    np.testing.assert_allclose(made.numpy(), reference(at), atol=1e-9)
    assert float((man.point(3) - man.path(3, 4, mode="linear_subspace").points[0]).norm()) > 0.05


def test_given_coordinates_are_taken_as_they_are():
    u = torch.tensor([0.0, 2.0, 1.0, 5.0, 3.0, 4.0, 6.5])
    man = fit_manifold(ring().x, ring().labels, shape=Shape(u, periods=(8.0,)), pca=16)
    torch.testing.assert_close(man.knots[:, 0], u.double())
    assert man.facts["coords"] == "given" and man.periods == (8.0,)
    torch.testing.assert_close(man.decode(man.knots + 8), man.decode(man.knots))


def test_a_plane_of_something_else_is_warned_of():
    g = planted.generator(2)
    other = 40 * planted.randn(70, 2, g=g) @ ring().frame[30:32]
    with pytest.warns(SteerlabWarning, match="of the variance lies between the values"):
        man = fit_manifold(ring().x + other, ring().labels, shape=Shape("angle"), pca=16)
    assert man.facts["between"] < 0.3
    assert planted_ring.fitted()[0].facts["between"] > 0.99
