"""Weights of a scope: which entries, how strongly, and in a shape that broadcasts."""

from __future__ import annotations

import pytest
import torch

import steerlab as sl
from steerlab.moment import Moment
from steerlab.tokens import TokenMap

STREAM, HEADS, SCORES = (
    ("batch", "token", "dim"),
    ("batch", "token", "head", "dim"),
    ("batch", "head", "query", "key"),
)
REAL = torch.tensor([[False, True, True], [True, True, True]])
TEXT = TokenMap(3, real=REAL, position=REAL.long().cumsum(1) - 1)
IMAGE = TokenMap(5, {"cls": (0, 1), "patches": (1, 5)}, grid=(2, 2))


def weights(scope: sl.Scope, shape: tuple[int, ...], axes=STREAM, tokens=TEXT) -> torch.Tensor | None:
    return scope.weights(torch.Size(shape), axes, Moment(tokens), torch.device("cpu"))


def full(scope: sl.Scope, shape: tuple[int, ...], axes=STREAM, tokens=TEXT) -> torch.Tensor:
    return weights(scope, shape, axes, tokens).expand(shape)


def test_an_empty_scope_restricts_nothing():
    assert sl.Scope().everything
    assert weights(sl.Scope(), (2, 3, 4)) is None


@pytest.mark.parametrize(
    "choice", [{"rows": 0}, {"tokens": 0}, {"strength": 0.5}, {"region": torch.ones(2, 2)}]
)
def test_any_choice_restricts(choice):
    assert not sl.Scope(**choice).everything


def test_tokens_are_weighted_along_the_token_axis_row_by_row():
    assert full(sl.Scope(tokens="first"), (2, 3, 4))[..., 0].tolist() == [
        [False, True, False],
        [True, False, False],
    ]
    heads = full(sl.Scope(tokens="last"), (2, 3, 2, 4), HEADS)
    assert heads[..., 0, 0].tolist() == [[False, False, True]] * 2


def test_choices_are_combined_by_and():
    both = full(sl.Scope(tokens="last", rows=1), (2, 3, 4))[..., 0]
    assert both.tolist() == [[False, False, False], [False, False, True]]
    image = full(sl.Scope(tokens="patches", patches=(0, 0), rows=[0, -1]), (2, 5, 4), tokens=IMAGE)[..., 0]
    assert image.tolist() == [[False, True, False, False, False]] * 2


def test_excluding_tokens_leaves_the_others_but_never_padding():
    kept = full(sl.Scope(exclude="last"), (2, 3, 4))[..., 0]
    assert kept.tolist() == [[False, True, False], [True, True, False]]


def test_at_scores_tokens_are_queries_and_keys_are_keys():
    weight = full(sl.Scope(tokens="last", keys="first"), (2, 4, 3, 3), SCORES)
    assert weight.sum() == 2 * 4
    assert weight[0, :, 2, 1].all() and weight[1, :, 2, 0].all()


def test_strength_multiplies_what_is_chosen():
    assert weights(sl.Scope(strength=0.25), (2, 3, 4)).expand(2, 3, 4).unique().tolist() == [0.25]
    weight = full(sl.Scope(tokens="last", strength=0.5), (2, 3, 4))[..., 0]
    assert weight.tolist() == [[0, 0, 0.5]] * 2


def test_a_region_gives_soft_weights_to_patches_and_none_to_other_tokens():
    mask = torch.zeros(4, 4)
    mask[:2, :1] = 1
    weight = full(sl.Scope(region=mask, strength=0.5), (1, 5, 3), tokens=IMAGE)[0, :, 0]
    assert weight.tolist() == [0, 0.25, 0, 0, 0]


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        (0, [True, False, False]),
        (-1, [False, False, True]),
        ([0, 2], [True, False, True]),
        (range(2), [True, True, False]),
        (slice(1, None), [False, True, True]),
        (torch.tensor([True, False, True]), [True, False, True]),
        ([True, False, True], [True, False, True]),
        (torch.tensor([0, 2]), [True, False, True]),
    ],
)
def test_rows_are_chosen_by_index_slice_list_or_mask(rows, chosen):
    assert full(sl.Scope(rows=rows), (3, 3, 1), tokens=None)[:, 0, 0].tolist() == chosen


def test_without_a_map_tokens_are_known_by_index_alone():
    assert full(sl.Scope(tokens=-1), (1, 4, 2), tokens=None)[0, :, 0].tolist() == [False, False, False, True]
    with pytest.raises(sl.SteerlabError, match="the family of this model does not describe its tokens"):
        weights(sl.Scope(patches=(0, 0)), (1, 4, 2), tokens=None)


def test_a_coarser_map_of_the_same_picture_is_found():
    latent = TokenMap(64, {"patches": (0, 64)}, grid=(8, 8))
    weight = full(sl.Scope(patches="0:1,0:1"), (1, 16, 2), tokens=latent)[0, :, 0]
    assert weight.nonzero().tolist() == [[0]]
    with pytest.raises(sl.SteerlabError, match="the site has 7 tokens where the inputs have 64"):
        weights(sl.Scope(tokens=0), (1, 7, 2), tokens=latent)


def test_narrowing_twice_keeps_the_last_choice_and_prints_what_was_chosen():
    scoped = sl.Zero().on(tokens="last", rows=0).on(tokens="first", strength=0.5)
    assert repr(scoped) == "Zero().on(tokens='first', rows=0, strength=0.5)"
    assert repr(sl.Zero().on()) == "Zero()"
    assert repr(sl.Zero().on(tokens=REAL)) == "Zero().on(tokens=tensor[2, 3])"


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan"), None])
def test_a_strength_outside_of_zero_to_one_is_refused(strength):
    with pytest.raises(sl.SteerlabError, match=r"strength=.* a scope's strength is a number in \[0, 1\]"):
        sl.Scope(strength=strength)


def test_heads_are_chosen_along_the_head_axis_of_values_and_of_patterns():
    scope = sl.Scope(heads=[1, 3])
    for axes, shape, view in (
        (("batch", "token", "head", "dim"), (2, 5, 4, 8), (1, 1, 4, 1)),
        (("batch", "head", "query", "key"), (2, 4, 5, 5), (1, 4, 1, 1)),
    ):
        weights = scope.weights(torch.Size(shape), axes, Moment(), torch.device("cpu"))
        assert weights.shape == view
        assert weights.flatten().tolist() == [False, True, False, True]
    with pytest.raises(sl.SteerlabError, match="head 4 does not exist: .* 4"):
        sl.Scope(heads=4).weights(
            torch.Size((2, 5, 4, 8)), ("batch", "token", "head", "dim"), Moment(), torch.device("cpu")
        )
    with pytest.raises(sl.SteerlabError, match="this site has no head axis"):
        scope.weights(torch.Size((2, 5, 8)), ("batch", "token", "dim"), Moment(), torch.device("cpu"))
