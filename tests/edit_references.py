"""What the tests of edits share: an activation, its float64 twin and the checks that hold for every edit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

import steerlab as sl

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(2, 3, 8, generator=GENERATOR)
VECTOR = torch.randn(8, generator=GENERATOR)
VECTORS = torch.randn(3, 8, generator=GENERATOR)
ORIGIN = torch.randn(8, generator=GENERATOR)
HALVES = [torch.bfloat16, torch.float16]


def float64(x: torch.Tensor) -> np.ndarray:
    return x.detach().double().numpy()


def frame(vectors: torch.Tensor = VECTORS) -> np.ndarray:
    """Orthonormal rows with the span of `vectors`, by numpy."""
    q, _ = np.linalg.qr(float64(vectors).T)
    return q.T


def assert_equals(edit: sl.Edit, expected: Callable[[np.ndarray], np.ndarray]) -> None:
    """The edit does in float32, float64 and half precision what numpy does in float64, rounded once."""
    for dtype, within in ((torch.float64, 1e-6), (torch.float32, 1e-5)):
        x = X.to(dtype)
        kept = x.clone()
        y = edit(x)
        assert y.dtype == dtype and y.shape == x.shape
        np.testing.assert_allclose(float64(y), expected(float64(x)), rtol=within, atol=within)
        assert torch.equal(x, kept)  # pure
        assert torch.equal(edit(x), y)
        assert y.data_ptr() != x.data_ptr()
    for dtype in HALVES:
        x = X.to(dtype)
        y = edit(x)
        exact = torch.from_numpy(expected(float64(x)).copy())
        assert y.dtype == dtype
        # one rounding: half a unit in the last place of the result, and a hair of float32 arithmetic
        unit = torch.finfo(dtype).eps / 2 * exact.abs().clamp_min(torch.finfo(dtype).smallest_normal)
        assert bool(((y.double() - exact).abs() <= unit + 2e-6).all())


def gradient_of(edit: sl.Edit) -> torch.Tensor:
    x = X.clone().requires_grad_()
    edit(x).sum().backward()
    return x.grad
