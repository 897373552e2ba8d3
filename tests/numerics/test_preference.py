"""Preference features: three planted among two hundred, and filtering of the pairs that carry one."""

from __future__ import annotations

import planted
import pytest
import torch

from steerlab.numerics.preference import keep_pairs, pair_contributions, pool_codes, preference_effects

PLANTED = [20, 90, 150]


def pairs(seed):
    """Pooled codes of 500 pairs with three effects of half a standard deviation of one answer."""
    g = planted.generator(seed)
    chosen, rejected = planted.randn(500, 200, g=g), planted.randn(500, 200, g=g)
    chosen[:, PLANTED] += torch.tensor([0.5, -0.5, 0.5])
    return chosen, rejected


def test_planted_features_are_found_with_few_false_ones():
    false = []
    for seed in range(8):
        got = preference_effects(*pairs(seed))
        found = got.significant()
        assert found[PLANTED].all()
        false.append(int(found.sum()) - 3)
        torch.testing.assert_close(
            got.effect[PLANTED], torch.tensor([0.5, -0.5, 0.5]).double(), atol=0.2, rtol=0
        )
        assert float(got.t[PLANTED].abs().mean()) == pytest.approx(7.9, abs=1.2)
        assert float(got.sign_p[PLANTED].max()) < 1e-3
    assert sum(false) / 8 <= 0.6  # at most 5 % of about three findings, with room for luck


def test_shuffled_labels_claim_something_no_more_often_than_allowed():
    claims = []
    for seed in range(40):
        chosen, rejected = pairs(seed)
        swap = planted.rand(500, 1, g=planted.generator(1000 + seed)) < 0.5
        a, b = torch.where(swap, rejected, chosen), torch.where(swap, chosen, rejected)
        claims.append(bool(preference_effects(a, b).significant().any()))
    assert sum(claims) <= 6  # 2 are expected at 5 %


def test_dropping_pairs_takes_the_disallowed_feature_away_step_by_step():
    chosen, rejected = pairs(0)
    target = torch.tensor([20])
    masks = [keep_pairs(chosen, rejected, features=target, share=s) for s in (0, 0.1, 0.2, 0.3, 0.4)]
    assert [int(m.sum()) for m in masks] == [500, 450, 400, 350, 300]
    effects = torch.stack([(chosen - rejected)[m].mean(0) for m in masks])
    assert bool((effects[:, 20].diff() < -0.1).all())
    torch.testing.assert_close(effects[-1, [90, 150]], effects[0, [90, 150]], atol=0.15, rtol=0)
    for larger, smaller in zip(masks, masks[1:], strict=False):
        assert not (smaller & ~larger).any()


def test_contributions_point_the_way_all_pairs_point_and_count_features_alike():
    chosen = torch.tensor([[2.0, -30.0], [1.0, 0.0], [-1.0, -10.0]])
    rejected = torch.zeros(3, 2)
    first = pair_contributions(chosen, rejected, features=torch.tensor([0]))
    torch.testing.assert_close(first, torch.tensor([2.0, 1.0, -1.0]).double() / 2**0.5)
    both = pair_contributions(chosen, rejected, features=torch.tensor([True, True]))
    second = torch.tensor([3.0, 0.0, 1.0]).double() / (10 / 3) ** 0.5
    torch.testing.assert_close(both, first + second)
    assert pair_contributions(rejected, rejected, features=torch.tensor([0])).tolist() == [0, 0, 0]


def test_pooling_sees_the_tokens_of_the_answer_alone():
    codes = torch.tensor([[[1.0, -1.0], [3.0, -5.0], [9.0, 9.0]], [[2.0, 0.0], [8.0, 8.0], [8.0, 8.0]]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    assert pool_codes(codes, mask=mask).tolist() == [[3.0, -1.0], [2.0, 0.0]]
    assert pool_codes(codes, mask=mask, how="mean").tolist() == [[2.0, -3.0], [2.0, 0.0]]
    assert pool_codes(codes).tolist() == [[9.0, 9.0], [8.0, 8.0]]


def test_mistakes_are_told():
    codes = torch.ones(2, 3, 4)
    with pytest.raises(ValueError, match="'max' or 'mean', not 'sum'"):
        pool_codes(codes, how="sum")
    with pytest.raises(ValueError, match="without tokens"):
        pool_codes(codes, mask=torch.tensor([[True] * 3, [False] * 3]))
    with pytest.raises(ValueError, match="not paired"):
        preference_effects(codes[0], codes[0, :2])
    with pytest.raises(ValueError, match="not 1"):
        keep_pairs(codes[0], codes[0], features=torch.tensor([0]), share=1)
