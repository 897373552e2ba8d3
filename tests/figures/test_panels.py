"""Bars, matrices of similarities, and maps over frames: artists against the numbers given."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from matplotlib.colors import to_hex, to_rgb
from PIL import Image

from steerlab import figures
from steerlab.errors import SteerlabError
from steerlab.figures import Labels, Scale, Series
from steerlab.figures.drawing import CONTROL, KINDS


def bars_of(figure) -> list:
    return [axes for axes in figure.axes if axes.get_label() == "<colorbar>"]


def test_bars_stand_from_the_top_with_errors_and_grey_controls():
    values = torch.tensor([2.0, -1.0])
    one = Series(values, values - 0.5, values + 0.25, [[0.2, 0.1], [0.4, 0.3]])
    figure = figures.bars(["head a", "head b"], {"effect": one}, labels=Labels("t", "KL (nats)", "head"))
    axes = figure.axes[0]
    ours, control = axes.patches[:2], axes.patches[2:]
    assert [bar.get_width() for bar in ours] == [2, -1]
    assert [bar.get_width() for bar in control] == pytest.approx([0.3, 0.2])
    assert {to_hex(bar.get_facecolor()) for bar in control} == {CONTROL}
    for mine, grey in zip(ours, control, strict=True):
        assert mine.get_y() + mine.get_height() <= grey.get_y() + 1e-9  # beside, not on
    bottom, top = axes.get_ylim()
    assert bottom > ours[1].get_y() > ours[0].get_y() > top
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["head a", "head b"]
    errors = axes.collections[0].get_segments()
    np.testing.assert_allclose([segment[:, 0] for segment in errors], [[1.5, 2.25], [-1.5, -0.75]])
    np.testing.assert_allclose(axes.collections[1].get_offsets()[:, 0], [0.2, 0.1, 0.4, 0.3])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("KL (nats)", "head")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["effect", "random"]


def test_quantities_stand_side_by_side_with_their_own_colour_and_hatch():
    patches = figures.bars([0, 1, 2], {"a": [1, 2, 3], "b": [3, 2, 1]}).axes[0].patches
    assert [bar.get_width() for bar in patches] == [1, 2, 3, 3, 2, 1]
    assert patches[0].get_y() + patches[0].get_height() <= patches[3].get_y()
    assert len({(bar.get_facecolor(), bar.get_hatch()) for bar in patches}) == 2
    assert patches[0].get_hatch() != patches[3].get_hatch()


def test_stacked_shares_follow_each_other_and_must_be_a_whole():
    shares = {"shape": [0.25, 0.5], "colour": [0.75, 0.25], "rest": [0.0, 0.25]}
    axes = figures.stacked_bars(["early", "late"], shares).axes[0]
    assert [(bar.get_x(), bar.get_width()) for bar in axes.patches] == [
        *((0, 0.25), (0, 0.5), (0.25, 0.75), (0.5, 0.25), (1, 0), (0.75, 0.25))
    ]
    assert axes.get_xlim() == (0, 1)
    with pytest.raises(SteerlabError, match="at 'late' they sum to 0.9, and the smallest of all is 0.4"):
        figures.stacked_bars(["early", "late"], {"a": [0.5, 0.4], "b": [0.5, 0.5]})
    with pytest.raises(SteerlabError, match="the smallest of all is -0.1"):
        figures.stacked_bars(["early"], {"a": [-0.1], "b": [1.1]})
    with pytest.raises(SteerlabError, match="0 names and 1 quantities"):
        figures.stacked_bars([], {"a": []})


def test_phases_are_framed_on_the_diagonal_and_named_at_their_middles():
    matrix = torch.rand(6, 6, generator=torch.Generator().manual_seed(0))
    words = Labels("t", "step", value="cosine")
    figure = figures.similarity(matrix, torch.tensor([1, 1, 4, 4, 4, 1]), names=["a", "b"], labels=words)
    axes = figure.axes[0]
    np.testing.assert_array_equal(axes.images[0].get_array(), matrix.numpy())
    assert axes.images[0].get_cmap().name == "viridis"
    squares = [(patch.get_xy(), patch.get_width(), patch.get_height()) for patch in axes.patches]
    assert squares == [((-0.5, -0.5), 2, 2), ((1.5, 1.5), 3, 3), ((4.5, 4.5), 1, 1)]
    for side in (axes.xaxis, axes.yaxis):
        named = [
            (tick, text.get_text())
            for tick, text in zip(side.get_ticklocs(), side.get_ticklabels(), strict=True)
        ]
        assert named == [(0.5, "a"), (3.0, "b"), (5.0, "a")]
    assert bars_of(figure)[0].get_ylabel() == "cosine"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "step")
    with pytest.raises(SteerlabError, match="phases are 6 whole numbers"):
        figures.similarity(matrix, torch.tensor([0.5] * 6))


def test_frames_share_one_scale_over_the_grey_pictures():
    videos, maps = torch.rand(2, 3, 8, 12, 3), torch.rand(2, 3, 2, 3)
    maps[1] *= 10
    labels = Labels("t", "frame", value="attention")
    figure = figures.frame_maps(
        videos.numpy(), maps, rows=["head 1", "head 2"], columns=["0", "2", "4"], labels=labels
    )
    panels = [axes for axes in figure.axes if axes.images]
    np.testing.assert_array_equal(
        np.stack([axes.images[1].get_array() for axes in panels]), maps.flatten(0, 1).numpy()
    )
    grey = videos.flatten(0, 1).numpy() @ np.array([0.299, 0.587, 0.114], np.float32)
    np.testing.assert_allclose([axes.images[0].get_array() for axes in panels], grey, atol=1e-6)
    assert {axes.images[1].get_clim() for axes in panels} == {(float(maps.min()), float(maps.max()))}
    assert [axes.get_title() for axes in panels] == ["0", "2", "4", "", "", ""]
    assert [axes.get_ylabel() for axes in panels] == ["head 1", "", "", "head 2", "", ""]
    (bar,) = bars_of(figure)
    assert bar.get_ylabel() == "attention" and figure.get_supxlabel() == "frame"


def test_one_picture_may_lie_under_all_frames_and_counts_must_agree():
    picture = Image.fromarray(np.full((4, 4, 3), 128, np.uint8))
    panels = figures.frame_maps([picture], torch.rand(1, 2, 2, 2)).axes[:2]
    np.testing.assert_array_equal(panels[0].images[0].get_array(), panels[1].images[0].get_array())
    cases = [
        (([picture] * 3, torch.rand(1, 2, 2, 2)), r"3 inputs with maps of \[2\] frames"),
        (([picture] * 2, [torch.rand(2, 2, 2), torch.rand(3, 2, 2)]), r"maps of \[2, 3\] frames"),
        (([[picture] * 3], torch.rand(1, 2, 2, 2)), "3 pictures under 2 frames: one a frame, or one for all"),
        (([], []), r"0 inputs with maps of \[\] frames"),
    ]
    for given, says in cases:
        with pytest.raises(SteerlabError, match=says):
            figures.frame_maps(*given)


def test_patch_maps_may_share_a_scale_and_name_their_rows():
    pictures, maps = np.zeros((2, 8, 8, 3)), torch.arange(16.0).view(2, 2, 2, 2)
    kinds, scale = ["norm", "code"], Scale("nats", shared=True)
    figure = figures.patch_maps(pictures, maps, kinds, label=scale, rows=["a cat", "a dog"])
    overlays = [axes.images[1] for axes in figure.axes if len(axes.images) == 2]
    assert {image.get_clim() for image in overlays} == {(0.0, 15.0)}
    (bar,) = bars_of(figure)
    assert bar.get_ylabel() == "nats"
    assert [axes.get_ylabel() for axes in figure.axes[:6]] == ["a cat", "", "", "a dog", "", ""]
    own = [axes.images[1] for axes in figures.patch_maps(pictures, maps, kinds).axes if len(axes.images) == 2]
    assert [image.get_clim() for image in own] == [(0, 3), (4, 7), (8, 11), (12, 15)]
    with pytest.raises(SteerlabError, match="2 pictures with 1 labels: one a picture is needed"):
        figures.patch_maps(pictures, maps, kinds, rows=["a cat"])


# What red, green and blue light of a screen look like without the cones for green, or for red: the matrices
# of Vienot, Brettel and Mollon (1999) for linear light, as they follow for sRGB.
BLIND = {
    "green": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
    "red": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
}


def nearest_pair(colours, kind: str) -> float:
    """The smallest distance of two colours, of 0 to 1 in each of red, green and blue, as they are seen."""
    rgb = np.array([to_rgb(colour) for colour in colours])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = (linear @ np.array(BLIND[kind]).T).clip(0, 1)
    seen = np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)
    far = np.linalg.norm(seen[:, None] - seen, axis=-1)
    return float(far[np.triu_indices(len(seen), 1)].min())


@pytest.mark.parametrize("kind", BLIND)
def test_readers_without_red_or_green_tell_the_classes_apart(kind):
    usual = colormaps["tab10"].colors[:7]
    assert nearest_pair(KINDS, kind) > 2 * nearest_pair(usual, kind)
