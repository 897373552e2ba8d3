"""The checker sees what renderings show, and says so in a usable way."""

from __future__ import annotations

import json
import re

import pytest
import torch

from steerlab import zoo
from steerlab.errors import SteerlabError
from steerlab.zoo import scenes
from steerlab.zoo.checker import QUESTIONS, WEIGHTS, judge, load_checker
from steerlab.zoo.scenes import Scene
from steerlab.zoo.training.checker import roughen

COUNT = 600


@pytest.fixture(scope="module")
def drawn() -> tuple[list[Scene], torch.Tensor]:
    generator = torch.Generator().manual_seed(4242)
    shown = scenes.random_scenes(COUNT, generator)
    return shown, scenes.render(shown, generator)


@pytest.mark.parametrize("rough", [False, True])
def test_it_sees_what_is_there(drawn, rough):
    shown, pictures = drawn
    if rough:
        pictures = roughen(pictures, torch.Generator().manual_seed(1))
    shares = judge(pictures).agreement(shown)
    assert min(shares[question] for question in (*QUESTIONS, "all")) >= 0.99


def test_it_does_not_agree_with_anything_else(drawn):
    shown, pictures = drawn
    others = [*shown[1:], shown[0]]
    expected = sum(a.colour == b.colour for a, b in zip(shown, others, strict=True)) / COUNT
    assert judge(pictures).agreement(others)["colour"] == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("colour", scenes.COLOURS)
def test_the_same_picture_in_another_colour_keeps_its_shape(colour):
    pictures = scenes.render(
        [Scene(colour, shape) for shape in scenes.SHAPES], torch.Generator().manual_seed(5)
    )
    seen = judge(pictures)
    assert seen.colours == [colour] * len(scenes.SHAPES)
    assert seen.shapes == list(scenes.SHAPES)


def test_a_size_or_place_left_unsaid_does_not_count():
    picture = scenes.render([Scene("red", "ring", "large", "left")], torch.Generator().manual_seed(6))
    wrong = [Scene("red", "ring", "small", "right")]
    assert judge(picture).agreement(wrong) == {
        "colour": 1, "shape": 1, "size": 0, "place": 0, "count": 1, "all": 0,
    }  # fmt: skip
    assert judge(picture).agreement(wrong, ["a red ring"]) == {"colour": 1, "shape": 1, "count": 1, "all": 1}


def test_probabilities_are_given_for_every_option(drawn):
    told = judge(drawn[1][:7]).probabilities
    assert {name: tuple(value.shape) for name, value in told.items()} == {
        name: (7, len(options)) for name, options in QUESTIONS.items()
    }
    for value in told.values():
        torch.testing.assert_close(value.sum(1), torch.ones(7))


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 3, 32, 32), (1, 1, 64, 64)])
def test_a_picture_of_another_shape_is_refused(shape):
    with pytest.raises(SteerlabError, match=r"judges pictures \[n, 3, 64, 64\], not"):
        judge(torch.zeros(shape))


def test_the_zoo_gives_a_copy_with_its_card():
    entry = zoo.load("shapes-checker")
    assert entry.model is not load_checker()
    assert not entry.model.training and next(entry.model.parameters()).dtype == torch.float32
    assert "0.2 million" in entry.card
    assert sum(weight.numel() for weight in entry.model.parameters()) < 0.3e6


def test_the_card_has_exactly_the_stored_numbers():
    measured = json.loads((WEIGHTS / "evaluation.json").read_text())
    card = (WEIGHTS / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) \|$", card, re.MULTILINE)
    assert {name: float(value) for name, value in rows} == {
        name: round(value, 3) for name, value in measured.items()
    }
