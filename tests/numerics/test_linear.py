"""Orthonormal frames and principal components, where numbers are hard."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from steerlab.numerics.linear import orthonormal, principal_components


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_rows_are_orthonormal_at_any_scale_and_keep_the_dtype(dtype, scale):
    vectors = scale * torch.randn(5, 16, dtype=dtype, generator=torch.Generator().manual_seed(0))
    q = orthonormal(vectors)
    assert q.dtype == dtype and q.shape == (5, 16)
    np.testing.assert_allclose((q @ q.T).numpy(), np.eye(5), atol=1e-6)
    assert bool((torch.diagonal(q @ vectors.T) > 0).all())  # each along its own vector, not against it


def test_nearly_parallel_vectors_still_span_two_dimensions():
    a = torch.tensor([1.0, 0.0, 0.0])
    b = torch.tensor([1.0, 1e-4, 0.0])
    q = orthonormal(torch.stack([a, b]))
    np.testing.assert_allclose(q.numpy(), [[1, 0, 0], [0, 1, 0]], atol=1e-4)


def test_more_vectors_than_dimensions_give_a_whole_frame():
    q = orthonormal(torch.randn(7, 3, generator=torch.Generator().manual_seed(0)))
    assert q.shape == (3, 3)
    np.testing.assert_allclose((q.T @ q).numpy(), np.eye(3), atol=1e-6)


def test_components_far_from_the_origin_lose_nothing_to_the_mean():
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([3.0, 1.0, 0.1]) + 1000
    mean, directions, deviations = principal_components(x, 3)
    flat = x.double().numpy()
    np.testing.assert_allclose(mean.numpy(), flat.mean(0), rtol=1e-6)
    values = np.linalg.eigvalsh(np.cov(flat, rowvar=False))[::-1]
    np.testing.assert_allclose(deviations.numpy(), np.sqrt(values), rtol=1e-5)
    np.testing.assert_allclose((directions @ directions.T).numpy(), np.eye(3), atol=1e-6)
    assert deviations.tolist() == sorted(deviations.tolist(), reverse=True)
