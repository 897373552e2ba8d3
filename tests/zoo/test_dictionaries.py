"""The zoo's dictionaries: they load, explain what they were not trained on, and their card is true."""

from __future__ import annotations

import json
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from re import findall

import pytest
import torch
from safetensors import safe_open

import steerlab as sl
from steerlab.numerics.fidelity import r2
from steerlab.zoo import dictionaries, scenes
from steerlab.zoo.training.dictionaries import PLANS
from steerlab.zoo.training.openings import CHAT, PLAIN, SUBJECTS, TEMPLATES, openings

NAMES = dictionaries.names()
MEASURED = json.loads((dictionaries.WEIGHTS / "evaluation.json").read_text(encoding="utf-8"))
every_dictionary = pytest.mark.parametrize("name", NAMES)


def quoted(value: float) -> set[Decimal]:
    """A number as the card may write it: as it is if whole, else to three digits, halves either way."""
    exact = Decimal(str(value))
    if exact == exact.to_integral_value():
        return {exact}
    return {exact.quantize(Decimal("0.001"), rounding=way) for way in (ROUND_HALF_EVEN, ROUND_HALF_UP)}


def test_the_dictionaries_are_those_that_were_measured_and_can_be_trained():
    assert {"smollm2/blocks.15.resid", "shapes-vit/blocks.4.resid"} <= set(NAMES)
    assert {*NAMES} == {*MEASURED} == {*PLANS}


@every_dictionary
def test_a_dictionary_is_what_its_plan_says_in_half_precision(name):
    plan, sae = PLANS[name], dictionaries.load(name)
    assert (len(sae), str(sae.site), sae.facts.model) == (plan.atoms, plan.site, f"zoo:{plan.model}")
    assert torch.allclose(sae.atoms.norm(dim=-1), torch.ones(plan.atoms), atol=2e-3)
    assert sae.stats.count > 10_000 and sae.stats.frequency.sum() <= plan.settings.k + 0.1
    file = dictionaries.WEIGHTS / f"{name}.safetensors"
    with safe_open(file, framework="pt") as kept:
        kinds = {kept.get_slice(key).get_dtype() for key in kept.keys()}
    assert kinds == {"F16"} and file.stat().st_size <= 7e6


@every_dictionary
def test_the_card_quotes_every_measured_number(name):
    card = (dictionaries.WEIGHTS / "README.md").read_text(encoding="utf-8")
    (row,) = [line for line in card.splitlines() if line.startswith(f"| `{name}` |")]
    said = {Decimal(found.replace(",", "")) for found in findall(r"(?<![\w.])\d[\d,]*(?:\.\d+)?", row)}
    missing = {what: value for what, value in MEASURED[name].items() if not quoted(value) & said}
    assert missing == {} and "Apache-2.0" in card


def test_pictures_it_never_saw_are_explained_as_well_as_the_card_says():
    name = "shapes-vit/blocks.4.resid"
    sae, vit = dictionaries.load(name), sl.load("zoo:shapes-vit")
    generator = torch.Generator().manual_seed(123)
    pictures = scenes.render(scenes.random_scenes(32, generator), generator)
    x = vit.capture({"pixel_values": 2 * pictures - 1}, at=str(sae.site), tokens="patches")[str(sae.site)]
    codes = sae.encode(x)
    assert r2(x, sae.decode(codes)) == pytest.approx(MEASURED[name]["r2"], abs=0.03)
    assert (codes != 0).sum(-1).float().mean() == pytest.approx(MEASURED[name]["l0"], abs=0.5)
    shuffled = x.flatten()[torch.randperm(x.numel(), generator=generator)].view_as(x)
    assert r2(shuffled, sae.reconstruct(shuffled)) < 0.5  # it knows these activations, not any


def test_a_model_with_one_dictionary_is_named_alone_and_others_are_helped():
    assert str(dictionaries.load("shapes-vit").site) == "blocks.4.resid"
    assert str(sl.load_dictionary("zoo:shapes-vit/blocks.4.resid").site) == "blocks.4.resid"
    with pytest.raises(sl.SteerlabError, match=r"'smollm' is no dictionary.*the zoo has: "):
        dictionaries.load("smollm")


def test_openings_are_drawn_by_the_seed_from_every_table():
    drawn = openings(600, torch.Generator().manual_seed(0))
    assert drawn == openings(600, torch.Generator().manual_seed(0))
    assert drawn != openings(600, torch.Generator().manual_seed(1))
    texts, chats = {text for text, _ in drawn}, [text for text, is_chat in drawn if is_chat]
    assert 40 < len(chats) < 110 and all(text.startswith(tuple(c[:8] for c in CHAT)) for text in chats)
    assert texts & set(PLAIN) and len(texts) > 500
    assert all(template.count("{subject}") == 1 for template in (*TEMPLATES, *CHAT))
    subjects = [subject for some in SUBJECTS.values() for subject in some]
    assert len(subjects) == len(set(subjects))
