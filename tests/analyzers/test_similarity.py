"""Similarity of places of models: known answers, two models, codes, and the removal of what is shared."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import build

import steerlab as sl
from steerlab.analyzers.similarity import Similarity
from steerlab.analyzers.similarity.gathering import gather, sources_of
from steerlab.errors import SteerlabError
from steerlab.inputs import Scenes


@pytest.fixture(scope="module")
def vit() -> sl.Model:
    return sl.load("zoo:shapes-vit")


@pytest.fixture(scope="module")
def pictures() -> list:
    return Scenes(48, 3).load(None)


@pytest.fixture(scope="module")
def report(vit, pictures) -> sl.Report:
    sae = sl.load_dictionary("zoo:shapes-vit/blocks.4.resid")
    ask = Similarity(at=["blocks.0.resid", "blocks.4.resid"], dictionaries=[sae], atoms=64, rank=4)
    return ask(vit, pictures)


def test_measures_are_those_of_the_pooled_activations(report, vit, pictures):
    acts = vit.capture(pictures, ["blocks.0.resid", "blocks.4.resid"]).tokens("patches")
    x, y = (acts[site].double().mean(1).numpy() for site in acts)
    x, y = x - x.mean(0), y - y.mean(0)
    cka = np.linalg.norm(x.T @ y) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    table = report.tables["similarity"]
    assert table["representation"] == ["blocks.0.resid", "blocks.4.resid", "codes at blocks.4.resid"]
    assert float(table["CKA"][0, 1]) == pytest.approx(cka, rel=1e-4)
    assert torch.allclose(table["CKA"].diagonal(), torch.ones(3)) and table["RSA"][0, 0] == 1
    assert torch.allclose(table["CKA"], table["CKA"].T) and (table["R2"].diagonal() > 0.9).all()
    assert not torch.allclose(table["R2"], table["R2"].T, atol=1e-3)
    pairs = report.tables["pairs"]
    assert pairs["first"][0] == "blocks.0.resid" and pairs["second"][0] == "blocks.4.resid"
    assert float(pairs["CKA"][0]) == float(table["CKA"][0, 1])


def test_codes_are_alike_what_they_are_codes_of(report):
    cka = report.tables["similarity"]["CKA, unbiased"]
    assert cka[1, 2] > cka[0, 2] and cka[1, 2] > 0.5


def test_what_is_found_stands_out_from_rows_in_random_order(report):
    for found in report.evidence[:3]:
        assert found.effect > 0.2 + max(found.controls), str(found)
    assert abs(np.mean(report.evidence[0].controls)) < 0.1
    assert report.evidence[3].effect > max(report.evidence[3].controls)


def test_what_is_shared_is_gone_from_the_stream(report, vit, pictures):
    edit, site = report.interventions["without what is shared"], "blocks.0.resid"
    basis = edit.edits[site][0].basis
    before = basis.encode(vit.capture(pictures[:8], site)[site])
    with vit.edit(edit):
        after = basis.encode(vit.capture(pictures[:8], site)[site])
    assert after.abs().max() < 1e-3 < before.abs().max()
    assert set(report.interventions) == {
        "without what is shared",
        "only what is shared",
        "without it at the other site",
    }
    removed = report.tables["removed"]
    assert removed["directions"][:2] == ["shared", "of most variance"]
    assert removed["variance"][1] == removed["variance"].max()


def test_a_report_of_similarities_is_saved_and_drawn(report, vit, pictures, tmp_path):
    again = sl.Report.load(report.save(tmp_path))
    assert str(again) == str(report)
    for one in again.figures().values():
        one.canvas.draw()
        names = [tick.get_text() for tick in one.axes[0].get_yticklabels()]
        assert names == report.tables["similarity"]["representation"]
    ends = []
    for name in ("without what is shared", "only what is shared"):
        for held in (report, again):
            with vit.edit(held.interventions[name]):
                ends.append(vit.capture(pictures[:2], "final")["final"])
    assert torch.equal(ends[0], ends[1]) and torch.equal(ends[2], ends[3])
    assert not torch.equal(ends[0], ends[2])


def test_two_models_are_compared_by_name(vit, pictures):
    ask = Similarity(at="blocks.3.resid", other="zoo:shapes-clip", other_at="vision.blocks.[12].resid")
    with pytest.raises(SteerlabError):
        ask(vit, pictures[:4])  # no such sites
    ask = Similarity(
        at="blocks.3.resid",
        other="zoo:shapes-clip",
        other_at=["vision.blocks.0.resid", "vision.blocks.2.resid"],
    )
    report = ask(vit, pictures)
    names = report.tables["similarity"]["representation"]
    assert names[1:] == [f"zoo:shapes-clip: vision.blocks.{i}.resid" for i in (0, 2)]
    cka = report.tables["similarity"]["CKA, unbiased"]
    assert "without it at the other site" not in report.interventions
    best = names[1 + int(cka[0, 1:].argmax())]
    assert best in report.evidence[0].claim and report.evidence[0].effect > max(report.evidence[0].controls)


def test_the_same_model_twice_is_the_same(vit, pictures):
    report = Similarity(at="blocks.1.resid", other="zoo:shapes-vit")(vit, pictures[:24])
    table = report.tables["similarity"]
    for name in ("CKA", "CKA, unbiased", "RSA"):
        assert float(table[name][0, 1]) == pytest.approx(1, abs=1e-5), name


def test_batches_and_tokens_by_themselves(vit, pictures):
    sources = sources_of(vit, ["blocks.0.resid", "blocks.2.mlp"], "")
    ask = {"tokens": "patches", "pooled": False}
    small, large = (gather(sources, pictures[:8], batch=batch, **ask) for batch in (3, 8))
    assert small.whole.count == large.whole.count == 8 * 64 and len(small.sample[0]) == 256
    for part in (0, 1):
        a, b = (one.whole.covariance(part, part) for one in (small, large))
        assert torch.allclose(a, b, rtol=1e-6, atol=1e-6)
        assert torch.allclose(small.mean(part), large.mean(part), atol=1e-9)
    raw = vit.capture(pictures[:8], "blocks.2.mlp").tokens("patches")["blocks.2.mlp"].double()
    assert torch.allclose(large.mean(1), raw.mean((0, 1)))


def test_padding_and_the_first_token_are_left_out_of_texts():
    held = build("llama")
    sources = sources_of(held.model, ["blocks.0.resid", "blocks.1.resid"], "")
    texts = ["today is Monday", "the cat sat on the mat", "Paris is in France , Rome is in Italy"] * 4
    found = gather(sources, texts, tokens=None, pooled=False, batch=5)
    alone = [held.model.capture([text], "blocks.1.resid")["blocks.1.resid"][0, 1:] for text in texts]
    rows = torch.cat(alone).double()
    assert found.whole.count == len(rows)
    assert torch.allclose(found.mean(1), rows.mean(0), atol=1e-5)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"pair": "blocks.0.resid"}, "two representations"),
        ({"ridge": 0}, "ridge=0"),
        ({"dictionaries": [3]}, "list of dictionaries"),
        ({"other_at": "blocks.0.resid"}, "give other="),
    ],
)
def test_wrong_settings_are_refused(wrong, message):
    with pytest.raises(SteerlabError, match=message):
        Similarity(**wrong)


def test_what_cannot_be_compared_is_refused(vit, pictures):
    with pytest.raises(SteerlabError, match="two representations or more"):
        Similarity(at="blocks.0.resid")(vit, pictures[:8])
    with pytest.raises(SteerlabError, match="8 inputs or more"):
        Similarity(at=["blocks.0.resid", "blocks.1.resid"])(vit, pictures[:4])
    with pytest.raises(SteerlabError, match="did you mean 'blocks.1.resid'"):
        ask = Similarity(at=["blocks.0.resid", "blocks.1.resid"], pair=["blocks.0.resid", "block.1.resid"])
        ask(vit, pictures[:8])
    with pytest.raises(SteerlabError, match="pooled=True"):
        ask = Similarity(at="blocks.0.resid", other="zoo:dinov2-saliency", pooled=False)
        ask(vit, pictures[:2])
