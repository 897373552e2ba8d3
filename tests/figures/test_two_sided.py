"""Maps of two sides: red where queries read much, cyan where keys do, grey where neither does."""

from __future__ import annotations

import numpy as np
import pytest

from steerlab.errors import SteerlabError
from steerlab.figures.two_sided import two_sided_maps


def drawn(query, key) -> np.ndarray:
    figure = two_sided_maps([np.full((8, 8, 3), 0.5)], [query], [key], ["mode 0"])
    return np.asarray(figure.axes[1].images[0].get_array())


def test_each_side_has_its_colour_and_its_place():
    query, key = np.zeros((2, 1, 2, 2))
    query[0, 0, 0], key[0, 1, 1] = 1.0, 1.0
    query[0, 0, 1] = key[0, 0, 1] = -5.0  # what is below 0 is not drawn
    panel = drawn(query, key)
    red, cyan, none = panel[0, 0], panel[7, 7], panel[7, 0]
    assert red[0] > 2 * red[1:].max() and cyan[0] < 0.5 * cyan[1:].min()
    assert np.allclose(none, none[0]) and np.allclose(panel[0, 7], none)
    assert np.array_equal(panel[:4, :4], np.broadcast_to(red, (4, 4, 3)))  # patches stay visible


@pytest.mark.parametrize(
    "change, said",
    [
        ({"key": []}, "each mode needs both its sides and a title"),
        ({"query": [np.zeros((2, 2, 2))]}, "'mode 0' has 2 maps for 1 pictures"),
        ({"rows": ["a", "b"]}, "1 pictures with 2 labels"),
        ({"query": [np.full((1, 2, 2), np.nan)]}, "NaN"),
    ],
)
def test_what_does_not_fit_is_refused(change, said):
    given = {
        "images": [np.zeros((8, 8, 3))],
        "query": [np.zeros((1, 2, 2))],
        "key": [np.zeros((1, 2, 2))],
        "titles": ["mode 0"],
    }
    with pytest.raises(SteerlabError, match=said):
        two_sided_maps(**given | change)
