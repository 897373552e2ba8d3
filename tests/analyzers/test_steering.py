"""Steering analyzers: planted atoms are found, the vector is the difference of means, budgets are kept."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from conftest import build

import steerlab as sl
from steerlab.analyzers import AtomDose, ContrastiveVector
from steerlab.errors import SteerlabError

AT = "blocks.0.resid_pre"
TEXTS = {
    "positive": ["the cat sat", "a cat ran", "today the cat"],
    "negative": ["the dog sat", "a king ran", "today the queen"],
    "contexts": ["Monday is", "the man was"],
    "toward": [" cat", " the cat"],
    "away": [" dog", " the dog"],
}
CONTROL = ["Paris is the capital of France .", "two and two"]


def planted() -> tuple[sl.Model, sl.Dictionary]:
    """A dictionary at the embeddings whose atom 5 is the word cat, and whose others are noise."""
    lm = build("llama").model
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(9, 32, generator=generator)
    cat = lm.capture(["cat"], at=AT)[AT][0, -1]
    rows[5] = cat / cat.norm()
    return lm, sl.atoms.at_site(sl.Dictionary(decoder=rows, encoder=sl.Pursuit(2)), AT)


def test_the_planted_atom_is_found_shown_and_taken_away():
    lm, sae = planted()
    report = AtomDose(sae, **TEXTS, strengths=[0.5], controls=2, new_tokens=3)(lm, CONTROL)
    assert "atom 5" in report.title
    assert [text.count("«cat»") for text in report.tables["fires on"]["text"][:3]] == [1, 1, 1]
    codes = report.tables["fires on"]["code"]
    assert torch.equal(codes, codes.sort(descending=True).values)
    shown = report.tables["codes"]
    tops = [shown["code"][shown["row"] == row] for row in range(1, len(codes) + 1)]
    assert [float(one.max()) for one in tops] == codes.tolist()
    assert {shown["token"][i].strip() for i in (shown["code"] == codes[0]).nonzero().flatten()} == {"cat"}
    assert len(report.figures()["codes"].axes[0].patches) == len(shown["code"])
    add = report.interventions["add the atom"][AT][0]
    assert torch.equal(add.edit.vector, sae[5]) and add.edit.strength == 0.5 and add.edit.unit == "norm"
    assert report.interventions["take the atom away"][AT][0].edit.basis.index.tolist() == [5]
    assert set(report.tables["texts"]) == {"prompt", "base", "with the atom", "random 0"}
    assert [len(one.controls) for one in report.evidence] == [2, 2, 2]


def test_the_vector_is_the_difference_of_means_and_the_curve_is_measured_by_hand():
    lm = build("llama").model
    report = ContrastiveVector(AT, **TEXTS, strengths=[-0.5, 0.5], controls=1, new_tokens=0)(lm, CONTROL)
    last = {
        side: lm.capture(TEXTS[side], at=AT, tokens="last")[AT][:, 0] for side in ("positive", "negative")
    }
    (edit,) = report.interventions["add the vector"][AT]
    assert torch.allclose(edit.edit.vector, last["positive"].mean(0) - last["negative"].mean(0), atol=1e-6)
    doses = report.tables["doses"]
    assert doses["strength"].tolist() == [-0.5, 0.0, 0.5] and doses["cost"][1] == 0
    base = lm.logits(CONTROL)
    with lm.edit({AT: edit}):
        edited = lm.logits(CONTROL)
    real = lm.processor(CONTROL, return_tensors="pt", padding=True).attention_mask.bool()
    gap = base.double().log_softmax(-1) - edited.double().log_softmax(-1)
    by_hand = (base.double().softmax(-1) * gap).sum(-1)[real].mean()
    assert float(doses["cost"][2]) == pytest.approx(float(by_hand), rel=1e-4)
    effect = report.evidence[0]
    assert effect.effect == pytest.approx(float(doses["score"][2] - doses["score"][1]))
    shift = abs(float(doses["score random 0"][2] - doses["score random 0"][1]))
    assert effect.controls == pytest.approx([shift])
    assert "texts" not in report.tables


def test_the_strength_keeps_the_budget():
    lm = build("llama").model
    ask = ContrastiveVector(AT, **TEXTS, strengths=[0.5], controls=1, new_tokens=0, budget=0.002)
    report = ask(lm, CONTROL)
    chosen = report.interventions["add the vector"][AT][0].edit.strength
    costs = dict(
        zip(report.tables["doses"]["strength"].tolist(), report.tables["doses"]["cost"].tolist(), strict=True)
    )
    (at,) = [strength for strength in costs if strength == pytest.approx(chosen)]
    assert 0 < costs[at] <= 0.002 < costs[0.5]
    assert costs[at] > 0.0019  # the largest that is within it


def test_equal_texts_make_no_vector_and_no_atom():
    lm, sae = planted()
    same = TEXTS | {"negative": TEXTS["positive"]}
    with pytest.raises(SteerlabError, match="the same mean"):
        ContrastiveVector(AT, **same)(lm, CONTROL)
    with pytest.raises(SteerlabError, match="no atom is stronger"):
        AtomDose(sae, **same)(lm, CONTROL)


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("positive", "one text", "positive='one text'; give a list of texts"),
        ("away", [], r"away=\[\]; give a list of texts"),
        ("strengths", [0.0], r"strengths=\[0.0\]; give a list of numbers, one not 0"),
        ("strengths", ["much"], "strengths=.* give a list of numbers"),
        ("strengths", [float("nan")], "strengths=.* give a list of numbers"),
        ("budget", 0, "budget=0 is not a divergence above 0"),
        ("controls", 0, "controls=0 is not a whole number of 1 or more"),
        ("new_tokens", -1, "new_tokens=-1 is not a whole number of 0 or more"),
    ],
)
def test_wrong_settings_are_told_at_once(setting, value, says):
    for one in (ContrastiveVector(AT, **TEXTS), AtomDose(planted()[1], **TEXTS)):
        with pytest.raises(SteerlabError, match=f"{type(one).__name__}: {says}"):
            dataclasses.replace(one, **{setting: value})


@pytest.mark.parametrize(
    ("setting", "value"), [("atom", "best"), ("atom", -1), ("top", 0), ("dictionary", "sae")]
)
def test_wrong_settings_of_an_atom_are_told_at_once(setting, value):
    with pytest.raises(SteerlabError, match=f"AtomDose: {setting}={value!r}"):
        dataclasses.replace(AtomDose(planted()[1], **TEXTS), **{setting: value})
