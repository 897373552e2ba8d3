"""How many inputs a recipe has, and which is the first: of pairs of texts and images too."""

from __future__ import annotations

import pytest
import torch

from steerlab.inputs import Captioned
from steerlab.locking import count, first_of
from steerlab.zoo.scenes import every_scene


def test_pairs_are_counted_as_pairs():
    assert count((["a", "b", "c"], torch.zeros(3, 3, 8, 8))) == 3
    assert count((["a", "b"], [1, 2, 3])) == 2  # no pairs: two inputs of one kind
    assert count(["a", "b", "c"]) == 3 and count({"x": 1}) == 1


def test_the_first_of_pairs_is_a_pair():
    texts, images = first_of((["a", "b"], torch.ones(2, 1)))
    assert texts == ["a"] and images.shape == (1, 1)
    assert first_of(["a", "b"]) == ["a"] and first_of("a") == "a"


@pytest.mark.parametrize("total", [30, 600])
def test_every_captioned_scene_comes_once_before_any_comes_again(total, tmp_path):
    texts, images = Captioned(total, seed=4).load(tmp_path)
    assert len(texts) == len(images) == total and images[0].size == (64, 64)
    last = texts[-576:]
    assert len(set(last)) == len(last) and set(last) <= {scene.caption() for scene in every_scene()}
    again = Captioned(30, seed=5).load(tmp_path)[0]
    assert again != texts[:30] and len(every_scene()) == 576
