"""Sinks: recorded numbers against whole patterns, planted sinks, and what the report holds."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
import torch

import steerlab as sl
from steerlab.analyzers import Sinks
from steerlab.analyzers.sinks import SinkFacts, SinkRules, sink_facts, sink_scores, sink_tables
from steerlab.analyzers.sinks.parts import TYPES, part_of
from steerlab.errors import SteerlabError
from steerlab.keeping import keeping
from steerlab.report import Report
from steerlab.store import save_intervention

IDS = torch.randint(5, 20, (3, 40), generator=torch.Generator().manual_seed(0))
TEXT = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}
PADDED = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS).index_fill(1, torch.arange(3), 0)}
PADDED["attention_mask"][0] = 1
MODULES = {  # the output projection and what scales it, by hand
    "llama": lambda block: (block.self_attn.o_proj, None),
    "dinov2_with_registers": lambda block: (block.attention.o_proj, block.layer_scale1.lambda1),
    "vit": lambda block: (block.attention.o_proj, None),
    "gpt2": lambda block: (block.attn.c_proj, None),
}
BLOCKS = {
    "llama": "model.layers",
    "dinov2_with_registers": "encoder.layer",
    "vit": "layers",
    "gpt2": "transformer.h",
}


def inputs_of(one):
    language = "input_ids" in one.tiny.inputs and "pixel_values" not in one.tiny.inputs
    return TEXT if language else one.tiny.inputs


def by_hand(pattern, values, weight, gain, causal):
    """One head of one input in float64, from its whole pattern and values as wide as the stream."""
    tokens = len(pattern)
    rows = [[i for i in range(tokens) if i > s or not causal] for s in range(tokens)]
    means = [pattern[r, s].mean() if len(r) >= (16 if causal else 1) else -1 for s, r in enumerate(rows)]
    s = int(torch.tensor(means).argmax())
    on, column = rows[s], pattern[rows[s], s]
    u = gain * (values @ weight.T)
    update = (pattern @ u)[on]
    singular = torch.linalg.svdvals(update)
    others = [j for j in range(tokens) if j != s]
    return {
        "sink_idx": s,
        "mass": column.mean(),
        "least": column.min(),
        "routed 0.5": (column >= 0.5).double().mean(),
        "routed 0.1": (column >= 0.9).double().mean(),
        "ratio_out": u[s].norm() / u[others].norm(dim=1).mean(),
        "ratio_head": values[s].norm() / values[others].norm(dim=1).mean(),
        "sink_value_norm": u[s].norm(),
        "stable_rank": singular.square().sum() / singular[0] ** 2,
        "rank1_energy": singular[0] ** 2 / singular.square().sum(),
        "update_norm": update.norm(dim=1).mean(),
        "first_strength": pattern[:, 0].mean(),
    }


@pytest.mark.parametrize("family", MODULES)
def test_everything_recorded_is_what_whole_patterns_and_wide_values_give(held, family):
    one = held(family)
    facts = sink_facts(one.model, inputs_of(one), "blocks.*.pattern", batch=2)
    acts = one.model.capture(inputs_of(one), at=["blocks.*.pattern", "blocks.*.v"])
    causal = "input_ids" in inputs_of(one)
    inputs, blocks, heads = facts.shape
    for block in range(blocks):
        module, scale = MODULES[family](one.tiny.model.get_submodule(BLOCKS[family])[block])
        weight = (module.weight.T if family == "gpt2" else module.weight).double()
        gain = torch.ones(len(weight)).double() if scale is None else scale.double()
        values = acts[f"blocks.{block}.v"].double()
        group = heads // values.shape[2]
        for row in range(inputs):
            for head in range(heads):
                pattern = acts[f"blocks.{block}.pattern"][row, head].double()
                part = slice(head * values.shape[3], (head + 1) * values.shape[3])
                expected = by_hand(pattern, values[row, :, head // group], weight[:, part], gain, causal)
                for name, value in expected.items():
                    found = float(facts.values[name][row, block, head])
                    assert found == pytest.approx(float(value), rel=2e-4, abs=1e-6), (name, block, row, head)
                kind = int(facts.values["sink_type"][row, block, head])
                groups = part_types(one, expected["sink_idx"])
                assert TYPES[kind] == groups


def part_types(one, token: int) -> str:
    if "input_ids" in one.tiny.inputs:
        return "first" if token == 0 else "other"
    registers = 3 if one.tiny.family == "dinov2_with_registers" else 0
    return "cls" if token == 0 else "registers" if token <= registers else "patches"


def test_padding_changes_nothing(held):
    """Left padding of a row gives what the row gives alone."""
    one = held("llama")
    padded = sink_facts(one.model, PADDED, "blocks.*.pattern")
    for row in (1, 2):
        alone = sink_facts(one.model, {"input_ids": IDS[row : row + 1, 3:]}, "blocks.*.pattern")
        for name, values in alone.values.items():
            shift = 3 if name == "sink_idx" else 0
            found, expected = padded.values[name][row : row + 1].float(), values.float() + shift
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-5, equal_nan=True)


@pytest.mark.parametrize(
    "family", ["clip", "siglip2_vision", "videomae", "timm_vit", "gemma2", "gpt_oss", "qwen3"]
)
def test_sinks_are_found_in_other_families(held, family):
    one = held(family)
    tower = "vision." if family == "clip" else ""
    facts = sink_facts(one.model, inputs_of(one), f"{tower}blocks.*.pattern")
    finite = ("mass", "ratio_out", "stable_rank", "routed 0.5", "update_norm")
    assert all(bool(torch.isfinite(facts.values[name]).all()) for name in finite)
    virtual = facts.values["virtual_mass"]
    assert bool((virtual > 0.01).all()) if family == "gpt_oss" else float(virtual.abs().max()) < 1e-5


def test_what_stands_between_projection_and_stream_is_refused(held):
    one = held("llama")
    vector = torch.randn(3, 40, 32, generator=torch.Generator().manual_seed(1))
    with one.model.edit({"blocks.1.attn": sl.Add(vector[:1, :, : one.tiny.model.config.hidden_size])}):
        with pytest.raises(SteerlabError, match=r"blocks\.1\.pattern: pattern, values .* only within"):
            sink_facts(one.model, {"input_ids": IDS[:1]}, "blocks.*.pattern")


# A head that looks at the first token whatever it is given; then one whose value there is taken away as well.
LOOKING = {"blocks.1.scores.2": sl.Replace(torch.tensor([30.0])).on(keys=[0])}
EMPTY = {"blocks.1.v.2": sl.Scale(0.01).on(tokens=[0])}


@pytest.mark.parametrize("family", ["vit", "dinov2_with_registers"])
def test_planted_sinks_are_found_and_classed(held, family):
    one = held(family)
    for planted, kind in ((LOOKING, "broadcast"), (LOOKING | EMPTY, "no-op")):
        with one.model.edit(planted):
            facts = sink_facts(one.model, one.tiny.inputs, "blocks.*.pattern")
        table = sink_tables(facts, SinkRules(), 0.5)["heads"]
        found = {
            site: (c, t) for site, c, t in zip(table["site"], table["class"], table["type"], strict=True)
        }
        assert found.pop("blocks.1.heads.2") == (kind, "cls")
        assert {c for c, _ in found.values()} == {"none"}
    assert float(facts.values["least"][:, 1, 2].min()) > 0.99


def test_a_planted_first_token_sink_of_a_language_model(held):
    one, planted = held("llama"), {"blocks.2.scores.1": sl.Replace(torch.tensor([30.0])).on(keys="first")}
    with one.model.edit(planted):
        facts = sink_facts(one.model, PADDED, "blocks.*.pattern")
        scores = sink_scores(one.model, PADDED)
    table = sink_tables(facts, SinkRules(), 0.5)
    kinds = dict(zip(table["heads"]["site"], table["heads"]["type"], strict=True))
    assert kinds["blocks.2.heads.1"] == "first" and facts.values["sink_idx"][:, 2, 1].tolist() == [0, 3, 3]
    assert float(scores[:, 2, 1].min()) > 0.999 and float(table["blocks"]["first"][2]) == 1
    rates = table["heads"]["rate"]
    assert float(rates[table["heads"]["site"].index("blocks.2.heads.1")]) == 1 and float(rates.sum()) == 1


@pytest.mark.parametrize(("family", "keys"), [("llama", "first"), ("dinov2_with_registers", "registers")])
def test_scores_are_means_of_the_pattern(held, family, keys):
    one = held(family)
    inputs = PADDED if family == "llama" else one.tiny.inputs
    scores = sink_scores(one.model, inputs, keys, batch=2)
    acts = one.model.capture(inputs, at="blocks.*.pattern").stack()  # [block, input, head, query, key]
    for row in range(len(scores)):
        first = (3 if row and family == "llama" else 0) if keys == "first" else 1
        span = slice(first, first + (1 if keys == "first" else 3))
        rows = slice(first + 1, None) if family == "llama" else slice(None)
        expected = acts[:, row, :, rows, span].sum(-1).mean(-1)
        torch.testing.assert_close(scores[row], expected, rtol=1e-4, atol=1e-6)


def test_scores_make_no_pattern(held, monkeypatch):
    def refused(looks, start, stop):
        raise AssertionError("rows of a pattern were made")

    monkeypatch.setattr("steerlab.looks.Looks.rows", refused)
    assert sink_scores(held("llama").model, TEXT).shape == (3, 3, 4)


def test_tokens_have_types(held):
    one = held("llama")
    text = part_of(one.model, PADDED, sl.Site.parse("blocks.0.pattern"))
    assert (text.types[0] == TYPES.index("first")).nonzero()[:, 0].tolist() == [0]
    assert (text.types[1] == TYPES.index("first")).nonzero()[:, 0].tolist() == [3]
    vit = held("dinov2_with_registers")
    part = part_of(vit.model, vit.tiny.inputs, sl.Site.parse("blocks.0.pattern"))
    assert part.types[0, :5].tolist() == [0, 1, 1, 1, 2]


@pytest.fixture(scope="module")
def shapes():
    return sl.load("zoo:shapes-vit"), sl.inputs.Scenes(12).load(".")


SETTINGS = {"query_subset": 0.3, "acted": 4, "controls": 2, "least": 0.05, "batch": 5}


@pytest.fixture(scope="module")
def report(shapes):
    return Sinks(**SETTINGS)(*shapes)


def test_other_rules_need_no_rerun(shapes, report, tmp_path):
    again = Report.load(report.save(tmp_path))
    facts = SinkFacts.read(again.tables["events"], tuple(again.tables["blocks"]["site"]))
    asked = Sinks(**SETTINGS | {"acted": 0, "eps": 0.3, "norm_space": "head", "rank": 1.2})
    fresh, read = asked(*shapes).tables, sink_tables(facts, asked.rules(), 0.05)
    assert fresh.keys() == read.keys()
    for name, table in fresh.items():
        for column, values in table.items():
            same = read[name][column]
            if isinstance(values, torch.Tensor):
                torch.testing.assert_close(same, values, rtol=0, atol=0, equal_nan=True)
            else:
                assert same == values
    with pytest.raises(SteerlabError, match=r"eps=0.25 was not recorded \(recorded: \[0.5"):
        facts.events(SinkRules(eps=0.25))


def test_a_report_is_whole_and_its_strongest_finding_stands_out(report):
    assert set(report.plots) == {"rate", "depth", "classes", "heads"}
    acted = [one for one in report.evidence if one.rung == "intervened"]
    assert acted and all(len(one.controls) == 2 and one.floor == 0 for one in acted)
    events, heads = report.tables["events"], report.tables["heads"]
    assert len(events["mass"]) == 12 * 6 * 4 and int(events["event"].sum()) == int(heads["events"].sum())


def test_a_run_that_was_cut_off_goes_on(shapes, tmp_path):
    model, pictures = shapes
    with keeping(tmp_path / "all"):
        whole = sink_facts(model, pictures, "blocks.*.pattern", batch=5)
    files = sorted((tmp_path / "all").iterdir())
    assert len(files) == 3
    (tmp_path / "some").mkdir()
    shutil.copy(files[1], tmp_path / "some")
    with keeping(tmp_path / "some") as kept:
        again = sink_facts(model, pictures, "blocks.*.pattern", batch=5)
    assert kept.reused == 1
    for name, values in whole.values.items():
        torch.testing.assert_close(again.values[name], values, rtol=0, atol=0, equal_nan=True)


def test_interventions_reload_and_do_the_same_in_a_fresh_process(shapes, report, tmp_path):
    model, pictures = shapes
    name, one = next(iter(report.interventions.items()))
    assert name == "silence the broadcast heads"
    pixels = model.processor(pictures[:2], return_tensors="pt")["pixel_values"]
    with model.edit(one), torch.no_grad():
        here = model.module(pixels).pooler_output
    assert not torch.equal(here, model.module(pixels).pooler_output)
    save_intervention(one, tmp_path / "sinks.steer")
    torch.save({"pixels": pixels}, tmp_path / "pixels.pt")
    code = (
        "import sys, torch, steerlab as sl; torch.set_num_threads(1); folder = sys.argv[1]\n"
        "model = sl.load('zoo:shapes-vit')\n"
        "pixels = torch.load(folder + '/pixels.pt', weights_only=True)['pixels']\n"
        "with model.edit(sl.load_intervention(folder + '/sinks.steer')), torch.no_grad():\n"
        "    there = model.module(pixels).pooler_output\n"
        "torch.save({'there': there}, folder + '/there.pt')"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True)
    assert torch.equal(torch.load(tmp_path / "there.pt", weights_only=True)["there"], here)


@pytest.mark.parametrize(
    ("settings", "fact"),
    [
        ({"eps": 0.6}, "Sinks: eps=0.6: give 0 to 0.5"),
        ({"share": 0}, "share=0 is not a share"),
        ({"norm_space": "raw"}, "it is 'projected' or 'head'"),
        ({"no_op": 0.7}, "no_op=0.7, broadcast=0.5"),
        ({"rank": 0.5}, "rank=0.5 is not a stable rank"),
        ({"batch": 0}, "batch=0 is not a whole number"),
        ({"least": 2}, "least=2 is not a share of the inputs"),
    ],
)
def test_wrong_settings_are_told(settings, fact):
    with pytest.raises(SteerlabError, match=fact):
        Sinks(**settings)


def test_inputs_that_are_none_are_told(shapes):
    with pytest.raises(SteerlabError, match="no inputs"):
        Sinks()(shapes[0], [])
    with pytest.raises(SteerlabError, match="not int"):
        Sinks()(shapes[0], 3)
    with pytest.raises(SteerlabError, match="names no token of some inputs"):
        sink_scores(shapes[0], shapes[1], torch.zeros(69, dtype=torch.bool))
