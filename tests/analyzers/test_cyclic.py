"""Numbers in a language model: planted waves are found, turned and steered; neurons and interchange."""

from __future__ import annotations

import pytest
import tiny
import torch
from conftest import build
from planted import frame, generator
from tiny_rows import WORDS

import steerlab as sl
from steerlab.analyzers import Cyclic
from steerlab.analyzers.cyclic import all_sums, carriers, interchange, union
from steerlab.analyzers.cyclic.prompts import placed
from steerlab.bases import FourierCode
from steerlab.errors import SteerlabError
from steerlab.numerics.fourier import waves
from steerlab.report import Report

DIGITS = ["one", "two", "three", "four", "five", "six", "seven", "cat", "dog", "king"]
PERIODS = (2, 5, 10)
ASKED = {"template": "{a}", "first": DIGITS, "answers": DIGITS, "cycle": True, "number": "first"}


def copying() -> sl.Model:
    """A model that says the number it has just read: waves in its embedding and again in its last layer."""
    made = tiny.tiny("llama")
    model = made.model
    planes = frame(5, 32, generator(0)).float()
    ids = [WORDS.index(word) for word in DIGITS]
    with torch.no_grad():
        for block in model.model.layers:  # nothing is added to the stream
            block.self_attn.o_proj.weight.zero_()
            block.mlp.down_proj.weight.zero_()
        model.model.norm.weight.fill_(1.0)
        model.lm_head.weight.zero_()
        numbers = waves(torch.arange(10), PERIODS).float() @ planes
        model.model.embed_tokens.weight[ids] = numbers
        model.lm_head.weight[ids] = 3 * numbers
    return sl.wrap(model, made.tokenizer)


@pytest.fixture(scope="module")
def report() -> Report:
    lm = copying()
    asked = Cyclic(
        **ASKED, at="blocks.*.resid", periods=PERIODS, longest=10, components=5, acted=5, turns=(1, 4, -1)
    )
    return asked(lm, ["the ", "a cat ", "was "])


def test_planted_periods_are_found_and_others_are_not(report):
    table = report.tables["spectrum"]
    share = dict(zip(table["period"].tolist(), table["share"].tolist(), strict=True))
    assert min(share[period] for period in PERIODS) > 0.99
    assert max(share[period] for period in (3, 4, 6, 7)) < 0.5
    found = next(one for one in report.evidence if "held out" in one.claim)
    assert found.effect > 0.99 > 0.5 > max(found.controls)


def successes(report: Report) -> dict[str, float]:
    both = [report.tables[name] for name in ("edits", "parts")]
    return {
        edit: value for one in both for edit, value in zip(one["edit"], one["success"].tolist(), strict=True)
    }


def test_the_model_that_copies_is_right_and_turning_adds(report):
    assert report.evidence[0].effect == 1.0
    table, success = report.tables["edits"], successes(report)
    assert success["steer"] == success["rotate by 4"] == success["rotate back by 1"] == 1.0
    assert success["interchange: code"] == success["interchange: all"] == 1.0
    assert success["interchange: random"] < 0.5
    at = table["edit"].index("rotate by 1")
    assert max(float(table[f"success random {i}"][at]) for i in range(3)) < 0.7


def test_a_period_that_is_left_out_leaves_the_answer_ambiguous(report):
    table, success = report.tables["edits"], successes(report)
    for period in (2, 5, 10):
        assert success[f"without period {period}"] < 1.0
    assert table["stays"][table["edit"].index("steer")] == 1.0


def test_its_interventions_say_the_next_number_on_the_model_itself(report, tmp_path):
    lm = copying()
    again = Report.load(report.save(tmp_path)).interventions["rotate by 4"]
    with lm.edit(again):
        logits = lm.logits(["the two"])
    assert WORDS[int(logits[0, -1].argmax())] == "six"
    assert set(report.interventions) >= {"rotate by 1", "rotate back by 1", "steer to 9", "erase period 5"}
    assert set(report.plots) == {"spectrum", "sites", "edits", "parts"}


def test_without_answers_the_spectrum_alone_is_asked_for():
    lm = copying()
    asked = Cyclic("{a}", DIGITS, number="first", at="blocks.1.resid", longest=6, components=5, controls=2)
    found = asked(lm, ["the "])
    assert set(found.tables) == {"spectra", "spectrum", "sites"} and len(found.evidence) == 1
    assert "rotate by 1" in found.interventions


def test_sums_are_every_pair_with_an_answer_and_go_round_where_they_are_a_cycle():
    words = (["Monday", "Tuesday", "Sunday"], ["one", "two"])
    line = all_sums([""], "{b} after {a}", words, start=1, answers=(3, False, "sum"))
    assert line.texts == ["one after Monday", "two after Monday", "one after Tuesday"]
    assert line.numbers.tolist() == line.answers.tolist() == [1, 2, 2]
    ring = all_sums(["is "], "{b} after {a}", words, start=1, answers=(3, True, "first"))
    assert len(ring) == 6 and ring.numbers.tolist() == [0, 0, 1, 1, 2, 2]
    assert ring.answers.tolist() == [1, 2, 2, 0, 0, 1]
    assert ring.answer_to(ring.numbers + 1).tolist() == [2, 0, 0, 1, 1, 2]
    assert [text[:place] for text, place in zip(ring.texts, ring.places, strict=True)][
        0
    ] == "is one after Monday"
    lm = build("llama").model
    ids, place = placed(lm, ring.texts[0] + " is", ring.places[0])
    assert place == len(ids) - 2 and WORDS[int(ids[place])] == "Monday"


def test_neurons_that_write_into_the_code_are_found_by_period_and_silenced():
    made = tiny.tiny("llama")
    rows = frame(3, 32, generator(1))
    code = FourierCode((2, 5), rows, torch.zeros(3))
    down = made.model.model.layers[1].mlp.down_proj
    with torch.no_grad():
        down.weight[:, 7] = 2 * rows[0].float()
        down.weight[:, 11] = (rows[1] + rows[2]).float()
    lm = sl.wrap(made.model, made.tokenizer)
    found = carriers(lm, "blocks.1", code, threshold=0.9)
    assert sorted(zip(found.index.tolist(), found.period, strict=True)) == [(7, 2), (11, 5)]
    acts = lm.capture(["the cat"], at=found.site)[found.site]
    for changes, wanted in (
        (found.zero(), torch.where(torch.isin(torch.arange(48), found.index), 0.0, acts)),
        (found.flip(), torch.where(torch.isin(torch.arange(48), found.index), -acts, acts)),
        (found.only(), torch.where(torch.isin(torch.arange(48), found.index), acts, 0.0)),
    ):
        with lm.edit(changes):
            assert torch.allclose(lm.capture(["the cat"], at=found.site)[found.site], wanted, atol=1e-6)
    others = found.others(0)[found.site].basis.atoms.argmax(-1).tolist()
    assert len(others) == 2 and not {7, 11} & set(others)


def test_an_interchange_is_the_sources_component_in_the_bases_activation():
    lm = build("llama").model
    site, sub = "blocks.1.resid", sl.Subspace(frame(4, 32, generator(2)).float())
    source, base = ["the cat sat", "a dog ran on"], ["the king was", "Paris is in France"]
    given = lm.capture(source, at=site, tokens="last")[site][:, 0]
    own = lm.capture(base, at=site, tokens="last")[site][:, 0]
    held = sub.atoms.T @ sub.atoms
    wanted = given @ held + own - own @ held
    with lm.edit({site: sl.Replace(wanted[:, None]).on(tokens="last")}):
        by_hand = lm.capture(base, at="logits", tokens="last")["logits"][:, -1]
    assert torch.allclose(interchange(lm, site, sub, source, base), by_hand, atol=1e-5)
    whole = interchange(lm, "blocks.2.resid", None, source, base)
    assert torch.allclose(whole, lm.capture(source, at="logits", tokens="last")["logits"][:, -1], atol=1e-5)
    both = union(sub, sl.Subspace(torch.eye(32)[:2]))
    assert len(both) == 6 and torch.allclose(both.atoms @ both.atoms.T, torch.eye(6), atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"template": "sum"}, "holds no"),
        ({"template": "{a} {b}"}, "go together"),
        ({"number": "second"}, "number='second'"),
        ({"turns": (0,)}, "turns"),
        ({"periods": (1,)}, "periods"),
        ({"answers": ["one"]}, "three or more"),
    ],
)
def test_settings_that_cannot_be_are_told(settings, said):
    with pytest.raises(SteerlabError, match=said):
        Cyclic(**(ASKED | settings))


def test_what_cannot_be_asked_is_told_at_once():
    lm = copying()
    with pytest.raises(SteerlabError, match="contexts"):
        Cyclic(**ASKED)(lm, [3])
    with pytest.raises(SteerlabError, match="not among the scanned"):
        Cyclic(**ASKED, at="blocks.0.resid", acted_at="blocks.1.resid", components=5)(lm, ["the "])
    with pytest.raises(SteerlabError, match="held out"):
        Cyclic("{a}", DIGITS[:3], number="first")(lm, ["the "])


def test_of_every_number_a_prompt_is_left_for_the_fit():
    lm = copying()
    asked = Cyclic(**ASKED, at="blocks.0.resid", periods=PERIODS, components=5, acted=9, turns=(1,))
    found = asked(lm, ["the ", "the cat "])  # twenty prompts, two of each number
    success = successes(found)
    assert success["steer"] == success["rotate by 1"] == 1.0
    chosen = asked._acted(
        torch.ones(12, dtype=torch.bool), torch.tensor([0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9])
    )
    assert sorted(chosen) in [[0, 10], [0, 11], [1, 10], [1, 11]]
