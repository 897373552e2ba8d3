"""Translation: a model beside itself under a right and a wrong index, and two models of the same pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import steerlab as sl
from steerlab.analyzers.translation import Translation
from steerlab.bases.encoders import Linear
from steerlab.bases.rules import TopK
from steerlab.keeping import keeping

AT = "blocks.4.resid"


@pytest.fixture(scope="module")
def model():
    return sl.load("zoo:shapes-vit")


@pytest.fixture(scope="module")
def pictures():
    return sl.inputs.Scenes(28).load(Path())


@pytest.fixture(scope="module")
def shared(model, pictures):
    """Atoms of one model: its principal axes in both senses, of which the four strongest fire."""
    x = model.capture(pictures, AT, tokens="cls")[AT][:, 0]
    _, _, axes = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    atoms = torch.cat([axes[:6], -axes[:6]])
    encoder = Linear(atoms.T.contiguous(), torch.zeros(12), TopK(4))
    return sl.Dictionary(decoder=atoms, encoder=encoder, bias=x.mean(0), pre_bias=x.mean(0))


def asked(other, *dictionaries, **more) -> Translation:
    given = {"tokens": "cls", "there_tokens": "cls", "concepts": 4, "dictionaries": dictionaries or None}
    return Translation(other, AT, **({"there": AT} | given | more))


def reordered(shared: sl.Dictionary) -> sl.Dictionary:
    order = torch.arange(12).roll(5)
    encoder = Linear(shared.encoder.weight[:, order], torch.zeros(12), TopK(4))
    return sl.Dictionary(
        decoder=shared.decoder[order], encoder=encoder, bias=shared.bias, pre_bias=shared.pre_bias
    )


def test_a_model_translates_into_itself_and_its_edits_agree_entirely(model, pictures, shared):
    report = asked(model, shared, shared)(model, pictures)
    pairs, concepts = report.tables["translation"], report.tables["concepts"]
    torch.testing.assert_close(pairs["R2"], pairs["R2"][:1].expand(4))
    assert float(pairs["R2"][0]) > 0.5
    torch.testing.assert_close(concepts["consistency"], torch.ones(4, dtype=torch.float64))
    assert float(concepts["outputs alike"].min()) > 0.85  # the map between outputs is a ridge regression
    assert report.evidence[-1].effect > 0.5 + max(report.evidence[-1].controls)
    torch.testing.assert_close(concepts["firing entropy"], torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(concepts["fires together here"], torch.ones(4, dtype=torch.float64))


def test_under_a_wrong_index_nothing_agrees(model, pictures, shared):
    report = asked(model, shared, reordered(shared))(model, pictures)
    pairs, concepts = report.tables["translation"], report.tables["concepts"]
    assert float(pairs["R2"][[0, 3]].min()) > 0.5
    assert float(pairs["R2"][[1, 2]].max()) < 0.0
    assert float(concepts["consistency"].max()) < 0.6
    assert float(concepts["outputs alike"].mean()) < 0.4


def test_an_intervention_adds_the_concept_in_its_own_model(model, pictures, shared):
    report = asked(model, shared, reordered(shared))(model, pictures)
    concept = int(report.tables["concepts"]["concept"][0])
    base = model.capture(pictures[:4], AT, tokens="cls")[AT]
    for name, one in (("here", shared), ("there", reordered(shared))):
        with model.edit(report.interventions[f"concept {concept} {name}"]):
            step = model.capture(pictures[:4], AT, tokens="cls")[AT] - base
        along = torch.nn.functional.cosine_similarity(step, one.decoder[concept], dim=-1)
        torch.testing.assert_close(along, torch.ones(4, 1), atol=1e-4, rtol=0)


def test_two_models_are_given_one_index_and_a_run_goes_on(model, pictures, tmp_path):
    analyzer = asked(
        "zoo:shapes-clip",
        there="vision.blocks.2.resid",
        there_readout="vision.pooled",
        atoms=16,
        k=3,
        steps=80,
        concepts=2,
    )
    with keeping(tmp_path):
        report = analyzer(model, pictures)
    with keeping(tmp_path) as keeper:
        again = analyzer(model, pictures)
    assert keeper.reused > 4
    torch.testing.assert_close(report.tables["translation"]["R2"], again.tables["translation"]["R2"])
    pairs = report.tables["translation"]
    assert bool((pairs["R2"] > pairs["R2 random 0"]).all())
    loaded = sl.Report.load(report.save(tmp_path / "report"))
    assert len(loaded.interventions) == 4
    assert set(loaded.figures()) == {"translation", "concepts"}
    there = next(one for name, one in loaded.interventions.items() if name.endswith("there"))
    with pytest.raises(sl.SteerlabError):
        model.edit(there)


def test_what_cannot_be_paired_is_said(model, pictures):
    with pytest.raises(sl.SteerlabError, match="equally many"):
        asked(model, there_tokens="patches")(model, pictures[:4])
    with pytest.raises(sl.SteerlabError, match="other=3 is no model"):
        Translation(3, AT, AT)
    with pytest.raises(sl.SteerlabError, match="held=2"):
        Translation(model, AT, AT, held=2)
