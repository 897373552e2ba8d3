"""The analyzer of temporal features on a tiny model: what it reports is what its featurizer does by hand."""

from __future__ import annotations

import pytest
import torch
from conftest import build
from planted import generator
from planted_sequences import averaging, steady, untrained
from tiny_rows import WORDS

import steerlab as sl
from steerlab.analyzers import Temporal
from steerlab.analyzers.temporal.measuring import measures
from steerlab.bases import TemporalFeaturizer
from steerlab.errors import SteerlabError
from steerlab.report import Report

AT = "blocks.1.resid"


def texts(count: int = 8) -> list[str]:
    order = torch.randint(4, len(WORDS) - 3, (count, 20), generator=generator(3)).tolist()
    return [" ".join(WORDS[word] for word in row) for row in order]


def featurizer() -> TemporalFeaturizer:
    return TemporalFeaturizer(untrained(32, 64).weights, heads=4, k=6, gain=0.05, skip=1)


@pytest.fixture(scope="module")
def report() -> Report:
    lm = build("llama").model
    return Temporal(AT, featurizer(), tokens=16, acted=3, controls=2)(lm, texts())


def test_the_loss_without_a_part_is_that_of_the_model_with_its_code_set_to_zero(report):
    lm = build("llama").model
    rise = []
    for text in texts()[:3]:
        ids = lm.processor([text], return_tensors="pt")["input_ids"]
        acts = lm.capture([text], at=AT)[AT]
        without = acts - featurizer().encode(acts)[1] @ featurizer().weights["decoder"].float()
        base = lm.logits([text])
        with lm.edit({AT: sl.Replace(without)}):
            edited = lm.logits([text])
        cost = [-one[0, 3:-1].log_softmax(-1).gather(1, ids[0, 4:, None]) for one in (edited, base)]
        rise.append((cost[0] - cost[1]).flatten())
    loss = report.tables["loss"]
    assert float(loss["rise"][1]) == pytest.approx(float(torch.cat(rise).mean()), abs=1e-4)
    assert report.evidence[3].effect == pytest.approx(float(loss["rise"][1]))
    assert [len(one.controls) for one in report.evidence] == [2, 0, 2, 2]


def test_its_interventions_come_back_from_their_files_and_its_figures_can_be_drawn(report, tmp_path):
    lm = build("llama").model
    again = Report.load(report.save(tmp_path))
    assert set(again.interventions) == {"forget the context", "ignore the token"}
    text = texts()[:1]
    with lm.edit(again.interventions["forget the context"]):
        found = lm.logits(text)
    with lm.edit({AT: sl.Zero(featurizer().predictable)}):
        assert torch.equal(lm.logits(text), found)
    assert set(again.plots) == {"energy", "memory", "past", "loss"}


def test_measures_of_planted_sequences_are_those_of_their_construction():
    tables = measures(averaging(), 3 * steady(300, 21, seed=2)[0], surrogates=2)
    energy, memory = tables["energy"], tables["memory"]
    exact = averaging().weights["decoder"]
    assert len(exact) == 32 and not float(energy["predictable share"][0])
    # the novel part is shorter by the gain of its codes, which the share counts in
    told = (1 + 1 / (8 * 20)) / (2 * (1 + 1 / 20))
    new = (1 - told) / 64**2
    assert float(energy["predictable share"][20]) == pytest.approx(told / (told + new), abs=0.005)
    assert float(energy["unexplained"][20]) == pytest.approx((1 - told) * (1 - 1 / 64) ** 2, abs=0.01)
    assert memory["activation"].tolist() == pytest.approx([0.5] * len(memory["lag"]), abs=0.03)
    assert float(memory["predictable"][0]) > 0.9 > 0.1 > float(memory["novel"][0])
    assert {"explained random 0", "explained random 1"} <= set(tables["past"])


def test_without_a_featurizer_one_is_trained_on_half_of_the_texts_and_the_other_half_is_measured():
    lm = build("llama").model
    made = Temporal(AT, atoms=64, steps=3, k=4, tokens=12, acted=2, controls=1)(lm, texts())
    assert made.about.startswith("4 texts of 12 tokens") and "64 atoms" in made.about
    with pytest.raises(SteerlabError, match="12 tokens|tokens, 30"):
        Temporal(AT, tokens=30)(lm, texts())


@pytest.mark.parametrize(
    ("settings", "said"), [({"tokens": 2}, "tokens"), ({"featurizer": 3}, "neither one nor its file")]
)
def test_settings_that_cannot_be_are_told(settings, said):
    with pytest.raises(SteerlabError, match=said):
        Temporal(AT, **settings)
