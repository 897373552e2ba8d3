"""Llama Scope: two scales, three spaces of its threshold, and why only one of them can be right."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import published_text as text
import pytest
import torch
from published import Draw, write_json, write_safetensors
from safetensors.torch import load_file, save_file

import steerlab as sl
from steerlab.bases.probing import probe

X = np.random.default_rng(1).standard_normal((60, 16)).astype(np.float32) * 1.5
LENGTHS = (3.0, 0.7)
TRANSCODER = partial(text.llama_scope, lengths=LENGTHS, hooks=("hook_resid_mid", "hook_mlp_out"))


def test_one_scale_for_both_ways_is_off_by_their_ratio(tmp_path):
    made = TRANSCODER(tmp_path, Draw(16, 64))
    sae = sl.load_dictionary(made.path)
    x = torch.tensor(X)
    s_in, s_out = (4.0 / length for length in LENGTHS)
    config = json.loads((made.path / "hyperparams.json").read_text())
    config["dataset_average_activation_norm"]["out"] = LENGTHS[0]
    (made.path / "hyperparams.json").write_text(json.dumps(config))
    single = sl.load_dictionary(made.path)
    codes = sae.encode(x)
    ratio = single.decode(codes, x) / sae.decode(codes, x)
    torch.testing.assert_close(ratio, torch.full_like(ratio, s_out / s_in), rtol=1e-4, atol=1e-4)
    assert abs(s_out / s_in - 1) > 3


def rescaled(tmp_path, name: str, factors: tuple[float, float], rows: float) -> sl.bases.Dictionary:
    """The same dictionary in other units: inputs and outputs times `factors`, its decoder's rows longer."""
    made = TRANSCODER(tmp_path / name, Draw(16, 64))
    config = json.loads((made.path / "hyperparams.json").read_text())
    lengths = config["dataset_average_activation_norm"]
    config["dataset_average_activation_norm"] = {
        "in": lengths["in"] * factors[0],
        "out": lengths["out"] * factors[1],
    }
    config["jump_relu_threshold"] *= factors[1]
    (made.path / "hyperparams.json").write_text(json.dumps(config))
    tensors = load_file(made.weights)
    tensors["decoder.weight"] = tensors["decoder.weight"] * rows
    tensors["encoder.weight"] = tensors["encoder.weight"] / rows
    tensors["encoder.bias"] = tensors["encoder.bias"] / rows
    save_file(tensors, made.weights)
    return made


@pytest.mark.parametrize(("space", "same"), [("decoded", True), ("scaled", False), ("raw", False)])
def test_which_codes_are_active_does_not_depend_on_units(space, same, tmp_path):
    x = torch.tensor(X)
    first = rescaled(tmp_path, "first", (1.0, 1.0), 1.0)
    other = rescaled(tmp_path, "other", (8.0, 0.25), 2.0)
    active = sl.load_dictionary(first.path, threshold_space=space).encode(x) != 0
    again = sl.load_dictionary(other.path, threshold_space=space).encode(8.0 * x) != 0
    assert 0 < active.float().mean() < 1
    assert torch.equal(active, again) == same


def test_for_a_stream_with_rows_of_length_one_two_of_the_rules_agree(tmp_path):
    made = text.llama_scope(tmp_path, Draw(16, 64))
    tensors = load_file(made.weights)
    rows = tensors["decoder.weight"].float()
    tensors["decoder.weight"] = rows / rows.norm(dim=0)
    save_file({name: t.float() for name, t in tensors.items()}, made.weights)
    thresholds = {
        space: sl.load_dictionary(made.path, threshold_space=space).encoder.rule.threshold
        for space in ("decoded", "scaled", "raw")
    }
    expected = 0.2021 * 4 / 6.3125
    torch.testing.assert_close(thresholds["decoded"], torch.full((64,), expected))
    torch.testing.assert_close(thresholds["scaled"], torch.tensor([expected]))
    torch.testing.assert_close(thresholds["raw"], torch.tensor([0.2021]))


def test_sites_and_sparsity_are_read(tmp_path):
    facts = sl.load_dictionary(text.llama_scope(tmp_path, Draw(16, 64)).path).facts
    assert (facts.site, facts.reads, facts.l0) == ("blocks.8.resid", None, 50.0)
    assert facts.model == "meta-llama/Llama-3.1-8B" and "decoded" in facts.assumptions[0]
    normal = partial(text.llama_scope, hooks=("ln2.hook_normalized", "hook_mlp_out"))
    facts = sl.load_dictionary(normal(tmp_path / "tc", Draw(16, 64)).path).facts
    assert (facts.site, facts.reads) == ("blocks.8.mlp", "blocks.8.resid_mid")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"norm_activation": "token-wise"}, "norm_activation is 'token-wise'"),
        ({"dataset_average_activation_norm": {"in": 3.0}}, "out is None, expected a"),
        (
            {"dataset_average_activation_norm": {"in": 3.0, "out": 0}},
            "out is 0.*, expected a positive",
        ),
        ({"jump_relu_threshold": "0.2"}, "jump_relu_threshold is '0.2'"),
        ({"act_fn": "topk"}, "act_fn is 'topk'"),
    ],
)
def test_a_config_that_says_something_else_is_refused(change, reason, tmp_path):
    made = text.llama_scope(tmp_path, Draw(16, 64))
    config = json.loads((made.path / "hyperparams.json").read_text())
    (made.path / "hyperparams.json").write_text(json.dumps(config | change))
    with pytest.raises(sl.SteerlabError, match=reason):
        sl.load_dictionary(made.path)
    (made.path / "hyperparams.json").write_text(json.dumps(config))
    with pytest.raises(sl.SteerlabError, match="threshold_space is 'output'"):
        sl.load_dictionary(made.path, threshold_space="output")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"norm_activation": "batch-wise"}, "norm_activation is 'batch-wise'"),
        ({"act_fn": "prelu"}, "act_fn is 'prelu'"),
        ({"act_fn": "topk", "top_k": 0}, "top_k is 0"),
        ({"hook_point_in": "blocks.9.hook_mlp_out"}, "blocks.9.hook_mlp_out is not one number"),
    ],
)
def test_llamascopium_configs_of_other_kinds_are_refused(change, reason, tmp_path):
    made = text.llamascopium(tmp_path, Draw(16, 64))
    facts = sl.load_dictionary(made.path).facts
    assert (facts.site, facts.reads) == ("blocks.3.mlp", "blocks.3.resid_mid")
    config = json.loads((made.path / "config.json").read_text())
    (made.path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(sl.SteerlabError, match=reason):
        sl.load_dictionary(made.path)


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({"W_E_glu": torch.ones(16, 64)}, "gated linear encoder"),
        ({"W_E": torch.ones(2, 16, 64)}, "crosscoder or a cross-layer transcoder"),
    ],
)
def test_llamascopium_dictionaries_of_several_sites_are_refused(tensors, reason, tmp_path):
    made = text.llamascopium(tmp_path, Draw(16, 64))
    save_file(load_file(made.weights) | tensors, made.weights)
    with pytest.raises(sl.SteerlabError, match=reason):
        sl.load_dictionary(made.path)


def test_the_probe_finds_a_threshold_in_the_wrong_space(tmp_path):
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((384, 256))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    chosen = np.argsort(rng.random((800, 384)), axis=1)[:, :4]
    codes = np.zeros((800, 384))
    np.put_along_axis(codes, chosen, rng.uniform(15, 25, (800, 4)), 1)
    x = codes @ rows
    length = float(np.linalg.norm(x, axis=1).mean())
    config = {
        "norm_activation": "dataset-wise",
        "act_fn": "jumprelu",
        "jump_relu_threshold": 10.0,
        "top_k": 4,
    }
    config |= {f"hook_point_{side}": "blocks.8.hook_resid_post" for side in ("in", "out")}
    config["dataset_average_activation_norm"] = {"in": length, "out": length}
    write_json(tmp_path / "hyperparams.json", config)
    tensors = {"encoder.weight": rows, "encoder.bias": np.zeros(384), "decoder.bias": np.zeros(256)}
    tensors = {name: t.astype(np.float32) for name, t in (tensors | {"decoder.weight": rows.T}).items()}
    write_safetensors(tmp_path / "checkpoints" / "final.safetensors", tensors)
    acts = torch.tensor(x, dtype=torch.float32)
    right = probe(sl.load_dictionary(tmp_path), acts)
    assert right.warnings == () and right.r2 > 0.9 and abs(right.l0 - 4) < 0.5
    wrong = probe(sl.load_dictionary(tmp_path, threshold_space="raw"), acts)
    assert "the threshold were times sqrt(dim) over the mean length" in wrong.warnings[-1]
