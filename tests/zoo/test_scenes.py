"""The rendered scenes are what they say: areas, places, colours, numbers and captions."""

from __future__ import annotations

import math

import pytest
import torch
from skimage.measure import label

from steerlab.zoo import scenes
from steerlab.zoo.scenes import Scene

HALF_SECTOR = math.pi / 5
AREAS = {  # of shapes in a circle of radius 1, by hand
    "circle": math.pi * 0.9**2,
    "square": 1.6**2,
    "triangle": 3 * math.sqrt(3) / 4,
    "star": 10 * 0.5 * 0.42 * math.sin(HALF_SECTOR),
    "cross": 2 * 0.6 * 1.9 - 0.6**2,
    "ring": math.pi * (0.96**2 - 0.48**2),
}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def covered(scene: Scene, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The picture and where it differs from its background, which is drawn first."""
    picture, background = scenes.render([scene], seeded(seed))[0], scenes.backgrounds(1, seeded(seed))[0]
    return picture, (picture - background).abs().amax(0) > 0.02


def test_every_shape_has_its_area():
    assert set(AREAS) == set(scenes.SHAPES)


@pytest.mark.parametrize("shape", scenes.SHAPES)
@pytest.mark.parametrize("radius", [9.0, 15.5])
def test_the_area_is_that_of_geometry_wherever_the_shape_lies(shape, radius):
    generator = seeded(0)
    centres = 28 + 8 * torch.rand(20, 2, generator=generator)
    angles = 6.3 * torch.rand(20, generator=generator)
    cover = scenes.coverage([shape] * 20, centres, torch.full((20,), radius), angles)
    assert cover.min() == 0 and cover.max() == 1
    areas = cover.sum((1, 2))
    expected = torch.full((20,), AREAS[shape] * radius**2)
    torch.testing.assert_close(areas, expected, rtol=0.04, atol=0)
    torch.testing.assert_close(areas.mean(), expected.mean(), rtol=0.025, atol=0)


def test_twice_the_side_is_four_times_the_area():
    small, big = (
        scenes.coverage(
            ["star"], torch.tensor([[side / 2, side / 2]]), torch.tensor([side / 4]), torch.zeros(1), side
        )
        for side in (64, 128)
    )
    assert big.sum().item() == pytest.approx(4 * small.sum().item(), rel=0.01)


@pytest.mark.parametrize("place", scenes.PLACES)
@pytest.mark.parametrize("shape", scenes.SHAPES)
def test_the_centre_of_mass_is_at_the_place(shape, place):
    _, mask = covered(Scene("blue", shape, "large", place), seed=3)
    rows, columns = torch.nonzero(mask, as_tuple=True)
    across, down = scenes.PLACES[place]
    assert columns.float().mean().item() + 0.5 == pytest.approx(64 * across, abs=3)
    assert rows.float().mean().item() + 0.5 == pytest.approx(64 * down, abs=3)


@pytest.mark.parametrize("colour", scenes.COLOURS)
def test_covered_pixels_have_the_colour(colour):
    picture, mask = covered(Scene(colour, "square"), seed=4)
    inside = -torch.nn.functional.max_pool2d(-mask[None].float(), 5, 1, 2)[0] > 0  # away from smooth edges
    assert inside.sum() > 100
    told = picture[:, inside].mean(1)
    assert (told - torch.tensor(scenes.COLOURS[colour])).abs().max() <= 0.0401


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("shape", scenes.SHAPES)
def test_there_are_as_many_objects_as_said(shape, count):
    _, mask = covered(Scene("cyan", shape, "small", count=count), seed=5)
    assert label(mask.numpy()).max() == count


def test_a_large_one_is_larger():
    small, large = (covered(Scene("red", "circle", size), seed=6)[1].sum() for size in ("small", "large"))
    assert large > 1.5 * small


def test_values_are_pictures_and_seeds_repeat():
    shown = scenes.random_scenes(30, seeded(7))
    pictures = scenes.render(shown, seeded(8))
    assert pictures.shape == (30, 3, 64, 64)
    assert pictures.min() >= 0 and pictures.max() <= 1
    assert torch.equal(pictures, scenes.render(shown, seeded(8)))
    assert not torch.equal(pictures, scenes.render(shown, seeded(9)))


def test_captions_are_true_and_made_of_known_words():
    shown = scenes.random_scenes(600, seeded(10))
    for scene, caption in zip(shown, scenes.random_captions(shown, seeded(11)), strict=True):
        words = caption.split()
        assert set(words) <= set(scenes.vocabulary())
        assert words[0] == scenes.COUNTS[scene.count - 1]
        assert [word for word in words if word in scenes.COLOURS] == [scene.colour]
        noun = scene.shape + ("" if scene.count == 1 else "es" if scene.shape == "cross" else "s")
        assert noun in words
        assert {word for word in words if word in scenes.SIZES} <= {scene.size}
        assert {word for word in words if word in scenes.PLACES} <= (
            {scene.place} if scene.count == 1 else set()
        )


@pytest.mark.parametrize(
    ("scene", "caption"),
    [
        (Scene("red", "circle"), "a large red circle in the center"),
        (Scene("green", "ring", "small", "left"), "a small green ring on the left"),
        (Scene("blue", "star", "small", count=2), "two small blue stars"),
        (Scene("pink", "cross", "small", count=3), "three small pink crosses"),
    ],
)
def test_captions_are_sentences(scene, caption):
    assert scene.caption() == caption
    short = scene.caption(size=False, place=False)
    assert "small" not in short and " the " not in short


def test_scenes_are_even():
    shown = scenes.random_scenes(6000, seeded(12))
    for attribute, options in (("colour", scenes.COLOURS), ("shape", scenes.SHAPES)):
        for option in options:
            share = sum(getattr(scene, attribute) == option for scene in shown) / 6000
            assert share == pytest.approx(1 / len(options), rel=0.2)
    assert sum(scene.count == 1 for scene in shown) / 6000 == pytest.approx(0.6, abs=0.03)
