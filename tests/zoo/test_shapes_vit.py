"""The embedded DINOv2: loads as a family, and its patches know what covers them."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

import steerlab as sl
from steerlab import zoo
from steerlab.zoo import scenes
from steerlab.zoo.shapes_vit import WEIGHTS
from steerlab.zoo.training.vit import balanced_probe, new_vit, patch_means, render_with_cover

FITTED, COUNT = 400, 560
ROW = r"^\| `(\w+)` \|.*\| ([\d.]+) \| ([\d.]+) \|$"
OBJECT = 0.95  # least balanced accuracy of object against background


@pytest.fixture(scope="module")
def model():
    return sl.load("zoo:shapes-vit")


@pytest.fixture(scope="module")
def drawn() -> tuple[list[scenes.Scene], torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(11)
    shown = scenes.random_scenes(COUNT, generator)
    return shown, *render_with_cover(shown, generator)


def as_image(picture: torch.Tensor) -> Image.Image:
    pixels = (picture * 255).round().byte().permute(1, 2, 0)
    return Image.fromarray(np.ascontiguousarray(pixels.numpy()))


@torch.no_grad()
def tokens(module, pictures: torch.Tensor) -> torch.Tensor:
    return module(pixel_values=2 * pictures - 1).last_hidden_state


def test_its_features_tell_colour_and_object_far_better_than_random_weights_do(model, drawn):
    shown, pictures, cover = drawn
    torch.manual_seed(0)
    first = torch.arange(COUNT) < FITTED
    colours = torch.tensor([list(scenes.COLOURS).index(one.colour) for one in shown])
    colour, thing = {}, {}
    for name, module in (("trained", model.module), ("random", new_vit().eval())):
        seen = tokens(module, pictures)
        colour[name] = balanced_probe(seen[:, 0], colours, first)
        sure = (cover <= 0.02) | (cover > 0.3)
        rows = first[:, None].expand(cover.shape)[sure]
        thing[name] = balanced_probe(seen[:, 5:][sure], (cover > 0.3)[sure].long(), rows)
    assert colour["trained"] > 0.9 and colour["trained"] > colour["random"] + 0.1
    assert thing["trained"] > OBJECT and thing["trained"] > thing["random"]


def test_the_threshold_lies_inside_the_measured_rate():
    assert json.loads((WEIGHTS / "evaluation.json").read_text())["patch_object"] > OBJECT


def test_the_card_has_exactly_the_stored_numbers():
    measured = json.loads((WEIGHTS / "evaluation.json").read_text())
    card = (WEIGHTS / "README.md").read_text(encoding="utf-8")
    rows = re.findall(ROW, card, re.MULTILINE)
    quoted = {name: float(trained) for name, trained, _ in rows}
    quoted |= {f"control_{name}": float(control) for name, _, control in rows}
    assert quoted == {name: round(value, 3) for name, value in measured.items()}


def test_a_picture_is_captured_at_every_block(model, drawn):
    assert model.family.name == "dinov2_with_registers"
    image = as_image(drawn[1][0])
    read = model.capture(image, at="blocks.*.resid")
    assert {site: tuple(read[site].shape) for site in read} == {
        f"blocks.{block}.resid": (1, 1 + 4 + 64, 128) for block in range(6)
    }
    assert tuple(read.grid("blocks.5.resid").shape) == (1, 8, 8, 128)


def test_the_processor_gives_the_pixels_that_it_was_trained_on(model, drawn):
    image = as_image(drawn[1][0])
    given = model.processor(images=image, return_tensors="pt")["pixel_values"]
    exact = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 127.5 - 1
    torch.testing.assert_close(given, exact)
    large = model.processor(images=image.resize((128, 256)), return_tensors="pt")["pixel_values"]
    assert large.shape == (1, 3, 64, 64)
    assert (large - exact).abs().mean() < 0.05


def test_loading_twice_gives_the_same_model_and_running_twice_the_same_tokens(model, drawn):
    again = zoo.load("shapes-vit").model
    assert again is not model.module and not again.training
    mine, theirs = model.module.state_dict(), again.state_dict()
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        assert value.dtype == torch.float32 and torch.equal(value, theirs[name]), name
    assert torch.equal(tokens(again, drawn[1][:4]), tokens(model.module, drawn[1][:4]))


def test_cover_is_that_of_the_shapes(drawn):
    shown, pictures, cover = drawn
    # finding the cover changes no picture
    assert torch.equal(pictures, scenes.render(shown, after_scenes(11)))
    squares = [i for i, one in enumerate(shown) if (one.shape, one.size) == ("square", "large")]
    assert squares
    low, high = (1.6 * radius for radius in scenes.SIZES["large"])  # a square's side is 1.6 radii
    pixels = 64 * cover[squares].sum(1)
    assert 0.95 * low**2 < pixels.min() and pixels.max() < 1.05 * high**2


def after_scenes(seed: int) -> torch.Generator:
    generator = torch.Generator().manual_seed(seed)
    scenes.random_scenes(COUNT, generator)
    return generator


def test_patches_are_averaged_in_the_order_of_rows():
    cover = torch.zeros(1, 64, 64)
    cover[0, 8:16, 16:20] = 1.0  # half of the third patch of the second row
    expected = torch.zeros(1, 64)
    expected[0, 8 + 2] = 0.5
    assert torch.equal(patch_means(cover), expected)


def test_the_probe_finds_what_is_linear_and_counts_classes_evenly():
    generator = torch.Generator().manual_seed(0)
    labels = (torch.rand(2000, generator=generator) < 0.05).long()
    features = torch.randn(2000, 3, generator=generator)
    first = torch.arange(2000) < 1000
    assert balanced_probe(features, labels, first) == pytest.approx(0.5, abs=0.12)
    features[:, 1] += 20.0 * labels
    assert balanced_probe(features, labels, first) == 1.0
