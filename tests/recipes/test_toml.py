"""Every recipe in TOML, on smaller settings: what it finds exceeds its controls, its report is whole."""

from __future__ import annotations

import atexit
import functools
import re
import shutil
import tempfile
import tomllib
from pathlib import Path

import pytest
import torch
from smaller_recipes import RECIPES, SMALLER, smaller

import steerlab as sl
from steerlab.keeping import keeping
from steerlab.locking import lock_of
from steerlab.made import opened
from steerlab.planning import plan
from steerlab.recipe import Recipe, kinds
from steerlab.report import Report
from steerlab.rewiring import rewired
from steerlab.trees import written

LOOPS = {  # the least number of batches that are kept
    "llm/contrastive_vector": 10,
    "llm/steer_with_an_atom": 10,
    "diffusion/edit_a_picture": 4,
    "vision/factors": 8,
}


@pytest.fixture(autouse=True)
def one_model_of_each_name(monkeypatch):
    """Three recipes share SmolLM2, which is read once."""
    monkeypatch.setattr("steerlab.recipe.load", loaded)


@functools.cache
def loaded(name: str) -> sl.Model:
    return sl.load(name)


def test_every_recipe_is_tried_and_listed():
    files = {str(path.relative_to(RECIPES).with_suffix("")) for path in RECIPES.rglob("*.toml")}
    index = (RECIPES / "README.md").read_text()
    assert set(SMALLER) <= files
    assert all(f"`{name}.toml`" in index for name in SMALLER)


@pytest.mark.parametrize("name", SMALLER)
def test_a_recipe_goes_there_and_back(name):
    recipe = Recipe.load(RECIPES / f"{name}.toml")
    assert Recipe.parse(recipe.to_toml(), folder=recipe.folder) == recipe and recipe.about


@pytest.mark.parametrize("name", SMALLER)
def test_law_9_toml_equals_python(name):
    """The same objects made by plain calls, as a notebook would make them."""
    plain = tomllib.loads((RECIPES / f"{name}.toml").read_text(encoding="utf-8"))
    lets = plain.pop("let", {})

    def made(value):
        if isinstance(value, str) and value.startswith("$"):
            return made(lets[value[1:]])
        if isinstance(value, list):
            return [made(one) for one in value]
        if not isinstance(value, dict):
            return value
        arguments = {key: made(one) for key, one in value.items() if key != "kind"}
        if "kind" not in value:
            return arguments
        if value["kind"] == "LoadDictionary":
            return sl.load_dictionary(*arguments.values())
        if value["kind"] == "Only":
            return arguments["dictionary"].only(arguments["atoms"])
        homes = (sl.inputs, sl.analyzers, sl, sl.edits)
        return getattr(next(home for home in homes if hasattr(home, value["kind"])), value["kind"])(
            **arguments
        )

    twin, read = made(plain["analyzer"]), Recipe.load(RECIPES / f"{name}.toml")
    asked = opened(read.analyzer, read.folder)
    assert type(twin) is type(asked) and read.data == made(plain["data"])
    assert tensors_and_settings(twin) == tensors_and_settings(asked)


@pytest.mark.parametrize("name", SMALLER)
def test_a_recipe_says_what_it_resolves_to_and_what_it_takes(name):
    said = plan(smaller(name))
    assert "parameters" in said and re.search(r"time +(about|unknown)", said), said
    locks = [lock_of(smaller(name).open()) for _ in range(2)]
    assert locks[0] == locks[1] and all(len(locks[0][part]["sha256"]) == 64 for part in ("data", "analyzer"))


def tensors_and_settings(analyzer) -> tuple:
    settings, tensors = written(analyzer, kinds())
    return settings, {name: tensor.tolist() for name, tensor in tensors.items()}


@functools.cache
def ran(name: str) -> tuple[Report, Path]:
    """The smaller recipe's report, and the folder in which what it did was kept batch by batch."""
    folder = Path(tempfile.mkdtemp(prefix="steerlab-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with keeping(folder):
        return smaller(name).run(), folder


def same_numbers(kept: torch.Tensor, values: torch.Tensor) -> bool:
    """Equal to the bit; what is not known is not known in both."""
    nan = values.isnan()
    return torch.equal(kept.isnan(), nan) and torch.equal(kept[~nan], values[~nan])


def tables_of(report: Report) -> dict[str, list]:
    return {
        f"{name} {column}": values.tolist() if isinstance(values, torch.Tensor) else values
        for name, table in report.tables.items()
        for column, values in table.items()
    }


@pytest.mark.parametrize("name", LOOPS)
def test_a_run_that_was_cut_off_ends_with_the_same_numbers(name, tmp_path):
    report, folder = ran(name)
    files = sorted(folder.iterdir())
    assert len(files) >= LOOPS[name]
    for file in files[: len(files) // 2]:
        shutil.copy(file, tmp_path)
    with keeping(tmp_path) as kept:
        again = smaller(name).run()
    assert kept.reused == len(files) // 2
    assert sorted(file.name for file in tmp_path.iterdir()) == [file.name for file in files]
    assert tables_of(again) == tables_of(report) and str(again) == str(report)


@pytest.mark.parametrize("name", SMALLER)
def test_a_recipe_shows_what_it_says(name, tmp_path):
    recipe = smaller(name)
    report, _ = ran(name)
    for number in SMALLER[name][2]:
        found = report.evidence[number]
        assert found.controls and found.effect > max(found.controls), str(found)
        assert found.floor is None or found.effect > found.floor
    again = Report.load(report.save(tmp_path))
    assert str(again) == str(report) and again.receipts == report.receipts
    for title, table in report.tables.items():
        for column, values in table.items():
            kept = again.tables[title][column]
            same = same_numbers(kept, values) if isinstance(values, torch.Tensor) else kept == values
            assert same, (title, column)
    drawn = again.figures()
    assert set(drawn) == set(report.plots) and drawn
    for figure in drawn.values():
        figure.canvas.draw()
        assert any(axes.has_data() for axes in figure.axes)
    model = loaded(recipe.model)
    for one in again.interventions.values():
        edited = isinstance(one, sl.Intervention)
        with model.edit(one, strict=False) if edited else rewired(model, one):  # which checks that it fits
            pass
