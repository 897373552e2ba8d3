"""Gaps closed on planted pairs with the expected numbers, and edits that reach the whole two-tower model."""

from __future__ import annotations

import dataclasses

import planted
import pytest
import torch

import steerlab as sl
from steerlab.analyzers import Bimodal, Composed
from steerlab.analyzers.bimodal import acting, composing
from steerlab.analyzers.bimodal.acting import arms_of, edited
from steerlab.analyzers.bimodal.analyzer import verdict_of
from steerlab.analyzers.bimodal.measuring import bridge_tables, class_table, edit_table
from steerlab.analyzers.bimodal.pairs import Shared, embedded, lengths, shared_of
from steerlab.bases import Dictionary
from steerlab.bases.encoders import Linear, Pursuit
from steerlab.bases.rules import Relu
from steerlab.errors import SteerlabError, SteerlabWarning
from steerlab.inputs import Captioned
from steerlab.numerics.gaps import modality_gap, recall

AT = ("vision.pooled", "text.pooled")


def exact(atoms: torch.Tensor) -> Dictionary:
    """A dictionary that encodes by its own pseudo-inverse."""
    weight = torch.linalg.pinv(atoms.float())
    return Dictionary(decoder=atoms.float(), encoder=Linear(weight, torch.zeros(len(atoms)), Relu()))


def known(pairs: planted.Pairs, dictionary: Dictionary | None = None) -> tuple[Shared, torch.Tensor]:
    """What the analyzer knows of planted pairs, and the pairs ``[pair, 2, dim]``."""
    rows = torch.stack([x.float() for x in pairs.x], 1)
    return shared_of(exact(pairs.atoms) if dictionary is None else dictionary, rows, 0.05), rows


def sides(arm: acting.Arm, rows: torch.Tensor) -> list[torch.Tensor]:
    """Both groups after an edit, as long as they are."""
    return list((edited(arm, rows) * lengths(rows)).unbind(1))


@pytest.fixture(scope="module")
def clip() -> sl.Model:
    return sl.load("zoo:shapes-clip")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> tuple[list[str], list]:
    return Captioned(96).load(tmp_path_factory.mktemp("none"))


def column(table: dict, name: str) -> dict[str, float]:
    """A column of a table of edits, by edit."""
    return dict(zip(table["edit"], table[name].tolist(), strict=True))


def test_construction_g_has_its_expected_numbers_in_every_row():
    shared, rows = known(planted.paired())
    arms = arms_of(shared, rows, controls=2)
    table = edit_table(arms, rows, rows, among=256)
    gaps = {name: modality_gap(*sides(arm, rows)) for name, arm in arms.items()}
    found, probe = column(table, "recall@1"), column(table, "probe")
    assert gaps[acting.CLEAN] == pytest.approx(2.894, abs=0.02)
    assert gaps[acting.BIMODAL] < 0.03  # an exact dictionary misses nothing, so both modes agree
    assert gaps[acting.RESIDUAL] == pytest.approx(gaps[acting.BIMODAL], abs=1e-4)
    assert found[acting.CLEAN] >= 0.99 and found[acting.MEANS] == found[acting.RESIDUAL] == 1
    assert found[acting.UNIMODAL] < 0.03 and found[acting.COMPLEMENT] < 0.03
    assert probe[acting.CLEAN] == 1 and probe[acting.RESIDUAL] == pytest.approx(0.5, abs=0.05)
    assert gaps[f"{acting.NUMBER} 0"] > 2.5 and gaps[f"{acting.NUMBER} 1"] > 2.5  # other atoms leave it
    assert class_table(shared)["atoms"].tolist() == [4, 40, 4, 0]
    told = dict(zip(*bridge_tables(shared, rows)["dictionary"].values(), strict=True))
    # orthonormal atoms: the bridge lies on single atoms, and there is nothing to divide by
    assert float(told["bridge on single atoms, of all"]) == pytest.approx(1, abs=1e-4)
    assert float(told["rho of pairs"]) > 1e4


def test_what_a_short_pursuit_misses_is_worth_keeping():
    pairs = planted.crowded()
    whole = Dictionary(decoder=pairs.atoms.float(), encoder=Pursuit(6))
    shared, rows = known(pairs, whole)
    arms = arms_of(shared, rows, controls=1)
    found = {name: recall(*sides(arms[name], rows)) for name in (acting.RESIDUAL, acting.REBUILT)}
    assert found[acting.RESIDUAL] > 0.99 > 0.75 > found[acting.REBUILT]
    assert recall(*sides(arms[acting.CLEAN], rows)) == pytest.approx(0.846, abs=0.05)


def test_split_concepts_are_told_as_a_gap_closed_and_retrieval_lost():
    shared, rows = known(planted.split(0.5))
    table = edit_table(arms_of(shared, rows, controls=2), rows, rows, among=256)
    gap, found = column(table, "gap"), column(table, "recall@1")
    assert shared.shares.shared == 0
    assert gap[acting.BIMODAL] == 0 and found[acting.BIMODAL] == 0  # the published edit returns zeros
    assert found[acting.RESIDUAL] < 0.05 and found[acting.UNIMODAL] >= 0.99
    assert verdict_of(shared, table).startswith("Gap closed, retrieval lost: bimodal atoms hold 0.0%")


def test_controls_are_as_many_and_as_strong_as_what_they_stand_for():
    shared, _ = known(planted.paired())
    energy = shared.images + shared.texts
    for seed in range(3):
        many, strong = acting.as_many(shared, seed), acting.as_strong(shared, seed)
        assert len(many) == 8 and bool(shared.classes.shared[many].all())
        assert bool(shared.classes.shared[strong].all())
        spent, budget = float(energy[strong].sum()), float(energy[shared.unimodal].sum())
        assert budget - float(energy[shared.bimodal].max()) < spent <= budget


def test_edits_reach_the_whole_model_and_files_do_the_same(clip, scenes, tmp_path):
    """Logits of the user's own call are those of the edited embeddings."""
    rows = embedded(clip, scenes, AT, 32)
    w = mean_difference(rows)
    twice = Dictionary(
        decoder=torch.stack([w, -w]), encoder=Linear(torch.stack([w, -w], 1), torch.zeros(2), Relu())
    )
    edit = sl.Remove(twice.only([0, 1]))
    sl.save_intervention({site: edit for site in AT}, tmp_path / "gap", model=clip)
    texts, images = scenes[0][:6], scenes[1][:6]
    inputs = clip.processor(text=texts, images=images, return_tensors="pt", padding=True)
    with torch.no_grad(), clip.edit(sl.load_intervention(tmp_path / "gap.steer")):
        logits = clip.module(**inputs).logits_per_image
    first, second = (edit(x) / lengths(edit(x)) for x in rows[:6].unbind(1))
    expected = first @ second.T * clip.module.logit_scale.exp().item()
    torch.testing.assert_close(logits, expected, atol=2e-3, rtol=1e-4)
    clean = rows[:6] / lengths(rows[:6])
    assert (
        float((logits - clean[:, 0] @ clean[:, 1].T * clip.module.logit_scale.exp().item()).abs().max())
        > 0.05
    )


def mean_difference(rows: torch.Tensor) -> torch.Tensor:
    """The direction between the means, of length 1."""
    gap = rows[:, 0].mean(0) - rows[:, 1].mean(0)
    return gap / gap.norm()


def apart(rows: torch.Tensor) -> Dictionary:
    """Two atoms that only tell the modalities apart: no concept is shared."""
    centred = (rows - rows.mean(0)).flatten(0, 1)
    w = torch.linalg.solve(centred.T @ centred + 1e-3 * torch.eye(rows.shape[-1]), mean_difference(rows))
    middle = rows.mean((0, 1)) @ w
    weight, bias = torch.stack([w, -w], 1), torch.stack([-middle, middle])
    scale = 1 / (weight.T @ (rows[:, 0].mean(0)) + bias)[0]
    gap = mean_difference(rows)
    return Dictionary(decoder=torch.stack([gap, -gap]), encoder=Linear(weight * scale, bias * scale, Relu()))


def test_a_dictionary_without_shared_atoms_is_warned_of(clip, scenes):
    dictionary = apart(embedded(clip, scenes, AT, 32))
    asked = Bimodal(dictionary=dictionary, held=48, among=48, controls=1)
    with pytest.warns(SteerlabWarning, match="Gap closed, retrieval lost"):
        report = asked(clip, scenes)
    assert report.about.startswith("Gap closed, retrieval lost")
    assert report.tables["classes"]["atoms"][1] == 0


def test_the_step_toward_a_word_is_the_same_for_every_picture_at_its_length(clip, scenes):
    colours = ["red", "blue", "green"]
    asked = Composed(words=colours, steps=30, gallery=24, controls=1, atoms=32, k=4, nearest=2)
    texts = scenes[0][:48] + [f"a {colours[i % 3]} ring" for i in range(24)]
    texts[24:48] = texts[48:]
    data = (texts, scenes[1][:72])
    report = asked(clip, data)
    step = report.interventions["toward red"]
    pictures = data[1][:3]
    clean = clip.capture(pictures, at=AT[0])[AT[0]]
    with clip.edit(step):
        moved = clip.capture(pictures, at=AT[0])[AT[0]]
    change = (moved - clean) / lengths(clean)
    torch.testing.assert_close(change, change[:1].expand(3, -1), atol=1e-5, rtol=1e-4)
    assert float(change.norm(dim=-1).min()) > 0.1
    table = report.tables["queries"]
    assert table["query"][0] == composing.BIMODAL and len(table["query"]) == 9


def test_queries_are_made_from_captions_alone():
    texts = ["a red ring", "a blue star", "x", "a blue ring", "a red star", "a red cross"]
    found = Composed(words=["red", "blue"], gallery=3)._queries(texts)
    assert found.source.tolist() == [0, 1] and found.word.tolist() == [1, 0]
    assert found.target.tolist() == [0, 1]
    with pytest.raises(SteerlabError, match="no caption of the gallery"):
        Composed(words=["red", "pink"], gallery=3)._queries(texts)


def test_bimodal_queries_win_where_captions_leak():
    """Captions whose text atoms point along concepts, with exact codes."""
    r = planted.leaky(0.8, 3.0)
    shared = dataclasses.replace(known(planted.paired())[0], dictionary=exact(r.atoms))
    whole = (r.caption @ r.atoms).float()
    bare = ((r.caption * ~r.text) @ r.atoms).float()
    steps = composing.Steps(shared, whole, whole, bare, bare, whole - bare, [])
    count = torch.arange(len(whole))
    sources, gallery = (r.source @ r.atoms).float(), (r.gallery @ r.atoms).float()
    table, _ = composing.ranked(
        composing.Queries(count, count, count), sources, gallery, steps=steps, nearest=10
    )
    row = {name: i for i, name in enumerate(table["query"])}
    found, far = table["recall@1"].tolist(), table["distance"].tolist()
    assert found[row[composing.BIMODAL]] >= 0.99
    assert found[row[composing.NAIVE]] == pytest.approx(0.656, abs=0.1)
    assert found[row[composing.PICTURE]] == pytest.approx(0.96, abs=0.03)
    real = float(table["distance of real pictures"][0])
    assert far[row[composing.BIMODAL]] == pytest.approx(real, abs=0.01)
    assert far[row[composing.NAIVE]] > real + 0.17
    assert found[row[composing.EDIT]] >= 0.99


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (Bimodal, {"eps": 0.5}, "eps=0.5 is not a share"),
        (Bimodal, {"held": 1}, "held=1"),
        (Bimodal, {"dictionary": 3}, "a trained dictionary"),
        (Composed, {"words": ["red"]}, "two words"),
        (Composed, {"words": ["red", "blue"], "change": "red"}, "with {} for the word"),
    ],
)
def test_settings_that_cannot_be_are_refused(kind, settings, message):
    with pytest.raises(SteerlabError, match=message):
        kind(**settings)


def test_what_is_no_pairs_is_refused(clip):
    with pytest.raises(SteerlabError, match=r"\(texts, images\)"):
        Bimodal()(clip, ["a red star"])
    with pytest.raises(SteerlabError, match="too few"):
        Bimodal(held=4)(clip, (["a"] * 7, [0] * 7))
    with pytest.raises(SteerlabError, match="as many sources"):
        Composed(words=["red", "blue"], gallery=4)(clip, (["a"] * 8, [0] * 8))
