"""Analyzers of pictures and videos: maps lie where things are, whatever the order of tokens."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from conftest import build

import steerlab as sl
from steerlab.activations import Activations
from steerlab.analyzers import AttentionMaps, PatchMaps, PictureEdit
from steerlab.analyzers.attention_maps import _looks, motion_of
from steerlab.analyzers.seen import drawable, pixels_of
from steerlab.errors import SteerlabError
from steerlab.inputs import Clips, Scenes
from steerlab.tokens import TokenMap

GRID = (2, 2, 3)


def clip() -> torch.Tensor:
    """One clip ``[1, 4, 3, 8, 12]`` in which only the tube at row 0, column 2 of the second half changes."""
    video = torch.zeros(1, 4, 3, 8, 12)
    video[0, 2, :, :4, 8:] = 1.0
    return video


def test_motion_is_found_in_its_tube():
    motion = motion_of(clip(), GRID)
    expected = torch.zeros(1, *GRID)
    expected[0, 1, 0, 2] = 0.5  # one of the two frames of the tube
    assert torch.allclose(motion, expected)


@pytest.mark.parametrize("frame_last", [False, True])
@pytest.mark.parametrize("begin", [0, 1])
def test_looks_are_read_from_the_right_query_to_the_right_keys(frame_last, begin):
    count = begin + 12
    tokens = TokenMap(count, {"patches": (begin, count)}, GRID, frame_last=frame_last)
    pattern = torch.rand(1, 2, count, count)
    site = sl.Site.parse("blocks.0.pattern")
    acts = Activations({site: pattern}, {site: ("batch", "head", "query", "key")}, {site: tokens})
    looks = _looks(acts, "blocks.0.pattern", clip())

    def token(frame: int, row: int, column: int) -> int:
        return begin + ((row * 3 + column) * 2 + frame if frame_last else (frame * 2 + row) * 3 + column)

    for frame in range(2):
        for row in range(2):
            for column in range(3):
                expected = pattern[0, :, token(1, 0, 2), token(frame, row, column)]
                assert torch.equal(looks[0, :, frame, row, column], expected)


def test_attention_is_counted_on_what_moves():
    video = sl.load("zoo:motion-video")
    clips = Clips(2).load(None)
    report = AttentionMaps(at="blocks.2.pattern", controls=2)(video, clips)
    heads = report.tables["heads"]
    assert heads["site"] == [f"blocks.2.heads.{i}" for i in range(4)]
    acts = video.capture(clips, at="blocks.2.pattern")
    motion = motion_of(pixels_of(video, clips), (8, 4, 4))
    moving = motion >= 0.5 * motion.amax((2, 3), keepdim=True)
    for head in range(4):
        shares = []
        for i in range(2):
            query = 4 * 16 + int(motion[i, 4].argmax())
            row = acts["blocks.2.pattern"][i, head, query]
            shares.append(float(row[moving[i].flatten()].sum()))
        assert float(heads["on what moves"][head]) == pytest.approx(sum(shares) / 2, abs=1e-5)
    assert report.tables["maps"]["image"].shape == (8, 32, 32, 3)
    panels = [axes for axes in report.figures()["maps"].axes if len(axes.images) == 2]
    drawn = [name for name in report.tables["maps"] if name not in ("frame", "image")]
    assert [axes.get_ylabel().replace("\n", "") for axes in panels[::8]] == drawn and len(drawn) == 3
    frames = [str(int(frame)) for frame in report.tables["maps"]["frame"]]
    assert [axes.get_title() for axes in panels[:8]] == frames
    assert len({axes.images[1].get_clim() for axes in panels}) == 1
    with pytest.raises(SteerlabError, match="clip=2, and there are 2"):
        AttentionMaps(clip=2)(video, clips)


def test_patch_maps_are_the_lengths_and_codes_of_the_stream():
    vit, sae = sl.load("zoo:shapes-vit"), sl.load_dictionary("zoo:shapes-vit")
    images = Scenes(3, 12).load(None)
    report = PatchMaps(["blocks.2.resid", "blocks.4.resid"], sae, 213, controls=2, shown=2)(vit, images)
    maps = report.tables["maps"]
    acts = vit.capture(images, at="blocks.4.resid", tokens="patches")["blocks.4.resid"]
    assert torch.allclose(maps["norm at blocks.4.resid"], acts.norm(dim=-1).view(3, 8, 8)[:2], atol=1e-4)
    codes = sae.encode(acts)[..., 213].view(3, 8, 8)[:2]
    assert torch.allclose(maps["code of atom 213"], codes, atol=1e-4) and codes.max() > 1
    by_hand = vit.compare(images, {"blocks.4.resid": sl.Zero(sae.only(213))}, controls=2)
    assert report.evidence[1].effect == pytest.approx(float(by_hand.effect.mean()), rel=1e-4)
    longest = acts.new_tensor(report.evidence[0].controls)
    assert len(longest) == 2 and report.evidence[0].claim.startswith("silencing the 6 longest patches")


def test_the_longest_patches_are_those_that_are_silenced():
    vit = sl.load("zoo:shapes-vit")
    images = Scenes(2, 12).load(None)
    effect = PatchMaps("blocks.2.resid", patches=3, controls=1)(vit, images).evidence[0].effect
    acts = vit.capture(images, at="blocks.2.resid")["blocks.2.resid"]
    norms = acts[:, 5:].norm(dim=-1)
    mask = torch.zeros(acts.shape[:2], dtype=torch.bool)
    for row in range(2):
        mask[row, 5 + norms[row].argsort()[-3:]] = True
    by_hand = vit.compare(images, {"blocks.2.resid": sl.Zero().on(tokens=mask)}, controls=1).effect
    assert effect == pytest.approx(float(by_hand.mean()), rel=1e-4)


def test_pictures_are_drawn_as_the_model_saw_them():
    pixels = torch.randn(2, 3, 4, 5)
    shown = drawable(pixels)
    assert shown.shape == (2, 4, 5, 3) and shown.dtype == torch.uint8
    assert [int(one.min()) for one in shown] == [0, 0] and [int(one.max()) for one in shown] == [255, 255]
    assert torch.equal(shown[1].float().argmax(), pixels[1].movedim(0, -1).argmax())
    with pytest.raises(SteerlabError, match="these inputs hold no pictures"):
        pixels_of(build("llama").model, ["the cat"])


def test_rows_of_pictures_are_those_of_the_pipeline_and_changes_are_measured():
    sd = sl.load("zoo:shapes-sdxl")
    edit = {"unet.mid.0.update": sl.Scale(-1.0)}
    asked = ["a red circle", "a blue star"]
    report = PictureEdit(edit, seeds=[3], steps=2, controls=1, batch=2)(sd, asked)
    before = sd.generate(asked, seed=[3, 3], steps=2).tensor()
    after = sd.generate(asked, edit=edit, seed=[3, 3], steps=2).tensor()
    rows = report.tables["pictures"]
    assert torch.equal(rows["before"].movedim(-1, 1).float() / 255, before)
    assert torch.equal(rows["after"].movedim(-1, 1).float() / 255, after)
    assert not torch.equal(rows["random 0"], rows["after"]) and not torch.equal(
        rows["random 0"], rows["before"]
    )
    change = ((after - before).flatten(1).norm(dim=1) / before.flatten(1).norm(dim=1)).tolist()
    assert report.tables["changes"]["change after"].tolist() == pytest.approx(change, rel=1e-4)
    assert report.evidence[0].effect == pytest.approx(sum(change) / 2, rel=1e-4)
    assert [str(at) for at in report.interventions["the edit"]] == ["unet.mid.0.update"]


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("edit", sl.Zero(), "is not a table of sites and edits"),
        ("edit", {}, "the intervention is empty"),
        ("edit", {"unet.latent": 3}, "is not an edit"),
        ("seeds", [], "give a list of whole numbers"),
        ("seeds", [-1], "give a list of whole numbers"),
        ("steps", 0, "steps=0 is not a whole number of 1 or more"),
        ("guidance", "strong", "guidance='strong' is not a number"),
        ("question", "color", "question='color'; did you mean 'colour'"),
    ],
)
def test_wrong_settings_of_pictures_are_told_at_once(setting, value, says):
    with pytest.raises(SteerlabError, match=says):
        dataclasses.replace(PictureEdit({"unet.latent": sl.Zero()}), **{setting: value})


def test_wrong_settings_of_maps_are_told_at_once():
    with pytest.raises(SteerlabError, match="dictionary and atom go together"):
        PatchMaps(atom=3)
    with pytest.raises(SteerlabError, match="dictionary='sae' is not a dictionary"):
        PatchMaps(dictionary="sae", atom=3)
    with pytest.raises(SteerlabError, match="strongest=0"):
        AttentionMaps(strongest=0)
