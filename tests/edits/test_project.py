"""Project keeps what a basis explains, Remove keeps the rest; together they are the activation."""

from __future__ import annotations

import pytest
import torch
from edit_references import ORIGIN, VECTOR, VECTORS, X, assert_equals, float64, frame, gradient_of

import steerlab as sl


@pytest.mark.parametrize("origin", [None, ORIGIN])
def test_project_is_the_orthogonal_projection(origin):
    o = 0 if origin is None else float64(origin)
    q = frame()
    assert_equals(sl.Project(sl.Subspace(VECTORS, origin)), lambda x: (x - o) @ q.T @ q + o)


@pytest.mark.parametrize("origin", [None, ORIGIN])
def test_remove_takes_the_projection_away(origin):
    o = 0 if origin is None else float64(origin)
    q = frame()
    assert_equals(sl.Remove(sl.Subspace(VECTORS, origin)), lambda x: x - (x - o) @ q.T @ q)


def test_one_direction_of_any_length_is_removed_whole():
    unit = float64(VECTOR) / (float64(VECTOR) ** 2).sum() ** 0.5
    assert_equals(sl.Remove(sl.Direction(100 * VECTOR)), lambda x: x - (x @ unit)[..., None] * unit)
    left = sl.Remove(sl.Direction(VECTOR))(X) @ VECTOR
    torch.testing.assert_close(left, torch.zeros_like(left), atol=1e-5, rtol=0)


def test_the_two_parts_make_up_the_activation():
    basis = sl.Subspace(VECTORS)
    torch.testing.assert_close(sl.Project(basis)(X) + sl.Remove(basis)(X), X)


def test_gradients_are_projected_as_well():
    grad = gradient_of(sl.Remove(sl.Subspace(VECTORS)))[0, 0]
    torch.testing.assert_close(grad @ VECTORS.T, torch.zeros(3), atol=1e-5, rtol=0)
