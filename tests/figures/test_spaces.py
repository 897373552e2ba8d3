"""Figures with panels: curves in two spaces, clouds before and after, ribbons, and groups with tests."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from figure_samples import SAMPLES, drawn
from figure_variants import VARIANTS
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from planted import generator, randn

from steerlab import figures
from steerlab.errors import SteerlabError
from steerlab.figures import Axis, Labels, Space
from steerlab.figures.compared import spoken
from steerlab.figures.drawing import CONTROL

TURN = torch.linspace(0, 2 * math.pi, 13)
RING = torch.stack([TURN.cos(), TURN.sin()], 1)


def test_a_path_has_one_look_in_every_space_and_the_curve_is_grey():
    spaces = {
        "activations": Space(RING[:3], {"curve": RING, "chord": RING[[0, 4]]}, ["a", "b", "c"]),
        "behaviour": Space(
            2 * RING[:3], {"curve": 2 * RING, "pullback": 2 * RING[:4], "chord": RING[[0, 4]]}
        ),
    }
    figure = figures.spaces(spaces, labels=Labels("t", "first", "second"))
    first, second = figure.axes
    look = [
        {line.get_label(): (line.get_color(), line.get_linestyle()) for line in axes.lines}
        for axes in (first, second)
    ]
    assert look[0]["chord"] == look[1]["chord"] and look[0]["curve"][0] == "#4d4d4d"
    assert len(set(look[1].values())) == 3
    np.testing.assert_allclose(second.lines[0].get_xydata(), 2 * RING)
    assert [text.get_text() for text in first.texts] == ["a", "b", "c"] and not second.texts
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {"curve", "chord", "pullback"}


def test_two_spaces_are_seen_in_the_plane_of_their_own_curve():
    g = generator(0)
    frame = torch.linalg.qr(randn(9, 9, g=g)).Q[:2].float()
    curve, knots = 3 * RING @ frame + 5, 3 * RING[:4] @ frame + 5
    table = figures.two_spaces({"one": (knots, {"curve": curve, "off": curve[:2] + 1})}, ["a", "b", "c", "d"])
    part, place = np.array(table["part"]), torch.stack([table["x"], table["y"]], 1)
    seen = place[part == "curve"]
    # a plane curve keeps its lengths, and so do the knots on it
    torch.testing.assert_close(torch.cdist(seen, seen), 3 * torch.cdist(RING, RING), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(place[part == "point"], seen[:4], rtol=1e-5, atol=1e-5)
    area = (seen[:-1, 0] * seen[1:, 1] - seen[:-1, 1] * seen[1:, 0]).sum() / 2
    assert area > 0 and seen[0, 0] >= 0
    assert [name for name in table["name"] if name] == ["a", "b", "c", "d"]
    turned = figures.two_spaces({"one": (knots, {"curve": curve.flip(0)})})
    x, y = (turned[side][-13:] for side in "xy")
    assert (x[:-1] * y[1:] - x[1:] * y[:-1]).sum() > 0


def test_a_gap_is_seen_along_the_difference_of_means_and_said_in_the_title():
    g = generator(1)
    first, second = randn(500, 6, g=g), randn(500, 6, g=g)
    first, second = first - first.mean(0), second - second.mean(0)
    apart = torch.tensor([0.0, 3, 4, 0, 0, 0], dtype=torch.float64)
    table = figures.gap_view({"a": first + apart, "b": second}, {"a": first, "b": second + 1e-3}, most=100)
    assert list(dict.fromkeys(table["panel"])) == ["before: gap 5", "after: gap 0.0024"]
    assert len(table["x"]) == 400
    before = torch.stack([table["x"], table["y"]], 1)[:200].double()
    wanted = (first[:100] + apart / 2) @ apart / 5
    torch.testing.assert_close(before[:100, 0], wanted.double(), rtol=1e-4, atol=1e-4)
    with pytest.raises(SteerlabError, match="a gap is between two groups"):
        figures.gap_view({"a": first}, {"a": first})


def test_clouds_share_their_axes_and_classes_their_look():
    panels = {"before": {"image": RING, "text": RING + 4}, "after": {"text": RING}}
    before, after = figures.clouds(panels, labels=Labels(x="x", y="y")).axes
    assert before.get_xlim() == after.get_xlim() and before.get_ylim() == after.get_ylim()
    looks = [[to_hex(one.get_facecolors()[0]) for one in axes.collections] for axes in (before, after)]
    assert looks[1][0] == looks[0][1] != looks[0][0]


def areas(axes) -> list[np.ndarray]:
    return [one.get_paths()[0].vertices for one in axes.collections]


def test_ribbons_stack_to_a_whole_with_the_other_on_top_in_grey():
    t = torch.linspace(0, 1, 5)
    shares = {"other": 0.5 * t, "Mon": 1 - t, "Tue": 0.5 * t}
    figure = figures.ribbons(t.flip(0), {"along": {name: one.flip(0) for name, one in shares.items()}})
    axes = figure.axes[0]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["Mon", "Tue", "other"]
    assert to_hex(axes.collections[-1].get_facecolor()[0]) == CONTROL
    assert areas(axes)[0][:, 1].max() == 1  # all is Monday at the start
    for place, height in ((0.0, 1.0), (1.0, 0.0)):
        own = areas(axes)[0]
        assert own[own[:, 0] == place][:, 1].max() == pytest.approx(height)
    # a name stands inside its own area, or nowhere
    assert {text.get_text() for text in axes.texts} <= {"Mon", "Tue", "other"} and axes.texts
    for text in axes.texts:
        place, height = text.get_position()
        low = {"Mon": 0, "Tue": 1 - place, "other": 1 - place / 2}[text.get_text()]
        high = {"Mon": 1 - place, "Tue": 1 - place / 2, "other": 1}[text.get_text()]
        assert low < height < high


def test_bars_of_groups_are_means_with_standard_errors_and_every_measurement():
    groups = {"curve": [1.0, 2.0, 6.0], "chord": [4.0, 5.0, 9.0]}
    tests = {("curve", "chord"): 0.00312}
    axes = figures.compared(groups, tests, paired=True, labels=Labels(y=Axis("energy"))).axes[0]
    assert [bar.get_height() for bar in axes.patches] == [3, 6]
    errors = [one.get_segments()[0][:, 1] for one in axes.collections if isinstance(one, LineCollection)]
    wanted = np.array([1.0, 2, 6]).std(ddof=1) / 3**0.5
    np.testing.assert_allclose(errors[0], [3 - wanted, 3 + wanted], rtol=1e-6)
    dots = [one.get_offsets()[:, 1] for one in axes.collections if isinstance(one, PathCollection)]
    np.testing.assert_allclose(dots, list(groups.values()))
    assert [list(line.get_ydata()) for line in axes.lines if len(line.get_xdata()) == 2][:3] == [
        [1, 4],
        [2, 5],
        [6, 9],
    ]
    assert [text.get_text() for text in axes.texts] == ["p = 0.003"]
    (bracket,) = [line for line in axes.lines if len(line.get_xdata()) == 4]
    assert list(bracket.get_xdata()) == [0, 0, 1, 1] and min(bracket.get_ydata()) > 9
    assert axes.get_ylim()[1] > max(bracket.get_ydata())


@pytest.mark.parametrize(("p", "text"), [(0.0312, "p = 0.031"), (6e-5, "p = 6e-05"), (0.0, "p < 1e-16")])
def test_p_values_are_short(p, text):
    assert spoken(p) == text


# name: (sample, changed columns, changed options, what is said)
MISTAKES = {
    "a test of nobody": ("compared", {}, {"tests": "along the curve/strait=1"}, "no group 'strait' to test"),
    "a test without p": ("compared", {}, {"tests": "a/b"}, "'a/b' does not read like"),
    "p": ("compared", {}, {"tests": "along the curve/random of equal norm=2"}, "p=2 is not from 0 to 1"),
    "other pairs": ("compared", {"pair": [str(i) for i in range(84)]}, {}, "do not have the same units"),
    "log of 0": ("compared", {"energy": torch.zeros(84)}, {"y scale": "log"}, "logarithmic axis need values"),
    "not a whole": ("ribbons", {"other": torch.zeros(60)}, {}, "those of 'along the curve' sum to 0.95"),
    "no other": ("ribbons", {}, {"other": "else"}, "it needs 'else'"),
    "no outcome": ("ribbons", {}, {"y": ","}, "it needs 'y'"),
    "panels": (
        "gap before and after",
        {"panel": [str(i % 5) for i in range(800)]},
        {},
        "5 clouds side by side: 1 to 3 can be read",
    ),
    "no panel": ("curve and behaviour", {}, {"panel": "space"}, "it needs 'space'"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_what_does_not_fit_is_said(name):
    sample, columns, options, says = MISTAKES[name]
    with pytest.raises(SteerlabError, match=says):
        drawn(sample, columns, **options)


def test_every_variant_is_of_a_kind_that_has_a_sample():
    assert {kind for kind, _, _ in VARIANTS.values()} <= set(SAMPLES)


def test_spaces_refuse_what_has_no_plane():
    with pytest.raises(SteerlabError, match="'a: curve' has 3 axes"):
        figures.spaces({"a": Space([], {"curve": torch.zeros(4, 3)})})
    with pytest.raises(SteerlabError, match="'a' has 3 points and 1 names"):
        figures.spaces({"a": Space(RING[:3], {}, ["x"])})
    with pytest.raises(SteerlabError, match="'a' has no path"):
        figures.two_spaces({"a": (RING, {})})
