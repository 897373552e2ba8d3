"""The script of the ring of hues asks what the recipe asks, of more seeds, and draws a small strip."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from PIL import Image

import steerlab as sl
from steerlab.analyzers import PictureManifold
from steerlab.zoo.scenes import SHAPES

FILE = Path(sl.__file__).parent.parent / "recipes" / "diffusion" / "hue_ring.py"
SPEC = importlib.util.spec_from_file_location("hue_ring", FILE)
SCRIPT = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(SCRIPT)


def strip() -> sl.Report:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(256, (3, 4, 64, 64, 3), generator=generator, dtype=torch.uint8)
    pictures = dict(zip(("curve", "line", "random 0"), noise, strict=True))
    return sl.Report("From green", tables={"pictures": {"title": ["128", "179", "229", "280"], **pictures}})


def test_the_script_asks_what_the_recipe_asks(monkeypatch):
    monkeypatch.setattr(PictureManifold, "__call__", lambda self, model, data: (self, model, data))
    monkeypatch.setattr(sl, "load", lambda name: f"loaded {name}")
    asked, model, prompts = SCRIPT.run("red", "blue", seeds=range(3))
    recipe = sl.Recipe.load(FILE.with_suffix(".toml"))
    assert model == f"loaded {recipe.model}" and asked.at == recipe.analyzer.at
    assert (asked.start, asked.end, asked.seeds) == ("red", "blue", [0, 1, 2])
    assert prompts == [f"a large {{value}} {shape} in the center" for shape in SHAPES]
    assert set(recipe.data.texts) <= set(prompts)


def test_the_strip_has_a_row_a_way_and_a_column_a_hue():
    drawn = SCRIPT.figure(strip())
    panels = [axes for axes in drawn.axes if axes.images]
    assert len(panels) == 12
    assert [axes.get_ylabel() for axes in panels[::4]] == ["along the ring", "straight line", "random steps"]
    assert [axes.get_title() for axes in panels[:4]] == ["hue 128°", "hue 179°", "hue 229°", "hue 280°"]


def test_the_saved_strip_has_few_colours(tmp_path):
    SCRIPT.save_small(SCRIPT.figure(strip()), tmp_path / "strip.png")
    saved = Image.open(tmp_path / "strip.png")
    assert saved.mode == "P" and len(saved.getcolors()) <= 256 and saved.width > 400
