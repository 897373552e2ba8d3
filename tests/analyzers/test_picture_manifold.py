"""PictureManifold: where a concept is, what was read in which order, and a curve by hand in a pipeline."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

import steerlab as sl
from steerlab.analyzers import PictureManifold
from steerlab.analyzers.picture_manifold.drawing import Drawing, changed, chroma, coverage, inside
from steerlab.analyzers.picture_manifold.findings import found
from steerlab.analyzers.picture_manifold.fitting import Fitted, _reading, fit_pictures
from steerlab.analyzers.picture_manifold.measuring import Reader
from steerlab.analyzers.picture_manifold.tables import tables
from steerlab.analyzers.picture_manifold.walking import Walk, between, commanded
from steerlab.edits import Replace, Where
from steerlab.errors import SteerlabError
from steerlab.numerics.behaviour import fit_behaviour

HUES = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
RING = Reader(HUES, torch.arange(8.0, dtype=torch.float64) * 45, 360.0, "colour")
LINE = Reader(("small", "large"), torch.tensor([0.0, 1.0]), None, "size")


def one_hot(*numbers: int) -> torch.Tensor:
    return torch.eye(8, dtype=torch.float64)[list(numbers)]


def planted() -> Fitted:
    turns = RING.places * math.pi / 180
    x = torch.stack([turns.cos(), turns.sin(), torch.zeros(8, dtype=torch.float64)], -1)
    shape = sl.Shape(coords=RING.places, periods=(360.0,), names=HUES)
    labels = torch.arange(8).repeat(2)
    man = sl.fit_manifold(x.repeat(2, 1), labels, shape=shape, pca=2)
    behaviour = fit_behaviour(one_hot(*range(8)), torch.arange(8), coords=RING.places, periods=(360.0,))
    told = {"read": 1.0, "between": 1.0, "as asked": 1.0}
    return Fitted(man, torch.tensor([0.0, 0.0, 1.0]), 0.5, behaviour, told)


def walk(name: str, *rows: tuple[int, ...], sure: float = 1.0, colourful: float = 0.5) -> Walk:
    made = Walk(name, torch.zeros(len(rows)), torch.ones(len(rows), 2, 2), ("colour", "shape"))
    for waypoint in zip(*rows, strict=True):
        made.seen.append(one_hot(*waypoint))
        # rows differ, so that a paired test has a spread
        made.sure.append(sure - 0.01 * torch.arange(len(rows), dtype=torch.float64) * (sure < 1))
        made.colourful.append(torch.full((len(rows),), colourful, dtype=torch.float64))
        made.same.append(torch.ones(len(rows), dtype=torch.float64))
        made.shown.append(torch.zeros(3, 2, 2, dtype=torch.uint8))
    return made


def test_a_concept_is_where_pictures_from_the_same_noise_differ():
    pictures = torch.full((3, 3, 8, 8), 0.5)
    pictures[0, 0, :4, :4], pictures[1, 2, :4, :4] = 0.9, 0.1
    pictures[2, 1, 7, 7] = 0.7  # less than what counts
    mask = changed(pictures)
    assert mask[:4, :4].all() and int(mask.sum()) == 16
    assert torch.equal(coverage(mask, 4), torch.tensor([1.0, 0, 0, 0]))
    assert torch.equal(coverage(mask, 1), torch.tensor([0.25]))
    assert torch.equal(inside(torch.tensor([1.0, 0.95, 0.5, 0])), torch.tensor([0.5, 0.5, 0, 0]))
    assert torch.equal(inside(torch.tensor([0.1, 0.6, 0.6, 0])), torch.tensor([0, 0.5, 0.5, 0]))
    assert torch.allclose(chroma(pictures, mask.expand(3, 8, 8)), torch.tensor([0.4, 0.4, 0.0]))
    with pytest.raises(SteerlabError, match="nothing shows the concept"):
        inside(torch.zeros(4))
    with pytest.raises(SteerlabError, match="5 tokens are no grid over pictures of 8 by 8"):
        coverage(mask, 5)


def test_what_is_read_is_a_mean_that_knows_the_circle():
    assert RING.read(one_hot(0, 3)).tolist() == pytest.approx([0, 135])
    halves = (one_hot(0, 3) + one_hot(7, 4)) / 2
    assert RING.read(halves).tolist() == pytest.approx([337.5, 157.5])
    assert LINE.read(torch.tensor([[0.25, 0.75]])).tolist() == [0.75]
    assert RING.ways(torch.tensor([350.0, 10, 350])).tolist() == [20, -20]
    assert RING.follow(RING.places, RING.places + 30) == pytest.approx(1)
    assert RING.follow(RING.places, -RING.places) == pytest.approx(-1)
    assert LINE.follow(torch.tensor([0.0, 0.5, 1]), torch.tensor([0.0, 1, 2])) == pytest.approx(1)
    assert LINE.follow(torch.tensor([0.0, 0.5, 1]), torch.ones(3)) == 0
    assert RING.follow(RING.places, torch.full((8,), 135.0)) == 0


def test_an_order_has_no_step_back_and_arrives():
    rows = torch.tensor(
        [[0.0, 45, 90, 135], [0, 0, 0, 0], [0, 90, 45, 135], [0, 43, 40, 135], [350, 10, 50, 95]]
    )
    assert RING.monotone(rows, 135.0).tolist() == [True, False, False, True, True]
    assert RING.monotone(-rows, -135.0).tolist() == [True, False, False, True, True]
    seen = torch.stack([one_hot(3, 4, 4, 5), one_hot(3, 5, 5, 5), one_hot(3, 4, 3, 5)])
    assert RING.passes(seen, [3, 4, 5]).tolist() == [True, False, False]


def test_values_on_the_way_are_those_of_the_short_arc():
    fitted = planted()
    assert [HUES[i] for i in between(fitted, ("green", "purple"))] == ["green", "cyan", "blue", "purple"]
    assert [HUES[i] for i in between(fitted, ("orange", "purple"))] == ["orange", "red", "pink", "purple"]
    assert commanded(fitted, ("orange", "pink"), 3).tolist() == pytest.approx([45, 0, -45])


def test_a_reading_is_the_least_squares_of_coverage():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, 4, generator=generator, dtype=torch.float64) + 1
    y = x @ torch.tensor([0.5, -1.0, 0.0, 2.0], dtype=torch.float64) + 0.3
    rows = torch.cat([x, torch.ones(500, 1), (y + 0.1 * torch.randn(500, generator=generator))[:, None]], 1)
    weights, offset, explained = _reading(rows.T @ rows)
    exact = torch.linalg.lstsq(rows[:, :5], rows[:, 5:]).solution[:, 0]
    rest = (rows[:, :5] @ exact - rows[:, 5]).square().sum()
    assert torch.allclose(torch.cat([weights, torch.tensor([offset])]), exact, atol=0.01)
    assert explained == pytest.approx(
        float(1 - rest / (rows[:, 5] - rows[:, 5].mean()).square().sum()), abs=1e-4
    )


def test_findings_tell_an_ordered_curve_from_a_line_that_jumps():
    fitted = planted()
    walks = [
        walk("curve", (3, 4, 5, 6), (3, 4, 5, 6), (3, 4, 4, 6)),
        walk("line", (3, 3, 6, 6), (3, 3, 6, 6), (3, 3, 6, 6), sure=0.8, colourful=0.25),
        walk("random 0", (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3)),
    ]
    walks[1].sure[2] = walks[1].sure[2] - 0.5
    walks[1].seen[1] = (one_hot(3, 3, 3) + one_hot(6, 6, 6)) / 2  # green and purple at once: off the ring
    ends = ("green", "purple")
    order, rising, follow, kept, surer, least, brighter, nearer = found(walks, fitted, RING, ends)
    assert (order.effect, order.controls) == (pytest.approx(2 / 3), (0.0, 0.0))
    assert (rising.effect, rising.controls) == (1.0, (1.0, 0.0))
    assert follow.effect > follow.controls[0] > 0.5 and follow.controls[1] == 0
    assert kept.effect == 1 and surer.effect == pytest.approx(0.21 + 0.125) and brighter.effect == 0.25
    assert nearer.effect > 0.1 and least.effect == pytest.approx(0.71)
    assert surer.floor == pytest.approx(0.01 / 3**0.5) and "p = " in surer.claim
    filled = tables(walks, fitted, RING, ends)
    assert filled["read"]["curve"][[0, 1, 3]].tolist() == pytest.approx([135, 180, 270])
    assert filled["read"]["random 0"].tolist() == pytest.approx([135] * 4)
    assert len(filled["seen"]["way"]) == 36 and filled["probabilities"]["cyan"][1] == 1


def test_the_curve_of_a_pipeline_is_what_the_plain_verbs_give():
    sd, site, words = sl.load("zoo:shapes-sdxl"), "unet.up.1.2.update", ("green", "cyan", "blue")
    template = "a large {value} square in the center"
    asked = PictureManifold(
        words, site, "green", "blue", fit_seeds=[1], seeds=[2], steps=2, guidance=3.0, waypoints=3, controls=0
    )
    report = asked(sd, [template])
    drawing = Drawing(2, 3.0, 16, "cond")
    fitted = fit_pictures(sd, [template], [1], site, (drawing, asked.reader, 7))
    prompts = [template.format(value=word) for word in words]
    made = sd.generate(prompts, seed=[1] * 3, steps=2, guidance=3.0, at=site, during=sl.Scope(branch="cond"))
    shown = coverage(changed(made.tensor()), 64)
    means = (made.activations[site] * inside(shown)[:, None]).sum(2).mean(0)
    assert torch.allclose(fitted.manifold.centroids.float(), means, atol=1e-3)
    man = fitted.manifold
    edit = Where(Replace(man.point("cyan"), man.subspace), fitted.reading.float(), fitted.offset)
    by_hand = sd.generate(prompts[0], edit={site: edit.on(branch="cond")}, seed=[2], steps=2, guidance=3.0)
    pixels = by_hand.tensor().movedim(1, -1)[0]
    strip = report.tables["pictures"]
    assert (strip["curve"][1].float() / 255 - pixels).abs().max() < 0.01
    assert not torch.equal(strip["curve"][1], strip["line"][1])
    assert set(report.interventions) == {"to green", "to cyan", "to blue", "one step along"}
    again = sd.generate(prompts[0], edit=report.interventions["to cyan"], seed=[2], steps=2, guidance=3.0)
    assert (again.tensor() - by_hand.tensor()).abs().max() < 0.01
    assert asked.passes(sd, [template]) == 2 * (3 + 2 + 6)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"values": "green"}, "values='green'; give a list of texts"),
        ({"values": ["green", "cyan", "blue", "bleu"]}, "values='bleu'; did you mean 'blue'"),
        ({"start": "gren"}, "start='gren'; did you mean 'green'"),
        ({"end": "green"}, "three values or more, of which start and end are two"),
        ({"places": [0, 1]}, "give a number for each value"),
        ({"period": 0}, "period=0 is not a number above 0"),
        ({"waypoints": 2}, "waypoints=2 is not a whole number of 3 or more"),
        ({"seeds": []}, "seeds=.*; give a list of whole numbers"),
        ({"keeps": "form"}, "keeps='form'"),
    ],
)
def test_wrong_settings_are_told_at_once(settings, says):
    right = PictureManifold(["green", "cyan", "blue"], "unet.up.1.2.update", "green", "blue")
    with pytest.raises(SteerlabError, match=says):
        dataclasses.replace(right, **settings)


def test_a_prompt_without_a_place_for_the_value_is_told():
    asked = PictureManifold(["green", "cyan", "blue"], "unet.up.1.2.update", "green", "blue")
    with pytest.raises(SteerlabError, match="the prompt 'a green star' has no {value} in it"):
        asked.passes(None, ["a green star"])
