"""ConceptManifold on colours in shapes-vit: tiles and axes that are planted, and a dictionary it trains."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

import steerlab as sl
from steerlab.analyzers.concept_manifold import ConceptManifold
from steerlab.analyzers.concept_manifold.facts import held
from steerlab.analyzers.concept_manifold.results import seen
from steerlab.bases.encoders import Linear
from steerlab.bases.rules import Relu, TopK
from steerlab.keeping import keeping
from steerlab.numerics.capture import pca_capture
from steerlab.numerics.tiling import Regime
from steerlab.zoo.scenes import COLOURS, Scene, render

AT = "blocks.5.resid"
SCENES = [Scene(colour, shape) for colour in COLOURS for shape in ("circle", "star")]


@pytest.fixture(scope="module")
def model():
    return sl.load("zoo:shapes-vit")


@pytest.fixture(scope="module")
def pictures():
    from PIL import Image

    pixels = render(SCENES, torch.Generator().manual_seed(0))
    return [Image.fromarray((255 * one.permute(1, 2, 0)).round().byte().numpy()) for one in pixels]


@pytest.fixture(scope="module")
def means(model, pictures):
    x = model.capture(pictures, AT, tokens="cls")[AT][:, 0]
    return x.view(len(COLOURS), 2, -1).mean(1)


def asked(**settings) -> ConceptManifold:
    labels = [scene.colour for scene in SCENES]
    given = {"acted": 0, "controls": 2} | settings
    return ConceptManifold(AT, labels=labels, tokens="cls", **given)


def tiles(means: torch.Tensor) -> sl.Dictionary:
    """One atom a colour, pointing at its mean, of which the best fires; silent ones to be controls."""
    centre = means.mean(0)
    atoms = torch.nn.functional.normalize(means - centre, dim=1)
    others = torch.randn(16, means.shape[1], generator=torch.Generator().manual_seed(0))
    atoms = torch.cat([atoms, torch.nn.functional.normalize(others, dim=1)])
    bias = torch.cat([torch.zeros(8), torch.full((16,), -1e3)])
    return sl.Dictionary(
        decoder=atoms, encoder=Linear(atoms.T.contiguous(), bias, TopK(1)), bias=centre, pre_bias=centre
    )


def axes(means: torch.Tensor) -> sl.Dictionary:
    """The means' principal axes, moved out so that every code is at work everywhere."""
    centre = means.mean(0)
    _, s, directions = torch.linalg.svd(means - centre, full_matrices=False)
    lift = torch.full((24,), -1e3)
    lift[:7] = 10 * float(s[0])  # eight centred means have seven axes
    bias = centre - (lift[:7, None] * directions[:7]).sum(0)
    others = torch.randn(17, means.shape[1], generator=torch.Generator().manual_seed(0))
    atoms = torch.cat([directions[:7], torch.nn.functional.normalize(others, dim=1)])
    return sl.Dictionary(
        decoder=atoms,
        encoder=Linear(atoms.T.contiguous(), lift, Relu()),
        bias=bias,
        pre_bias=centre,
    )


def test_planted_tiles_and_planted_axes_are_told_apart(model, pictures, means):
    tiled = asked(dictionary=tiles(means), corpus=pictures * 8, corpus_tokens="cls")(model, pictures)
    assert tiled.title.endswith("tiling")
    assert float(tiled.tables["atoms"]["spread"].nan_to_num().max()) < 0.6
    assert len(set(tiled.tables["atoms"]["prefers"])) == len(tiled.tables["atoms"]["atom"])
    groups = tiled.tables["groups"]
    assert (groups["size"].tolist(), groups["cohesion"].tolist()) == ([8], [-1.0])
    assert float(groups["holds"][0]) == pytest.approx(float(tiled.tables["capture"]["by codes"][7]), abs=1e-3)
    whole = asked(dictionary=axes(means))(model, pictures)
    assert whole.title.endswith("global")
    assert whole.tables["atoms"]["values"].tolist() == [8] * len(whole.tables["atoms"]["atom"])
    # principal axes are atoms here, so codes, span and components make one curve
    centred = (means - means.mean(0)).double()
    best = pca_capture(centred.T @ centred).explained[:7]
    for name in ("by span", "by codes", "principal components", "codes refitted"):
        torch.testing.assert_close(whole.tables["capture"][name][:7], best, atol=1e-4, rtol=0)


def test_random_dictionaries_stay_below(model, pictures, means):
    table = asked(dictionary=axes(means))(model, pictures).tables["capture"]
    for name in (one for one in table if " random " in one):
        assert float(table[name][3]) < float(table["by span"][3])


def test_removed_by_codes_tiles_leave_what_they_do_not_explain(model, pictures, means):
    report = asked(dictionary=axes(means), acted=8, controls=1, share=0.99)(model, pictures)
    acts = report.tables["acts"]
    one, other = acts["effect"].tolist()
    assert one > 0.05
    for intervention in ("remove the concept by codes", "remove the concept by span"):
        with model.edit(report.interventions[intervention]):
            edited = model.capture(pictures, AT, tokens="cls")[AT][:, 0]
        left = (edited.view(8, 2, -1).mean(1) - means.mean(0)).norm() / (means - means.mean(0)).norm()
        # codes of lifted axes take the lift along; around the bias the span does as well
        assert float(edited.view(8, 2, -1).mean(1).var(0).sum() / means.var(0).sum()) < 0.02
        assert float(left) > 1
    assert one == pytest.approx(other, rel=0.02)  # held whole: codes and span are one


def test_moves_change_the_output_as_the_colours_do(model, pictures, means, tmp_path):
    report = asked(dictionary=tiles(means), acted=16, controls=1, share=0.95)(model, pictures)
    moved = report.evidence[-1]
    assert moved.rung == "intervened"
    assert moved.effect > 0.9
    move = report.interventions["move to red"]
    with model.edit(move):
        edited = model.capture(pictures, AT, tokens="cls")[AT][:, 0]
    atoms = report.tables["atoms"]["atom"]
    frame = sl.Subspace(tiles(means).decoder[atoms]).atoms
    torch.testing.assert_close(edited @ frame.T, (means[0] @ frame.T).expand(16, -1), atol=2e-2, rtol=0)
    again = sl.Report.load(report.save(tmp_path / "report"))
    assert set(again.interventions) == set(report.interventions)
    drawn = again.figures()
    assert set(drawn) == {"capture", "tuning", "acts"}
    assert (
        drawn["acts"].axes[0].get_xlabel() == report.evidence[2].unit
        and moved.unit != report.evidence[2].unit
    )


@pytest.mark.parametrize(
    ("spread", "positive", "told"),
    [
        (0.25, 0.5, "tiling, spread 0.25, 50% of their couplings positive"),
        (0.0, math.nan, "tiling, spread 0.00"),
        (math.nan, math.nan, "tiling"),
    ],
)
def test_what_is_not_known_of_atoms_is_not_told(means, spread, positive, told):
    known = held(means, torch.arange(8), tiles(means), of="means", share=0.8, most=8)
    found = replace(known, verdict=Regime("tiling", 1.0, spread, positive))
    assert seen(found, "means")[1].claim == f"atoms needed by codes: {told}"


def test_a_dictionary_is_trained_and_a_run_that_was_cut_off_goes_on(model, pictures, tmp_path):
    analyzer = asked(corpus=pictures, atoms=24, k=3, steps=60, acted=4, controls=1)
    plain = analyzer(model, pictures)
    with keeping(tmp_path):
        first = analyzer(model, pictures)
    with keeping(tmp_path) as keeper:
        second = analyzer(model, pictures)
    assert keeper.reused >= 2
    for report in (first, second):
        assert [one.effect for one in report.evidence] == [one.effect for one in plain.evidence]
        torch.testing.assert_close(report.tables["capture"], plain.tables["capture"], equal_nan=True)
    groups = plain.tables["groups"]
    assert bool((groups["size"] >= 2).all())
    assert not math.isnan(float(groups["persistence"][0]))


def test_texts_are_filled_and_mistakes_are_named():
    from steerlab.analyzers.concept_manifold.gathering import labelled

    given = labelled(["On {} we met.", "{} is near."], ["Monday", "Friday"], None)
    assert given.inputs == ["On Monday we met.", "Monday is near.", "On Friday we met.", "Friday is near."]
    assert given.labels.tolist() == [0, 0, 1, 1]
    assert labelled([0, 0, 0], None, [30, 10.5, 30]).names == ("10.5", "30")
    with pytest.raises(sl.SteerlabError, match="some input has none"):
        labelled(["no blank"], ["a"], None)
    with pytest.raises(sl.SteerlabError, match="one label for each of the 2 inputs, not 1"):
        labelled(["a", "b"], None, [1])
    with pytest.raises(sl.SteerlabError, match="and not both"):
        ConceptManifold(AT)
    with pytest.raises(sl.SteerlabError, match="of='mean'"):
        ConceptManifold(AT, labels=[1, 2], of="mean")
