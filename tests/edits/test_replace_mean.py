"""Replace puts an activation in place, whole or some coordinates of it; Mean puts the average of many."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from edit_references import ORIGIN, VECTORS, X, assert_equals, float64, frame

import steerlab as sl

VALUE = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(1))
MANY = torch.randn(5, 3, 8, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    "value", [VALUE, VALUE[:, :1], VALUE[0], VALUE[0, 0]], ids=lambda v: str(list(v.shape))
)
def test_replace_puts_the_value_in_place(value):
    assert_equals(sl.Replace(value), lambda x: np.broadcast_to(float64(value), x.shape))


def test_replace_in_a_basis_interchanges_its_coordinates_and_keeps_the_rest():
    q = frame()
    assert_equals(
        sl.Replace(VALUE, sl.Subspace(VECTORS, ORIGIN)),
        lambda x: x - x @ q.T @ q + float64(VALUE) @ q.T @ q,
    )


def test_replace_by_itself_in_a_basis_changes_no_bit():
    assert torch.equal(sl.Replace(X, sl.Subspace(VECTORS))(X), X)


def test_the_result_shares_no_memory_with_the_value():
    value = VALUE.clone()
    sl.Replace(value)(X).zero_()
    assert torch.equal(value, VALUE)


def test_mean_is_the_average_over_samples_and_tokens():
    assert_equals(sl.Mean(MANY), lambda x: np.broadcast_to(float64(MANY).mean((0, 1)), x.shape))
    pooled = MANY[:, 0]
    assert_equals(sl.Mean(pooled), lambda x: np.broadcast_to(float64(pooled).mean(0), x.shape))


def test_mean_by_token_keeps_the_places():
    assert_equals(sl.Mean(MANY, by_token=True), lambda x: np.broadcast_to(float64(MANY).mean(0), x.shape))


def test_mean_over_heads_keeps_them_apart():
    reference = torch.arange(2.0 * 3 * 4 * 5).view(2, 3, 4, 5)
    y = sl.Mean(reference)(torch.zeros(1, 6, 4, 5))
    np.testing.assert_allclose(float64(y[0, 0]), float64(reference).mean((0, 1)))


@pytest.mark.parametrize("reference", [torch.ones(4), torch.ones(0, 3, 8)])
def test_mean_of_nothing_is_refused(reference):
    with pytest.raises(sl.SteerlabError, match=r"Mean takes activations \[batch, ...\]"):
        sl.Mean(reference)
