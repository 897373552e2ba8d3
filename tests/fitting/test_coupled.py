"""Dictionaries with a shared index, trained on planted concepts: translation, index, scales, resuming."""

from __future__ import annotations

import pytest
import torch
from planted_concepts import shared_concepts

import steerlab as sl
from steerlab.atoms import translation
from steerlab.fitting import Fitting, Losses, fit_coupled
from steerlab.numerics.stability import match_atoms

PLANTED = {"concepts": 20, "active": 2, "dims": (16, 20)}
BRIEF = Fitting(k=2, steps=400, batch=96, lr=5e-3)


@pytest.fixture(scope="module", params=["universal", "coupled"])
def trained(request):
    _, atoms, x = shared_concepts(6000, **PLANTED)
    return fit_coupled((x[0], 3.0 * x[1] + 1.0), 20, kind=request.param, settings=BRIEF), atoms


def held_out() -> list[torch.Tensor]:
    x = shared_concepts(800, **PLANTED, seed=7)[2]
    return [x[0], 3.0 * x[1] + 1.0]


def test_codes_of_each_model_decode_into_each_and_only_under_the_shared_index(trained):
    made, _ = trained
    scores = translation(made, [held_out()], concepts=range(20))
    assert float(scores.r2.min()) > 0.7
    assert float(scores.permuted.max()) < -0.3
    assert float(scores.consistency[0, 1].nanmean()) > 0.7
    # a third concept costs one of the two that were there, so the change cannot lie on the line alone
    assert float(scores.cosine.mean()) > 0.5
    assert float(scores.off_target.mean()) < 0.65
    assert abs(float(scores.elsewhere.mean())) < 0.1


def test_the_same_number_is_the_same_planted_concept_in_both_models(trained):
    made, atoms = trained
    matches = [match_atoms(one.decoder, truth, centred=False) for one, truth in zip(made, atoms, strict=True)]
    same = matches[0].columns == matches[1].columns
    assert float(same.double().mean()) > 0.6
    assert all(match.mean > 0.75 for match in matches)


def test_scales_are_the_models_own(trained):
    made, _ = trained
    lengths = [float(one.decoder.norm(dim=1).mean()) for one in made]
    x = held_out()
    sizes = [float((part - part.mean(0)).square().mean().sqrt()) for part in x]
    assert lengths[1] / lengths[0] == pytest.approx(sizes[1] / sizes[0], rel=0.05)


def test_scaling_a_model_scales_what_a_change_of_a_code_does_there():
    _, _, x = shared_concepts(1000, **PLANTED)
    settings = Fitting(k=2, steps=20, batch=64)
    once = fit_coupled((x[0], x[1]), 20, settings=settings)
    twice = fit_coupled((x[0], 2 * x[1]), 20, settings=settings)
    torch.testing.assert_close(twice[1].decoder, 2 * once[1].decoder, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(twice[1].encode(2 * x[1]), once[1].encode(x[1]), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(twice[0].decoder, once[0].decoder)


@pytest.mark.parametrize("kind", ["universal", "coupled"])
def test_a_training_that_was_cut_off_ends_as_one_that_was_not(kind, tmp_path, monkeypatch):
    _, _, x = shared_concepts(1000, **PLANTED)
    settings = Fitting(k=2, steps=102, batch=32)
    batches = [tuple(part[start : start + 250] for part in x) for start in range(0, 1000, 250)]
    whole = fit_coupled(lambda: iter(batches), 20, kind=kind, settings=settings)
    from steerlab.fitting import coupled

    real, calls = coupled.save, []

    def cut(*given):
        real(*given)
        calls.append(given)
        raise KeyboardInterrupt

    monkeypatch.setattr(coupled, "save", cut)
    with pytest.raises(KeyboardInterrupt):
        fit_coupled(lambda: iter(batches), 20, kind=kind, settings=settings, folder=tmp_path)
    monkeypatch.setattr(coupled, "save", real)
    again = fit_coupled(lambda: iter(batches), 20, kind=kind, settings=settings, folder=tmp_path)
    assert len(calls) == 1
    for one, other in zip(whole, again, strict=True):
        assert torch.equal(one.decoder, other.decoder)
        assert torch.equal(one.encoder.weight, other.encoder.weight)
    with pytest.raises(sl.SteerlabError, match="belongs to another training"):
        fit_coupled(lambda: iter(batches), 20, kind=kind, settings=BRIEF, folder=tmp_path)


def test_each_dictionary_is_a_file_of_its_own(trained, tmp_path):
    made, _ = trained
    for one, part in zip(made, held_out(), strict=True):
        one.save(tmp_path / "one.safetensors")
        again = sl.load_dictionary(tmp_path / "one.safetensors")
        assert torch.equal(again.encode(part), one.encode(part))


def test_what_cannot_be_trained_is_said():
    x = torch.randn(10, 4)
    with pytest.raises(sl.SteerlabError, match=r"kind='univers'; did you mean 'universal'"):
        fit_coupled((x, x), 8, kind="univers")
    with pytest.raises(sl.SteerlabError, match="equally many rows"):
        fit_coupled((x, x[:5]), 8, settings=Fitting(k=2))
    with pytest.raises(sl.SteerlabError, match="k=32 or more"):
        fit_coupled((x, x), 8)
    with pytest.raises(sl.SteerlabError, match="losses are for kind='coupled'"):
        fit_coupled((x, x), 8, settings=Fitting(k=2), losses=Losses())
    with pytest.raises(sl.SteerlabError, match="Losses: energy=-1"):
        Losses(energy=-1)
