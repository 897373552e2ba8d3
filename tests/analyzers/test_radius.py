"""Radius: profiles whose ends are known, masks of equal density, and a planted long-range dependence."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import build

import steerlab as sl
from steerlab.analyzers.batches import first_rows, in_batches
from steerlab.analyzers.radius import Radius, half_radius, limited, scattered
from steerlab.errors import SteerlabError
from steerlab.inputs import Scenes
from steerlab.tokens import TokenMap

TOKENS = TokenMap(18, {"cls": (0, 1), "registers": (1, 2), "patches": (2, 18)}, grid=(4, 4))


@pytest.mark.parametrize("radius", [0.0, 1.0, 2.3])
def test_random_masks_see_as_many_patches_and_themselves(radius):
    mask = limited(TOKENS, radius, True)
    other = scattered(TOKENS, mask, 3)
    near, far = (one.keep[2:, 2:] for one in (mask, other))
    assert torch.equal(near.sum(1), far.sum(1)) and bool(far.diagonal().all())
    assert torch.equal(mask.keep[:2], other.keep[:2]) and torch.equal(mask.keep[:, :2], other.keep[:, :2])
    assert radius == 0 or not torch.equal(near, far)
    assert torch.equal(scattered(TOKENS, mask, 3).keep, other.keep)


def test_without_relay_patches_do_not_see_special_tokens():
    keep = limited(TOKENS, 1.0, False).keep
    assert not keep[2:, :2].any() and bool(keep[:2].all())
    assert torch.equal(keep[2:, 2:], limited(TOKENS, 1.0, True).keep[2:, 2:])


def test_the_half_radius_lies_on_the_straight_line():
    radii = torch.tensor([0.0, 1.0, 3.0, 5.0])
    assert half_radius(radii, torch.tensor([0.0, 0.3, 0.7, 1.0])) == pytest.approx(2.0)
    assert half_radius(radii, torch.tensor([0.0, 0.3, 0.4, 0.4])) == math.inf
    assert half_radius(radii, torch.tensor([0.6, 0.7, 0.8, 0.9])) == 0.0


@pytest.fixture(scope="module")
def vit() -> sl.Model:
    return sl.load("zoo:shapes-vit")


@pytest.fixture(scope="module")
def pictures() -> list:
    return Scenes(6, 3).load(None)


def test_the_profile_ends_at_whole_attention_and_batches_do_not_matter(vit, pictures):
    ask = {"radii": [0, 2, 50], "controls": 1, "tokens": "cls"}
    report = Radius(batch=4, **ask)(vit, pictures)
    table = report.tables["profile"]
    change, shares = table["change"], table["integrated"]
    assert change[-1] == 0 and change[-2] < 1e-6 and change[0] > change[1] > 0.01
    assert shares[0] == 0 and shares[-1] == 1 and table["patches seen"].tolist()[2:] == [64, 64]
    again = Radius(batch=6, **ask)(vit, pictures).tables["profile"]
    assert torch.allclose(again["change"], change, atol=1e-5)
    # by hand: one radius on all pictures
    whole = vit.capture(pictures, "final")["final"][:, 0]
    with vit.edit(report.interventions["attention within radius 2"]):
        near = vit.capture(pictures, "final")["final"][:, 0]
    by_hand = ((near - whole).norm(dim=1) / whole.norm(dim=1)).mean()
    assert float(change[1]) == pytest.approx(float(by_hand), rel=1e-4)
    assert float(table["output"][-1]) == pytest.approx(float(whole.norm(dim=1).mean()), rel=1e-5)


def test_a_readout_is_followed_in_its_own_unit(vit, pictures):
    direction = sl.Direction(torch.randn(128, generator=torch.Generator().manual_seed(0)))
    report = Radius(readout=direction, tokens=7, radii=[0, 3], controls=1)(vit, pictures)
    table = report.tables["profile"]
    whole = direction.encode(vit.capture(pictures, "final")["final"][:, 7])[:, 0]
    with vit.edit(report.interventions["attention within radius 3"]):
        near = direction.encode(vit.capture(pictures, "final")["final"][:, 7])[:, 0]
    assert float(table["output"][-1]) == pytest.approx(float(whole.mean()), rel=1e-4)
    assert float(table["output"][1]) == pytest.approx(float(near.mean()), rel=1e-4)
    assert float(table["change"][1]) == pytest.approx(float((near - whole).abs().mean()), rel=1e-4)


def test_special_tokens_are_a_detour_that_can_be_closed(vit, pictures):
    """From corner to corner it is 14 steps of radius 1, and there are 6 blocks: only the detour is short."""
    tokens = vit.capture(pictures[:1], "blocks.0.resid_pre").map_of("blocks.0.resid_pre")
    start = tokens.groups["patches"][0]
    for relay in (True, False):
        mask = limited(tokens, 1.0, relay)
        reached = []
        for x in (0.0, 3.0):  # the last patch is changed, the first one listened to
            moved = torch.zeros(1, tokens.count, 128)
            moved[:, -1, 0] = x
            with vit.edit({"blocks.*.scores": mask, "blocks.0.resid_pre": sl.Add(moved)}, strict=False):
                reached.append(vit.capture(pictures[:1], "blocks.5.resid")["blocks.5.resid"][0, start])
        assert torch.equal(*reached) != relay


@pytest.mark.parametrize("family", ["dinov2", "clip_vision", "videomae"])
def test_other_families_have_a_profile_too(family):
    held = build(family)
    ask = Radius(radii=[0, 5], controls=1, at="blocks.1.resid", pooled=True)
    change = ask(held.model, held.tiny.inputs).tables["profile"]["change"]
    assert change[0] > 1e-3 and change[1] < 1e-5 and change[2] == 0


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"radii": [1]}, "two numbers"),
        ({"radii": [0, -1]}, "two numbers"),
        ({"readout": torch.ones(3)}, "no basis"),
        ({"batch": 0}, "batch=0"),
    ],
)
def test_wrong_settings_are_refused(wrong, message):
    with pytest.raises(SteerlabError, match=message):
        Radius(**wrong)


def test_texts_have_no_radius():
    with pytest.raises(SteerlabError, match="need a grid"):
        Radius(at="final")(build("llama").model, {"input_ids": torch.tensor([[1, 2, 3]])})


def test_rows_come_in_batches():
    rows = torch.arange(5)
    assert [part.tolist() for part in in_batches(rows, 2)] == [[0, 1], [2, 3], [4]]
    assert list(in_batches("one text", 2)) == ["one text"]
    assert list(in_batches(["a", "b", "c"], 2)) == [["a", "b"], ["c"]]
    assert [len(part["x"]) for part in in_batches({"x": rows, "flag": True}, 3)] == [3, 2]
    assert [part["flag"] for part in in_batches({"x": rows, "flag": True}, 3)] == [True, True]
    assert first_rows(["a", "b", "c"], 2) == ["a", "b"]
    with pytest.raises(SteerlabError, match="gives them once only"):
        list(in_batches(iter(["a"]), 2))
    with pytest.raises(SteerlabError, match="no inputs"):
        list(in_batches([], 2))
