"""One atom of a dictionary steers what a model sees, and random ones do not."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

import steerlab as sl

RECIPES = Path(sl.__file__).parent.parent / "recipes"


def script(room: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"atom_{room}", RECIPES / room / "steer_with_an_atom.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def recipe():
    module = script("vision")
    module.PROBING, module.CHOOSING = (7_002, 300), (7_001, 160)
    return module


@pytest.fixture(scope="module")
def found(recipe):
    result = recipe.run(("red", "green"), count=24, controls=2)
    return result["probe_accuracy"], {row["colour"]: row for row in result["rows"]}


@pytest.mark.parametrize("colour", ["red", "green"])
def test_the_more_of_an_atom_is_added_the_more_its_colour_is_seen(found, recipe, colour):
    accuracy, rows = found
    assert accuracy > 0.9
    row = rows[colour]
    doses = [row[f"added {strength:g}"] for strength in (0, *recipe.STRENGTHS)]
    assert doses == sorted(doses) and doses[-1] > doses[0] + 6
    assert max(row["random added"]) < doses[-1] - 4


@pytest.mark.parametrize("colour", ["red", "green"])
def test_taking_the_atom_away_makes_its_colour_less_sure(found, colour):
    row = found[1][colour]
    assert row["taken away"] < row["kept"] - 0.4
    drops = [row["kept"] - one for one in row["random taken away"]]
    assert sum(drops) / len(drops) < 0.5 * (row["kept"] - row["taken away"])


def test_the_rule_finds_the_atom_that_tells_a_colour_apart(recipe):
    generator = torch.Generator().manual_seed(0)
    colours = torch.arange(8).repeat(10)
    codes = torch.rand(80, 20, generator=generator)
    codes[torch.arange(80), 19 - colours] += 3
    assert recipe.choose_atoms(codes, colours).tolist() == [19 - colour for colour in range(8)]


@pytest.fixture(scope="module")
def written():
    module = script("llm")
    module.PROMPTS, module.NEW_TOKENS = module.PROMPTS[::7], 8
    module.CONTROLS, module.INPUTS = 1, 2
    module.CONTEXTS = module.CONTEXTS[:1]
    module.ENDINGS = {topic: endings[:2] for topic, endings in module.ENDINGS.items()}
    result = module.run(("food",), strengths=(0.25,))
    assert result["probe_accuracy"] > 0.9
    return result["rows"][0]


def test_an_atom_makes_a_model_write_of_its_topic_and_find_such_endings_likely(written):
    for judge in (0, 1):  # what is written, as a probe reads it; the likelihood of endings
        none, more = (written[f"added {strength:g}"][judge] for strength in (0, 0.25))
        assert more - none > 0.2
        assert abs(written["random added"][0][judge] - none) < 0.5 * (more - none)


def test_without_its_atom_a_topic_is_less_expected_to_go_on(written):
    drop = written["kept"] - written["taken away"]
    assert drop > 0.15
    assert abs(written["kept"] - written["random taken away"][0]) < 0.5 * drop
