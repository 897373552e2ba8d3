"""The embedded CLIP: loads as a family, sees what its captions say, and runs no code."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

import steerlab as sl
from steerlab import zoo
from steerlab.errors import SteerlabError
from steerlab.zoo import scenes
from steerlab.zoo.shapes_clip import WEIGHTS
from steerlab.zoo.training.clip import contrast, prompts, true_of

ROW = r"^\| `(\w+)` \|.*\| ([\d.]+) \|$"
THRESHOLDS = [("colour", 0.93), ("shape", 0.93), ("place", 0.9)]


@pytest.fixture(scope="module")
def model():
    return sl.load("zoo:shapes-clip")


@pytest.fixture(scope="module")
def drawn() -> tuple[list[scenes.Scene], list[Image.Image]]:
    generator = torch.Generator().manual_seed(7)
    shown = [one for one in scenes.random_scenes(120, generator) if one.count == 1]
    pixels = (scenes.render(shown, generator) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return shown, [Image.fromarray(one) for one in np.ascontiguousarray(pixels)]


def pictures(model, images) -> torch.Tensor:
    inputs = model.processor(images=images, return_tensors="pt")
    with torch.no_grad():
        return F.normalize(model.module.get_image_features(**inputs).pooler_output, dim=-1)


def likely(model, seen: torch.Tensor, question: str) -> dict[object, torch.Tensor]:
    """Log-probability of each answer, but for a constant: all captions that give it, added up."""
    found = {}
    for answer, said in prompts(question).items():
        inputs = model.processor(text=said, padding=True, return_tensors="pt")
        with torch.no_grad():
            texts = F.normalize(model.module.get_text_features(**inputs).pooler_output, dim=-1)
        found[answer] = (model.module.logit_scale.exp() * seen @ texts.T).logsumexp(1)
    return found


@pytest.mark.parametrize("question, least", THRESHOLDS)
def test_it_names_what_fresh_pictures_show(model, drawn, question, least):
    shown, images = drawn
    scores = likely(model, pictures(model, images), question)
    chosen = torch.stack(list(scores.values())).argmax(0).tolist()
    right = [list(scores)[c] == getattr(one, question) for c, one in zip(chosen, shown, strict=True)]
    assert sum(right) / len(right) >= least


def test_the_thresholds_lie_inside_the_measured_rates():
    measured = json.loads((WEIGHTS / "evaluation.json").read_text())
    assert all(measured[question] > least for question, least in THRESHOLDS)


def test_the_card_has_exactly_the_stored_numbers():
    measured = json.loads((WEIGHTS / "evaluation.json").read_text())
    card = (WEIGHTS / "README.md").read_text(encoding="utf-8")
    rows = re.findall(ROW, card, re.MULTILINE)
    quoted = {name: float(value) for name, value in rows}
    assert quoted == {name: round(value, 3) for name, value in measured.items()}


def test_the_processor_gives_the_pixels_that_it_was_trained_on(model, drawn):
    shown, images = drawn
    given = model.processor(images=images[:3], return_tensors="pt").pixel_values
    exact = torch.stack([torch.from_numpy(np.array(one)).permute(2, 0, 1) / 127.5 - 1 for one in images[:3]])
    assert given.shape == (3, 3, 64, 64)
    torch.testing.assert_close(given, exact)
    # a larger picture is resized whole, not cut
    large = model.processor(images=images[0].resize((256, 128)), return_tensors="pt").pixel_values
    assert (large[0] - exact[0]).abs().mean() < 0.05


def test_both_towers_are_found_and_captured(model, drawn):
    assert model.family.name == "clip"
    _, images = drawn
    captions = ["a red circle", "two stars"]
    read = model.capture((captions, images[:2]), at=["vision.blocks.*.resid", "text.blocks.*.resid"])
    shapes = {site: tuple(read[site].shape) for site in read}
    assert shapes["vision.blocks.3.resid"] == (2, 65, 96)
    assert shapes["text.blocks.2.resid"] == (2, 5, 96)
    assert len(shapes) == 7


def test_loading_twice_gives_the_same_model_and_running_twice_the_same_vectors(model, drawn):
    _, images = drawn
    again = zoo.load("shapes-clip").model
    assert again is not model.module and not again.training
    mine, theirs = model.module.state_dict(), again.state_dict()
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        assert value.dtype == torch.float32 and torch.equal(value, theirs[name]), name
    assert torch.equal(pictures(model, images[:8]), pictures(model, images[:8]))


def test_a_name_nearly_right_is_helped():
    with pytest.raises(SteerlabError, match="unknown model 'shapes-clp'; did you mean 'shapes-clip'"):
        sl.load("zoo:shapes-clp")


def test_captions_are_true_of_what_they_leave_unsaid():
    shown = [scenes.Scene("red", "circle", "small", "left"), scenes.Scene("red", "circle", "small", count=2)]
    captions = [
        "a red circle",
        "a small red circle",
        "a large red circle",
        "a red circle on the left",
        "a red circle on the right",
        "two red circles",
        "two small red circles",
    ]
    assert true_of(shown, captions).tolist() == [
        [True, True, False, True, False, False, False],
        [False, False, False, False, False, True, True],
    ]


def test_true_pairs_are_no_negatives():
    # Both pictures are of the second caption too, which was drawn for the second picture alone.
    logits = torch.tensor([[2.0, 9.0, 0.0], [1.0, 3.0, 0.0]])
    own = torch.tensor([0, 1])
    true = torch.tensor([[True, True, False], [False, True, False]])
    by_picture = [2 - np.logaddexp(2, 0), 3 - np.logaddexp(np.logaddexp(1, 3), 0)]
    by_caption = [2 - np.logaddexp(2, 1), 0.0]  # the first picture is no negative of the second caption
    expected = -(np.mean(by_picture) + np.mean(by_caption)) / 2
    assert contrast(logits, own, true).item() == pytest.approx(expected, rel=1e-5)
