"""Gemma Scope: sites that folders and hooks say, the input of its transcoders, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import published_text as text
import pytest
import torch
from published import Draw
from transformers import Gemma2Config, Gemma2ForCausalLM

import steerlab as sl
from steerlab.bases.formats.hook_names import module_site
from steerlab.bases.input_norms import InputRms

X = torch.tensor(np.random.default_rng(1).standard_normal((10, 16)).astype(np.float32))


@pytest.fixture(scope="module")
def gemma():
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
    )
    model = Gemma2ForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
    return model


@pytest.mark.parametrize(
    ("kind", "site", "reads"),
    [
        ("res", "blocks.20.resid", None),
        ("mlp", "blocks.20.mlp", None),
        ("att", "blocks.20.heads", None),
        ("transcoders", "blocks.20.mlp", "blocks.20.resid_mid"),
    ],
)
def test_the_folders_say_site_model_and_sparsity(kind, site, reads, tmp_path):
    facts = sl.load_dictionary(text.gemma_scope(tmp_path, Draw(16, 64), kind).path).facts
    assert (facts.site, facts.reads, facts.l0) == (site, reads, 71.0)
    assert facts.model == "google/gemma-2-2b" and facts.source == "gemma-scope"
    assert ("before the gain" in " ".join(facts.assumptions)) == (kind == "transcoders")


def test_what_the_folders_do_not_say_can_be_said(tmp_path):
    made = text.gemma_scope(tmp_path, Draw(16, 64))
    plain = tmp_path / "copied"
    plain.mkdir()
    made.weights.rename(plain / "params.npz")
    unsaid = sl.load_dictionary(plain)
    assert unsaid.site is None and "no folder says which site" in unsaid.facts.assumptions[0]
    said = sl.load_dictionary(plain, kind="transcoder", layer=3)
    assert (said.facts.reads, said.facts.site) == ("blocks.3.resid_mid", "blocks.3.mlp")
    with pytest.raises(sl.SteerlabError, match=r"kind is 'ress'; did you mean 'res'"):
        sl.load_dictionary(plain, kind="ress", layer=3)
    with pytest.raises(sl.SteerlabError, match="layer='3'"):
        sl.load_dictionary(plain, kind="res", layer="3")
    with pytest.raises(sl.SteerlabError, match=r"'layers' is not an option .* did you mean 'layer'"):
        sl.load_dictionary(plain, layers=3)


def test_heads_are_read_side_by_side_and_embeddings_are_scaled(tmp_path):
    made = text.gemma_scope(tmp_path, Draw(16, 64), "att")
    sae = sl.load_dictionary(made.path)
    heads = X.reshape(10, 2, 8)
    assert torch.equal(sae.encode(heads), sae.encode(X))
    edited = sl.Zero(sae.only(5))(heads)
    assert edited.shape == heads.shape
    folder = tmp_path / "embedding" / "width_4k" / "average_l0_21"
    folder.mkdir(parents=True)
    made.weights.rename(folder / "params.npz")
    embedding = sl.load_dictionary(folder)
    assert embedding.facts.site == "embed"
    z, x_hat = made.forward(X.double().numpy() / 4)  # sqrt(16)
    bias = np.load(folder / "params.npz")["b_dec"]
    np.testing.assert_allclose(embedding.encode(X).numpy(), z, atol=1e-5)
    np.testing.assert_allclose(embedding.reconstruct(X).numpy(), 4 * (x_hat - bias) + bias, atol=1e-5)


def test_a_transcoder_reads_the_normalised_stream_before_the_gain(gemma, tmp_path):
    model = sl.wrap(gemma)
    module = gemma.model.layers[1].pre_feedforward_layernorm
    ids = torch.arange(6)[None]
    hook = "module:model.layers.1.pre_feedforward_layernorm"
    acts = model.capture(ids, at=["blocks.1.resid_mid", hook])
    before_gain = acts[hook] / (1 + module.weight)
    torch.testing.assert_close(InputRms(module.eps).apply(acts["blocks.1.resid_mid"])[0], before_gain)
    transcoder = sl.load_dictionary(
        text.gemma_scope(tmp_path, Draw(16, 64), "transcoders").path, kind="transcoder", layer=1
    )
    codes = transcoder.encode(acts["blocks.1.resid_mid"])
    plain = torch.relu(before_gain @ transcoder.encoder.weight + transcoder.encoder.bias)
    torch.testing.assert_close(codes, plain * (plain > transcoder.encoder.rule.threshold))
    atom = int(codes[0, -1].argmax())
    with model.edit(sl.across(transcoder, lambda t: sl.Zero(t.only(atom)))):
        written = model.capture(ids, at="blocks.1.mlp")["blocks.1.mlp"]
    clean = model.capture(ids, at="blocks.1.mlp")["blocks.1.mlp"]
    expected = clean - codes[..., atom, None] * transcoder.decoder[atom]
    torch.testing.assert_close(written, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "hook",
    [
        "model.layers.1.output",
        "model.layers.1.self_attn.o_proj.input",
        "model.layers.1.post_attention_layernorm.output",
        "model.layers.1.post_feedforward_layernorm.output",
        "model.layers.1.pre_feedforward_layernorm.output",
    ],
)
def test_hooks_of_modules_are_the_sites_they_name(gemma, hook):
    path, _, side = hook.rpartition(".")
    seen = {}

    def keep(module, inputs, output):
        value = inputs[0] if side == "input" else output
        seen["x"] = value[0] if isinstance(value, tuple) else value

    handle = gemma.get_submodule(path).register_forward_hook(keep)
    ids = torch.arange(6)[None]
    with torch.no_grad():
        gemma(ids)
    handle.remove()
    site = module_site(hook)
    x = sl.wrap(gemma).capture(ids, at=site)[site]
    torch.testing.assert_close(x.reshape(seen["x"].shape), seen["x"])


def test_hooks_without_a_site_have_none():
    assert module_site("model.layers.1.mlp.input") == "module:model.layers.1.mlp:input"
    assert module_site("model.layers.1.mlp") is None and module_site("output") is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"architecture": "topk"}, "architecture is 'topk'"),
        ({"hf_hook_point_out": ["a", "b"]}, "writes into several blocks"),
    ],
)
def test_a_config_of_another_kind_is_refused(change, reason, tmp_path):
    made = text.gemma_scope_2(tmp_path, Draw(16, 64))
    config = json.loads((made.path / "config.json").read_text())
    assert sl.load_dictionary(made.path).facts.site == "blocks.7.resid"
    (made.path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(sl.SteerlabError, match=reason):
        sl.load_dictionary(made.path)


def test_the_second_release_names_both_sites_of_a_transcoder(tmp_path):
    facts = sl.load_dictionary(text.gemma_scope_2(tmp_path, Draw(16, 64), True).path).facts
    assert facts.reads == "module:model.layers.7.pre_feedforward_layernorm"
    assert (facts.site, facts.model) == ("blocks.7.mlp", "google/gemma-3-1b-pt")
