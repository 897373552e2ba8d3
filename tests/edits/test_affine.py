"""Affine: a matrix and a shift, to the precision of a float64 reference."""

from __future__ import annotations

import pytest
import torch

import steerlab as sl
from steerlab.edits import Affine


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_it_is_the_matrix_and_the_shift():
    x, matrix, shift = random(2, 3, 5), random(5, 5, seed=1), random(5, seed=2)
    expected = torch.einsum("btd,ed->bte", x, matrix) + shift
    assert torch.allclose(Affine(matrix, shift)(x), expected, atol=1e-13)
    heads = random(3, 5, 5, seed=3)
    assert torch.allclose(Affine(heads)(x), torch.einsum("bhd,hed->bhe", x, heads), atol=1e-13)
    half = Affine(matrix, shift)(x.bfloat16())
    assert half.dtype == torch.bfloat16 and torch.allclose(half.double(), expected, rtol=0.03, atol=0.06)


def test_the_identity_changes_no_bit():
    x = random(4, 5).float()
    assert torch.equal(Affine(torch.eye(5, dtype=torch.float64), torch.zeros(5))(x), x)


def test_what_does_not_fit_is_refused():
    with pytest.raises(sl.SteerlabError, match=r"a matrix \[dim, dim\], not \[2, 3\]"):
        Affine(random(2, 3))
    with pytest.raises(sl.SteerlabError, match=r"\[3, 3\] does not fit the activation \[2, 4\]"):
        Affine(random(3, 3))(random(2, 4))
    with pytest.raises(sl.SteerlabError, match=r"\[4, 3, 3\] does not fit the activation \[2, 5, 3\]"):
        Affine(random(4, 3, 3))(random(2, 5, 3))
