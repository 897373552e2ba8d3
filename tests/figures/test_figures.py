"""Figures show the numbers they are given: the image's array, the axes, the colour bar."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from steerlab import figures
from steerlab.errors import SteerlabError


def drawn(figure) -> np.ndarray:
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3]


def bar(figure):
    """The axes of the first colour bar."""
    return next(axes for axes in figure.axes if axes.get_label() == "<colorbar>")


@pytest.fixture
def grid():
    return torch.rand(5, 3, generator=torch.Generator().manual_seed(0))


def test_a_grid_shows_its_values_with_blocks_down_and_heads_across(grid):
    figure = figures.block_head_grid(grid, "effect of each head", "KL (nats)")
    axes = figure.axes[0]
    image = axes.images[0]
    np.testing.assert_array_equal(image.get_array(), grid.numpy())
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("head", "block")
    assert axes.get_ylim() == (4.5, -0.5) and axes.get_xlim() == (-0.5, 2.5)  # block 0 is on top
    assert figure.get_suptitle() == "effect of each head"
    assert bar(figure).get_ylabel() == "KL (nats)"
    assert bar(figure).get_ylim() == (pytest.approx(float(grid.min())), pytest.approx(float(grid.max())))
    assert drawn(figure).std() > 10


def test_a_grid_frames_the_strongest_and_names_it(grid):
    grid[3, 1] = -7.0
    axes = figures.block_head_grid(grid, "t", "u").axes[0]
    assert axes.patches[0].get_xy() == (0.5, 2.5)
    assert axes.get_title() == "framed: block 3, head 1: -7"


def test_signed_values_get_diverging_colours_around_zero(grid):
    norm = figures.block_head_grid(grid - 0.9, "", "").axes[0].images[0]
    low, high = norm.get_clim()
    assert low == -high and norm.get_cmap().name == "PuOr_r"
    np.testing.assert_allclose(norm.to_rgba(0.0)[:3], 0.96, atol=0.02)  # zero is white
    plain = figures.block_head_grid(grid, "", "").axes[0].images[0]
    assert plain.get_cmap().name == "viridis"


@pytest.mark.parametrize("values", [[[0.0, 0.0]], [[2.0, 2.0]], [[0.0, 3.0]], [[1e-9, 1.0]]], ids=str)
@pytest.mark.parametrize("log", [False, True])
def test_a_grid_is_drawn_whatever_the_range(values, log):
    figure = figures.block_head_grid(values, "t", "u", log=log)
    low, high = figure.axes[0].images[0].get_clim()
    assert low < high and drawn(figure).std() > 1


def test_a_logarithmic_scale_ends_at_a_millionth():
    image = figures.block_head_grid([[1e-9, 1e-3], [1.0, 0.0]], log=True).axes[0].images[0]
    assert image.get_clim() == (1e-6, 1.0)
    np.testing.assert_allclose(image.norm([0.0, 1e-9, 1e-3, 1.0]), [0, 0, 0.5, 1], atol=1e-9)


@pytest.mark.parametrize(
    "values, message",
    [
        (torch.zeros(3), r"this figure draws values \[block, head\], not \[3\]"),
        (torch.zeros(0, 3), r"not \[0, 3\]"),
        ([[1.0, float("nan")]], "1 of 2 values to draw are NaN or infinite"),
    ],
)
def test_what_cannot_be_drawn_is_refused(values, message):
    with pytest.raises(SteerlabError, match=message):
        figures.block_head_grid(values, "t", "u")


def test_a_gradient_does_not_hinder(grid):
    assert figures.block_head_grid(grid.requires_grad_(), "t", "u").axes[0].images


def test_patch_maps_lie_over_the_whole_picture():
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:20] = 255
    maps = [torch.arange(6.0).view(2, 3), torch.eye(4) - 0.5]
    figure = figures.patch_maps([Image.fromarray(picture)], [maps], ["norm", "change"])
    panels = figure.axes[:3]
    assert [axes.get_title() for axes in panels] == ["picture", "norm", "change"]
    np.testing.assert_array_equal(panels[0].images[0].get_array(), picture / np.float32(255))
    for axes, values in zip(panels[1:], maps, strict=True):
        under, over = axes.images
        assert under.get_array().shape == (40, 60)
        np.testing.assert_array_equal(over.get_array(), values.numpy())
        assert tuple(over.get_extent()) == (-0.5, 59.5, 39.5, -0.5) == tuple(under.get_extent())
        assert 0 < over.get_alpha() < 1 and over.get_interpolation() == "nearest"
    assert len([axes for axes in figure.axes if axes.get_label() == "<colorbar>"]) == 2
    assert panels[2].images[1].get_clim() == (-0.5, 0.5)
    assert drawn(figure).std() > 10


def test_patch_maps_of_several_pictures_make_rows():
    pictures, maps = torch.rand(2, 8, 8, 3), torch.rand(2, 1, 2, 2)
    figure = figures.patch_maps(pictures, maps, ["norm"], label="nats")
    overlays = [axes.images[1].get_array() for axes in figure.axes if len(axes.images) == 2]
    np.testing.assert_array_equal(np.stack(overlays), maps[:, 0].numpy())
    assert bar(figure).get_ylabel() == "nats"


@pytest.mark.parametrize(
    "images, maps, titles, message",
    [
        ([], [], [], "0 pictures"),
        ([np.zeros((2, 2, 3))], [[np.eye(2)]], ["a", "b"], r"1 pictures with \[1\] maps and 2 titles"),
        ([np.zeros((3, 2, 2))[0]], [[np.eye(2)[0]]], ["a"], r"values \[row, column\], not \[2\]"),
        (
            [np.zeros((3, 4, 2))],
            [[np.eye(2)]],
            ["a"],
            r"a picture is \[height, width, colour\], not \[3, 4, 2\]",
        ),
    ],
)
def test_pictures_and_maps_that_do_not_fit_are_refused(images, maps, titles, message):
    with pytest.raises(SteerlabError, match=message):
        figures.patch_maps(images, maps, titles)


def test_a_strip_colours_each_word_by_its_value():
    tokens, values = ["The", " cat", " $x$", "\n", " "], torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0])
    figure = figures.token_strip(tokens, values, "looks", "attention")
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["The", "cat", r"\$x\$", "\\n", "␣"]
    from matplotlib import colormaps

    expected = [colormaps["viridis"](float(value)) for value in values]
    np.testing.assert_allclose([patch.get_facecolor() for patch in axes.patches], expected, atol=0.01)
    assert axes.get_title(loc="left") == "looks" and bar(figure).get_ylabel() == "attention"
    assert drawn(figure).std() > 10


def test_a_long_strip_wraps_and_stays_within_its_axes():
    axes = figures.token_strip([" word"] * 60, torch.rand(60)).axes[0]
    rows = [int(patch.get_y()) for patch in axes.patches]
    assert rows == sorted(rows) and rows[-1] > 2
    assert max(patch.get_x() + patch.get_width() for patch in axes.patches) <= axes.get_xlim()[1]


def test_a_strip_needs_a_value_a_token():
    with pytest.raises(SteerlabError, match="2 tokens and 3 values"):
        figures.token_strip(["a", "b"], torch.zeros(3))


def test_save_makes_folders_and_refuses_unknown_endings(grid, tmp_path):
    figure = figures.block_head_grid(grid, "t", "u")
    path = figures.save(figure, tmp_path / "new" / "grid.png")
    assert np.asarray(Image.open(path)).std() > 10
    with pytest.raises(SteerlabError, match="cannot save a figure as 'grid.xyz'; endings are .*png"):
        figures.save(figure, tmp_path / "grid.xyz")


def test_matplotlib_comes_with_the_first_figure_and_pyplot_never():
    code = (
        "import sys, steerlab as sl; sl.figures; early = 'matplotlib' in sys.modules;"
        "sl.figures.block_head_grid([[1.0, 2.0]], 't', 'u');"
        "print(early, 'matplotlib.figure' in sys.modules, 'matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "False"]
