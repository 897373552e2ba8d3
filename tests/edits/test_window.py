"""Window against masks written by hand, with and without a cache."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import build

import steerlab as sl
from steerlab.edits import Window


@pytest.mark.parametrize("first", [0, 2, [1, 4]])
@pytest.mark.parametrize("queries", [7, 1])
def test_a_window_keeps_what_it_says(first, queries):
    scores = torch.zeros(2, 3, queries, 7)
    kept = np.zeros((queries, 7), dtype=bool)
    for row, i in enumerate(range(7 - queries, 7)):
        for j in range(7):
            early = j < first if isinstance(first, int) else j in first
            kept[row, j] = i - j < 3 or early
    found = Window(3, first)(scores)
    assert np.array_equal(found[1, 2].isfinite().numpy(), kept)


def test_a_window_is_the_mask_of_the_same_pairs_in_a_model():
    held = build("llama")
    ids = torch.tensor([[1, 7, 9, 4, 12, 30, 8]])
    i = torch.arange(7)
    keep = ((i[:, None] - i < 3) | (i < 1)) & (i <= i[:, None])
    ends = []
    for edit in (Window(3, 1), sl.Mask(keep)):
        with held.model.edit({"blocks.*.scores": edit}):
            ends.append(held.model.logits({"input_ids": ids}))
    assert torch.allclose(*ends, atol=1e-6)
    assert not torch.allclose(ends[0], held.model.logits({"input_ids": ids}), atol=1e-4)


@pytest.mark.parametrize("wrong", [{"recent": 0}, {"recent": 2, "first": -1}, {"recent": 2, "first": ["a"]}])
def test_a_wrong_window_is_refused(wrong):
    with pytest.raises(sl.SteerlabError, match="Window: "):
        Window(**wrong)
