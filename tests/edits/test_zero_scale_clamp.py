"""Zero, Scale and Clamp: on the stream, and on the coordinates of a basis with the rest kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from edit_references import ORIGIN, VECTORS, X, assert_equals, float64, frame, gradient_of

import steerlab as sl

BASIS = sl.Subspace(VECTORS, ORIGIN)


def changed(x: np.ndarray, change) -> np.ndarray:
    """What numpy makes of an edit of the coordinates."""
    q = frame() * np.sign(np.diag(frame() @ float64(VECTORS).T))[:, None]
    z = (x - float64(ORIGIN)) @ q.T
    return x + (change(z) - z) @ q


def test_zero_is_zero():
    assert_equals(sl.Zero(), np.zeros_like)


def test_zero_in_a_basis_takes_its_coordinates_away():
    assert_equals(sl.Zero(BASIS), lambda x: changed(x, np.zeros_like))


@pytest.mark.parametrize("factor", [0, 1, -1, 2.5])
def test_scale_multiplies(factor):
    assert_equals(sl.Scale(factor), lambda x: factor * x)
    assert_equals(sl.Scale(factor, BASIS), lambda x: changed(x, lambda z: factor * z))


@pytest.mark.parametrize(("low", "high"), [(-0.5, 0.5), (None, 0.1), (0.1, None), (0.25, 0.25)])
def test_clamp_bounds(low, high):
    assert_equals(sl.Clamp(low, high), lambda x: np.clip(x, low, high))
    assert_equals(sl.Clamp(low, high, BASIS), lambda x: changed(x, lambda z: np.clip(z, low, high)))


@pytest.mark.parametrize("edit", [sl.Scale(1.0, BASIS), sl.Clamp(-1e6, 1e6, BASIS)], ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_coordinates_that_stay_change_no_bit(edit, dtype):
    assert torch.equal(edit(X.to(dtype)), X.to(dtype))


def test_gradients_flow():
    assert torch.equal(gradient_of(sl.Scale(3.0)), torch.full_like(X, 3.0))
    inside = gradient_of(sl.Clamp(-0.5, 0.5))
    assert torch.equal(inside != 0, X.abs() <= 0.5)


def test_numpy_numbers_are_numbers():
    assert torch.equal(sl.Scale(np.float32(2))(X), 2 * X)
    with pytest.raises(sl.SteerlabError, match="Scale: factor=nan is not a number"):
        sl.Scale(float("nan"))
