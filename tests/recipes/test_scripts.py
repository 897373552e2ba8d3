"""The recipes written in Python show what they say they show, on fewer seeds and strengths."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

import steerlab as sl

RECIPES = Path(sl.__file__).parent.parent / "recipes"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(name).stem, RECIPES / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def colours():
    recipe = script("diffusion/colour_direction.py")
    return recipe, recipe.run(seeds=range(100, 112), controls=1)


def test_a_direction_found_from_captures_changes_the_colour_and_keeps_the_shape(colours):
    recipe, result = colours
    steered = result["numbers"][recipe.STEERED]
    assert steered["colour changed"] >= 0.8
    assert steered["shape kept"] >= 0.8


@pytest.mark.parametrize("control", ["random 0", "equal steps"])
def test_random_directions_and_random_steps_of_equal_length_do_not(colours, control):
    assert colours[1]["numbers"][control]["colour changed"] <= 0.15


def test_the_steering_acted_at_every_step_on_both_branches(colours):
    recipe, result = colours
    sd_sites = len(result["receipt"])
    assert sd_sites > 5
    for entry in result["receipt"]:
        assert entry.steps == set(range(recipe.STEPS)) and entry.branches == {"cond", "uncond"}


def test_the_figure_has_a_column_a_seed(colours):
    recipe, result = colours
    figure = recipe.figure(result, columns=3)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["seed 100", "seed 101", "seed 102"]


def test_random_directions_go_through_the_same_points():
    recipe = script("diffusion/colour_direction.py")
    like = {
        sl.Site.parse("unet.mid.0.update"): sl.Direction(torch.tensor([3.0, 4.0]), torch.tensor([1.0, 2.0]))
    }
    (made,) = recipe.random_directions(like, 0).values()
    assert made.atoms.norm() == pytest.approx(1.0) and torch.equal(made.origin, torch.tensor([1.0, 2.0]))
    assert not torch.allclose(made.atoms, next(iter(like.values())).atoms)


@pytest.fixture(scope="module")
def tones():
    result = script("llm/positive_tone.py").run(strengths=(-0.2, 0.0, 0.2), controls=1)
    return result["probe_accuracy"], {(row["direction"], row["strength"]): row for row in result["rows"]}


def test_a_contrastive_vector_shifts_scorers_that_never_saw_it(tones):
    accuracy, rows = tones
    assert accuracy >= 0.9
    for judge in ("probe", "endings"):
        low, base, high = (rows["contrastive", strength][judge] for strength in (-0.2, 0.0, 0.2))
        assert low < base < high
        spread = [rows["random 0", strength][judge] - base for strength in (-0.2, 0.2)]
        assert max(map(abs, spread)) < 0.5 * (high - low)


def test_what_the_steering_costs_is_no_more_than_a_random_vector_costs(tones):
    _, rows = tones
    base = rows["contrastive", 0.0]["perplexity"]
    for strength in (-0.2, 0.2):
        assert base < rows["contrastive", strength]["perplexity"] < 1.5 * base
    assert rows["contrastive", 0.2]["perplexity"] < rows["random 0", 0.2]["perplexity"]
