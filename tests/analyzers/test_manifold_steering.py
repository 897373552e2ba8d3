"""The analyzer on a language model with planted days: its report, its interventions, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from planted_days import DAYS, TEMPLATES, planted_days

import steerlab as sl
from steerlab.analyzers.manifold_steering import ManifoldSteering
from steerlab.analyzers.manifold_steering.fitting import Fitting, in_order, seen
from steerlab.analyzers.manifold_steering.outcomes import Outcomes
from steerlab.analyzers.manifold_steering.prompts import Concept, prompts_of
from steerlab.keeping import keeping
from steerlab.report import Report

SITE = "blocks.1.resid"
FEW = ["manifold", "linear_subspace"]
ASKED = ManifoldSteering(SITE, DAYS, named_at="blocks.0.resid_pre", modes=FEW, waypoints=8, base=2)


@cache
def report() -> Report:
    return ASKED(planted_days(), TEMPLATES)


def said(model: sl.Model, text: str) -> str:
    return model.processor.decode(model.logits(text)[0, -1].argmax())


def test_what_is_seen_is_what_the_model_does():
    model, concept = planted_days(), Concept(DAYS)
    prompts = prompts_of(TEMPLATES, concept, (1,))
    outcomes = Outcomes.of(model, DAYS)
    found = seen(model, prompts, concept, outcomes, (SITE, "blocks.0.resid_pre"))
    for i in (0, 9, 20):
        last = model.capture(prompts[i].text, at=SITE, tokens="last")[SITE][0, 0]
        assert torch.allclose(found.last[i], last, atol=1e-5)
        chances = model.logits(prompts[i].text)[0, -1].softmax(-1)[outcomes.ids[:, 0]]
        assert torch.allclose(found.behaviour[i, :7], chances, atol=1e-6)
    day = model.module.model.embed_tokens.weight[outcomes.ids[:, 0]]  # all templates end in the named day
    assert torch.allclose(found.named, day[[prompt.named for prompt in prompts]], atol=1e-6)
    assert found.right.float().mean() == 1


@pytest.mark.parametrize("coords", ["means", "angle", "order"])
def test_the_planted_ring_is_found_in_its_order(coords):
    model, concept = planted_days(), Concept(DAYS)
    found = seen(model, prompts_of(TEMPLATES, concept, (1,)), concept, Outcomes.of(model, DAYS), (SITE, ""))
    fitting = Fitting(coords, pca=8)
    manifold = fitting.manifold(found.last, found.answers, concept, SITE)
    behaviour = fitting.behaviour(found.behaviour, found.answers, concept)
    assert in_order(manifold.knots, True) and in_order(behaviour.chart.knots, True)
    assert manifold.names == DAYS and str(manifold.site) == SITE
    swapped = manifold.knots[[1, 0, 2, 3, 4, 5, 6]]
    assert not in_order(swapped, True) and not in_order(-manifold.knots, True)
    assert in_order(torch.arange(4.0)[:, None], False) and not in_order(
        torch.tensor([[0.0], [2], [1]]), False
    )
    with pytest.raises(sl.SteerlabError, match="no prompt is counted for 'Sunday'"):
        fitting.behaviour(found.behaviour, found.answers.clamp(max=5), concept)


def test_along_the_manifold_answers_are_reached_and_stay_natural():
    found = report()
    assert "of which 100% are answered rightly" in found.about and "in their order" in found.about
    last, named = found.evidence[:2]
    assert last.effect == 1 and named.effect == 1 and max(*last.controls, *named.controls) < 0.5
    energy = dict(zip(found.tables["modes"]["mode"], found.tables["modes"]["energy"].tolist(), strict=True))
    assert energy["manifold"] < 0.3 * energy["linear_subspace"] and energy["manifold"] < energy["random"]
    gap = found.tables["gaps"]
    assert gap["gap"].tolist() == [1, 2, 3] and bool((gap["manifold"] < gap["linear_subspace"]).all())
    against = found.evidence[2]
    assert against.claim.startswith("energy of linear_subspace ways") and against.effect > 0
    assert against.effect == pytest.approx(energy["linear_subspace"] - energy["manifold"])
    straight = next(one for one in found.evidence if one.rung == "observed")
    assert straight.effect > 0.98 > straight.controls[0]
    assert float(found.tables["own code"]["own code"].max()) < 1e-6


def test_interventions_say_what_they_are_called(tmp_path):
    model, text = planted_days(), "the day after Monday"
    assert said(model, text) == "Tuesday"
    again = Report.load(report().save(tmp_path))
    for day in DAYS:
        with model.edit(again.interventions[f"say {day}"]):
            assert said(model, text) == day
    with model.edit(again.interventions["one step on"]):
        assert [said(model, f"the day after {day}") for day in DAYS] == [*DAYS[2:], *DAYS[:2]]


def test_a_way_found_by_its_answers_alone_lies_on_the_planted_ring():
    axes = 4  # that the ring was planted in; the answers say nothing of others
    few = ManifoldSteering(SITE, DAYS, modes=["manifold"], waypoints=2, base=2, pairs=2, pca=axes, pulled=1)
    found, cost = few(planted_days(), TEMPLATES), replace(few, pulled=0)
    table = found.tables["pullback"]
    assert table["pair"] == ["Monday to Thursday"]
    assert float(table["agreement"][0]) > 0.9 and float(table["chord"][0]) < 0.5
    assert float(table["loss"][0]) < 0.05  # over 20 waypoints
    evidence = found.evidence[-1]
    assert "Monday to Thursday" in evidence.claim
    assert (evidence.effect, *evidence.controls) == (float(table["agreement"][0]), float(table["chord"][0]))
    assert "pullback" not in report().tables
    more = few.passes(planted_days(), TEMPLATES) - cost.passes(planted_days(), TEMPLATES)
    assert more == pytest.approx(2 * 20 * 50 * 5 * 3 / 12)


def test_every_figure_is_drawn():
    for name, figure in report().figures().items():
        figure.canvas.draw()
        assert any(axes.has_data() for axes in figure.axes), name


def test_a_run_that_was_cut_off_goes_on(tmp_path):
    asked = ManifoldSteering(SITE, DAYS, waypoints=3, base=2, pairs=3, modes=["manifold"])
    with keeping(tmp_path) as first:
        one = asked(planted_days(), TEMPLATES)
    files = sorted(tmp_path.iterdir())
    for file in files[::2]:
        file.unlink()
    with keeping(tmp_path) as second:
        two = asked(planted_days(), TEMPLATES)
    assert first.reused == 0 and second.reused == len(files) // 2 > 3
    assert str(one) == str(two)


def test_an_order_that_does_not_close_and_predictions_as_groups():
    asked = ManifoldSteering(
        SITE,
        DAYS,
        cyclic=False,
        group_by="prediction",
        modes=["manifold"],
        waypoints=2,
        base=1,
        shown=["Friday", "Tuesday"],
    )
    found = asked(planted_days(), [*TEMPLATES, "a cat {x} {x}"])
    assert found.tables["gaps"]["gap"].tolist() == [1, 2, 3, 4, 5, 6]
    assert found.plots["way"].title.endswith("from Tuesday to Friday")
    table = found.tables["accuracy"]
    accuracy = dict(zip(table["template"], table["accuracy"].tolist(), strict=True))
    assert accuracy["a cat {x} {x}"] == 0 and accuracy[TEMPLATES[0]] == 1


def test_templates_on_which_the_model_is_wrong_can_be_left_out():
    few = ManifoldSteering(SITE, DAYS, waypoints=2, base=2, pairs=2, modes=["manifold"], least_accuracy=0.5)
    found = few(planted_days(), [*TEMPLATES, "a cat {x} {x}"])
    assert found.about.startswith("28 prompts, of which 100%")
    with pytest.raises(sl.SteerlabError, match=r"the best is 'a cat \{x\} \{x\}' with 0.00"):
        few(planted_days(), ["a cat {x} {x}"])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"coords": "angles"}, "did you mean 'angle'"),
        ({"modes": ["manifold", "straight"]}, "modes='straight'"),
        ({"modes": ["linear"]}, "has to hold 'manifold'"),
        ({"values": DAYS[:3]}, "four different values"),
        ({"least_accuracy": 2}, "least_accuracy=2"),
        ({"shown": ["Monday"]}, "give two of the values"),
        ({"waypoints": 1}, "waypoints=1"),
        ({"pulled": -1}, "pulled=-1"),
    ],
)
def test_settings_without_a_meaning_are_refused(settings, says):
    with pytest.raises(sl.SteerlabError, match=says):
        ManifoldSteering(**({"at": SITE, "values": DAYS} | settings))


def test_data_are_templates():
    with pytest.raises(sl.SteerlabError, match="the data are templates"):
        ASKED(planted_days(), "today is {x}")
    with pytest.raises(sl.SteerlabError, match="no template names"):
        ASKED(planted_days(), ["{x-1} {x+1}"])
    assert ASKED.passes(planted_days(), TEMPLATES) == pytest.approx(28 + 2 * 3 * (21 * 8 + 7) / 12)
