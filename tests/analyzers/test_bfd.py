"""Factors of queries and keys: exact edits on real models, what a report says, and what is refused."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import build

import steerlab as sl
from steerlab.analyzers.bfd import Factors, Gathered, gather, kept_modes, recombined, without_modes
from steerlab.analyzers.bfd.anchors import anchor
from steerlab.errors import SteerlabError
from steerlab.inputs import Clips, Scenes
from steerlab.keeping import keeping
from steerlab.numerics.anova import FactorMoments
from steerlab.numerics.modes import data_modes
from steerlab.report import Report

BLOCK = "blocks.2"
HERE = Path(sl.__file__).parent.parent


@functools.cache
def real() -> tuple[sl.Model, list, Gathered]:
    """DINOv2-small, pictures, and the moments of one of its blocks."""
    model, pictures = sl.load("zoo:dinov2-saliency"), Scenes(16, 5).load(Path())
    return model, pictures, gather(model, pictures, f"{BLOCK}.q", batch=4, chunks=4)


@functools.cache
def vit() -> sl.Model:
    return sl.load("zoo:shapes-vit")


def seen(model: sl.Model, pictures: list, edits: dict | None = None) -> dict[str, torch.Tensor]:
    sites = [f"{BLOCK}.{name}" for name in ("q", "k", "scores")]
    if edits is None:
        return dict(model.capture(pictures, sites))
    with model.edit(edits):
        return dict(model.capture(pictures, sites))


def test_a_mode_removed_takes_exactly_its_term_out_of_every_score_of_dinov2():
    model, pictures, found = real()
    query, key = found.sides(BLOCK)
    head, number = 1, 0
    modes = data_modes(query.at(head), key.at(head))
    base = seen(model, pictures[:2])
    gone = seen(model, pictures[:2], {f"{BLOCK}.q.{head}": without_modes(modes, [number])})
    q, k = base[f"{BLOCK}.q"][:, :, head].double(), base[f"{BLOCK}.k"][:, :, head].double()
    term = modes.sigma[number] * (q @ modes.a[number])[:, :, None] * (k @ modes.b[number])[:, None]
    change = (base[f"{BLOCK}.scores"] - gone[f"{BLOCK}.scores"])[:, head].double()
    scale = found.layout.scales[BLOCK]
    assert scale == pytest.approx(64**-0.5, rel=1e-5)
    assert torch.allclose(change, scale * term, atol=3e-5 * float(base[f"{BLOCK}.scores"].abs().max()))
    assert (scale * term).abs().max() > 0.5
    others = [h for h in range(6) if h != head]
    assert torch.equal(base[f"{BLOCK}.scores"][:, others], gone[f"{BLOCK}.scores"][:, others])


def test_one_mode_and_its_rest_make_the_whole_on_dinov2():
    model, pictures, found = real()
    modes = data_modes(*(side.at(3) for side in found.sides(BLOCK)))
    assert modes.rank == 64  # else the mean may lie outside of what modes explain
    every, one, rest = (
        seen(model, pictures[:1], edits)[f"{BLOCK}.scores"][:, 3]
        for edits in (
            None,
            {f"{BLOCK}.q.3": kept_modes(modes, [0])},
            {f"{BLOCK}.q.3": without_modes(modes, [0])},
        )
    )
    assert torch.allclose(one + rest, every, atol=2e-4 * float(every.abs().max()))
    assert not torch.allclose(one, every, atol=0.1 * float(every.abs().max()))


def test_dropping_a_factor_drops_exactly_its_blocks_on_dinov2():
    """Without the position of queries every score loses pos_q . k, that is MP's and PC's and PP's parts."""
    model, pictures, found = real()
    base = seen(model, pictures[:2])
    scale, start = found.layout.scales[BLOCK], found.layout.design.start
    query, key = found.model(f"{BLOCK}.q"), found.model(f"{BLOCK}.k")
    k = base[f"{BLOCK}.k"].double()
    tight = 3e-5 * float(base[f"{BLOCK}.scores"].abs().max())

    def change(edits: dict) -> torch.Tensor:
        return (base[f"{BLOCK}.scores"] - seen(model, pictures[:2], edits)[f"{BLOCK}.scores"]).double()

    away = change({f"{BLOCK}.q": recombined(found, f"{BLOCK}.q", position=0.0)})
    expected = scale * torch.einsum("hqd,bkhd->bhqk", query.pos, k)
    assert torch.allclose(away[:, :, start:], expected, atol=tight) and expected.abs().max() > 0.1
    assert not away[:, :, :start].any()  # the class token's own row
    both = change({f"{BLOCK}.{side}": recombined(found, f"{BLOCK}.{side}", position=0.0) for side in "qk"})[
        :, :, start:, start:
    ]
    q = base[f"{BLOCK}.q"].double()
    left = torch.einsum("bqhd,hkd->bhqk", q[:, start:], key.pos) * scale + expected[..., start:]
    overlap = scale * query.pos @ key.pos.mT
    assert torch.allclose(both, left - overlap, atol=2 * tight)


def test_moments_are_those_of_the_captured_queries():
    model, pictures, found = real()
    whole = torch.cat([model.capture(pictures[i : i + 8], f"{BLOCK}.q")[f"{BLOCK}.q"] for i in (0, 8)])
    plain = FactorMoments().update(whole[:, 1:]).finalize()
    ours = found.model(f"{BLOCK}.q")
    for name in ("mu", "pos", "content", "scene"):
        assert torch.allclose(getattr(ours, name), getattr(plain, name), rtol=1e-4, atol=1e-4), name
    assert found.layout.design.apart == {"cls": 0} and found.layout.design.grid == (16, 16)
    left = list(found.left_out([f"{BLOCK}.q"]))
    alone = FactorMoments().update(whole[4:, 1:]).finalize()
    assert len(left) == 4 and left[0][0].count == 12
    assert torch.allclose(left[0][0].content, alone.content, rtol=1e-4, atol=1e-3)


@functools.cache
def reported() -> Report:
    settings = {"chunks": 4, "probed": 24, "causal": 2, "controls": 2, "shown": 2}
    return Factors(["blocks.0.q", "blocks.2.q"], batch=8, **settings)(vit(), Scenes(96, 3).load(Path()))


def test_a_report_says_what_queries_and_keys_exchange():
    tables = reported().tables
    blocks = tables["blocks"]
    shares = torch.stack([blocks[pair] for pair in ("CC", "CP", "PC", "PP")])
    assert torch.allclose(shares.sum(0), torch.ones(2)) and float(blocks["CC"][1]) < 0.35
    for pair in ("CC", "CP", "PC", "PP"):
        assert (blocks[f"{pair} low"] <= blocks[pair]).all() and (
            blocks[pair] <= blocks[f"{pair} high"]
        ).all()
    assert (blocks["CC shuffled"] > 0.99).all()  # without positions all is content
    probes = tables["probes"]
    assert (probes["activation"] > 0.85).all() and (probes["position factor"] == 1).all()
    assert (probes["content"] < 5 * probes["chance"]).all()
    assert (probes["same input"] > 5 * probes["chance, same input"]).all()
    assert set(tables["modes"]["type"]) <= {"CC", "CP", "PC", "PP", "mixed"}
    assert {len(tables["heads"]["block"]), len(tables["causal"]["edit"])} == {8, 10}
    edits = dict(zip(tables["causal"]["edit"], tables["causal"]["effect"][5:].tolist(), strict=False))
    random = max(float(tables["causal"][f"effect random {i}"][7]) for i in range(2))
    assert edits["both without position"] > 3 * random > 0
    stream = tables["stream"]
    assert torch.allclose(stream["position"], stream["cross-fitted"], atol=0.05)
    assert {row for row in tables["apart"]["way"] if "cls" in row} == {"patches to cls", "cls to patches"}


def test_the_position_factor_becomes_the_learned_table_as_inputs_grow():
    model, many = vit(), Scenes(256, 3).load(Path())
    design = gather(model, many[:8], "blocks.0.q", chunks=4).layout.design
    few, all_of_them = (anchor(model, data, design, batch=64) for data in (many[:32], many))
    shuffled = "patches shuffled"
    assert float(few[shuffled].mean()) < float(all_of_them[shuffled].mean()) > 0.95
    assert float(all_of_them["pictures as they are"].mean()) < float(all_of_them[shuffled].mean())


def test_interventions_reload_in_a_fresh_process_with_the_same_effect(tmp_path):
    report = reported()
    report.save(tmp_path / "report")
    names = {"both without position": "both-without-position", "that mode alone": "that-mode-alone"}
    pictures = Scenes(2, 9).load(Path())
    here = {}
    for name, file in names.items():
        with vit().edit(report.interventions[name]):
            here[file] = vit().capture(pictures, "blocks.5.resid")["blocks.5.resid"].double().sum((0, 1))
    code = (
        "import sys, torch, steerlab as sl\nfrom pathlib import Path\nfrom steerlab.inputs import Scenes\n"
        "torch.set_num_threads(1)\nmodel, pictures = sl.load('zoo:shapes-vit'), Scenes(2, 9).load(Path())\n"
        "for name in sys.argv[2:]:\n"
        "    with model.edit(sl.load_intervention(Path(sys.argv[1]) / (name + '.steer'))):\n"
        "        acts = model.capture(pictures, 'blocks.5.resid')['blocks.5.resid']\n"
        "    print(*acts.double().sum((0, 1)).tolist())\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "report" / "interventions"), *names.values()]
    done = subprocess.run(command, capture_output=True, text=True, cwd=HERE, check=True)
    base = vit().capture(pictures, "blocks.5.resid")["blocks.5.resid"].double().sum((0, 1))
    for line, file in zip(done.stdout.splitlines(), names.values(), strict=True):
        there = torch.tensor([float(one) for one in line.split()], dtype=torch.float64)
        assert torch.allclose(there, here[file], atol=1e-3) and not torch.allclose(there, base, atol=0.1)


def test_queries_that_are_rotated_are_decomposed_before_it_too():
    lm = build("llama").model
    ids = torch.randint(4, 20, (16, 7), generator=torch.Generator().manual_seed(0))
    found = gather(lm, {"input_ids": ids}, "blocks.*.q", chunks=4)
    design = found.layout.design
    assert (design.start, design.positions, dict(design.apart)) == (1, 6, {"first": 0})
    after, before = found.sides("blocks.1"), found.sides("blocks.1", " before")
    assert len(after[0].mu) == len(after[1].mu) == len(before[1].mu)
    acts = lm.capture({"input_ids": ids}, ["blocks.1.q", "module:model.layers.1.self_attn.q_proj"])
    plain = acts["module:model.layers.1.self_attn.q_proj"].unflatten(-1, acts["blocks.1.q"].shape[2:])
    reference = FactorMoments().update(plain[:, 1:]).finalize()
    assert torch.allclose(before[0].content, reference.content, atol=1e-5)
    # a rotation keeps the energy and moves what is constant from the mean to the position
    assert after[0].energies()["mean"].sum() < before[0].energies()["mean"].sum()
    report = Factors(chunks=4, causal=2, probed=4, controls=1)(lm, ids_of(ids))
    assert "before rotation" in report.tables and "anchor" not in report.tables
    assert "rotated" in report.about and "before rotation" in report.plots


@pytest.mark.parametrize(
    "name, at, data, positions",
    [
        ("zoo:shapes-clip", "vision.blocks.1.q", Scenes(16), 64),
        ("zoo:motion-video", "blocks.1.q", Clips(16), 128),
    ],
)
def test_towers_and_videos_are_asked_by_the_same_words(name, at, data, positions):
    report = Factors(at, chunks=4, probed=6, causal=2, controls=1)(sl.load(name), data.load(Path()))
    assert f"16 inputs with {positions} positions" in report.about
    assert float(report.tables["blocks"]["CC shuffled"][0]) > float(report.tables["blocks"]["CC"][0]) + 0.1
    assert report.evidence[-2].effect > max(report.evidence[-2].controls)
    assert ("maps" in report.tables) == ("clip" in name)


def ids_of(ids: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def test_texts_and_pictures_of_other_sizes_are_refused():
    lm = build("llama").model
    texts = ["the cat sat", "the dog sat on"] * 8
    with pytest.raises(
        SteerlabError, match=r"the same positions \(a balanced design\), and these have 4 to 5"
    ):
        gather(lm, texts, "blocks.0.q", chunks=4)
    with pytest.raises(SteerlabError, match="5 inputs in 4 chunks: factors need 2 inputs or more in each"):
        gather(lm, ["the cat"] * 5, "blocks.0.q", chunks=4)
    with pytest.raises(SteerlabError, match="name the queries of whole blocks"):
        gather(lm, ["the cat"] * 8, "blocks.0.k", chunks=4)
    later = ["the cat sat"] * 4 + ["the cat sat on"] * 4
    with pytest.raises(SteerlabError, match="4 positions from token 1 on, after inputs with 3"):
        gather(lm, later, "blocks.0.q", chunks=4)
    with pytest.raises(SteerlabError, match="generator is no sequence of inputs"):
        gather(lm, (text for text in later), "blocks.0.q", chunks=4)
    with pytest.raises(SteerlabError, match="chunks=2 is not a whole number of 4 or more"):
        Factors(chunks=2)


class Watched:
    """Inputs that are made when they are asked for, and remember how many were asked for at once."""

    def __init__(self, count: int) -> None:
        self.count, self.asked = count, []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, part: slice) -> torch.Tensor:
        start, stop, _ = part.indices(self.count)
        self.asked.append((start, stop))
        generator = torch.Generator().manual_seed(start)
        return torch.randint(4, 20, (stop - start, 5), generator=generator)


def test_inputs_are_asked_for_batch_by_batch_and_a_resumed_run_asks_for_the_rest_alone(tmp_path):
    lm = build("llama").model
    data = Watched(40)
    with keeping(tmp_path):
        whole = gather(lm, data, "blocks.0.q", batch=3, chunks=4)
    assert max(stop - start for start, stop in data.asked) == 3
    kept = sorted(tmp_path.iterdir())
    assert len(kept) == 5
    kept[-1].unlink()
    again = Watched(40)
    with keeping(tmp_path) as keeper:
        resumed = gather(lm, again, "blocks.0.q", batch=3, chunks=4)
    assert keeper.reused == 4 and min(start for start, _ in again.asked) == 30
    for name in whole.layout.shapes:
        assert torch.equal(resumed.model(name).content, whole.model(name).content), name
