"""SinkCauses: every edit against the model run with the edit spelled out, and what planted sinks show."""

from __future__ import annotations

import pytest
import torch

import steerlab as sl
from steerlab.analyzers import SinkCauses
from steerlab.analyzers.sinks.probing import EDITS, effects, probe
from steerlab.errors import SteerlabError
from steerlab.report import Report
from steerlab.sites import Site

IDS = torch.randint(5, 20, (3, 40), generator=torch.Generator().manual_seed(0))
TEXT = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}


def inputs_of(one):
    return TEXT if one.tiny.family == "llama" else one.tiny.inputs


def final(model, inputs, edit):
    with model.edit(edit):
        return model.capture(inputs, at="final")["final"]


@pytest.mark.parametrize("family", ["llama", "dinov2_with_registers"])
def test_corrections_are_what_edited_patterns_and_values_give(held, family):
    """The head is edited by itself even where others share its values."""
    one, head = held(family), Site.parse("blocks.1.heads.2")
    model, inputs = one.model, inputs_of(held(family))
    found = probe(model, inputs, head, seed=3)
    edits = found.edits()
    assert tuple(edits) == EDITS
    rows = torch.arange(len(found.place))
    acts = model.capture(inputs, at=["blocks.1.pattern.2", "blocks.1.v", "blocks.1.heads.2"])
    pattern = acts["blocks.1.pattern.2"]
    value = 2 // (4 // acts["blocks.1.v"].shape[2])
    v = acts["blocks.1.v"][:, :, value]
    s, other = found.place, found.other
    torch.testing.assert_close(found.column, pattern[rows, :, s], rtol=1e-4, atol=1e-6)
    assert bool((other != s).all())
    donors = rows.roll(-1)
    others_mean = torch.stack([v[rows != i][torch.arange(len(rows) - 1), s[rows != i]].mean(0) for i in rows])
    wanted = {
        "zero": (s, torch.zeros_like(v[rows, s])),
        "mean": (s, others_mean),
        "donor sink": (s, v[donors, s[donors]]),
        "donor non-sink": (s, v[donors, other[donors]]),
        "random non-sink": (other, torch.zeros_like(v[rows, s])),
    }
    for name, (place, new) in wanted.items():
        edited = v.clone()
        edited[rows, place] = new
        expected = final(model, inputs, {"blocks.1.heads.2": sl.Replace(pattern @ edited)})
        torch.testing.assert_close(final(model, inputs, edits[name]), expected, rtol=1e-4, atol=2e-5)
    cut = pattern.clone()
    cut[rows, :, s] = 0
    cut[rows, s] = pattern[rows, s]  # its own row keeps it
    cut = cut / cut.sum(-1, keepdim=True)
    expected = final(model, inputs, {"blocks.1.heads.2": sl.Replace(cut @ v)})
    torch.testing.assert_close(final(model, inputs, edits["redirect"]), expected, rtol=1e-4, atol=2e-5)
    expected = final(model, inputs, {"blocks.1.heads.2": sl.Zero()})
    assert torch.equal(final(model, inputs, edits["zero head"]), expected)


@pytest.mark.parametrize("family", ["llama", "dinov2_with_registers"])
def test_effects_are_measured_on_the_tokens_that_count(held, family):
    one = held(family)
    found = probe(one.model, inputs_of(one), Site.parse("blocks.0.heads.1"))
    measured = effects(one.model, found)
    base = one.model.capture(inputs_of(one), at="final")["final"]
    edit = found.edits()["donor sink"]
    edited = final(one.model, inputs_of(one), edit)
    logits = one.model.logits(inputs_of(one)) if family == "llama" else None
    at = EDITS.index("donor sink")
    means = []
    for row in range(len(base)):
        s = int(found.place[row])
        on = list(range(s + 1, 40)) if family == "llama" else [t for t in range(4, 20) if t != s]
        assert found.outcome[row].nonzero()[:, 0].tolist() == on
        size = (edited[row, on] - base[row, on]).square().sum(-1).mean() / base[row, on].square().sum(
            -1
        ).mean()
        assert float(measured[at, 0, row]) == pytest.approx(float(size.sqrt()), rel=1e-4)
        means.append((base[row, on].mean(0), (edited[row, on] - base[row, on]).mean(0)))
    toward = [means[(i + 1) % len(means)][0] - means[i][0] for i in range(len(means))]
    cosines = torch.stack(
        [torch.cosine_similarity(m[1], t, dim=0) for m, t in zip(means, toward, strict=True)]
    )
    torch.testing.assert_close(measured[at, 2], cosines, rtol=1e-3, atol=1e-4)
    if logits is None:
        assert bool(measured[:, 1].isnan().all())
        return
    with one.model.edit(edit):
        other = one.model.logits(TEXT)
    for row in range(len(base)):
        on = found.outcome[row]
        p, q = logits[row, on].double().log_softmax(-1), other[row, on].double().log_softmax(-1)
        expected = float((p.exp() * (p - q)).sum(-1).mean())
        assert float(measured[at, 1, row]) == pytest.approx(expected, rel=1e-3, abs=1e-8)


LOOKING = {"blocks.1.scores.2": sl.Replace(torch.tensor([30.0])).on(keys=[0])}
EMPTY = {"blocks.1.v.2": sl.Scale(0.01).on(tokens=[0])}
SETTINGS = {"least": 2, "events": 6, "top": 2, "batch": 4}


@pytest.fixture(scope="module")
def shapes():
    return sl.load("zoo:shapes-vit"), sl.inputs.Scenes(8).load(".")


def planted(shapes, edit) -> Report:
    with shapes[0].edit(edit):
        return SinkCauses(**SETTINGS)(*shapes)


def test_a_planted_no_op_does_not_mind_and_an_ordinary_value_hurts_it(shapes):
    report = planted(shapes, LOOKING | EMPTY)
    table, (found,) = report.tables["no-op effects"], report.evidence
    change = dict(zip(table["edit"], table["change"].tolist(), strict=True))
    assert found.rung == "intervened" and found.effect > 10 * max(found.controls)
    assert change["donor non-sink"] > 10 * change["zero"] and change["zero"] < 0.02
    assert bool((table["change low"] <= table["change"]).all())
    assert bool((table["change high"] >= table["change"]).all())
    assert set(report.tables["effects"]["site"]) == {"blocks.1.heads.2"}
    assert list(report.interventions) == ["silence the tried no-op heads"]


def test_a_planted_broadcast_minds_and_a_cut_off_run_goes_on(shapes, tmp_path):
    report = planted(shapes, LOOKING)
    table = report.tables["broadcast effects"]
    change = dict(zip(table["edit"], table["change"].tolist(), strict=True))
    assert change["zero"] > 10 * change["random non-sink"]
    zeroed, moved = report.evidence
    assert zeroed.effect > max(zeroed.controls) and moved.unit == "cosine" and -1 <= moved.effect <= 1
    again = Report.load(report.save(tmp_path / "report"))
    assert str(again) == str(report) and set(again.figures()) == {"broadcast"}


def test_models_without_sinks_and_wrong_settings_are_told(shapes):
    with pytest.raises(SteerlabError, match=r"no head is a no-op or a broadcast on 8 inputs or more of 8"):
        SinkCauses(least=8)(*shapes)
    for settings, fact in (
        ({"least": 1}, "least=1"),
        ({"seed": -1}, "seed=-1"),
        ({"share": 2}, "SinkCauses: share=2"),
    ):
        with pytest.raises(SteerlabError, match=fact):
            SinkCauses(**settings)
