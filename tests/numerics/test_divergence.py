"""Divergences against numpy in float64, one number a row."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import steerlab as sl
from steerlab.numerics.divergence import kl_last, relative_change

GENERATOR = torch.Generator().manual_seed(0)
BASE, OTHER = torch.randn(3, 4, 11, generator=GENERATOR), torch.randn(3, 4, 11, generator=GENERATOR)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("scale", [1.0, 50.0])
def test_kl_is_that_of_the_last_token_in_nats(scale):
    p, q = (softmax(scale * x[:, -1].double().numpy()) for x in (BASE, OTHER))
    expected = (p * (np.log(p) - np.log(q))).sum(-1)
    np.testing.assert_allclose(kl_last(scale * BASE, scale * OTHER).numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(
        kl_last(scale * BASE[:, -1], scale * OTHER[:, -1]).numpy(), expected, rtol=1e-5
    )


def test_kl_is_not_symmetric_and_vanishes_on_equal_logits():
    assert not torch.allclose(kl_last(BASE, OTHER), kl_last(OTHER, BASE))
    torch.testing.assert_close(kl_last(BASE, BASE + 3), torch.zeros(3).double(), atol=1e-7, rtol=0)


def test_half_precision_logits_are_compared_in_float64():
    base = (BASE[:, -1] * 10).to(torch.float16)
    other = base.clone()
    other[0, 0] += 0.05
    p, q = softmax(base.double().numpy()), softmax(other.double().numpy())
    np.testing.assert_allclose(
        kl_last(base, other).numpy(), (p * np.log(p / q)).sum(-1), rtol=1e-9, atol=1e-15
    )


def test_relative_change_is_a_ratio_of_norms_over_the_whole_row():
    expected = [
        np.linalg.norm(b - a) / np.linalg.norm(a) for a, b in zip(BASE.numpy(), OTHER.numpy(), strict=True)
    ]
    np.testing.assert_allclose(relative_change(BASE, OTHER).numpy(), expected, rtol=1e-6)
    assert relative_change(BASE, BASE).tolist() == [0, 0, 0]
    assert bool(torch.isfinite(relative_change(torch.zeros(1, 2), torch.zeros(1, 2))).all())


def test_the_public_metrics_are_these():
    assert sl.metrics.kl is kl_last and sl.metrics.relative_change is relative_change
