"""Every recipe is run, and its page looked at on a phone and on a desk."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path

import pytest
from chromium import DARK, LIGHT, Window, measured, picture
from smaller_recipes import smaller

import steerlab as sl
from steerlab import running
from steerlab.records import Record

REPO = Path(__file__).parents[2]
RECIPES = sorted((REPO / "recipes").rglob("*.toml"))
WINDOWS = [Window(390, scheme=DARK), Window(1440)]
SECONDS = re.compile(r"^\| `([\w/]+)\.toml` .* (\d+) \|$", re.MULTILINE)  # as recipes/README.md lists them
TAKES = {name: int(takes) for name, takes in SECONDS.findall((REPO / "recipes/README.md").read_text("utf-8"))}
LONG = 8  # seconds; what takes longer is run on smaller settings, unless its pages are to be looked at
KEEP = os.environ.get("STEERLAB_PAGES")  # a folder for the pages and their pictures, to be looked at


def asked(recipe: Path, folder: Path) -> Path:
    name = str(recipe.relative_to(REPO / "recipes").with_suffix(""))
    if KEEP or TAKES[name] <= LONG:
        return recipe
    file = folder / recipe.name
    file.write_text(smaller(name).to_toml(), encoding="utf-8")
    return file


@functools.cache
def loaded(name: str) -> sl.Model:
    return sl.load(name)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_ends_with_a_page_that_reads_well(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("steerlab.recipe.load", loaded)  # many share a model, which is read once
    folder = Path(KEEP, recipe.parent.name, recipe.stem) if KEEP else tmp_path / "record"
    running.run(asked(recipe, tmp_path), folder, again=True)
    record = Record.load(folder)
    report, figures = record.report(), record.figures()
    print(f"{recipe.stem}: {record.stamp.seconds:.0f} s")
    assert report.evidence and report.interventions and set(figures) == set(report.plots) and figures
    for window in WINDOWS:
        found = measured(record.page, window)
        assert found["width"] == found["clientWidth"] == found["scrollWidth"] == window.width
        assert found["outside"] == [] and found["spilling"] == []
        assert found["contrast"][0] >= 4.5 and found["smallest"] >= 12
        assert len(found["images"]) == len(figures)
        for words in (report.title, *(one.claim for one in report.evidence), "Run it again"):
            assert words in found["text"]
        pixels = picture(record.page, Window(window.width, min(found["height"], 6000), window.scheme))
        full = [pixels[i : i + 300].std() > 3 for i in range(0, len(pixels), 300)]
        # a page is empty below its end alone, where the probe, which opens what is folded, saw tables
        assert sum(full) >= 4 and full == sorted(full, reverse=True)
        assert (pixels[:, :8].mean() < 60) if window.scheme == DARK else (pixels[:, :8].mean() > 200)
    assert {window.scheme for window in WINDOWS} == {LIGHT, DARK}
