"""Add: the sum is taken in float32 and rounded once, and what is added may be trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from edit_references import HALVES, VECTOR, X, assert_equals, float64, gradient_of

import steerlab as sl


@pytest.mark.parametrize("strength", [1.0, -0.3, 0, np.float32(0.1)])
def test_add_is_the_sum(strength):
    assert_equals(sl.Add(VECTOR, strength), lambda x: x + float(strength) * float64(VECTOR))


@pytest.mark.parametrize("dtype", HALVES)
def test_a_half_precision_vector_is_scaled_before_it_is_rounded(dtype):
    vector = VECTOR.to(dtype)
    assert_equals(sl.Add(vector, 0.3), lambda x: x + 0.3 * float64(vector))


def test_a_small_step_on_a_large_value_is_the_rounded_sum_and_not_the_sum_of_rounded_parts():
    x = torch.full((1, 2), 256.0, dtype=torch.bfloat16)
    vector = torch.tensor([1.0078125, 0.99609375], dtype=torch.bfloat16)
    exact = (x.double() + 1.01 * vector.double()).to(torch.bfloat16)
    assert torch.equal(sl.Add(vector, 1.01)(x), exact)


@pytest.mark.parametrize("shape", [(1,), (3, 8), (2, 1, 8), (2, 3, 8)])
def test_anything_that_broadcasts_can_be_added(shape):
    value = torch.arange(float(np.prod(shape))).view(shape)
    np.testing.assert_allclose(float64(sl.Add(value)(X)), float64(X) + float64(value), rtol=1e-6)


@pytest.mark.parametrize("shape", [(7,), (2, 8), (4, 2, 3, 8)])
def test_what_does_not_broadcast_is_refused(shape):
    with pytest.raises(
        sl.SteerlabError, match=r"Add: a vector of shape .* does not fit the activation \[2, 3, 8\]"
    ):
        sl.Add(torch.ones(shape))(X)


def test_gradients_reach_the_stream_and_the_vector_as_it_is_trained():
    assert torch.equal(gradient_of(sl.Add(VECTOR, 2.0)), torch.ones_like(X))
    vector = VECTOR.clone().requires_grad_()
    edit = sl.Add(vector, 2.0)
    edit(X).sum().backward()
    torch.testing.assert_close(vector.grad, torch.full((8,), 2.0 * 6))
    with torch.no_grad():
        vector += 1
    torch.testing.assert_close(edit(X), X + 2 * vector)


def test_a_list_is_a_vector_and_is_printed_by_its_shape():
    assert repr(sl.Add([1.0] * 8, 2.0)) == "Add(tensor[8], 2)"
    assert repr(sl.Add([1.0] * 8)) == "Add(tensor[8])"
