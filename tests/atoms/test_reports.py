"""Planted blindspots, planted preferences and permuted dictionaries are found, and their edits undo them."""

from __future__ import annotations

import dataclasses

import planted
import pytest
import torch
from exact_atoms import tied

import steerlab as sl
from steerlab import atoms
from steerlab.bases import Stats

SITE = "blocks.1.resid"


@pytest.fixture(scope="module")
def sae() -> sl.Dictionary:
    return tied(planted.frame(40, 48, planted.generator(0)), SITE)


def images(seed: int, count: int = 120) -> torch.Tensor:
    """Codes ``[image, token, atom]`` of which each is on in half the images."""
    g = planted.generator(seed)
    return planted.rand(count, 6, 40, g=g) * (planted.rand(count, 1, 40, g=g) < 0.5)


@pytest.fixture(scope="module")
def generator_with_blindspots(sae):
    real, made = images(1), images(2)
    real[..., 3] = 0.9 + 0.1 * real[..., 3]  # always there, in real images alone
    made[..., 3] *= 0.05
    made[..., 7] = 0.8 + 0.2 * made[..., 7]
    real[..., 7] *= 0.1
    real[..., 11] = 1 + real[..., 11]
    made[..., 11] = 0
    return real, made


def test_planted_blindspots_are_found_from_activations_and_codes_alike(sae, generator_with_blindspots):
    real, made = generator_with_blindspots
    by_codes = atoms.blindspots(sae, real, made)
    assert sorted(by_codes.suppressed) == [3, 11] and by_codes.exaggerated == [7]
    assert by_codes.shuffled <= 0.1 and by_codes.images == (120, 120)
    by_activations = atoms.blindspots(sae, list((real @ sae.atoms).split(50)), made @ sae.atoms)
    torch.testing.assert_close(by_activations.scores.delta, by_codes.scores.delta, atol=1e-5, rtol=0)
    published = atoms.blindspots(sae, real, made, scale=1.0)
    assert published.suppressed == [] and published.scores.delta[3] < 0.5 < published.scores.delta[7]
    assert atoms.blindspots(sae, real, real).suppressed == []


def test_its_interventions_take_the_differences_back(sae, generator_with_blindspots):
    real, made = generator_with_blindspots
    report = atoms.blindspots(sae, real, made, how="mean")
    x = made @ sae.atoms
    edits = {name: dict(found)[SITE] for name, found in report.interventions.items()}
    assert set(edits) == {
        "ablate exaggerated",
        "scale exaggerated back",
        "scale suppressed up",
        "add suppressed",
    }
    after = {name: sae.encode(edit(x)) for name, edit in edits.items()}
    assert float(after["ablate exaggerated"][..., 7].abs().max()) < 1e-12
    others = [k for k in range(40) if k != 7]
    torch.testing.assert_close(after["ablate exaggerated"][..., others], made[..., others])
    wanted = real.mean((0, 1))
    for name, atom in (("scale exaggerated back", 7), ("scale suppressed up", 3), ("add suppressed", 11)):
        assert float(after[name][..., atom].mean()) == pytest.approx(float(wanted[atom]), rel=1e-4)
        assert float(made[..., atom].mean()) != pytest.approx(float(wanted[atom]), rel=0.5)


def test_planted_preferences_are_found_and_ablated(sae):
    g = planted.generator(3)
    chosen, rejected = (1 + 0.3 * planted.randn(200, 40, g=g).abs() for _ in range(2))
    chosen[:, 5] += 0.3
    rejected[:, [8, 9]] += 0.3
    report = atoms.preferences(sae, chosen @ sae.atoms, rejected @ sae.atoms)
    assert {5} <= set(report.preferred) <= {5, *range(10, 40)} and {8, 9} <= set(report.avoided)
    assert len(report.preferred) + len(report.avoided) <= 5 and report.shuffled < 1
    edit = report.interventions["ablate rejected"][SITE]
    after = sae.encode(edit(rejected @ sae.atoms))
    assert float(after[:, report.avoided].abs().max()) < 1e-12
    left = [k for k in range(40) if k not in report.avoided]
    torch.testing.assert_close(after[:, left], rejected[:, left])
    doubled = report.interventions["double chosen"][SITE](chosen @ sae.atoms)
    torch.testing.assert_close(sae.encode(doubled)[:, 5], 2 * chosen[:, 5])
    effects = [float((chosen - rejected)[report.keep([5], share), 5].mean()) for share in (0.0, 0.2, 0.5)]
    assert effects[0] > effects[1] > effects[2]


def test_answers_of_different_lengths_are_pooled_one_by_one(sae):
    g = planted.generator(4)
    answers = [planted.rand(length, 40, g=g) for length in (3, 7, 1)]
    pooled = atoms.pooled(sae, [codes @ sae.atoms for codes in answers])
    torch.testing.assert_close(pooled.double(), torch.stack([a.amax(0) for a in answers]), atol=1e-5, rtol=0)
    mean = atoms.pooled(sae, answers, how="mean")
    torch.testing.assert_close(mean.double(), torch.stack([a.mean(0) for a in answers]), atol=1e-5, rtol=0)
    report = atoms.preferences(sae, answers * 4, answers * 4)
    assert report.preferred == report.avoided == [] and report.interventions == {}


def test_what_cannot_be_compared_is_refused(sae):
    for call, message in (
        (lambda: atoms.pooled(sae, torch.zeros(3, 5)), "48 dimensions or 40 codes"),
        (lambda: atoms.pooled(sae, torch.zeros(3, 48), how="sum"), "'max' or 'mean'"),
        (lambda: atoms.preferences(sae, torch.rand(3, 40), torch.rand(4, 40)), "3 chosen and 4 rejected"),
        (lambda: atoms.blindspots(sae, torch.rand(1, 40), torch.rand(4, 40)), "two images or more"),
    ):
        with pytest.raises(sl.SteerlabError, match=message):
            call()
    nowhere = dataclasses.replace(sae, facts=sl.Facts())
    low, high = torch.rand(30, 40) * 0.1, torch.rand(30, 40) * 0.1 + 5
    with pytest.raises(sl.SteerlabError, match="an intervention needs a site"):
        _ = atoms.preferences(nowhere, low, high).interventions


def test_a_permuted_copy_is_stable_and_an_unrelated_one_is_random():
    g = planted.generator(5)
    first = tied(planted.unit_rows(planted.randn(64, 16, g=g)))
    order = torch.randperm(64, generator=g)
    same = atoms.stability(first, tied(first.atoms[order]))
    assert same.score == pytest.approx(1) and same.partner(int(order[9])) == (9, pytest.approx(1))
    other = atoms.stability(first, tied(planted.unit_rows(planted.randn(64, 16, g=g))))
    assert other.score == pytest.approx(other.centred.baseline, abs=0.04)
    assert abs(other.centred.above_chance) < 0.1
    shift = 3 * planted.randn(16, g=g)
    apart = [tied(planted.randn(64, 16, g=g) + shift) for _ in range(2)]
    offset = atoms.stability(*apart)
    assert offset.plain.score > 0.8 > 0.7 > offset.score  # what all atoms share is no stability
    weights = torch.zeros(64)
    weights[4] = 1.0
    weighed = dataclasses.replace(first, stats=Stats(mean=weights, std=torch.zeros(64)))
    found = atoms.stability(weighed, tied(planted.unit_rows(planted.randn(64, 16, g=g))))
    assert found.weighted == pytest.approx(found.partner(4)[1])
    assert "random atoms" in str(same)
