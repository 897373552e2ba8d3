"""The analyzer of temporal features on a tiny model: what it reports is what its featurizer does by hand."""

from __future__ import annotations

import pytest
import torch
from conftest import build
from matplotlib.backends.backend_agg import FigureCanvasAgg
from planted import generator
from planted_sequences import averaging, steady, untrained
from tiny_rows import WORDS

import steerlab as sl
from steerlab.analyzers import Temporal
from steerlab.analyzers.temporal.events import event_labels, event_table
from steerlab.analyzers.temporal.measuring import measures
from steerlab.bases import TemporalFeaturizer
from steerlab.errors import SteerlabError
from steerlab.numerics.temporal import event_score
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


def assert_same_tables(first: Report, second: Report) -> None:
    assert list(first.tables) == list(second.tables)
    for name, table in first.tables.items():
        for column, values in table.items():
            other = second.tables[name][column]
            if isinstance(values, torch.Tensor):
                torch.testing.assert_close(values, other, rtol=0, atol=0, equal_nan=True)
            else:
                assert values == other


def test_its_interventions_come_back_from_their_files_and_its_figures_can_be_drawn(report, tmp_path):
    lm = build("llama").model
    again = Report.load(report.save(tmp_path))
    assert set(again.interventions) == {"forget the context", "ignore the token"}
    text = texts()[:1]
    with lm.edit(again.interventions["forget the context"]):
        found = lm.logits(text)
    with lm.edit({AT: sl.Zero(featurizer().predictable)}):
        assert torch.equal(lm.logits(text), found)
    assert (again.title, again.about, again.plots) == (report.title, report.about, report.plots)
    assert again.evidence == report.evidence
    assert_same_tables(again, report)
    assert set(again.plots) == {"energy", "memory", "past", "loss"}
    for name, figure in again.figures().items():
        FigureCanvasAgg(figure).draw()
        axes = figure.axes[0]
        assert axes.has_data() and axes.get_xlabel() and axes.get_ylabel(), name
        assert figure.get_suptitle() == again.plots[name].title, name  # one line, not folded


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


def test_codes_follow_events_where_they_jump_and_not_where_they_turn_slowly():
    jumps = torch.zeros(2, 8, 16, dtype=torch.float64)
    jumps[:, :4, 0], jumps[:, 4:, 1] = 1, 1
    events = event_labels([[(0, 4), (4, 8)], [(0, 4), (4, 8)]], 2, 8)
    table = event_table(averaging(), jumps, events)
    assert table["of"] == ["activation", "predictable", "novel"]
    assert float(table["score"][0]) == pytest.approx(2)  # centred: cosine 1 inside, -1 across
    codes = averaging().split(jumps).predicted
    assert float(table["score"][1]) == pytest.approx(event_score(codes[0], events[0]))
    # pairs at lag 1, 2, .. within eight tokens in two halves: by distance alone a diagonal has its mean
    lag = (torch.arange(8)[:, None] - torch.arange(8)[None]).abs()
    across = torch.tensor([float((lag == d)[:4, 4:].sum()) * 2 / float((lag == d).sum()) for d in range(8)])
    by_distance, halves = (1 - 2 * across)[lag], events[0][:, None] == events[0][None]
    inside = by_distance[halves & (lag > 0)].mean()
    assert float(table["score random 0"][0]) == pytest.approx(float(inside - by_distance[~halves].mean()))
    angle = 2 * torch.pi * torch.arange(8, dtype=torch.float64) / 8
    turning = torch.zeros(1, 8, 16, dtype=torch.float64)
    turning[0, :, 0], turning[0, :, 1] = angle.cos(), angle.sin()
    score, by_distance = (
        event_table(averaging(), turning, events[:1])[name] for name in ("score", "score random 0")
    )
    assert float(score[0]) == pytest.approx(float(by_distance[0])) and float(score[0]) > 0.5


def test_events_are_labels_or_spans_and_a_report_tells_of_them():
    assert event_labels([["a", None, "b", "a", "c"]], 1, 4).tolist() == [[0, -1, 2, 0]]
    assert event_labels([[(1, 3), (4, 9)]], 1, 6).tolist() == [[-1, 0, 0, -1, 1, 1]]
    lm = build("llama").model
    given = Temporal(AT, featurizer(), tokens=16, acted=1, controls=1, events=[[(1, 8), (8, 16)]] * 8)
    found = given(lm, texts())
    table, told = found.tables["events"], found.evidence[2]
    x = torch.stack([lm.capture([text], at=AT)[AT][0, :16] for text in texts()])
    predicted = featurizer().split(x).predicted[:, 1:]
    half = torch.tensor([0] * 7 + [1] * 8)
    by_hand = sum(event_score(codes, half) for codes in predicted) / 8
    assert told.effect == float(table["score"][1]) == pytest.approx(by_hand, abs=1e-6)
    assert told.controls == (float(table["score random 0"][1]),) and table["texts"].tolist() == [8, 8, 8]
    assert found.figures()["events"].axes[0].has_data()


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([[0, 1]], "one for each of 8 texts"),
        ([[0, 1]] * 8, "2 labels for 16 tokens"),
        ([[(3, 2)]] * 8, r"\(3, 2\) is no span"),
        ([[(0, 4), (3, 6)]] * 8, "overlaps"),
        ([[(0, 16)]] * 8, "two events"),
    ],
)
def test_events_that_cannot_be_are_told(events, said):
    with pytest.raises(SteerlabError, match=said):
        Temporal(AT, featurizer(), tokens=16, acted=1, controls=1, events=events)(
            build("llama").model, texts()
        )


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
