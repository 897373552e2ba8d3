"""Lines and spectra: what is drawn is what was given, in ascending order, each with its own look."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from steerlab import figures
from steerlab.errors import SteerlabError
from steerlab.figures import Axis, Labels, Series
from steerlab.figures.drawing import CONTROL


def legend(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_lines_run_in_ascending_order_with_bands_and_controls():
    x, y = torch.tensor([3.0, 1.0, 2.0]), torch.tensor([9.0, 1.0, 4.0])
    given = {"score": Series(y, y - 1, y + 2, [torch.zeros(3), torch.ones(3)]), "other": -y}
    labels = Labels(
        "t", Axis("block", whole=True), Axis("score (nats)", reference=0.5, reference_label="chance")
    )
    figure = figures.lines(x, given, labels=labels)
    axes = figure.axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    np.testing.assert_array_equal(lines["score"].get_xydata(), [[1, 1], [2, 4], [3, 9]])
    np.testing.assert_array_equal(lines["other"].get_ydata(), [-1, -4, -9])
    band = axes.collections[0].get_paths()[0].vertices
    assert {(1, 0), (1, 3), (2, 3), (2, 6), (3, 8), (3, 11)} <= set(map(tuple, band.tolist()))
    assert [line.get_color() for line in axes.lines].count(CONTROL) == 2
    assert legend(figure) == ["score", "other", "random", "chance"]  # two controls are named once
    looks = {(lines[n].get_color(), lines[n].get_linestyle(), lines[n].get_marker()) for n in given}
    assert [len(set(kind)) for kind in zip(*looks, strict=True)] == [2, 2, 2]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("block", "score (nats)")
    assert set(lines["chance"].get_ydata()) == {0.5}
    assert all(tick == round(tick) for tick in axes.get_xticks())


def test_twenty_lines_all_look_different():
    axes = figures.lines([0, 1], {f"head {i}": [i, i] for i in range(20)}).axes[0]
    assert len({(line.get_color(), str(line._unscaled_dash_pattern)) for line in axes.lines}) == 20


def test_a_missing_value_is_a_gap_and_an_axis_may_be_logarithmic():
    values = torch.tensor([1e-3, torch.nan, 0.0, 10.0])
    axes = figures.lines([0, 1, 2, 3], {"KL": values}, labels=Labels(y=Axis("KL (nats)", log=True))).axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), values.numpy())
    assert axes.get_yscale() == "log"
    with pytest.raises(SteerlabError, match="'KL' has no value above 0 to draw on a logarithmic axis"):
        figures.lines([0], {"KL": [0.0]}, labels=Labels(y=Axis(log=True)))
    with pytest.raises(SteerlabError, match="1 of 2 values to draw are NaN or infinite"):
        figures.lines([0, 1], {"KL": [1.0, float("inf")]})


def test_a_spectrum_stands_against_its_rank_beside_chance():
    values = torch.tensor([4.0, 1.0, 0.25, 1e-20])
    figure = figures.spectrum({"block 3": values}, values / 8, ranks={"block 3": 1.4567})
    axes = figure.axes[0]
    by = {line.get_label(): line for line in axes.lines}
    np.testing.assert_array_equal(by["block 3 (effective rank 1.5)"].get_xdata(), [1, 2, 3, 4])
    np.testing.assert_array_equal(by["block 3 (effective rank 1.5)"].get_ydata(), values)
    np.testing.assert_array_equal(by["by chance"].get_ydata(), values / 8)
    assert to_hex(by["by chance"].get_color()) == CONTROL
    assert axes.get_yscale() == "log" and axes.get_xlabel() == "rank"
    assert axes.get_ylim()[0] == pytest.approx(4e-8)  # rounding at 1e-20 does not squeeze the rest
    assert figures.spectrum({"a": values}, labels=Labels(y=Axis("energy"))).axes[0].get_yscale() == "linear"
    with pytest.raises(SteerlabError, match="an effective rank of 'b', and the spectra are a"):
        figures.spectrum({"a": values}, ranks={"b": 1.0})


def test_a_base_is_drawn_only_where_a_strength_is_zero():
    with_zero = figures.dose_response([1.0, 0.0], [5.0, 2.0], [[3.0, 2.5]])
    assert legend(with_zero) == ["edit", "random", "base (strength 0)"]
    line = next(line for line in with_zero.axes[0].lines if line.get_label() == "base (strength 0)")
    assert set(line.get_ydata()) == {2.0}
    assert legend(figures.dose_response([1.0, 0.5], [5.0, 2.0])) == ["edit"]
