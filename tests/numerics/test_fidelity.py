"""Fidelity against numpy, its end points, the traps of other definitions, and exact merging."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import planted
import pytest
import torch

from steerlab.numerics.fidelity import Fidelity, kl_recovered, loss_recovered, measure, r2


@pytest.fixture
def data():
    g = planted.generator(0)
    x = planted.randn(400, 12, g=g) * torch.linspace(0.5, 2, 12).double() + 3
    return x, x + 0.3 * planted.randn(400, 12, g=g)


def test_r2_of_the_mean_the_truth_and_the_double(data):
    x, _ = data
    assert r2(x, x.mean(0).expand_as(x)) == pytest.approx(0, abs=1e-12)
    assert r2(x, x) == 1
    centred = x - x.mean(0)
    assert r2(centred, 2 * centred) == pytest.approx(0, abs=1e-12)
    assert r2(centred, 3 * centred) == pytest.approx(-3)


def test_every_number_against_numpy(data):
    x, y = (t.numpy() for t in data)
    got = measure(*data)
    assert got.r2 == pytest.approx(1 - ((x - y) ** 2).sum() / ((x - x.mean(0)) ** 2).sum(), abs=1e-12)
    assert got.fvu == pytest.approx(1 - got.r2)
    lengths = np.linalg.norm(x, axis=1), np.linalg.norm(y, axis=1)
    assert got.cosine == pytest.approx(((x * y).sum(1) / lengths[0] / lengths[1]).mean(), abs=1e-12)
    assert got.norm_ratio == pytest.approx((lengths[1] / lengths[0]).mean(), abs=1e-12)
    assert got.reconstruction_bias == pytest.approx((y**2).sum() / (x * y).sum(), abs=1e-12)


def test_traps_that_other_definitions_fall_into(data):
    x, y = data
    correct = r2(x, y)
    means = torch.linspace(-4, 4, 12).double()  # a mean of its own for every dimension changes nothing
    assert r2(x + means, y + means) == pytest.approx(correct, abs=1e-12)
    moved = x + means
    by_scalar_mean = 1 - float((x - y).square().sum() / (moved - moved.mean()).square().sum())
    assert by_scalar_mean > correct + 0.01  # which takes the spread of the means for variance
    # a constant error has no variance, but it is an error
    assert r2(x, x + 1) == pytest.approx(1 - 12 / float(x.var(0, unbiased=False).sum()))


def test_shrinking_is_told_by_the_bias_and_the_ratio_not_by_the_cosine(data):
    x, _ = data
    shrunk = measure(x, 0.5 * x)
    assert shrunk.reconstruction_bias == pytest.approx(0.5)
    assert shrunk.norm_ratio == pytest.approx(0.5)
    assert shrunk.cosine == pytest.approx(1)


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_batches_give_what_one_pass_gives(data, offset):
    x, y = (t + offset for t in data)
    parts = [measure(a, b) for a, b in zip(x.split([1, 99, 300]), y.split([1, 99, 300]), strict=True)]
    whole, merged = measure(x, y), functools.reduce(Fidelity.merge, parts)
    for field in dataclasses.fields(Fidelity):
        a, b = getattr(merged, field.name), getattr(whole, field.name)
        torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), rtol=1e-12, atol=0)
    assert merged.r2 == pytest.approx(whole.r2, abs=1e-12)
    assert whole.r2 == pytest.approx(r2(*data), abs=1e-8)  # an offset is no variance, however large


def test_samples_may_have_many_axes_and_any_dtype(data):
    x, y = data
    shaped = measure(x.reshape(20, 20, 12).float(), y.reshape(20, 20, 12).float())
    assert shaped.samples == 400
    assert shaped.r2 == pytest.approx(r2(x, y), abs=1e-5)


def test_zero_vectors_have_no_direction_but_count(data):
    x, _ = data
    got = measure(x, torch.zeros_like(x))
    assert got.cosine == 0 and got.norm_ratio == 0
    assert np.isnan(got.reconstruction_bias)


def test_loss_recovered_ends_at_zero_and_one():
    assert loss_recovered(2.0, 2.0, ablated=7.0) == 1
    assert loss_recovered(2.0, 7.0, ablated=7.0) == 0
    assert loss_recovered(2.0, 3.0, ablated=7.0) == pytest.approx(0.8)
    assert kl_recovered(0.0, 5.0) == 1 and kl_recovered(5.0, 5.0) == 0
    assert kl_recovered(1.0, 4.0) == pytest.approx(0.75)
    with pytest.raises(ValueError, match="nothing to recover"):
        loss_recovered(2.0, 2.5, ablated=2.0)


def test_what_does_not_match_is_refused(data):
    x, y = data
    with pytest.raises(ValueError, match="differ"):
        measure(x, y[:, :4])
    with pytest.raises(ValueError, match="no samples"):
        measure(x[:0], y[:0])
