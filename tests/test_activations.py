"""What was read: by site, by tokens, on the grid, stacked."""

from __future__ import annotations

import pytest
import torch

import steerlab as sl
from steerlab.sites import Site
from steerlab.tokens import TokenMap

SITE, POOLED = Site("blocks.0", "resid"), Site("", "pooled")
STREAM = ("batch", "token", "dim")


def made(tokens: TokenMap, axes: tuple[str, ...] = STREAM, batch: int = 2) -> sl.Activations:
    """Activations whose numbers are those of their tokens."""
    numbers = torch.arange(float(tokens.count)).view(1, -1, 1).expand(batch, -1, 3).clone()
    value = numbers if axes == STREAM else numbers.expand(4, batch, -1, 3).clone()
    return sl.Activations({SITE: value}, {SITE: axes}, {SITE: tokens})


def test_sites_are_found_by_name_and_by_site_in_the_order_of_reading(held):
    one = held("llama")
    acts = one.model.capture(one.tiny.inputs, ["blocks.1.heads.2", "final", "blocks.0.resid"])
    assert list(acts) == ["blocks.1.heads.2", "final", "blocks.0.resid"] and len(acts) == 3
    assert acts["blocks[0].resid"] is acts[Site.parse("blocks.0.resid")]
    assert "final" in acts and "blocks.2.resid" not in acts and 3 not in acts
    assert acts.axes[Site.parse("blocks.1.heads.2")] == STREAM


def test_nothing_that_was_read_carries_a_gradient(held):
    one = held("llama")
    assert not one.model.capture(one.tiny.inputs, "final")["final"].requires_grad


def test_tokens_are_chosen_at_every_site():
    tokens = TokenMap(5, {"cls": (0, 1), "patches": (1, 5)}, grid=(2, 2))
    acts = made(tokens)
    assert acts.tokens("cls")[SITE][0, :, 0].tolist() == [0]
    assert acts.tokens([1, -1])[SITE].shape == (2, 2, 3)
    assert acts.tokens([1, -1])[SITE][1, :, 2].tolist() == [1, 4]


def test_tokens_are_chosen_behind_the_axis_of_calls():
    acts = made(TokenMap(5, {"patches": (1, 5)}, grid=(2, 2)), ("call", *STREAM))
    assert acts.tokens("patches")[SITE].shape == (4, 2, 4, 3)
    assert acts.grid(SITE).shape == (4, 2, 2, 2, 3)
    assert acts.grid(SITE)[3, 1, :, :, 0].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("axes", [STREAM, ("call", *STREAM)])
def test_rows_may_choose_different_tokens_if_they_choose_as_many(axes):
    real = torch.tensor([[True] * 5, [False, False, True, True, True]])
    acts = made(TokenMap(5, real=real, position=real.long().cumsum(1) - 1), axes)
    first = acts.tokens(slice(0, 2))[SITE][..., 0]
    assert first.reshape(-1, 2, 2)[0].tolist() == [[0, 1], [2, 3]]
    with pytest.raises(sl.SteerlabError, match=r"chooses a different number of tokens in each row \(5, 3\)"):
        acts.tokens("all")


def test_what_was_chosen_is_a_copy():
    acts = made(TokenMap(5))
    acts.tokens([0])[SITE].zero_()
    acts.tokens([4])[SITE].zero_()
    assert acts[SITE][0, 4, 0] == 4


def test_patches_lie_on_the_grid_row_by_row():
    acts = made(TokenMap(7, {"cls": (0, 1), "patches": (1, 7)}, grid=(2, 3)))
    assert acts.grid(SITE).shape == (2, 2, 3, 3)
    assert acts.grid(SITE)[1, :, :, 0].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert acts.tokens("patches").grid(SITE)[1, :, :, 0].tolist() == [[1, 2, 3], [4, 5, 6]]


def test_frames_come_first_whichever_runs_fastest_in_the_tokens():
    patches = {"cls": (0, 1), "patches": (1, 13)}
    first = made(TokenMap(13, patches, grid=(3, 2, 2))).grid(SITE)
    last = made(TokenMap(13, patches, grid=(3, 2, 2), frame_last=True)).grid(SITE)
    assert first.shape == last.shape == (2, 3, 2, 2, 3)
    assert first[0, 1, :, :, 0].tolist() == [[5, 6], [7, 8]]
    assert last[0, 1, :, :, 0].tolist() == [[2, 5], [8, 11]]


@pytest.mark.parametrize(
    "family", ["vit", "dinov2_with_registers", "siglip_vision", "videomae", "timesformer"]
)
def test_the_grid_of_a_model_is_that_of_its_scope(held, family):
    """A patch that a scope edits is the patch that the grid shows."""
    one = held(family)
    site, shape = "blocks.1.resid", one.model.capture(one.tiny.inputs, "embed").map_of("embed").grid
    place = (1, 0)
    scope = {"patches": place} | ({"frames": 1} if len(shape) == 3 else {})
    with one.model.edit({site: sl.Zero().on(**scope)}):
        grid = one.model.capture(one.tiny.inputs, site).grid(site)
    zero = (grid == 0).all(-1)[0]
    at = (1, *place) if len(shape) == 3 else place
    assert zero.nonzero().tolist() == [list(at)]


def test_sites_of_one_shape_are_stacked_in_order(held):
    one = held("llama")
    acts = one.model.capture(one.tiny.inputs, "blocks.*.resid")
    assert acts.stack().shape == (3, 2, 7, 32)
    assert torch.equal(acts.stack()[2], acts["blocks.2.resid"])


def test_what_cannot_be_answered_is_refused(held):
    one = held("vit")
    acts = one.model.capture(one.tiny.inputs, ["blocks.1.pattern", "pooled"])
    with pytest.raises(
        sl.SteerlabError, match="blocks.1.pattern has no token axis, only batch, head, query, key"
    ):
        acts.tokens("cls")
    with pytest.raises(sl.SteerlabError, match="pooled has no token axis, only batch, dim"):
        sl.Activations({POOLED: acts["pooled"]}, {POOLED: ("batch", "dim")}).tokens("cls")
    with pytest.raises(sl.SteerlabError, match="final was not read"):
        acts["final"]
    bare = sl.Activations({SITE: torch.zeros(1, 2, 3)}, {SITE: STREAM})
    for ask in (bare.grid, bare.map_of):
        with pytest.raises(
            sl.SteerlabError, match="blocks.0.resid: the tokens of this site are not described"
        ):
            ask(SITE)


def test_activations_print_their_sites_and_axes(held):
    one = held("llama")
    shown = str(one.model.capture(one.tiny.inputs, "blocks.*.resid")).splitlines()
    assert shown[0] == "Activations of 3 sites"
    assert shown[1].split() == ["blocks.0.resid", "batch", "2,", "token", "7,", "dim", "32"]
