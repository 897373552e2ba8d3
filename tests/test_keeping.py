"""Batches that were done are not done again, and half of one is none."""

from __future__ import annotations

import torch
from conftest import build

import steerlab as sl
from steerlab.keeping import keeper, keeping


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
