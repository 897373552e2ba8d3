"""Words of several texts: each text on lines of its own, one scale of colours, every word readable."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib import colormaps

from steerlab import figures
from steerlab.errors import SteerlabError
from steerlab.figures import Labels
from steerlab.figures.drawing import ink


def luminance(colour) -> float:
    """The relative luminance of WCAG 2, written out again."""
    total = 0.0
    for part, weight in zip(colour[:3], (0.2126, 0.7152, 0.0722), strict=True):
        total += weight * (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4)
    return total


def contrast(colour, text: str) -> float:
    light, dark = sorted([luminance(colour), {"black": 0.0, "white": 1.0}[text]], reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("name", ["viridis", "PuOr_r"])
def test_ink_is_the_one_of_black_and_white_that_can_be_read(name):
    for colour in colormaps[name](np.linspace(0, 1, 101)):
        chosen = ink(colour)
        other = {"black": "white", "white": "black"}[chosen]
        assert contrast(colour, chosen) >= contrast(colour, other) and contrast(colour, chosen) > 4.5


def test_texts_begin_new_lines_and_share_a_scale_around_zero():
    tokens, values = ["a", " b", "c", " d", " e"], torch.tensor([-4.0, 0.0, 4.0, 1.0, -1.0])
    rows = ["first"] * 2 + ["second"] * 3
    figure = figures.token_map(tokens, values, rows=rows, labels=Labels("codes", value="code"))
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["first", "a", "b", "second", "c", "d", "e"]
    assert [int(patch.get_y()) for patch in axes.patches] == [0, 0, 1, 1, 1]
    expected = colormaps["PuOr_r"]((values.numpy() + 4) / 8)
    np.testing.assert_allclose([patch.get_facecolor() for patch in axes.patches], expected, atol=0.01)
    for patch, text in zip(axes.patches, [t for t in axes.texts if t.get_text() not in rows], strict=True):
        assert contrast(patch.get_facecolor(), text.get_color()) > 4.5
        assert patch.get_x() < text.get_position()[0] < patch.get_x() + patch.get_width()
    assert axes.get_title(loc="left") == "codes" and figure.axes[1].get_ylabel() == "code"


def test_long_texts_wrap_and_nothing_leaves_the_axes():
    tokens = [" word"] * 40 + [" incomprehensibility" * 5]
    rows = torch.tensor([3.0] * 20 + [7.0] * 21)
    axes = figures.token_map(tokens, torch.rand(41), rows=rows).axes[0]
    lines = [int(patch.get_y()) for patch in axes.patches]
    assert lines == sorted(lines) and lines[19] >= 1 and lines[20] == lines[19] + 1
    assert max(patch.get_x() + patch.get_width() for patch in axes.patches) <= axes.get_xlim()[1]
    texts = [text.get_text() for text in axes.texts]
    assert texts.count("3") == texts.count("7") == 1
    assert texts[-1].endswith("…") and len(texts[-1]) < 70


def test_rows_and_tokens_are_equally_many():
    with pytest.raises(SteerlabError, match="2 tokens and 1 rows: each token is in one row"):
        figures.token_map(["a", "b"], torch.zeros(2), rows=["x"])
