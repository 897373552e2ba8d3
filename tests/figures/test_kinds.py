"""Every kind of figure: drawn from a saved report alone, readable on a phone, with what is wrong said."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from figure_samples import EVERY, SAMPLES, drawn
from matplotlib.text import Text

from steerlab.errors import SteerlabError
from steerlab.figures.plots import PLOTS, draw
from steerlab.report import Plot, Report


def pixels(figure) -> np.ndarray:
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba()).copy()


def test_there_is_a_sample_of_every_kind():
    assert set(SAMPLES) == set(PLOTS)


@pytest.mark.parametrize("name", EVERY)
def test_a_figure_is_drawn_from_the_saved_report_alone_and_can_be_read_on_a_phone(name, tmp_path):
    kind, table, options = EVERY[name]
    ours = Report("t", tables={"t": table}, plots={"p": Plot(kind, "t", "what it shows", options)})
    again = Report.load(ours.save(tmp_path / "r"))
    first, second = pixels(ours.figures()["p"]), pixels(figure := again.figures()["p"])
    assert np.array_equal(first, second) and first[..., :3].std() > 10
    assert figure.get_figwidth() <= 6.5
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    assert min(text.get_fontsize() for text in texts) >= 7
    assert "what it shows" in [text.get_text() for text in texts]
    for legend in figure.legends:
        assert not any(legend.get_window_extent().overlaps(axes.get_tightbbox()) for axes in figure.axes)
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(*box.min, width - box.x1, height - box.y1) > -0.02  # nothing is cut off


NAN = torch.full((12,), torch.nan)
# name: (kind, changed columns, changed options, what is said)
MISTAKES = {
    "missing column": (
        "lines",
        {"colour": None},
        {},
        "it needs 'colour', and its table has block",
    ),
    "missing option": ("scatter", {}, {"classes": "kind"}, "it needs 'kind'"),
    "wrong length": ("lines", {"colour": torch.zeros(3)}, {}, "'colour' has 3 values for 12 places"),
    "NaN alone": ("lines", {"shape": NAN}, {}, "column 'shape': 12 of 12 values to draw are NaN or infinite"),
    "texts": (
        "spectrum",
        {"block 9": ["a"] * 32},
        {},
        r"'block 9': this figure draws numbers \[row\]",
    ),
    "numbers for texts": ("tokens", {"token": torch.zeros(54)}, {}, "column 'token' does not hold texts"),
    "no band": ("lines", {"shape low": None}, {}, "'shape' has one edge of a band"),
    "no line": ("lines", {}, {"y": " , "}, "it needs 'y'"),
    "a word for a number": ("lines", {}, {"y reference": "half"}, "y reference='half' is not a number"),
    "unknown scale": ("lines", {}, {"y scale": "logs"}, "did you mean 'log'"),
    "unknown form": ("bars", {}, {"form": "stack"}, "did you mean 'stacked'"),
    "ranks": ("spectrum", {}, {"effective ranks": "1"}, "1 effective ranks for 2 spectra"),
    "a word for a rank": ("spectrum", {}, {"effective ranks": "1, x"}, "effective rank 'x' is not a number"),
    "labels": ("maps", {}, {"rows": "norm"}, r"column 'norm' holds no labels: it is \[2, 6, 6\]"),
    "no pictures": ("maps", {"image": ["a.png", "b.png"]}, {}, "column 'image' holds no pictures"),
    "not square": ("similarity", {"likeness": torch.zeros(24, 23)}, {}, "as many rows as columns"),
    "names of phases": ("similarity", {}, {"phases": "one"}, "1 names for 3 phases"),
    "NaN in a bar": ("bars", {"effect": torch.tensor([0.1, 0.2, torch.nan])}, {}, "1 of 3 values to draw"),
    "outside its error": ("bars", {"effect high": torch.zeros(3)}, {}, "'effect' lies outside its error bar"),
    "shares": ("bars", {}, {"form": "stacked"}, "at 'blocks.5.heads.1' they sum|at 'the MLP"),
    "period": ("manifold", {}, {"period": "-7"}, "period=-7 of the coordinate is not above 0"),
    "short path": ("manifold", {"part": ["point"] * 60 + ["stub"]}, {}, "the path 'stub' has 1 step"),
    "frames": ("frames", {}, {"columns": "a,b"}, "2 labels of columns, and there are 8 columns"),
    "log of 0": ("scatter", {"norm": torch.zeros(65)}, {}, "on a logarithmic axis need values above 0"),
    "negative spectrum": ("spectrum", {"block 3": -torch.ones(32)}, {}, "needs values of 0 and above"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_what_does_not_fit_is_said(name):
    kind, columns, options, says = MISTAKES[name]
    with pytest.raises(SteerlabError, match=says):
        drawn(kind, columns, **options)


@pytest.mark.parametrize("kind", SAMPLES)
def test_an_empty_table_is_refused(kind):
    table, options = SAMPLES[kind]
    empty = {name: values[:0] for name, values in table.items()}
    with pytest.raises(SteerlabError, match="figure 'x': its table has no rows"):
        draw(kind, empty, Plot(kind, "t", "x", options))
