"""Mask forbids pairs of queries and keys, by hand or by place on the grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import steerlab as sl
from steerlab.numerics.attention import attention_pattern
from steerlab.tokens import TokenMap

IMAGE = TokenMap(8, {"cls": (0, 1), "registers": (1, 2), "patches": (2, 8)}, grid=(2, 3))
VIDEO = TokenMap(12, {"patches": (0, 12)}, grid=(3, 2, 2))
TIMESFORMER = TokenMap(13, {"cls": (0, 1), "patches": (1, 13)}, grid=(3, 2, 2), frame_last=True)


def test_forbidden_scores_are_minus_infinity_and_the_others_keep_their_bits():
    scores = torch.randn(2, 4, 3, 3)
    keep = torch.tensor([[True, False, False], [True, True, False], [False, True, True]])
    before = scores.clone()
    y = sl.Mask(keep)(scores)
    assert torch.equal(scores, before)
    assert torch.equal(y.isneginf(), (~keep).expand(2, 4, 3, 3))
    assert torch.equal(y[keep.expand_as(y)], scores[keep.expand_as(y)])
    assert bool((attention_pattern(y)[..., ~keep] == 0).all())


@pytest.mark.parametrize("shape", [(3, 3), (4, 3, 3), (1, 3, 3), (2, 1, 3, 3), (2, 4, 3, 3)])
def test_a_mask_may_have_the_axes_of_heads_and_rows(shape):
    assert sl.Mask(torch.ones(shape, dtype=torch.bool))(torch.zeros(2, 4, 3, 3)).shape == (2, 4, 3, 3)


@pytest.mark.parametrize("shape", [(2, 3), (3, 2), (3, 3, 3), (3, 4, 3, 3), (1, 2, 4, 3, 3)])
def test_a_mask_that_does_not_fit_is_refused(shape):
    with pytest.raises(sl.SteerlabError, match=r"does not fit the scores \[2, 4, 3, 3\]"):
        sl.Mask(torch.ones(shape, dtype=torch.bool))(torch.zeros(2, 4, 3, 3))


def places(tokens: TokenMap) -> np.ndarray:
    """``(frame, row, column)`` of every patch token, counted out by hand."""
    frames, height, width = (1, *tokens.grid)[-3:]
    if tokens.frame_last:
        return np.array([(f, r, c) for r in range(height) for c in range(width) for f in range(frames)])
    return np.array([(f, r, c) for f in range(frames) for r in range(height) for c in range(width)])


@pytest.mark.parametrize("tokens", [IMAGE, VIDEO, TIMESFORMER], ids=["image", "video", "frames last"])
@pytest.mark.parametrize(
    ("kind", "near"),
    [
        ("radius 1", lambda a, b: (a[1] - b[1]) ** 2 + (a[2] - b[2]) ** 2 <= 1),
        ("radius 1.5", lambda a, b: (a[1] - b[1]) ** 2 + (a[2] - b[2]) ** 2 <= 2.25),
        ("temporal", lambda a, b: (a[1:] == b[1:]).all()),
        ("spatial", lambda a, b: a[0] == b[0]),
    ],
)
def test_masks_of_the_grid_keep_the_pairs_they_say(tokens, kind, near):
    if kind in ("temporal", "spatial") and len(tokens.grid) == 2:
        with pytest.raises(sl.SteerlabError, match=r"needs a video; the grid here is \(2, 3\)"):
            getattr(sl.Mask, kind)(tokens)
        return
    mask = sl.Mask.radius(tokens, float(kind.split()[1])) if " " in kind else getattr(sl.Mask, kind)(tokens)
    start, stop = tokens.groups["patches"]
    expected = np.ones((tokens.count, tokens.count), dtype=bool)
    at = places(tokens)
    expected[start:stop, start:stop] = [[near(a, b) for b in at] for a in at]
    assert mask.keep.numpy().tolist() == expected.tolist()
