"""The page in a real browser: nothing sticks out on a phone or a desk, by day or by night."""

from __future__ import annotations

import pytest
from chromium import DARK, LIGHT, Window, measured, picture
from record_fixtures import LONG, RECIPE, png, report

from steerlab.page import page
from steerlab.stamps import Stamp

FIGURES = 12
SIZES = [(700, 500), (2400, 300), (120, 90), (500, 1400)]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    stamp = Stamp(
        "failed",
        "2026-11-21T18:27:38+00:00",
        f"steerlab run {LONG} --set {LONG}",
        seed=7,
        seconds=83.4,
        reason=f"no such file {LONG}",
        versions={"torch": "2.6", LONG: LONG},
        platform={"accelerator": LONG},
    )
    answer = report(title=f"What do heads do? {LONG}", figures=FIGURES)
    images = {f"grid {i}": png(*SIZES[i % len(SIZES)]) for i in range(FIGURES - 1)}
    images["grid 11"] = f"it could not be drawn {LONG}"
    path = tmp_path_factory.mktemp("browser") / "report.html"
    path.write_text(page(stamp, answer, figures=images, recipe=f'{RECIPE}x = "{LONG}"\n'), encoding="utf-8")
    return path


@pytest.fixture(scope="module", params=[(390, LIGHT), (390, DARK), (1440, LIGHT), (1440, DARK), (320, LIGHT)])
def seen(request, file):
    width, scheme = request.param
    return Window(width, scheme=scheme), measured(file, Window(width, scheme=scheme))


def test_nothing_sticks_out(seen):
    window, found = seen
    assert found["width"] == found["clientWidth"] == found["scrollWidth"] == window.width
    assert found["outside"] == [] and found["spilling"] == []


def test_wide_things_scroll_in_boxes_that_a_keyboard_reaches(seen):
    _, found = seen
    wide = [box for box in found["boxes"] if box[0] > box[1]]
    assert len(wide) >= 4 and all(tab == 0 for _, _, tab in found["boxes"])

    assert (
        len(found["cells"]) == 42 and min(found["cells"]) > 250
    )  # a text in a table is not a column of letters


def test_every_text_can_be_read(seen):
    window, found = seen
    assert found["dark"] == (window.scheme == DARK)
    assert found["contrast"][0] >= 4.5, found["contrast"]  # what WCAG AA asks of body text
    assert found["smallest"] >= 12
    for words in ("What do heads do?", "head 9.5 matters", "zero the strongest", "Run it again", LONG):
        assert words in found["text"]


def test_figures_are_seen_and_none_is_shrunk_to_nothing(seen):
    _, found = seen
    assert [natural for natural, _ in found["images"]] == [SIZES[i % 4][0] for i in range(FIGURES - 1)]
    for natural, shown in found["images"]:
        assert natural / 3 <= shown <= natural  # letters in it stay letters


def test_the_picture_of_the_page_is_not_empty(seen, file):
    window, found = seen
    pixels = picture(file, Window(window.width, min(found["height"], 6000), window.scheme))
    assert pixels.shape[1] == window.width
    margin = pixels[:, :8].mean()  # beside the text
    assert margin < 60 if window.scheme == DARK else margin > 200
    bands = [band.std() for band in (pixels[i : i + 600] for i in range(0, len(pixels) - 600, 600))]
    assert len(bands) >= 5 and min(bands) > 3
