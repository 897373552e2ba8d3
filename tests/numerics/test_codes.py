"""Decoding few codes is the dense product, at the rows that are asked for."""

from __future__ import annotations

import pytest
import torch

from steerlab.numerics.codes import decode_entries, decode_sparse
from steerlab.numerics.sparse import spread, top_k_entries

DECODER = torch.randn(200, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
PRE = torch.randn(3, 5, 200, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("k", (1, 7))
def test_entries_decode_to_the_dense_product(k):
    values, index = top_k_entries(PRE, k)
    dense = spread(values, index, 200) @ DECODER
    assert torch.allclose(decode_entries(values, index, DECODER), dense, atol=1e-12)


@pytest.mark.parametrize("share", (0.0, 0.01, 0.04, 0.5, 1.0))
def test_sparse_codes_decode_to_the_dense_product_whatever_their_number(share):
    keep = torch.rand(PRE.shape, generator=torch.Generator().manual_seed(2)) < share
    codes = torch.where(keep, PRE, 0)
    codes[0, 0] = 0  # a row without any code
    assert torch.allclose(decode_sparse(codes, DECODER), codes @ DECODER, atol=1e-12)


def test_codes_without_rows_decode_to_nothing():
    assert decode_sparse(PRE[:0], DECODER).shape == (0, 5, 12)
    assert decode_entries(PRE[..., :0], torch.zeros(3, 5, 0, dtype=torch.long), DECODER).shape == (3, 5, 12)


def test_a_code_of_zero_has_a_gradient_too():
    codes = torch.zeros(2, 200, dtype=torch.float64, requires_grad=True)
    decode_sparse(codes, DECODER).sum().backward()
    assert torch.allclose(codes.grad, DECODER.sum(1).expand(2, -1))
