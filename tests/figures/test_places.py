"""Points: manifolds in the plane and in space, scatters in classes, names that hide nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from figure_samples import DAYS
from matplotlib import colormaps
from matplotlib.colors import to_rgb

from steerlab import figures
from steerlab.errors import SteerlabError
from steerlab.figures import Axis, Coordinate, Labels

TURN = torch.arange(7) * 2 * math.pi / 7
RING = torch.stack([TURN.cos(), TURN.sin()], 1)


def legend(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_manifold_shows_points_in_cyclic_colours_and_paths_in_their_order():
    paths = {"curve": RING[[0, 1, 2]], "straight": RING[[3, 0]], "back": RING[[0, 3, 1]]}
    colour = Coordinate(torch.arange(7.0) + 7, "day", 7)
    labels = Labels("week", "PC 1 (of the stream)", "PC 2")
    figure = figures.manifold(RING, paths, colour=colour, labels=labels)
    axes = figure.axes[0]
    np.testing.assert_array_equal(axes.collections[0].get_offsets(), RING.numpy())
    expected = colormaps["twilight"](torch.arange(7) / 7)  # a day of the next week has the same colour
    np.testing.assert_allclose(axes.collections[0].get_facecolors(), expected, atol=0.01)
    for line, (name, path) in zip(axes.lines, paths.items(), strict=True):
        assert line.get_label() == name
        np.testing.assert_array_equal(line.get_xydata(), path)
    assert axes.lines[0].get_linestyle() == "-"
    assert len({line.get_linestyle() for line in axes.lines}) == 3 == len({x.get_color() for x in axes.lines})
    assert [line.get_markevery() for line in axes.lines[1:]] == [[1], [2]]  # the end is marked
    assert legend(figure) == ["curve", "straight", "back"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("PC 1 (of the stream)", "PC 2")
    bar = figure.axes[1]
    assert bar.get_ylabel() == "day" and bar.get_ylim() == (0, 7)


def test_units_of_length_are_equal_unless_an_axis_would_vanish():
    assert figures.manifold(RING).axes[0].get_aspect() == 1
    assert figures.manifold(RING * torch.tensor([1.0, 9.0])).axes[0].get_aspect() == "auto"


def test_a_manifold_in_space_has_three_named_axes():
    points = torch.cat([RING, 0.5 * RING[:, :1]], 1)
    figure = figures.manifold(points, {"curve": points}, names=DAYS, labels=Labels(x="a", y="b", z="c (mm)"))
    axes = figure.axes[0]
    assert [side.get_label_text() for side in (axes.xaxis, axes.yaxis, axes.zaxis)] == ["a", "b", "c (mm)"]
    np.testing.assert_allclose(np.stack(axes.lines[0].get_data_3d(), 1), points, atol=1e-6)
    np.testing.assert_allclose(np.stack(axes.collections[0]._offsets3d, 1), points, atol=1e-6)
    assert [text.get_text() for text in axes.texts] == DAYS


def test_only_curves_can_be_drawn_and_what_does_not_fit_is_said():
    assert not figures.manifold([], {"curve": RING}).axes[0].collections
    cases = [
        ((torch.zeros(3, 4),), "have 2 or 3 axes, all of them as many, not"),
        ((RING, {"curve": torch.zeros(5, 3)}), r"not \[2, 3\]"),
        (([],), r"not \[\]"),
    ]
    for given, says in cases:
        with pytest.raises(SteerlabError, match=says):
            figures.manifold(*given)
    with pytest.raises(SteerlabError, match="7 points and 2 names"):
        figures.manifold(RING, names=["a", "b"])
    with pytest.raises(SteerlabError, match="7 points and 3 coordinates"):
        figures.manifold(RING, colour=Coordinate(torch.zeros(3)))


def test_names_hide_neither_each_other_nor_points():
    close = torch.tensor([[0.0, 0.0], [0.06, 0.0], [0.0, 0.06], [0.06, 0.06], [1.0, 1.0]])
    figure = figures.scatter(*close.T, names=["one", "two", "three", "four", "five"])
    figure.canvas.draw()
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["one", "two", "three", "four", "five"]
    boxes = [text.get_window_extent() for text in axes.texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    dots = axes.transData.transform(close)
    assert not any(box.contains(*dot) for box in boxes for dot in dots)


def test_classes_have_their_own_colour_and_mark_and_thresholds_are_dashed():
    x, y = torch.arange(6.0), torch.arange(6.0) ** 2
    classes = ["sink", "other", "sink", "other", "third", "third"]
    labels = Labels("t", Axis("norm (× median)", reference=2.5, reference_label="threshold"), "attention")
    figure = figures.scatter(x, y, classes=classes, labels=labels)
    axes = figure.axes[0]
    for kind, drawn in zip(("sink", "other", "third"), axes.collections, strict=True):
        own = [i for i, one in enumerate(classes) if one == kind]
        np.testing.assert_array_equal(drawn.get_offsets(), torch.stack([x, y], 1)[own].numpy())
    faces = [tuple(drawn.get_facecolors()[0][:3]) for drawn in axes.collections]
    assert faces == [to_rgb("#0072B2"), to_rgb("#D55E00"), to_rgb("#009E73")]
    assert len({drawn.get_paths()[0].vertices.tobytes() for drawn in axes.collections}) == 3
    assert legend(figure) == ["sink", "other", "third", "threshold"]
    assert set(axes.lines[0].get_xdata()) == {2.5} and axes.lines[0].is_dashed()
    assert axes.get_xlabel() == "norm (× median)"


def test_the_extremes_are_named():
    x = torch.cat([torch.rand(40, generator=torch.Generator().manual_seed(0)), torch.arange(6) * 10.0 + 10])
    names = [f"p{i}" for i in range(46)]
    texts = figures.scatter(x, torch.rand(46), names=names).axes[0].texts
    assert {text.get_text() for text in texts} == {"p40", "p41", "p42", "p43", "p44", "p45"}
    with pytest.raises(SteerlabError, match="2 points and 1 names"):
        figures.scatter([0, 1], [0, 1], names=["a"])
