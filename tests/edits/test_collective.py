"""Edits that look at all tokens of an input together: planted ranks and planted common directions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import steerlab as sl
from steerlab.edits import LowRank, MeanField


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_low_rank_is_the_truncated_singular_value_decomposition_of_each_input():
    x = random(3, 10, 6)
    left, values, right = np.linalg.svd(x.double().numpy(), full_matrices=False)
    wanted = (left[..., :2] * values[..., None, :2]) @ right[:, :2]
    assert np.allclose(LowRank(2)(x).numpy(), wanted, atol=1e-5)
    assert torch.allclose(LowRank(6)(x), x, atol=1e-5)
    planted = random(3, 10, 2, seed=1) @ random(3, 2, 6, seed=2)
    assert torch.allclose(LowRank(2)(planted), planted, atol=1e-5)
    assert not torch.allclose(LowRank(1)(planted), planted, atol=0.1)


def test_mean_field_keeps_lengths_and_gives_all_tokens_one_direction():
    x = random(2, 50, 8) + 3 * random(8, seed=3)
    y = MeanField()(x)
    assert torch.allclose(y.norm(dim=-1), x.norm(dim=-1), atol=1e-4)
    wanted = (x / x.norm(dim=-1, keepdim=True)).mean(1, keepdim=True)
    assert torch.allclose(
        torch.cosine_similarity(y, wanted.expand_as(y), dim=-1), torch.ones(2, 50), atol=1e-5
    )


@pytest.mark.parametrize("edit", [LowRank(1, skip=2), MeanField(skip=2)])
def test_skipped_tokens_stay_and_do_not_count(edit):
    x = random(2, 9, 6)
    other = torch.cat([100 * random(2, 2, 6, seed=5), x[:, 2:]], 1)
    assert torch.equal(edit(x)[:, :2], x[:, :2])
    assert torch.equal(edit(x)[:, 2:], edit(other)[:, 2:])


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(sl.SteerlabError, match="LowRank: rank=0"):
        LowRank(0)
    with pytest.raises(sl.SteerlabError, match="MeanField: skip=-1"):
        MeanField(-1)
