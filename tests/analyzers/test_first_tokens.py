"""Massive and Streaming on a model whose first token is planted to matter, and losses against torch."""

from __future__ import annotations

import copy

import pytest
import torch
from conftest import build

import steerlab as sl
from steerlab.analyzers.massive import Massive
from steerlab.analyzers.perplexity import losses
from steerlab.analyzers.streaming import Streaming
from steerlab.edits import Window
from steerlab.errors import SteerlabError

TEXTS = [
    "today is Monday and the cat sat on the mat after the dog ran in the house before it was",
    "the king and the queen of France was in Paris , the capital of Italy is Rome . one two three",
]


@pytest.fixture(scope="module")
def llama() -> sl.Model:
    return build("llama").model


@pytest.fixture(scope="module")
def massive(llama) -> sl.Model:
    """The same model, whose stream is massive at coordinate 5 of the token that begins a text."""
    module = copy.deepcopy(llama.module)
    with torch.no_grad():
        module.model.embed_tokens.weight[1, 5] = 4000.0
    return sl.wrap(module, llama.processor)


def test_losses_are_the_cross_entropy_of_torch(llama):
    found = losses(llama, TEXTS, {"base": None, "window": {"blocks.*.scores": Window(2)}}, begin=5)
    by_hand = []
    for text in TEXTS:
        ids = llama.processor(text, return_tensors="pt")["input_ids"]
        logits = llama.logits([text])[0, 4:-1]
        by_hand.append(torch.nn.functional.cross_entropy(logits.double(), ids[0, 5:], reduction="none"))
    assert torch.allclose(found["base"], torch.cat(by_hand), atol=1e-6)
    assert not torch.allclose(found["window"], found["base"], atol=1e-4)
    with pytest.raises(SteerlabError, match="too short"):
        losses(llama, ["today is"], {"base": None}, begin=5)
    with pytest.raises(SteerlabError, match="list of texts"):
        losses(llama, "today is", {"base": None}, begin=1)


def test_planted_massive_activations_are_found_where_they_are(massive, tmp_path):
    report = Massive(begin=4, controls=2)(massive, TEXTS)
    table = report.tables["massive"]
    assert set(table["coordinate"].tolist()) == {5} and set(table["token"].tolist()) == {0}
    assert table["mean"][0] == pytest.approx(4000, rel=0.01) and table["texts"][0] == 2
    ablations = dict(
        zip(report.tables["ablations"]["what"], report.tables["ablations"]["loss"].tolist(), strict=True)
    )
    # every text begins with the same token, so its mean is what it is
    assert ablations["massive mean"] == pytest.approx(ablations["nothing"], abs=1e-5)
    assert abs(ablations["massive zero"] - ablations["nothing"]) > 1e-3
    zero, mean = report.evidence
    assert abs(zero.effect) > max(abs(one) for one in zero.controls) > 1e-9 and abs(mean.effect) < 1e-5
    again = sl.Report.load(report.save(tmp_path))
    with massive.edit(again.interventions["massive zero"]):
        stream = massive.capture(TEXTS[:1], "blocks.0.resid")["blocks.0.resid"]
    assert stream[0, 0, 5] == 0 and set(again.figures()) == {"sites", "ablations"}


def test_a_model_without_massive_activations_says_so(llama):
    report = Massive(begin=4)(llama, TEXTS)
    assert not report.interventions and "Nothing exceeds" in report.about
    assert (report.tables["sites"]["massive coordinates"] == 0).all()


def test_a_window_loses_and_its_arms_see_as_many_keys(llama, tmp_path):
    report = Streaming(recent=6, first=2, controls=2)(llama, TEXTS)
    table = report.tables["kept"]
    assert table["keys"][:3] == ["everything", "the latest 6", "the latest 4 and the first 2"]
    found = losses(llama, TEXTS, {"window": {"blocks.*.scores": Window(4, 2)}}, begin=12)["window"]
    assert float(table["loss"][2]) == pytest.approx(float(found.mean()), abs=1e-6)
    assert report.evidence[0].effect == pytest.approx(float(table["loss"][1] - table["loss"][2]), abs=1e-6)
    assert len(report.evidence[0].controls) == 2
    kept = sl.Report.load(report.save(tmp_path)).interventions["window and first tokens"]
    ends = []
    for edit in (kept, {"blocks.*.scores": Window(4, 2)}):
        with llama.edit(edit):
            ends.append(llama.logits(TEXTS[:1]))
    assert torch.equal(*ends)


def test_with_a_window_as_long_as_the_text_nothing_is_lost(llama):
    found = losses(llama, TEXTS, {"base": None, "window": {"blocks.*.scores": Window(64)}}, begin=3)
    assert torch.equal(found["base"], found["window"])


@pytest.mark.parametrize(
    "ask, message",
    [
        (lambda: Streaming(recent=5, first=2), "leaves no room"),
        (lambda: Streaming(recent=0), "recent=0"),
        (lambda: Massive(above=0), "above=0"),
    ],
)
def test_wrong_settings_are_refused(ask, message):
    with pytest.raises(SteerlabError, match=message):
        ask()
