"""Batches that were done are not done again, and half of one is none."""

from __future__ import annotations

import torch
from conftest import build

import steerlab as sl
from steerlab.keeping import keeper, keeping, kept, kept_texts


def test_a_sweep_takes_from_disk_what_it_did_before(tmp_path):
    lm, inputs = build("llama").model, build("llama").tiny.inputs
    heads = [{head: sl.Zero()} for head in lm.heads()]
    plain = lm.sweep(inputs, heads, batch=3)
    assert keeper() is None
    with keeping(tmp_path) as first:
        assert torch.equal(lm.sweep(inputs, heads, batch=3), plain)
    files = sorted(tmp_path.iterdir())
    assert first.reused == 0 and len(files) == -(-len(heads) // 3)
    files[0].unlink()
    files[1].write_bytes(b"half")
    with keeping(tmp_path) as second:
        assert torch.equal(lm.sweep(inputs, heads, batch=3), plain)
    assert second.reused == len(files) - 2 and keeper() is None


def test_another_sweep_takes_nothing_of_the_first(tmp_path):
    lm, inputs = build("llama").model, build("llama").tiny.inputs
    heads = lm.heads()
    with keeping(tmp_path):
        lm.sweep(inputs, [{head: sl.Zero()} for head in heads], batch=3)
    with keeping(tmp_path) as other:
        got = lm.sweep(inputs, [{head: sl.Scale(0.5)} for head in heads], batch=3)
    assert other.reused == 0 and torch.equal(
        got, lm.sweep(inputs, [{h: sl.Scale(0.5)} for h in heads], batch=3)
    )


def test_any_work_of_an_analyzer_is_kept_in_the_order_in_which_it_asks(tmp_path):
    asked = []

    def work(value):
        asked.append(value)
        return torch.tensor([value])

    def loop():
        return [float(kept(f"dose {i}", lambda i=i: work(i / 3))) for i in range(4)]

    plain = loop()
    with keeping(tmp_path):
        assert loop() == plain
    sorted(tmp_path.iterdir())[2].unlink()
    asked.clear()
    with keeping(tmp_path):
        assert loop() == plain
        assert kept_texts("said", lambda: ["caf\u00e9", ""]) == ["caf\u00e9", ""]
    assert asked == [2 / 3]
    with keeping(tmp_path):
        loop()
        assert kept_texts("said", lambda: 1 / 0) == ["caf\u00e9", ""]
        assert kept_texts("said", lambda: "another question") == "another question"
