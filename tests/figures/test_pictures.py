"""Pictures before and after: the panels show the images given, and the maps the differences."""

from __future__ import annotations

import numpy as np
import pytest

from steerlab import figures
from steerlab.errors import SteerlabError


@pytest.fixture
def rows():
    generator = np.random.default_rng(0)
    return {name: generator.random((2, 6, 5, 3), dtype=np.float32) for name in ("before", "after", "random")}


def shown(figure) -> list[np.ndarray]:
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]


def test_rows_are_drawn_in_order_and_the_change_below_its_row(rows):
    figure = figures.before_after(rows, ["seed 0", "seed 1"], title="red to blue", differences=["after"])
    expected = [
        *rows["before"],
        *rows["after"],
        *np.abs(rows["after"] - rows["before"]).mean(-1),
        *rows["random"],
    ]
    for panel, image in zip(shown(figure), expected, strict=True):
        np.testing.assert_allclose(panel, image, atol=1e-6)
    labels = [axes.get_ylabel() for axes in figure.axes if axes.images and axes.get_ylabel()]
    assert labels == ["before", "after", "change", "random"]
    assert [axes.get_title() for axes in figure.axes[:2]] == ["seed 0", "seed 1"]


def test_all_changes_share_one_scale(rows):
    figure = figures.before_after(rows, differences=["after", "random"])
    reach = max(np.abs(rows[name] - rows["before"]).mean(-1).max() for name in ("after", "random"))
    limits = [axes.images[0].get_clim() for axes in figure.axes if axes.images]
    assert sum(np.isclose(high, reach) for _, high in limits) == 4


def test_without_differences_only_the_pictures_are_drawn(rows):
    assert len(shown(figures.before_after(rows))) == 6


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"after": []}, "one picture a column"),
        ({"after": np.zeros((2, 4, 4, 3))}, "differ in size"),
    ],
)
def test_rows_that_do_not_fit_are_refused(rows, change, said):
    with pytest.raises(SteerlabError, match=said):
        figures.before_after({**rows, **change}, differences=["after"])


def test_a_difference_of_an_unknown_row_is_refused(rows):
    with pytest.raises(SteerlabError, match="no row 'later'"):
        figures.before_after(rows, differences=["later"])
